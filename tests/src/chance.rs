//! Chance that can be repeated.

/// Numbers that follow from a seed (xorshift64*).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Chance {
        // The generator stays at 0.
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    /// The next number.
    #[allow(clippy::should_implement_trait)] // no iterator ends never
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 32) % end
    }
    /// Chance for somebody else.
    pub fn split(&mut self) -> Chance {
        Chance::new(self.next())
    }
}

#[libtask::interface]
trait Adder {
    #[id(1)]
    fn add(&self, a: u64, b: u64) -> u64;
    #[id(1)]
    fn sub(&self, a: u64, b: u64) -> u64;
    #[id(100)]
    fn mul(&self, a: u64, b: u64) -> u64;
    #[id = 3]
    fn div(&self, a: u64, b: u64) -> u64;
}

fn main() {}

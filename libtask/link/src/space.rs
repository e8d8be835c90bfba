//! Which parts of an arena are free: the lender's private list.
//!
//! Ranges that came back last are used first, for their memory is in the caches and in the page tables. What lies side by side is one range.

/// A part of an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) at: u64,
    pub(crate) len: u64,
}

/// The free ranges, the one that came back last at the end.
#[derive(Debug)]
pub(crate) struct Space {
    free: Vec<Range>,
}

impl Space {
    /// All of it is free.
    pub(crate) fn new(len: u64) -> Space {
        Space { free: vec![Range { at: 0, len }] }
    }
    /// Takes `len` bytes, more than none: out of the smallest range that has them, and of equal ones the warmest.
    pub(crate) fn take(&mut self, len: u64) -> Option<Range> {
        let fits = self.free.iter().enumerate().rev().filter(|(_, range)| range.len >= len);
        let (n, _) = fits.min_by_key(|(_, range)| range.len)?;
        let range = &mut self.free[n];
        let taken = Range { at: range.at, len };
        range.at += len;
        range.len -= len;
        if range.len == 0 {
            self.free.remove(n);
        }
        Some(taken)
    }
    /// Takes back what [`Space::take`] gave.
    pub(crate) fn give_back(&mut self, mut range: Range) {
        self.free.retain(|other| {
            let (before, after) = (other.at + other.len == range.at, range.at + range.len == other.at);
            if before {
                range.at = other.at;
            }
            if before || after {
                range.len += other.len;
            }
            !before && !after
        });
        self.free.push(range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_never_overlap_and_all_comes_back() {
        let mut space = Space::new(1000);
        let mut out: Vec<Range> = Vec::new();
        let mut seed = 1u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let len = (seed >> 33) % 90 + 1;
            match (seed >> 60).is_multiple_of(2) {
                true => {
                    if let Some(range) = space.take(len) {
                        assert!(range.len == len && range.at + len <= 1000);
                        assert!(out.iter().all(|other| range.at + range.len <= other.at || other.at + other.len <= range.at));
                        out.push(range);
                    }
                }
                false if !out.is_empty() => space.give_back(out.swap_remove((seed >> 20) as usize % out.len())),
                false => {}
            }
        }
        out.into_iter().for_each(|range| space.give_back(range));
        assert_eq!(space.free, [Range { at: 0, len: 1000 }]);
    }

    #[test]
    fn warm_memory_is_used_again_first() {
        let mut space = Space::new(1 << 20);
        let [a, b, c] = [0, 1, 2].map(|_| space.take(4096).unwrap());
        let _kept = space.take(4096).unwrap();
        space.give_back(c);
        space.give_back(a);
        assert_eq!(space.take(4096), Some(a));
        assert_eq!(space.take(4096), Some(c));
        space.give_back(b);
        assert_eq!(space.take(4096), Some(b));
    }
}

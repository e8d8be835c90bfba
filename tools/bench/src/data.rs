//! Bytes whose sum tells that every one of them arrived: word number i of a transfer is its seed and i.

/// Fills `bytes`, a multiple of eight.
pub(crate) fn fill(bytes: &mut [u8], seed: u64) {
    for (i, word) in bytes.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&seed.wrapping_add(i as u64).to_le_bytes());
    }
}

/// What [`Sum`] says of bytes filled with this seed.
pub(crate) fn expected(seed: u64, len: usize) -> u64 {
    let words = (len / 8) as u64;
    seed.wrapping_mul(words).wrapping_add(words * words.saturating_sub(1) / 2)
}

/// The sum of bytes of which there are a multiple of eight.
#[inline]
pub(crate) fn words(bytes: &[u8]) -> u64 {
    bytes.as_chunks::<8>().0.iter().fold(0, |total, word| total.wrapping_add(u64::from_le_bytes(*word)))
}

/// Reads every byte, in pieces of any length.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    total: u64,
    len: usize,
    partial: [u8; 8],
}

impl Sum {
    pub(crate) fn of(bytes: &[u8]) -> u64 {
        let mut sum = Sum::default();
        sum.add(bytes);
        sum.total
    }
    pub(crate) fn add(&mut self, mut bytes: &[u8]) {
        let odd = self.len % 8;
        self.len += bytes.len();
        if odd > 0 {
            let take = bytes.len().min(8 - odd);
            self.partial[odd..odd + take].copy_from_slice(&bytes[..take]);
            if odd + take < 8 {
                return;
            }
            self.total = self.total.wrapping_add(u64::from_le_bytes(self.partial));
            bytes = &bytes[take..];
        }
        let (words, rest) = bytes.as_chunks::<8>();
        self.total = self.total.wrapping_add(self::words(words.as_flattened()));
        self.partial[..rest.len()].copy_from_slice(rest);
    }
    /// Bytes seen.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_in_pieces_of_any_length_is_the_expected_one() {
        let mut bytes = vec![0; 4096];
        fill(&mut bytes, u64::MAX - 3);
        assert_eq!(Sum::of(&bytes), expected(u64::MAX - 3, 4096));
        for piece in [1, 3, 7, 8, 13, 1000] {
            let mut sum = Sum::default();
            bytes.chunks(piece).for_each(|piece| sum.add(piece));
            assert_eq!((sum.total(), sum.len()), (expected(u64::MAX - 3, 4096), 4096), "pieces of {piece}");
        }
        bytes[4095] ^= 1;
        assert_ne!(Sum::of(&bytes), expected(u64::MAX - 3, 4096));
    }
}

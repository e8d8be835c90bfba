//! Finds the descriptions in a binary, wherever its linker put them.

use crate::format::{HEAD, MARK, checksum};
use crate::interface::Description;
use crate::read::Broken;

/// A description in a binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where its mark is.
    pub at: usize,
    /// What it says.
    pub description: Result<Description, Broken>,
}

/// How many times a file's size is summed at most. Honest ones: once.
const SUMMED: usize = 8;

/// All descriptions in a file's bytes, each once, in the order in which they stand there. One that is damaged is an entry too.
pub fn scan(bytes: &[u8]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut from = 0;
    // Marks may claim lengths that reach over each other: to sum them all could take the square of the file's size.
    let mut to_sum = bytes.len().saturating_mul(SUMMED);
    while let Some(at) = next_mark(bytes, from) {
        from = at + MARK.len();
        let description = read_at(&bytes[at..], &mut to_sum);
        if !found.iter().any(|known| known.description == description) {
            found.push(Found { at, description });
        }
    }
    found
}

/// The mark as it is not written in this program.
const KRAM: [u8; 16] = {
    let mut reversed = MARK;
    reversed.reverse();
    reversed
};

fn next_mark(bytes: &[u8], from: usize) -> Option<usize> {
    let is_mark = |window: &[u8]| window.iter().eq(KRAM.iter().rev());
    let mut at = from;
    loop {
        // Few bytes are a mark's first.
        at += bytes.get(at..)?.iter().position(|&byte| byte == KRAM[15])?;
        if is_mark(bytes.get(at..at + MARK.len())?) {
            return Some(at);
        }
        at += 1;
    }
}

fn read_at(bytes: &[u8], to_sum: &mut usize) -> Result<Description, Broken> {
    let word = |at: usize| bytes.get(at..at + 4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let (length, sum) = word(16).zip(word(20)).ok_or(Broken::Short)?;
    let end = HEAD.checked_add(length as usize).ok_or(Broken::Short)?;
    let encoded = bytes.get(HEAD..end).ok_or(Broken::Short)?;
    *to_sum = to_sum.checked_sub(encoded.len()).ok_or(Broken::Sum)?;
    if checksum(encoded, 0) != sum {
        return Err(Broken::Sum);
    }
    Description::read(encoded)
}

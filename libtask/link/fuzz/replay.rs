//! What the tests do with a fuzz target's corpus: every input as it is, and many made from it by small changes. The fuzzer itself needs tools that are not always
//! there (`cargo xtask fuzz`).

use std::path::Path;

/// Inputs made from each that is stored.
const CHANGED: u64 = 100;

/// Random numbers that are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }
}

/// The input with a few changes: a byte, a bit, an extreme word, a piece left out, the end cut off, a piece of another input.
fn change(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            _ if bytes.is_empty() => bytes.push(random.below(256) as u8),
            0 => bytes[at] = random.below(256) as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => {
                let word = [0, 1, 8, 24, 4096, 4097, 0x8000, 0x8008, u32::MAX, u32::MAX - 7, 1 << 31][random.below(11)];
                let end = bytes.len().min(at + 4);
                bytes[at..end].copy_from_slice(&word.to_le_bytes()[..end - at]);
            }
            3 => drop(bytes.drain(at..bytes.len().min(at + random.below(16)))),
            4 => bytes.truncate(at),
            _ => {
                let from = random.below(other.len());
                let piece = &other[from..other.len().min(from + random.below(64))];
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes
}

/// Runs a target on all that is in a folder, and on what is made of it.
pub(crate) fn replay(target: fn(&[u8]), folder: &Path) {
    let listed = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = listed.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 4, "{} holds next to nothing", folder.display());
    let inputs: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for input in &inputs {
        target(input);
        for _ in 0..CHANGED {
            let other = &inputs[random.below(inputs.len())];
            target(&change(input, other, &mut random));
        }
    }
}

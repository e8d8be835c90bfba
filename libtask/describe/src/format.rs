//! The encoding of descriptions: written by [`crate::fixed`], read by [`crate::read`].
//!
//! Numbers are variable in length, seven bits a byte, the lowest first; text has its length in front. A type is its name, a tag, and what the tag says.
//! New tags and flags make a new [`VERSION`]; readers refuse one that they do not know.

/// Of this encoding.
pub(crate) const VERSION: u8 = 1;

/// In front of each description in a binary: this, the length and the checksum of what follows, as little-endian words.
///
/// The scanner must not find itself: what it looks for is in the program only the other way round.
pub(crate) const MARK: [u8; 16] = *b"\x7fumach:describe\0";
/// Mark, length and checksum.
pub(crate) const HEAD: usize = 24;

/// FNV-1a.
pub(crate) const fn checksum(bytes: &[u8], from: usize) -> u32 {
    let mut sum: u32 = 0x811c_9dc5;
    let mut at = from;
    while at < bytes.len() {
        sum = (sum ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    sum
}

/// What a method has besides its name, arguments and result.
pub(crate) mod flag {
    pub(crate) const ONE_WAY: u8 = 1;
    pub(crate) const DEADLINE: u8 = 2;
    pub(crate) const STREAM: u8 = 4;
    pub(crate) const ERROR: u8 = 8;
}

/// What a type is.
pub(crate) mod tag {
    pub(crate) const BOOL: u8 = 0;
    pub(crate) const I8: u8 = 1;
    pub(crate) const I16: u8 = 2;
    pub(crate) const I32: u8 = 3;
    pub(crate) const I64: u8 = 4;
    pub(crate) const I128: u8 = 5;
    pub(crate) const ISIZE: u8 = 6;
    pub(crate) const U8: u8 = 7;
    pub(crate) const U16: u8 = 8;
    pub(crate) const U32: u8 = 9;
    pub(crate) const U64: u8 = 10;
    pub(crate) const U128: u8 = 11;
    pub(crate) const USIZE: u8 = 12;
    pub(crate) const F32: u8 = 13;
    pub(crate) const F64: u8 = 14;
    pub(crate) const CHAR: u8 = 15;
    pub(crate) const STRING: u8 = 16;
    pub(crate) const BYTES: u8 = 17;
    pub(crate) const UNIT: u8 = 18;
    pub(crate) const OPTION: u8 = 19;
    pub(crate) const NEWTYPE: u8 = 20;
    pub(crate) const SEQ: u8 = 21;
    pub(crate) const TUPLE: u8 = 22;
    pub(crate) const MAP: u8 = 23;
    pub(crate) const STRUCT: u8 = 24;
    pub(crate) const ENUM: u8 = 25;
    pub(crate) const RIGHT: u8 = 26;
    pub(crate) const POD: u8 = 27;
    pub(crate) const SCHEMA: u8 = 28;
}

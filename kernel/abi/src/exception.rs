//! What exception ports are set with: kinds, and how to tell.

use crate::Code;

/// Kinds of exception, the first of which (0) is none.
pub const KINDS: u32 = 14;
/// Kinds that a mask can name.
const VALID: u32 = (1 << KINDS) - 2;

/// `EXCEPTION_DEFAULT` to `EXCEPTION_IDENTITY_PROTECTED`.
const BEHAVIORS: std::ops::RangeInclusive<u32> = 1..=4;
/// `MACH_EXCEPTION_MASK`: codes, errors, backtrace. Beside one of the behaviours.
pub const FLAGS: u32 = 0xe000_0000;

/// The kinds of a mask.
pub fn kinds(mask: u32) -> impl Iterator<Item = usize> {
    (1..KINDS).filter(move |kind| mask & 1 << kind != 0).map(|kind| kind as usize)
}

/// `KERN_INVALID_ARGUMENT` if a mask names what is no kind.
pub fn check_mask(mask: u32) -> Result<(), Code> {
    if mask & !VALID == 0 { Ok(()) } else { Err(Code::KERN_INVALID_ARGUMENT) }
}

/// `KERN_INVALID_ARGUMENT` for what is no behaviour.
pub fn check_behavior(behavior: u32) -> Result<(), Code> {
    if BEHAVIORS.contains(&(behavior & !FLAGS)) { Ok(()) } else { Err(Code::KERN_INVALID_ARGUMENT) }
}

//! Copying in and out of memory that another process writes whenever it likes.
//!
//! A plain copy would be a data race, which the language leaves undefined. Up to [`BULK`] bytes are copied by relaxed atomic accesses of eight bytes (and
//! of four or one where the address asks for that); beyond that by one string instruction, which the compiler does not look into. What comes out may be
//! torn, and nothing else.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// Where the string instruction's start-up cost is paid back.
const BULK: usize = 512;

/// Bytes that are read into registers at once.
pub(super) const LINE: usize = 64;

/// Copies `out.len()` bytes from `from`.
///
/// # Safety
///
/// * `from` is valid for reads and writes of `out.len()` bytes for the whole call;
/// * whatever else this process does with these bytes meanwhile, it does by atomic accesses or by this module.
#[inline]
pub(super) unsafe fn copy_out(from: *mut u8, out: &mut [u8]) {
    if out.len() > BULK {
        // SAFETY: the caller's promise; `out` is ours alone.
        unsafe { bulk(from, out.as_mut_ptr(), out.len()) };
        return;
    }
    let (start, whole) = split(from.addr(), out.len());
    let (first, rest) = out.split_at_mut(start);
    let (words, last) = rest.split_at_mut(whole);
    // SAFETY: a part of what the caller promised.
    unsafe { piece_out(from, first) };
    for (n, word) in words.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        // SAFETY: eight of the bytes that the caller promised, aligned to eight, says `split`.
        let shared = unsafe { AtomicU64::from_ptr(from.add(start + 8 * n).cast()) };
        *word = shared.load(Relaxed).to_ne_bytes();
    }
    // SAFETY: the rest of it.
    unsafe { piece_out(from.add(start + whole), last) };
}

/// Bytes before the first whole eight at this address, and bytes of whole eights, of `len`.
#[inline]
fn split(address: usize, len: usize) -> (usize, usize) {
    let start = (address.wrapping_neg() % 8).min(len);
    (start, (len - start) & !7)
}

/// Copies some bytes from `from`, few of them.
///
/// # Safety
///
/// As for [`copy_out`].
#[inline]
unsafe fn piece_out(from: *mut u8, out: &mut [u8]) {
    let mut rest = out;
    let mut at = from;
    while let Some(size) = step(at.addr(), rest.len()) {
        let (now, later) = rest.split_at_mut(size);
        // SAFETY:
        // * `size` bytes of those that the caller promised, since `rest` has so many;
        // * aligned to `size`, says `step`.
        unsafe {
            match size {
                4 => now.copy_from_slice(&AtomicU32::from_ptr(at.cast()).load(Relaxed).to_ne_bytes()),
                _ => now[0] = AtomicU8::from_ptr(at).load(Relaxed),
            }
        }
        rest = later;
        at = at.wrapping_add(size);
    }
}

/// Four or one: what can be accessed at once at this address, of so many bytes that are left; `None` if none are.
#[inline]
fn step(address: usize, left: usize) -> Option<usize> {
    match left {
        0 => None,
        _ if left >= 4 && address.is_multiple_of(4) => Some(4),
        _ => Some(1),
    }
}

/// Copies `bytes` to `to`.
///
/// # Safety
///
/// As for [`copy_out`], with `bytes.len()`.
#[inline]
pub(super) unsafe fn copy_in(to: *mut u8, bytes: &[u8]) {
    if bytes.len() > BULK {
        // SAFETY: the caller's promise; `bytes` does not change while we borrow it.
        unsafe { bulk(bytes.as_ptr().cast_mut(), to, bytes.len()) };
        return;
    }
    let (start, whole) = split(to.addr(), bytes.len());
    let (first, rest) = bytes.split_at(start);
    let (words, last) = rest.split_at(whole);
    // SAFETY: a part of what the caller promised.
    unsafe { piece_in(to, first) };
    for (n, word) in words.as_chunks::<8>().0.iter().enumerate() {
        // SAFETY: eight of the bytes that the caller promised, aligned to eight, says `split`.
        let shared = unsafe { AtomicU64::from_ptr(to.add(start + 8 * n).cast()) };
        shared.store(u64::from_ne_bytes(*word), Relaxed);
    }
    // SAFETY: the rest of it.
    unsafe { piece_in(to.add(start + whole), last) };
}

/// Copies some bytes to `to`, few of them.
///
/// # Safety
///
/// As for [`copy_in`].
#[inline]
unsafe fn piece_in(to: *mut u8, bytes: &[u8]) {
    let mut rest = bytes;
    let mut at = to;
    while let Some(size) = step(at.addr(), rest.len()) {
        let (now, later) = rest.split_at(size);
        // SAFETY: as in `piece_out`.
        unsafe {
            match *now {
                [a, b, c, d] => AtomicU32::from_ptr(at.cast()).store(u32::from_ne_bytes([a, b, c, d]), Relaxed),
                _ => AtomicU8::from_ptr(at).store(now[0], Relaxed),
            }
        }
        rest = later;
        at = at.wrapping_add(size);
    }
}

/// Fetches the line of cache at `at` for writing, if it can be.
#[inline]
pub(super) fn expect_write(at: *const u8) {
    // SAFETY: to ask for a line touches nothing, wherever that is; flags are not changed, and the stack is not used.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("prefetchw [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Copies `len` bytes from memory that this process may only read: by vectors that ask for what they will need next, the rest by the string instruction.
///
/// One MiB that another CPU has just written was read in blocks of 2 KiB and summed in 50 µs (in blocks of 1 to 8 KiB: 53 to 56; by the string instruction
/// alone: 65 to 70; by vectors that ask for nothing ahead: 59 to 67; summed where it is by plain loads: 54); one that this CPU has written in 21 µs
/// (25 to 34; 23; 15 to 22).
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `len` bytes for the whole call; they do not overlap, and this process does not write what is at `from`.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn copy_foreign(from: *const u8, to: *mut u8, len: usize) {
    let whole = len & !127;
    if whole > 0 && std::arch::is_x86_feature_detected!("avx") {
        // SAFETY: a part of what the caller promised, a multiple of 128 and not none; the instructions are there.
        unsafe { by_vectors(from, to, whole) };
        // SAFETY: the rest of it.
        unsafe { bulk(from.add(whole).cast_mut(), to.add(whole), len - whole) };
    } else {
        // SAFETY: the caller's promise.
        unsafe { bulk(from.cast_mut(), to, len) };
    }
}

/// Shows `count` pieces of 64 bytes of memory that this process may only read, in order and each once. They come in registers: what looks at them in the
/// caller's own loop needs no copy in memory, and reads what is in a near cache faster than plain loads (1 MiB summed in 13 µs, by plain loads in 15, by
/// blocks in 18).
///
/// # Safety
///
/// `from` is valid for reads of `64 * count` bytes for the whole call, and this process does not write them.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn each_line(from: *const u8, count: usize, mut look: impl FnMut(&[u8; LINE])) {
    use std::arch::x86_64::__m128i;
    for n in 0..count {
        let (a, b, c, d): (__m128i, __m128i, __m128i, __m128i);
        // SAFETY:
        // * it reads 64 of the bytes that the caller promised; to ask for a line ahead touches nothing, wherever that is;
        // * it changes only its outputs, which every processor of this architecture has.
        let line: [u8; LINE] = unsafe {
            std::arch::asm!(
                "prefetcht0 [{from} + 1024]",
                "movdqu {a}, [{from}]",
                "movdqu {b}, [{from} + 16]",
                "movdqu {c}, [{from} + 32]",
                "movdqu {d}, [{from} + 48]",
                from = in(reg) from.add(LINE * n),
                a = out(xmm_reg) a,
                b = out(xmm_reg) b,
                c = out(xmm_reg) c,
                d = out(xmm_reg) d,
                options(nostack, preserves_flags, readonly),
            );
            std::mem::transmute([a, b, c, d])
        };
        look(&line);
    }
}

/// Shows `count` pieces of 64 bytes of memory that this process may only read, in order and each once.
///
/// # Safety
///
/// `from` is valid for reads of `64 * count` bytes for the whole call, and this process does not write them.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(super) unsafe fn each_line(from: *const u8, count: usize, mut look: impl FnMut(&[u8; LINE])) {
    let mut line = [0; LINE];
    for n in 0..count {
        // SAFETY: 64 of the bytes that the caller promised.
        unsafe { bulk(from.add(LINE * n).cast_mut(), line.as_mut_ptr(), LINE) };
        look(&line);
    }
}

/// # Safety
///
/// As for [`copy_foreign`]; `len` is a multiple of 128 and not 0.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn by_vectors(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY:
    // * it reads and writes the bytes that the caller promised; to ask for a line ahead touches nothing, wherever that is;
    // * the registers that it changes are outputs, the stack is not used, and the upper halves of the vectors are left clear.
    unsafe {
        std::arch::asm!(
            "2:",
            "prefetcht0 [{from} + 1024]",
            "prefetcht0 [{from} + 1088]",
            "vmovdqu {a}, [{from}]",
            "vmovdqu {b}, [{from} + 32]",
            "vmovdqu {c}, [{from} + 64]",
            "vmovdqu {d}, [{from} + 96]",
            "vmovdqu [{to}], {a}",
            "vmovdqu [{to} + 32], {b}",
            "vmovdqu [{to} + 64], {c}",
            "vmovdqu [{to} + 96], {d}",
            "add {from}, 128",
            "add {to}, 128",
            "sub {len}, 128",
            "jnz 2b",
            "vzeroupper",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            len = inout(reg) len => _,
            a = out(ymm_reg) _,
            b = out(ymm_reg) _,
            c = out(ymm_reg) _,
            d = out(ymm_reg) _,
            options(nostack),
        );
    }
}

/// Copies `len` bytes from memory that this process may only read.
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `len` bytes for the whole call; they do not overlap, and this process does not write what is at `from`.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn copy_foreign(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's promise; atomic loads need no more than to be allowed to read.
    unsafe { bulk(from.cast_mut(), to, len) };
}

/// Copies `len` bytes that do not overlap, where another process may write to either end.
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `len` bytes.
#[cfg(target_arch = "x86_64")]
unsafe fn bulk(from: *mut u8, to: *mut u8, len: usize) {
    // SAFETY:
    // * it reads and writes the bytes that the caller promised, and nothing else;
    // * the direction flag is clear on entry (the calling convention says so), flags are not changed, and the stack is not used;
    // * the three registers that it changes are outputs.
    unsafe {
        std::arch::asm!("rep movsb", inout("rcx") len => _, inout("rsi") from => _, inout("rdi") to => _, options(nostack, preserves_flags));
    }
}

/// Copies `len` bytes that do not overlap, where another process may write to either end.
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `len` bytes.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn bulk(from: *mut u8, to: *mut u8, len: usize) {
    let words = if from.align_offset(8) == 0 && to.align_offset(8) == 0 { len / 8 } else { 0 };
    for at in 0..words {
        // SAFETY: eight of the bytes that the caller promised, aligned to eight (just looked at).
        let (from, to) = unsafe { (AtomicU64::from_ptr(from.add(8 * at).cast()), AtomicU64::from_ptr(to.add(8 * at).cast())) };
        to.store(from.load(Relaxed), Relaxed);
    }
    for at in 8 * words..len {
        // SAFETY: one of the bytes that the caller promised.
        let (from, to) = unsafe { (AtomicU8::from_ptr(from.add(at)), AtomicU8::from_ptr(to.add(at))) };
        to.store(from.load(Relaxed), Relaxed);
    }
}

//! Arenas between two mappings, and payloads that describe parts of them.

use umach_abi::link::lease::{BODY, HEAD, INLINE, ROW, UNIT};
use umach_abi::link::{LEASES, lease as layout};
use umach_abi::records::violation;
use umach_link::lease::{Lent, Payload, Piece, ReadError, read, write};
use umach_link::{Arena, Foreign, create_arena};

const SIZE: u64 = 1 << 20;

fn sizes(arena: u32) -> Option<u64> {
    [SIZE, 8192].get(arena as usize).copied()
}

fn lent(arena: u32, offset: u64, len: u32) -> Lent {
    Lent { arena, index: 3, generation: 9, offset, len }
}

#[test]
fn block_is_read_by_the_peer_and_written_by_its_lender_alone() {
    let fd = create_arena(SIZE).unwrap();
    let arena = Arena::new(&fd, SIZE).unwrap();
    let foreign = Foreign::new(&fd, SIZE).unwrap();
    assert!(rustix::io::pwrite(&fd, b"x", 0).is_err() && rustix::fs::ftruncate(&fd, 1).is_err());
    let refused = Arena::new(&fd, SIZE).unwrap_err().to_string();
    assert!(refused.contains("map"), "{refused}");
    assert!(Foreign::new(&fd, SIZE + UNIT).is_err());
    for len in [1, 7, 8, 63, 64, 65, 500, 4096, 4097, 70_001] {
        let mut block = arena.take(len).unwrap();
        block.iter_mut().enumerate().for_each(|(n, byte)| *byte = (n * 7 + len) as u8);
        let mut copy = vec![0; len];
        foreign.read(block.offset(), &mut copy);
        assert_eq!(copy, *block);
        let mut seen = b"before".to_vec();
        foreign.append_to(block.offset(), len, &mut seen);
        assert_eq!((&seen[..6], &seen[6..]), (&b"before"[..], &block[..]));
        seen.clear();
        foreign.blocks(block.offset(), len, |part| seen.extend_from_slice(part));
        assert_eq!(seen, *block);
        seen.clear();
        foreign.lines(block.offset(), len, |line| seen.extend_from_slice(line));
        assert_eq!(seen, *block);
        seen.clear();
        let third = len / 3;
        foreign.lines(block.offset() + third as u64, len - third, |line| seen.extend_from_slice(line));
        assert_eq!(seen, block[third..]);
        let mut middle = vec![0; len / 2];
        foreign.read(block.offset() + (len / 3) as u64, &mut middle);
        assert_eq!(middle, block[len / 3..len / 3 + len / 2]);
    }
}

#[test]
fn arena_gives_out_no_more_than_it_has() {
    let arena = Arena::new(create_arena(4 * UNIT).unwrap(), 4 * UNIT).unwrap();
    assert!(arena.take(usize::MAX).is_none() && arena.take(4 * UNIT as usize + 1).is_none());
    let all: Vec<_> = (0..4).map(|_| arena.take(1).unwrap()).collect();
    assert!(arena.take(1).is_none());
    drop(all);
    let mut whole = arena.take(4 * UNIT as usize).unwrap();
    whole.shorten(5);
    assert_eq!(whole.len(), 5);
    drop(whole);
    arena.end();
    assert!(arena.take(1).is_none());
}

#[test]
#[should_panic(expected = "not all inside an arena")]
fn foreign_memory_is_not_read_past_its_end() {
    let fd = create_arena(UNIT).unwrap();
    Foreign::new(&fd, UNIT).unwrap().read(UNIT - 3, &mut [0; 4]);
}

#[test]
fn payload_is_read_as_it_was_written() {
    let cases = [
        Payload::default(),
        Payload { body: b"body", ..Payload::default() },
        Payload { pieces: vec![Piece::Inline(b""), Piece::Inline(b"12345")], body: b"abcdefgh", lent_body: None },
        Payload { pieces: vec![Piece::Lent(lent(0, 4096, 77)), Piece::Inline(b"x"), Piece::Lent(lent(1, 0, 8192))], ..Payload::default() },
        Payload { pieces: vec![Piece::Inline(b"1")], body: b"", lent_body: Some(lent(1, 4096, 4096)) },
    ];
    for case in cases {
        let mut bytes = Vec::new();
        write(&case, &mut bytes);
        assert_eq!(read(&bytes, 4096, sizes).unwrap(), case);
        assert!((0..bytes.len()).all(|cut| cut >= HEAD && cut % 4 == 0 || read(&bytes[..cut], 4096, sizes).is_err()));
    }
}

fn with_row(row: [u32; 8], flags: u32) -> Vec<u8> {
    let words = [1, flags].into_iter().chain(row);
    words.flat_map(u32::to_le_bytes).collect()
}

#[test]
fn lies_about_leases_are_seen() {
    let good = [1, 5, 9, 0, 4096, 0, 4096, 0];
    assert!(read(&with_row(good, 0), 0, sizes).is_ok());
    assert_eq!(read(&with_row([2, 5, 9, 0, 0, 0, 1, 0], 0), 0, sizes), Err(ReadError::Unknown(2)));
    let lies = [
        ([1, LEASES as u32, 9, 0, 0, 0, 1, 0], 0),
        ([1, 5, 0, 0, 0, 0, 1, 0], 0),
        ([1, 5, 1 << 31, 0, 0, 0, 1, 0], 0),
        ([1, 5, 9, 1, 0, 0, 1, 0], 0),
        ([1, 5, 9, 0, 8192, 0, 1, 0], 0),
        ([1, 5, 9, 0, 4096, 0, 4097, 0], 0),
        ([1, 5, 9, 0, 4096, 0, 0, 0], 0),
        ([1, 5, 9, 0, 64, 0, 1, 0], 0),
        ([1, 5, 9, 0, 4096, 1, 1, 0], 0),
        ([1, 5, 9, 0, u32::MAX, u32::MAX, 1, 0], 0),
        ([1, 5, 9, 0, 4096, 0, u32::MAX, u32::MAX], 0),
        ([1, 5, 9, 0, 4096, 0, 4096, 1], 0),
        ([INLINE, 0, 0, 0, 0, 0, 1, 0], 0),
        ([INLINE, 0, 0, 0, 0, 0, u32::MAX, 0], 0),
        ([INLINE, 1, 0, 0, 0, 0, 0, 0], 0),
        ([INLINE, 0, 0, 0, 0, 0, 0, 0], BODY),
        (good, 2),
        (good, BODY),
    ];
    for (row, flags) in lies {
        let bytes = with_row(row, flags);
        let found = read(&bytes, 100, sizes);
        assert!(matches!(found, Err(ReadError::Broken(evidence)) if evidence.rule == violation::LEASE), "{row:?} {flags}: {found:?}");
    }
    for count in [2, 1 << 27, u32::MAX] {
        let mut bytes = with_row(good, 0);
        bytes[..4].copy_from_slice(&count.to_le_bytes());
        assert!(read(&bytes, 0, sizes).is_err());
    }
    assert!(read(&[0; 4], 0, sizes).is_err() && read(&[0; HEAD + 1], 0, sizes).is_err());
    assert_eq!(ROW, with_row(good, 0).len() - HEAD);
    assert_eq!(layout::ARENA_MAX % UNIT, 0);
}

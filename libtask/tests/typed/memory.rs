//! Memory and regions.

use libtask::local::{Direct, Limits};

use super::*;

#[test]
fn memory_small_and_large_arrives_as_a_snapshot() {
    // Over links it may be lent and not mapped: see `leases.rs`.
    let test = |kernel: &LocalKernel| -> Result<()> {
        let (_server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        for len in [0usize, 1, 31, 4096, 32 * 1024, 32 * 1024 + 1, 1 << 20] {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            to.send(Message::new(1).memory(bytes.clone()).memory(&bytes[..len.min(10)]).bytes(b"after"))?;
            let mut got = port.receive_within(SOON)?;
            let memory = got.memory(0)?;
            assert_eq!(memory.is_mapped(), len > 32 * 1024);
            assert!(*memory == bytes[..], "{len} bytes differ");
            assert_eq!(got.memory(1)?.into_vec(), &bytes[..len.min(10)]);
            assert_eq!(got.bytes(), b"after");
            assert!(got.memory(0).is_err());
        }
        Ok(())
    };
    let kernel = LocalKernel::with_direct(Limits::default(), Direct::Off);
    test(&kernel).unwrap();
    assert_eq!((kernel.tasks(), kernel.regions()), (0, 0));
}

#[test]
fn memory_in_many_pieces_beyond_the_packet_arrives() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        let message = (0..8u8).fold(Message::new(1), |message, i| message.memory(vec![i; 30_000]));
        client.bootstrap()?.send(message)?;
        let mut got = port.receive_within(SOON)?;
        for i in 0..8 {
            assert_eq!(got.memory(i)?[..], [i as u8; 30_000][..]);
        }
        Ok(())
    });
}

#[test]
fn region_travels_as_right_and_as_memory() {
    local(|kernel| {
        use std::io::Write;
        let (_server, port, client) = pair(kernel)?;
        let to = client.bootstrap()?;
        let mut writer = client.region_writer(10_000)?;
        writer.write_all(b"start").unwrap();
        assert_eq!(writer.write(&vec![1; 20_000]).unwrap(), 9_995, "a region does not grow");
        assert_eq!(writer.write(b"x").unwrap(), 0);
        let region = writer.seal()?;
        assert_eq!(&region.map()?[..5], b"start");
        to.send(Message::new(1).region(&region).lend_region(&region))?;
        to.send(Message::new(2).move_region(region))?;
        let mut got = port.receive_within(SOON)?;
        let held = got.take_region(0)?;
        assert_eq!((held.len(), held.map()?[9_999]), (10_000, 1));
        assert_eq!(got.memory(1)?.len(), 10_000);
        let mut moved = port.receive_within(SOON)?;
        assert_eq!(moved.take_region(0)?.right(), held.right());
        Ok(())
    });
}

#[test]
fn region_never_sealed_is_dropped_and_one_partly_written_is_zero() {
    local(|kernel| {
        let task = kernel.task("t")?;
        drop(task.region_writer(5000)?);
        assert_eq!(kernel.regions(), 0);
        let empty = task.region_writer(100_000)?.seal()?;
        assert!(empty.map()?.iter().all(|&byte| byte == 0));
        assert_eq!(task.region(&[])?.map()?.len(), 0);
        Ok(())
    });
}

#[test]
fn region_shared_is_seen_by_both() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        let shared = client.shared_region(8192)?;
        client.bootstrap()?.send(Message::new(1).copy_send(shared.right()).copy_send(shared.right()))?;
        let mut got = port.receive_within(SOON)?;
        let theirs = got.take_shared_region(0)?;
        theirs.write(4000, b"hello");
        let mut seen = [0; 5];
        shared.read(4000, &mut seen);
        assert_eq!(&seen, b"hello");
        assert!(got.take_region(1).is_err(), "a shared region is no sealed one");
        Ok(())
    });
}

#[test]
fn right_that_is_no_region_is_not_taken_for_one() {
    local(|kernel| {
        let (_server, port, client) = pair(kernel)?;
        let mine = client.new_port()?;
        client.bootstrap()?.send(Message::new(1).make_send(&mine))?;
        let error = port.receive_within(SOON)?.take_region(0).unwrap_err();
        assert!(matches!(error, Error::Mach { .. }), "{error}");
        Ok(())
    });
}

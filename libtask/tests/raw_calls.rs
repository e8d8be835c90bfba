//! The raw layer: buffers in Mach's layout, options, and codes.

use libtask::raw::{ConstructFlags, Descriptor, MsgBuffer, OolPart, Options, TrailerRequest, notify, received};
use libtask::{Code, Disposition, Name, RightKind, TypeBits, run_local};

const SOON: u32 = 20_000;

#[test]
fn message_of_every_descriptor_goes_and_comes() {
    run_local(|kernel| {
        let task = kernel.task("raw").unwrap();
        let space = task.raw();
        let port = space.port_allocate(RightKind::Receive).unwrap();
        let other = space.port_construct(ConstructFlags::INSERT_SEND_RIGHT, 0, 5).unwrap();
        let third = space.port_allocate(RightKind::Receive).unwrap();
        let big: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
        let mut message = MsgBuffer::new(-5)
            .remote(port, Disposition::MakeSend)
            .local(other, Disposition::MakeSendOnce)
            .port(other, Disposition::CopySend)
            .memory(b"seven b".to_vec())
            .ports([other, Name::NULL, other], Disposition::MakeSend)
            .memory(big.clone())
            .guarded(third, 0, 0)
            .memory(Vec::new())
            .body(b"body");
        assert_eq!(space.send(&mut message), Code::SUCCESS);
        let got = space.receive(port, SOON).unwrap();
        let header = got.header();
        assert_eq!((header.id, header.local, header.remote_disposition()), (-5, port, received::SEND_ONCE));
        assert_eq!(got.body_bytes(), b"body");
        assert_eq!(got.port_at(0), Some(other));
        assert_eq!(got.memory_at(1), Some(&b"seven b"[..]));
        assert_eq!(got.ports_at(2), Some(&[other, Name::NULL, other][..]));
        assert_eq!(got.memory_at(3), Some(&big[..]));
        assert!(matches!(got.ool[2], OolPart::Mapped(_)));
        // Moved away and back: another name.
        assert_eq!(space.port_type(third), Err(Code::KERN_INVALID_NAME));
        assert_eq!(space.port_type(got.port_at(4).unwrap()), Ok(TypeBits::RECEIVE));
        assert_eq!(got.memory_at(5), Some(&[][..]));
        assert_eq!(space.port_get_refs(other, RightKind::Send), Ok(4));
        let trailer = got.trailer().unwrap();
        assert_eq!((trailer.task, trailer.pid), (task.id(), std::process::id()));
        // No name of a region made on the way stays.
        assert_eq!(space.port_names().unwrap().iter().filter(|row| row.kind == TypeBits::SEND.bits()).count(), {
            // control, name, host rights of every space
            [space.task_self(), space.task_name(), space.host_self()].iter().filter(|n| space.port_type(**n) == Ok(TypeBits::SEND)).count()
        });
        drop(got);
        kernel.check().unwrap();
        drop(task);
        assert_eq!(kernel.regions(), 0);
    });
}

#[test]
fn message_with_an_address_that_stands_for_nothing_is_refused() {
    run_local(|kernel| {
        let task = kernel.task("raw").unwrap();
        let space = task.raw();
        let port = space.port_allocate(RightKind::Receive).unwrap();
        let nowhere = Descriptor::Memory { address: 9, deallocate: false, copy: 1, size: 4, volatile: false };
        let mut message = MsgBuffer::new(1).remote(port, Disposition::MakeSend).descriptor(nowhere);
        assert_eq!(space.send(&mut message), Code::MACH_SEND_INVALID_MEMORY);
        let longer = Descriptor::Memory { address: 0, deallocate: false, copy: 1, size: 40, volatile: false };
        let mut message = MsgBuffer::new(1).remote(port, Disposition::MakeSend).descriptor(longer);
        message.ool.push(OolPart::Bytes(vec![0; 39]));
        assert_eq!(space.send(&mut message), Code::MACH_SEND_INVALID_MEMORY);
        assert_eq!(space.receive(port, 0).map(drop), Err(Code::MACH_RCV_TIMED_OUT));
    });
}

#[test]
fn send_and_receive_is_one_call() {
    run_local(|kernel| {
        let task = kernel.task("raw").unwrap();
        let space = task.raw();
        let port = space.port_allocate(RightKind::Receive).unwrap();
        let mut buffer = MsgBuffer::new(3).remote(port, Disposition::MakeSendOnce).body(b"echo");
        let options = Options::SEND | Options::RCV | Options::from_bits_retain(TrailerRequest::Seqno.options());
        assert_eq!(space.mach_msg(&mut buffer, options, 1000, port, 0, Name::NULL), Code::SUCCESS);
        assert_eq!((buffer.header().id, buffer.body_bytes(), buffer.trailer.len()), (3, &b"echo"[..], 12));
        // A send that fails skips the receive.
        let mut buffer = MsgBuffer::new(3).remote(Name::new(999, 3), Disposition::CopySend);
        assert_eq!(space.mach_msg(&mut buffer, options, 1000, port, 0, Name::NULL), Code::MACH_SEND_INVALID_DEST);
    });
}

#[test]
fn receive_too_large_stays_or_goes_as_asked() {
    run_local(|kernel| {
        let task = kernel.task("raw").unwrap();
        let space = task.raw();
        let port = space.port_allocate(RightKind::Receive).unwrap();
        let mut message = MsgBuffer::new(8).remote(port, Disposition::MakeSend).body(&[1; 200]);
        assert_eq!(space.send(&mut message), Code::SUCCESS);
        let mut buffer = MsgBuffer::default();
        let large = Options::RCV | Options::RCV_LARGE | Options::RCV_TIMEOUT;
        assert_eq!(space.mach_msg(&mut buffer, large, 100, port, 0, Name::NULL), Code::MACH_RCV_TOO_LARGE);
        let needed = buffer.header().size;
        assert_eq!(needed, 24 + 200 + 8, "message and minimal trailer");
        assert_eq!(space.mach_msg(&mut buffer, large, needed, port, 0, Name::NULL), Code::SUCCESS);
        assert_eq!(space.send(&mut message), Code::SUCCESS);
        let plain = Options::RCV | Options::RCV_TIMEOUT;
        assert_eq!(space.mach_msg(&mut buffer, plain, 100, port, 0, Name::NULL), Code::MACH_RCV_TOO_LARGE);
        assert_eq!(space.mach_msg(&mut buffer, plain, 1000, port, 0, Name::NULL), Code::MACH_RCV_TIMED_OUT);
    });
}

#[test]
fn send_timed_out_hands_the_message_back_in_place() {
    run_local(|kernel| {
        let task = kernel.task("raw").unwrap();
        let space = task.raw();
        let port = space.port_construct(ConstructFlags::QLIMIT | ConstructFlags::INSERT_SEND_RIGHT, 1, 0).unwrap();
        let carried = space.port_allocate(RightKind::Receive).unwrap();
        let mut message = MsgBuffer::new(1).remote(port, Disposition::CopySend);
        assert_eq!(space.send(&mut message), Code::SUCCESS);
        for timeout in [0, 20] {
            let mut message = MsgBuffer::new(2).remote(port, Disposition::CopySend).port(carried, Disposition::MakeSend).memory(*b"mem");
            assert_eq!(space.send_timeout(&mut message, timeout), Code::MACH_SEND_TIMED_OUT);
            let header = message.header();
            assert_eq!((header.remote, header.remote_disposition(), header.id), (port, received::SEND, 2));
            assert_eq!(message.descriptors()[0], Descriptor::Port { name: carried, disposition: received::SEND });
            assert_eq!(message.memory_at(1), Some(&b"mem"[..]));
            assert_eq!(space.port_get_refs(carried, RightKind::Send), Ok(1));
            space.port_deallocate(carried).unwrap();
            space.port_deallocate(port).unwrap(); // the destination's copy
        }
        assert_eq!(space.port_get_refs(port, RightKind::Send), Ok(1));
        kernel.check().unwrap();
    });
}

#[test]
fn many_are_sent_and_received_in_one_request_each() {
    run_local(|kernel| {
        let task = kernel.task("raw").unwrap();
        let space = task.raw();
        let port = space.port_construct(ConstructFlags::QLIMIT | ConstructFlags::INSERT_SEND_RIGHT, 3, 0).unwrap();
        let messages: Vec<_> = (0..5).map(|i| MsgBuffer::new(i).remote(port, Disposition::CopySend).memory(vec![i as u8; 5])).collect();
        assert_eq!(space.send_many(&messages), (3, Code::MACH_SEND_TIMED_OUT));
        let got = space.receive_many(port, 10, SOON).unwrap();
        assert_eq!(got.iter().map(|m| m.header().id).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(got[2].memory_at(0), Some(&[2; 5][..]));
        assert_eq!(space.receive_many(port, 10, 0).map(|_| ()), Err(Code::MACH_RCV_TIMED_OUT));
        assert_eq!(space.port_get_refs(port, RightKind::Send), Ok(1));
    });
}

#[test]
fn calls_return_machs_codes() {
    run_local(|kernel| {
        let task = kernel.task("raw").unwrap();
        let space = task.raw();
        let nothing = Name::new(700, 3);
        assert_eq!(space.port_type(nothing), Err(Code::KERN_INVALID_NAME));
        assert_eq!(space.port_allocate(RightKind::Send), Err(Code::KERN_INVALID_VALUE));
        assert_eq!(space.port_allocate_raw(77, Name::NULL), Err(Code::KERN_INVALID_VALUE));
        space.port_allocate_name(RightKind::Receive, nothing).unwrap();
        assert_eq!(space.port_allocate_name(RightKind::Receive, nothing), Err(Code::KERN_NAME_EXISTS));
        space.port_insert_right(nothing, nothing, Disposition::MakeSend).unwrap();
        assert_eq!(space.port_type(nothing), Ok(TypeBits::SEND_RECEIVE));
        assert_eq!(space.port_get_srights(nothing), Ok(1));
        assert_eq!(space.port_mod_refs(nothing, RightKind::Send, -2), Err(Code::KERN_INVALID_VALUE));
        space.port_mod_refs(nothing, RightKind::Send, 4).unwrap();
        assert_eq!(space.port_get_refs(nothing, RightKind::Send), Ok(5));
        space.port_set_qlimit(nothing, 9).unwrap();
        space.port_set_mscount(nothing, 12).unwrap();
        space.port_set_seqno(nothing, 13).unwrap();
        let status = space.port_get_receive_status(nothing).unwrap();
        assert_eq!((status.queue_limit, status.make_send_count, status.seqno), (9, 12, 13));
        space.port_set_context(nothing, 0xabcdef).unwrap();
        assert_eq!(space.port_get_context(nothing), Ok(0xabcdef));
        let set = space.port_allocate(RightKind::PortSet).unwrap();
        space.port_insert_member(nothing, set).unwrap();
        assert_eq!(space.port_get_set_status(set), Ok(vec![nothing]));
        space.port_move_member(nothing, Name::NULL).unwrap();
        assert_eq!(space.port_extract_member(nothing, set), Err(Code::KERN_NOT_IN_SET));
        let previous = space.port_request_notification(nothing, notify::NO_SENDERS, 0, nothing, Disposition::MakeSendOnce).unwrap();
        assert_eq!(previous, Name::NULL);
        space.port_mod_refs(nothing, RightKind::Send, -5).unwrap();
        let told = space.receive(nothing, SOON).unwrap();
        assert_eq!(told.notification(), Some(notify::Notification::NoSenders(12)));
        assert_eq!(space.of(nothing).port_names().map(|_| ()), Err(Code::KERN_INVALID_TASK));
        let (once, kind) = space.port_extract_right(nothing, Disposition::MakeSendOnce).unwrap();
        assert_eq!(kind, u32::from(received::SEND_ONCE));
        assert_eq!(space.port_type(once), Ok(TypeBits::SEND_ONCE));
        space.port_destroy(nothing).unwrap();
        assert_eq!(space.port_type(once), Ok(TypeBits::DEAD_NAME));
        space.port_deallocate(once).unwrap();
        space.port_mod_refs(set, RightKind::PortSet, -1).unwrap();
        kernel.check().unwrap();
    });
}

#[test]
fn peek_shows_the_message_and_leaves_it() {
    run_local(|kernel| {
        let task = kernel.task("raw").unwrap();
        let space = task.raw();
        let port = space.port_allocate(RightKind::Receive).unwrap();
        let mut message = MsgBuffer::new(21).remote(port, Disposition::MakeSend).body(b"1234");
        assert_eq!(space.send(&mut message), Code::SUCCESS);
        let seen = space.port_peek(port, TrailerRequest::Sender.options(), 0).unwrap();
        assert_eq!((seen.id, seen.size, seen.trailer.len()), (21, 24 + 4 + 8, 20));
        assert_eq!(space.receive(port, 0).unwrap().header().id, 21);
    });
}

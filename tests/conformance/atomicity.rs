//! 1.2, the paragraph on atomicity: what a failed send consumes.

use libtask::raw::{Descriptor, MsgBuffer, OolPart, copy, notify};
use libtask::{Code, Disposition, Name, RightKind, Task, TypeBits};
use umach_tests::{World, world_tests};

use crate::common::*;

world_tests![s1_2_header_errors_consume_nothing, s1_2_body_errors_destroy_what_was_taken];

/// A destination, and rights of every kind that moves.
struct Load {
    task: Task,
    dest: Name,
    told: Name,
    reply: Name,
    first: Name,
    last: Name,
    receive: Name,
}

impl Load {
    fn new(world: &World) -> Load {
        let task = world.task("loaded");
        let space = task.raw();
        let (dest, told) = (port_with_send(&space), port(&space));
        space.port_mod_refs(dest, RightKind::Send, 1).unwrap();
        let reply = send_once(&space, told);
        let (first, last, receive) = (port_with_send(&space), port_with_send(&space), port(&space));
        Load { task, dest, told, reply, first, last, receive }
    }
    /// The message up to its last good right.
    fn start(&self) -> MsgBuffer {
        let message = MsgBuffer::new(1).remote(self.dest, Disposition::MoveSend).local(self.reply, Disposition::MoveSendOnce);
        message.port(self.first, Disposition::MoveSend).port(self.receive, Disposition::MoveReceive)
    }
    fn finish(&self, message: MsgBuffer) -> MsgBuffer {
        message.port(self.last, Disposition::MoveSend)
    }
    #[track_caller]
    fn assert_whole(&self) {
        let space = self.task.raw();
        assert_eq!((sends(&space, self.dest), sends(&space, self.first), sends(&space, self.last)), (2, 1, 1));
        assert_eq!((kind(&space, self.reply), kind(&space, self.receive)), (TypeBits::SEND_ONCE, TypeBits::RECEIVE));
    }
}

fn s1_2_header_errors_consume_nothing(world: &World) {
    let load = Load::new(world);
    let space = load.task.raw();
    let refused = |message: MsgBuffer, code: Code| {
        assert_eq!(try_send(&space, message), code);
        load.assert_whole();
    };
    let whole = || load.finish(load.start());
    refused(whole().remote(load.receive, Disposition::CopySend), Code::MACH_SEND_INVALID_DEST);
    refused(whole().local(load.receive, Disposition::CopySend), Code::MACH_SEND_INVALID_REPLY);
    refused(whole().remote_raw(load.dest, 0), Code::MACH_SEND_INVALID_HEADER);
    refused(whole().local_raw(load.reply, 9), Code::MACH_SEND_INVALID_HEADER);
    // A reply right without a disposition, and vouchers.
    refused(whole().local_raw(load.reply, 0), Code::MACH_SEND_INVALID_HEADER);
    let mut message = whole();
    message.edit_header(|header| {
        header.voucher = load.first;
        header.bits |= (Disposition::CopySend as u32) << 16;
    });
    refused(message, Code::MACH_SEND_INVALID_VOUCHER);
    let mut message = whole();
    message.bytes.truncate(20);
    refused(message, Code::MACH_SEND_MSG_TOO_SMALL);
    let mut message = whole();
    message.bytes.extend([0; 2]);
    refused(message, Code::MACH_SEND_MSG_TOO_SMALL);
    refused(whole().body(&[7; 64 * 1024]), Code::MACH_SEND_TOO_LARGE);
    world.assert_silent(&load.task, load.told);
    world.assert_silent(&load.task, load.dest);

    let poor = world.with_limits(&[("task-queued-bytes", 4096)]);
    let load = Load::new(&poor);
    let space = load.task.raw();
    let message = load.finish(load.start()).body(&[1; 4096]);
    assert_eq!(try_send(&space, message), Code::MACH_SEND_NO_BUFFER);
    load.assert_whole();
    send(&space, load.finish(load.start()));
    drop(load);
    poor.end();
}

fn s1_2_body_errors_destroy_what_was_taken(world: &World) {
    let bad_array = |message: &mut MsgBuffer| message.ool.push(OolPart::Names(vec![Name::NULL, Name(0x7000_0003)]));
    let memory = |copy, size| Descriptor::Memory { address: 99, deallocate: false, copy, size, volatile: false };
    let array = |disposition, count| Descriptor::Ports { address: 0, deallocate: false, copy: copy::PHYSICAL, disposition, count };
    let bad = [
        (Descriptor::Port { name: Name(0x7000_0003), disposition: 19 }, Code::MACH_SEND_INVALID_RIGHT),
        (Descriptor::Port { name: Name(0x7000_0003), disposition: 99 }, Code::MACH_SEND_INVALID_RIGHT),
        (array(19, 2), Code::MACH_SEND_INVALID_RIGHT),
        (Descriptor::Ports { address: 99, deallocate: false, copy: 0, disposition: 19, count: 2 }, Code::MACH_SEND_INVALID_MEMORY),
        (memory(copy::VIRTUAL, 8), Code::MACH_SEND_INVALID_MEMORY),
        (memory(7, 8), Code::MACH_SEND_INVALID_TYPE),
        (Descriptor::Guarded { context: 0, flags: 0, disposition: 17, name: Name::NULL }, Code::MACH_SEND_INVALID_TYPE),
    ];
    for (descriptor, code) in bad {
        let load = Load::new(world);
        let space = load.task.raw();
        // With a send right beside it, its end shows.
        add_send(&space, load.receive);
        let mut message = load.start().descriptor(descriptor);
        bad_array(&mut message);
        assert_eq!(try_send(&space, load.finish(message)), code, "{descriptor:?}");
        assert_eq!(sends(&space, load.dest), 1, "the destination's reference is gone");
        assert_gone(&space, load.reply);
        assert_eq!(notification(&space, load.told), notify::Notification::SendOnce);
        world.settle();
        assert_eq!((kind(&space, load.first), space.port_get_srights(load.first)), (TypeBits::RECEIVE, Ok(0)));
        assert_eq!(kind(&space, load.receive), TypeBits::DEAD_NAME);
        assert_eq!(sends(&space, load.last), 1, "what stood behind the bad descriptor stays");
        world.assert_silent(&load.task, load.dest);
    }
    // A message that ends before its descriptors do, or within the count.
    for (size, count) in [(24, 1), (36, 1), (40, 2), (40, u32::MAX)] {
        let load = Load::new(world);
        let space = load.task.raw();
        let mut message = MsgBuffer::new(1).remote(load.dest, Disposition::MoveSend).local(load.reply, Disposition::MoveSendOnce);
        message = message.descriptor(Descriptor::Port { name: load.last, disposition: 17 });
        message.bytes.truncate(size);
        if let Some(field) = message.bytes.get_mut(24..28) {
            field.copy_from_slice(&count.to_le_bytes());
        }
        assert_eq!(try_send(&space, message), Code::MACH_SEND_MSG_TOO_SMALL);
        assert_eq!(sends(&space, load.dest), 1);
        assert_eq!(notification(&space, load.told), notify::Notification::SendOnce);
        let taken = size == 40;
        assert_eq!(space.port_get_refs(load.last, RightKind::Send), Ok(!taken as u32), "{size} bytes, {count} descriptors");
    }
}

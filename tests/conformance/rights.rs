//! 1.1 Rights and names.

use libtask::raw::{MsgBuffer, Options, flavor, notify};
use libtask::{Code, Disposition, Name, RightKind, TypeBits};
use umach_tests::{World, world_tests};

use crate::common::*;

world_tests![
    s1_1_right_numbers,
    s1_1_type_bits,
    s1_1_request_bits,
    s1_1_null_and_dead_names,
    s1_1_send_and_receive_share_a_name,
    s1_1_one_receive_right_and_counted_references,
    s1_1_references_peg_at_65535,
    s1_1_underflow_changes_nothing,
    s1_1_name_form,
    s1_1_freed_name_means_nothing,
];

const PEGGED: u32 = 65535;

fn s1_1_right_numbers(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let new = |right| space.port_allocate_raw(right, Name::NULL);
    assert_eq!(kind(&space, new(1).unwrap()), TypeBits::RECEIVE);
    assert_eq!(kind(&space, new(3).unwrap()), TypeBits::PORT_SET);
    assert_eq!(kind(&space, new(4).unwrap()), TypeBits::DEAD_NAME);
    // Send and send-once rights are numbers too, but nothing to be allocated; 5 is obsolete, 6 is how many there are.
    for right in [0, 2, 5, 6, u32::MAX] {
        assert_eq!(new(right), Err(Code::KERN_INVALID_VALUE), "right {right}");
    }
    let name = port_with_send(&space);
    let once = send_once(&space, name);
    space.port_mod_refs_raw(name, 0, 2).unwrap();
    assert_eq!(sends(&space, name), 3);
    space.port_mod_refs_raw(once, 2, -1).unwrap();
    assert_gone(&space, once);
    for right in [5, 6, u32::MAX] {
        assert_eq!(space.port_mod_refs_raw(name, right, 0), Err(Code::KERN_INVALID_VALUE), "right {right}");
    }
}

fn s1_1_type_bits(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let bits = |name| space.port_type(name).unwrap().bits();
    let receive = port(&space);
    assert_eq!(bits(receive), 0x2_0000);
    add_send(&space, receive);
    assert_eq!(bits(receive), 0x3_0000);
    let once = send_once(&space, receive);
    assert_eq!(bits(once), 0x4_0000);
    assert_eq!(bits(set(&space)), 0x8_0000);
    assert_eq!(bits(dead_name(&space)), 0x10_0000);
    assert_eq!(bits(space.task_self()), 0x1_0000);
    for kind in [RightKind::Send, RightKind::Receive, RightKind::SendOnce, RightKind::PortSet, RightKind::DeadName] {
        assert_eq!(kind.bit().bits(), 1 << (kind as u32 + 16));
    }
    request(&space, receive, notify::DEAD_NAME, 0, receive);
    assert_eq!(bits(receive), 0x8003_0000);
    destroy(&space, receive);
    assert_eq!(bits(receive), 0x10_0000, "a request is used up by the port's end");
}

fn s1_1_request_bits(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let told = port(&space);
    let name = port_with_limit(&space, 1);
    let bits = || space.port_type(name).unwrap().bits() & 0xe000_0000;
    request(&space, name, notify::SEND_POSSIBLE, 0, told);
    assert_eq!(bits(), 0xe000_0000, "registered, and not armed yet");
    fill(&space, name, 1);
    let mut message = to(name, 1);
    let options = Options::SEND | Options::SEND_TIMEOUT | Options::SEND_NOTIFY;
    assert_eq!(space.mach_msg(&mut message, options, 0, Name::NULL, 0, Name::NULL), Code::MACH_SEND_TIMED_OUT);
    assert_eq!(bits(), 0xc000_0000, "armed by a send that found the queue full");
    receive(&space, name);
    assert_eq!(bits(), 0, "fired");
    assert_eq!(notification(&space, told), notify::Notification::SendPossible(name));
}

fn s1_1_null_and_dead_names(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    assert_eq!((Name::NULL.0, Name::DEAD.0), (0, u32::MAX));
    assert_eq!(space.port_type(Name::NULL), Err(Code::KERN_INVALID_NAME));
    assert_eq!(space.port_type(Name::DEAD), Ok(TypeBits::DEAD_NAME));
    let name = port(&space);
    let message = MsgBuffer::new(1).remote(name, Disposition::MakeSend);
    send(&space, message.port(Name::NULL, Disposition::CopySend).port(Name::DEAD, Disposition::CopySend));
    let got = receive(&space, name);
    assert_eq!((got.port_at(0), got.port_at(1)), (Some(Name(0)), Some(Name(u32::MAX))));
}

fn s1_1_send_and_receive_share_a_name(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let name = port(&space);
    add_send(&space, name);
    assert_eq!(kind(&space, name), TypeBits::SEND_RECEIVE);
    // A send right that arrives joins the name; each send-once right gets a new one.
    let at_b = world.pass(&a, name, Disposition::CopySend, &b);
    let inbox = world.pass(&b, port(&other), Disposition::MakeSend, &a);
    let home = port(&space);
    let home_at_b = world.pass(&a, home, Disposition::MakeSend, &b);
    let message = to(home_at_b, 1).port(at_b, Disposition::CopySend).port(at_b, Disposition::CopySend);
    send(&other, message);
    let got = receive(&space, home);
    assert_eq!((got.port_at(0), got.port_at(1)), (Some(name), Some(name)));
    assert_eq!(sends(&space, name), 3);
    let (first, second) = (send_once(&space, name), send_once(&space, name));
    assert!(first != second && first != name && second != name);
    assert_eq!((kind(&space, first), kind(&space, second)), (TypeBits::SEND_ONCE, TypeBits::SEND_ONCE));
    // The receive right joins the send right that its new holder has.
    send(&space, to(inbox, 2).port(name, Disposition::MoveReceive));
    let inbox_at_b = other.port_names().unwrap().iter().find(|row| row.kind == TypeBits::RECEIVE.bits()).unwrap().name;
    assert_eq!(receive(&other, inbox_at_b).port_at(0), Some(at_b));
    assert_eq!(kind(&other, at_b), TypeBits::SEND_RECEIVE);
    assert_eq!(kind(&space, name), TypeBits::SEND);
}

fn s1_1_one_receive_right_and_counted_references(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let space = a.raw();
    let name = port_with_send(&space);
    let once = send_once(&space, name);
    let (members, dead) = (set(&space), dead_name(&space));
    space.port_mod_refs(name, RightKind::Send, 6).unwrap();
    space.port_mod_refs(dead, RightKind::DeadName, 8).unwrap();
    let refs = |name, right| space.port_get_refs(name, right).unwrap();
    assert_eq!((refs(name, RightKind::Send), refs(name, RightKind::Receive)), (7, 1));
    assert_eq!((refs(once, RightKind::SendOnce), refs(members, RightKind::PortSet), refs(dead, RightKind::DeadName)), (1, 1, 9));
    for (name, right) in [(name, RightKind::Receive), (once, RightKind::SendOnce), (members, RightKind::PortSet)] {
        assert_eq!(space.port_mod_refs(name, right, 1), Err(Code::KERN_INVALID_VALUE), "{right:?} is held once");
        assert_eq!(refs(name, right), 1);
    }
    // Whoever gets the receive right, the other has it no longer.
    let moved = world.pass(&a, name, Disposition::MoveReceive, &b);
    assert_eq!((kind(&space, name), kind(&b.raw(), moved)), (TypeBits::SEND, TypeBits::RECEIVE));
    assert_eq!(space.port_get_attributes(name, flavor::RECEIVE_STATUS), Err(Code::KERN_INVALID_RIGHT));
}

fn s1_1_references_peg_at_65535(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    let dead = dead_name(&space);
    for (name, right) in [(name, RightKind::Send), (dead, RightKind::DeadName)] {
        let refs = || space.port_get_refs(name, right).unwrap();
        space.port_mod_refs(name, right, PEGGED as i32 - 2).unwrap();
        assert_eq!(refs(), PEGGED - 1);
        space.port_mod_refs(name, right, 2).unwrap();
        assert_eq!(refs(), PEGGED, "one too many pegs and succeeds");
        for delta in [1, -1, -(PEGGED as i32) + 1, 100_000] {
            space.port_mod_refs(name, right, delta).unwrap();
            assert_eq!(refs(), PEGGED, "a pegged count ignores {delta}");
        }
        space.port_deallocate(name).unwrap();
        assert_eq!(refs(), PEGGED);
    }
    // Rights that arrive, and rights that leave, change nothing either.
    let inbox = port_with_send(&space);
    send(&space, to(inbox, 1).port(name, Disposition::CopySend).port(name, Disposition::MoveSend).port(dead, Disposition::MoveSend));
    assert_eq!(receive(&space, inbox).port_at(0), Some(name));
    add_send(&space, name);
    assert_eq!((sends(&space, name), deads(&space, dead)), (PEGGED, PEGGED));
    // All at once they go.
    space.port_mod_refs(name, RightKind::Send, -(PEGGED as i32)).unwrap();
    space.port_mod_refs(dead, RightKind::DeadName, -(PEGGED as i32)).unwrap();
    assert_eq!(kind(&space, name), TypeBits::RECEIVE);
    assert_gone(&space, dead);
}

fn s1_1_underflow_changes_nothing(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    let dead = dead_name(&space);
    for (name, right) in [(name, RightKind::Send), (dead, RightKind::DeadName)] {
        space.port_mod_refs(name, right, 2).unwrap();
        for delta in [-4, -65535, i32::MIN] {
            assert_eq!(space.port_mod_refs(name, right, delta), Err(Code::KERN_INVALID_VALUE), "{right:?} {delta}");
            assert_eq!(space.port_get_refs(name, right), Ok(3));
        }
    }
    assert_eq!(space.port_mod_refs(name, RightKind::Receive, -2), Err(Code::KERN_INVALID_VALUE));
    assert_eq!(space.port_get_refs(name, RightKind::Receive), Ok(1));
}

fn s1_1_name_form(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    for right in [RightKind::Receive, RightKind::PortSet, RightKind::DeadName] {
        let name = space.port_allocate(right).unwrap();
        assert_eq!(name.0 & 3, 3, "{name}");
        assert!(name.index() > 0);
    }
    let choose = |number| space.port_allocate_name(RightKind::Receive, Name(number));
    // 122 lacks a low bit; 123 has them, and index 0.
    assert_eq!(choose(122), Err(Code::KERN_INVALID_VALUE));
    assert_eq!(choose(123), Err(Code::KERN_FAILURE));
    assert_eq!(choose(0x70_0000 | 0xfe), Err(Code::KERN_INVALID_VALUE));
    for chosen in [0x5000_0003, 0x5001_00ff, 0x7703] {
        choose(chosen).unwrap();
        assert_eq!(kind(&space, Name(chosen)), TypeBits::RECEIVE);
    }
    // The index is taken, whatever the generation.
    assert_eq!(choose(0x5000_0007), Err(Code::KERN_FAILURE));
    assert_eq!(choose(0x5000_0003), Err(Code::KERN_NAME_EXISTS));
    let once = send_once(&space, Name(0x5000_0003));
    assert_eq!(once.0 & 3, 3);
}

fn s1_1_freed_name_means_nothing(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let first = port(&space);
    destroy(&space, first);
    let mut met = false;
    for _ in 0..300 {
        let name = port(&space);
        assert_ne!(name, first);
        met |= name.index() == first.index();
        assert_gone(&space, first);
        assert_eq!(try_send(&space, MsgBuffer::new(1).remote(first, Disposition::MakeSend)), Code::MACH_SEND_INVALID_DEST);
        destroy(&space, name);
    }
    assert!(met, "the place in the table is used again, under another name");
}

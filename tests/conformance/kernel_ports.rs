//! 1.11 The kernel's own ports: calls as messages, in the form in which MIG's stubs make them. Subsystem mach_port.

use libtask::raw::{ConstructFlags, Descriptor, MsgBuffer, NDR, Options, Space, TrailerRequest, flavor, kobject, notify, received};
use libtask::{Code, Disposition, Name, RightKind, TypeBits};
use umach_tests::{SOON, World, world_tests};

use crate::common::*;

world_tests![
    s1_11_names_and_references,
    s1_11_rights_in_and_out,
    s1_11_attributes_guards_and_context,
    s1_11_sets_and_listings,
    s1_11_notifications_and_peek,
];

/// A request without descriptors.
pub(crate) fn simple(id: i32, words: &[u32]) -> MsgBuffer {
    with_words(MsgBuffer::new(id), words)
}

/// Adds arguments.
pub(crate) fn with_words(message: MsgBuffer, words: &[u32]) -> MsgBuffer {
    if words.is_empty() {
        return message;
    }
    let words: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    message.body(&NDR).body(&words)
}

/// What a stub does: sends, and receives the answer.
#[track_caller]
pub(crate) fn ask(space: &Space<'_>, to: Name, request: MsgBuffer) -> MsgBuffer {
    let id = request.header().id;
    let reply = port(space);
    let mut message = request.remote(to, Disposition::CopySend).local(reply, Disposition::MakeSendOnce);
    let options = with_trailer(Options::SEND | Options::RCV | Options::RCV_TIMEOUT, TrailerRequest::Audit);
    let code = space.mach_msg(&mut message, options, 64 * 1024, reply, SOON, Name::NULL);
    assert_eq!(code, Code::SUCCESS, "calling {id}");
    destroy(space, reply);
    let header = message.header();
    assert_eq!((header.id, header.remote), (id.wrapping_add(100), Name::NULL));
    assert_eq!(message.trailer().map(|trailer| (trailer.pid, trailer.uid)), Some((0, notify::KERNEL_ID)), "the kernel answers");
    message
}

pub(crate) fn words_of(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

/// The return code of a reply without descriptors.
#[track_caller]
pub(crate) fn code(reply: &MsgBuffer) -> Code {
    assert!(!reply.header().is_complex(), "{reply:?}");
    assert_eq!(reply.body_bytes()[..8], NDR);
    Code(words_of(reply.body_bytes())[2])
}

/// What a successful reply without descriptors says.
#[track_caller]
pub(crate) fn out(reply: &MsgBuffer) -> Vec<u32> {
    assert_eq!(code(reply), Code::SUCCESS);
    words_of(reply.body_bytes())[3..].to_vec()
}

/// What a reply with descriptors says beside them.
#[track_caller]
pub(crate) fn beside(reply: &MsgBuffer) -> Vec<u32> {
    assert!(reply.header().is_complex(), "{:?}", code(reply));
    words_of(reply.body_bytes()).get(2..).unwrap_or(&[]).to_vec()
}

/// The return code of a call on oneself.
#[track_caller]
pub(crate) fn own(space: &Space<'_>, id: i32, words: &[u32]) -> Code {
    code(&ask(space, space.task_self(), simple(id, words)))
}

/// What a call on oneself says.
#[track_caller]
pub(crate) fn own_out(space: &Space<'_>, id: i32, words: &[u32]) -> Vec<u32> {
    out(&ask(space, space.task_self(), simple(id, words)))
}

pub(crate) fn low_high(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

fn s1_11_names_and_references(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    // mach_port_allocate, type, get_refs, mod_refs, deallocate, destroy, allocate_name.
    let name = Name(own_out(&space, 3204, &[RightKind::Receive as u32])[0]);
    assert_eq!(kind(&space, name), TypeBits::RECEIVE);
    assert_eq!(own_out(&space, 3201, &[name.0]), [TypeBits::RECEIVE.bits()]);
    add_send(&space, name);
    assert_eq!(own(&space, 3208, &[name.0, RightKind::Send as u32, 2]), Code::SUCCESS);
    assert_eq!((sends(&space, name), own_out(&space, 3207, &[name.0, RightKind::Send as u32])), (3, vec![3]));
    assert_eq!(own(&space, 3206, &[name.0]), Code::SUCCESS);
    assert_eq!(sends(&space, name), 2);
    assert_eq!(own(&space, 3208, &[name.0, RightKind::Send as u32, (-3i32) as u32]), Code::KERN_INVALID_VALUE);
    assert_eq!(own(&space, 3205, &[name.0]), Code::SUCCESS);
    assert_gone(&space, name);
    assert_eq!(own(&space, 3201, &[name.0]), Code::KERN_INVALID_NAME);
    assert_eq!(own(&space, 3204, &[9]), Code::KERN_INVALID_VALUE);
    let chosen = Name::new(77, 3);
    assert_eq!(own(&space, 3203, &[RightKind::PortSet as u32, chosen.0]), Code::SUCCESS);
    assert_eq!(kind(&space, chosen), TypeBits::PORT_SET);
    assert_eq!(own(&space, 3203, &[RightKind::PortSet as u32, chosen.0]), Code::KERN_NAME_EXISTS);
    assert_eq!(own(&space, 3203, &[RightKind::PortSet as u32, 0]), Code::KERN_INVALID_VALUE, "not any name");
    space.port_destroy(chosen).unwrap();
    // mach_port_construct, destruct.
    let flags = ConstructFlags::QLIMIT | ConstructFlags::INSERT_SEND_RIGHT | ConstructFlags::CONTEXT_AS_GUARD;
    let mut options = [0u8; 24];
    options[..4].copy_from_slice(&flags.bits().to_le_bytes());
    options[4..8].copy_from_slice(&3u32.to_le_bytes());
    let built = ask(&space, space.task_self(), with_words(MsgBuffer::new(3231).memory(options), &low_high(0xfeed_0000_0001)));
    let built = Name(out(&built)[0]);
    let status = space.port_get_receive_status(built).unwrap();
    assert_eq!((status.queue_limit, sends(&space, built)), (3, 1));
    let destruct = |guard| own(&space, 3232, &[built.0, (-1i32) as u32, low_high(guard)[0], low_high(guard)[1]]);
    assert_eq!(destruct(1), Code::KERN_INVALID_ARGUMENT);
    assert_eq!(destruct(0xfeed_0000_0001), Code::SUCCESS);
    assert_gone(&space, built);
    let short = with_words(MsgBuffer::new(3231).memory([0; 8]), &[0, 0]);
    assert_eq!(code(&ask(&space, space.task_self(), short)), Code::MIG_TYPE_ERROR);
    // task_set_port_space does nothing, here and in XNU.
    assert_eq!(own(&space, 3221, &[100]), Code::SUCCESS);
}

fn s1_11_rights_in_and_out(world: &World) {
    let (a, b) = (world.task("a"), world.task("b"));
    let (space, other) = (a.raw(), b.raw());
    let control = world.pass(&b, other.task_self(), Disposition::CopySend, &a);
    // mach_port_insert_right: the right goes from the message into the other space.
    let mine = port(&space);
    let there = Name::new(300, 3);
    let insert = |name: Name, right, how| code(&ask(&space, control, with_words(MsgBuffer::new(3214).port(right, how), &[name.0])));
    assert_eq!(insert(there, mine, Disposition::MakeSend), Code::SUCCESS);
    assert_eq!(sends(&other, there), 1);
    send(&other, to(there, 5));
    assert_eq!(receive(&space, mine).header().id, 5);
    assert_eq!(insert(there, mine, Disposition::MakeSend), Code::SUCCESS);
    assert_eq!(sends(&other, there), 2);
    assert_eq!(insert(Name::new(301, 3), mine, Disposition::MakeSend), Code::KERN_RIGHT_EXISTS);
    assert_eq!(insert(Name::NULL, mine, Disposition::MakeSend), Code::KERN_INVALID_VALUE);
    assert_eq!(insert(Name(302), mine, Disposition::MakeSend), Code::KERN_INVALID_VALUE);
    assert_eq!(insert(Name::new(302, 3), Name::NULL, Disposition::MakeSend), Code::KERN_INVALID_CAPABILITY);
    assert_eq!(space.port_get_srights(mine), Ok(1), "what failed left nothing");
    // A receive right moves, with what is queued.
    let moving = port_with_send(&space);
    send(&space, to(moving, 6));
    assert_eq!(insert(Name::new(303, 3), moving, Disposition::MoveReceive), Code::SUCCESS);
    assert_eq!(receive(&other, Name::new(303, 3)).header().id, 6);
    // mach_port_extract_right: it comes with the answer.
    let extract = |name: Name, how: Disposition| ask(&space, control, simple(3215, &[name.0, how as u32]));
    let got = extract(Name::new(303, 3), Disposition::MoveReceive);
    assert_eq!(got.descriptors()[..], [Descriptor::Port { name: moving, disposition: received::RECEIVE }]);
    assert_eq!(kind(&space, moving), TypeBits::SEND | TypeBits::RECEIVE);
    let got = extract(there, Disposition::MoveSend);
    assert_eq!((got.port_at(0), sends(&other, there), sends(&space, mine)), (Some(mine), 1, 1));
    assert_eq!(code(&extract(there, Disposition::MakeSend)), Code::KERN_INVALID_RIGHT);
    assert_eq!(code(&extract(Name::NULL, Disposition::MakeSend)), Code::KERN_INVALID_NAME);
    assert_eq!(code(&ask(&space, control, simple(3215, &[there.0, 99]))), Code::KERN_INVALID_VALUE);
    // mach_port_get_srights.
    assert_eq!(own_out(&space, 3222, &[mine.0]), [1 + 1]);
}

fn s1_11_attributes_guards_and_context(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let name = port_with_send(&space);
    // get_attributes, set_attributes, set_mscount, set_seqno.
    assert_eq!(own(&space, 3210, &[name.0, 7]), Code::SUCCESS);
    assert_eq!(own(&space, 3216, &[name.0, 9]), Code::SUCCESS);
    assert_eq!(own(&space, 3218, &[name.0, flavor::LIMITS_INFO, 1, 11]), Code::SUCCESS);
    let status = own_out(&space, 3217, &[name.0, flavor::RECEIVE_STATUS, 10]);
    assert_eq!(status[0], 10);
    let bytes = space.port_get_attributes(name, flavor::RECEIVE_STATUS).unwrap();
    assert_eq!(status[1..], words_of(&bytes)[..]);
    assert_eq!((status[2], status[3], status[4]), (9, 7, 11));
    assert_eq!(own(&space, 3217, &[name.0, flavor::RECEIVE_STATUS, 9]), Code::KERN_FAILURE, "no room");
    assert_eq!(own(&space, 3218, &[name.0, flavor::LIMITS_INFO, 0]), Code::KERN_FAILURE, "too little");
    assert_eq!(own(&space, 3218, &[name.0, flavor::LIMITS_INFO, 18, 1]), Code::MIG_BAD_ARGUMENTS, "more than there can be");
    // Context, then guards: they share storage.
    let [low, high] = low_high(0x1234_5678_9abc_def0);
    assert_eq!(own(&space, 3229, &[name.0, low, high]), Code::SUCCESS);
    assert_eq!(space.port_get_context(name), Ok(0x1234_5678_9abc_def0));
    assert_eq!(own_out(&space, 3228, &[name.0]), [low, high]);
    space.port_set_context(name, 0).unwrap();
    assert_eq!(own(&space, 3233, &[name.0, low, high, 1]), Code::SUCCESS);
    assert_eq!(own_out(&space, 3228, &[name.0]), [0, 0], "a strict guard is secret");
    let assert = |guard: u64| own(&space, 3242, &[name.0, flavor::GUARD_INFO, 2, low_high(guard)[0], low_high(guard)[1]]);
    assert_eq!((assert(0x1234_5678_9abc_def0), assert(5)), (Code::SUCCESS, Code::KERN_INVALID_ARGUMENT));
    assert_eq!((space.port_assert_guard(name, 0x1234_5678_9abc_def0), space.port_assert_guard(name, 5).is_err()), (Ok(()), true));
    assert_eq!(own(&space, 3238, &[name.0, low, high, 3, 0]), Code::SUCCESS);
    assert_eq!(own(&space, 3234, &[name.0, low, high]), Code::KERN_INVALID_ARGUMENT);
    assert_eq!(own(&space, 3234, &[name.0, 3, 0]), Code::SUCCESS);
    assert_eq!(own(&space, 3237, &[name.0, 4, 0, 0, 1]), Code::KERN_INVALID_ARGUMENT, "flags of 64 bits");
    assert_eq!(own(&space, 3237, &[name.0, 4, 0, 2, 0]), Code::SUCCESS);
    assert_eq!(space.port_unguard(name, 4), Ok(()));
    // What it stands for.
    let (kind, object) = space.port_kobject(space.task_self()).unwrap();
    assert_eq!(own_out(&space, 3230, &[space.task_self().0]), [kobject::ikot(kind), low_high(object)[0], low_high(object)[1]]);
    let described = ask(&space, space.task_self(), simple(3239, &[space.host_self().0]));
    let described = &described.body_bytes()[12..];
    assert_eq!(words_of(described)[0], kobject::ikot(kobject::HOST));
    assert_eq!((words_of(described)[3], words_of(described)[4], &described[20..25]), (0, 5, &b"host\0"[..]));
}

fn s1_11_sets_and_listings(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (first, second, group, other) = (port(&space), port(&space), set(&space), set(&space));
    assert_eq!(own(&space, 3226, &[first.0, group.0]), Code::SUCCESS);
    assert_eq!(own(&space, 3226, &[first.0, group.0]), Code::KERN_ALREADY_IN_SET);
    assert_eq!(own(&space, 3212, &[second.0, group.0]), Code::SUCCESS);
    let status = ask(&space, space.task_self(), simple(3211, &[group.0]));
    let mut members = words_of(status.memory_at(0).unwrap());
    members.sort_unstable();
    let mut wanted = [first.0, second.0];
    wanted.sort_unstable();
    assert_eq!((&members[..], beside(&status)), (&wanted[..], vec![2]));
    assert_eq!(own(&space, 3212, &[second.0, 0]), Code::SUCCESS);
    assert_eq!(own(&space, 3227, &[first.0, group.0]), Code::SUCCESS);
    assert_eq!(own(&space, 3227, &[first.0, group.0]), Code::KERN_NOT_IN_SET);
    let empty = ask(&space, space.task_self(), simple(3211, &[other.0]));
    assert_eq!((empty.memory_at(0), beside(&empty)), (Some(&[][..]), vec![0]));
    // mach_port_names, space_info, space_basic_info. The reply port is among them.
    let listed = ask(&space, space.task_self(), MsgBuffer::new(3200));
    let rows = space.port_names().unwrap();
    let (names, types) = (words_of(listed.memory_at(0).unwrap()), words_of(listed.memory_at(1).unwrap()));
    let count = names.len() as u32;
    assert_eq!((beside(&listed), types.len()), (vec![count, count], names.len()));
    assert_eq!(count as usize, rows.len() + 1);
    for row in &rows {
        let at = names.iter().position(|&name| name == row.name.0).expect("listed");
        assert_eq!(types[at], row.kind);
    }
    let info = ask(&space, space.task_self(), MsgBuffer::new(3223));
    let table = words_of(info.memory_at(0).unwrap());
    let said = beside(&info);
    assert_eq!((said.len(), said[0], said[6] as usize, said[7]), (8, 0xff, table.len() / 7, 0));
    let row = table.chunks(7).find(|row| row[0] == group.0).expect("listed");
    assert_eq!(row[2], TypeBits::PORT_SET.bits());
    let basic = own_out(&space, 3235, &[]);
    assert_eq!((basic.len(), basic[0], basic[3] as usize), (6, 0xff, rows.len() + 1));
    // More names than fit a packet: the arrays are mapped. Again and again, for nothing of it stays.
    for _ in 0..8300 {
        dead_name(&space);
    }
    let regions = space.task_info().unwrap().regions;
    for _ in 0..3 {
        let listed = ask(&space, space.task_self(), MsgBuffer::new(3200));
        let rows = space.port_names().unwrap();
        let (names, types) = (words_of(listed.memory_at(0).unwrap()), words_of(listed.memory_at(1).unwrap()));
        assert_eq!((names.len(), types.len()), (rows.len() + 1, rows.len() + 1));
        let said: std::collections::HashSet<_> = names.into_iter().zip(types).collect();
        assert!(rows.iter().all(|row| said.contains(&(row.name.0, row.kind))));
        let info = ask(&space, space.task_self(), MsgBuffer::new(3223));
        assert_eq!(words_of(info.memory_at(0).unwrap()).len(), 7 * (rows.len() + 1));
    }
    assert_eq!(space.task_info().unwrap().regions, regions);
}

fn s1_11_notifications_and_peek(world: &World) {
    let task = world.task("a");
    let space = task.raw();
    let (watched, told) = (port_with_send(&space), port(&space));
    let request =
        |id: i32, right, how| ask(&space, space.task_self(), with_words(MsgBuffer::new(3213).port(right, how), &[watched.0, id as u32, 0]));
    let first = request(notify::NO_SENDERS, told, Disposition::MakeSendOnce);
    assert_eq!(first.descriptors()[..], [Descriptor::Port { name: Name::NULL, disposition: received::SEND_ONCE }]);
    assert!(beside(&first).is_empty());
    // The one before comes back.
    let again = request(notify::NO_SENDERS, told, Disposition::MakeSendOnce).port_at(0).unwrap();
    assert_eq!(kind(&space, again), TypeBits::SEND_ONCE);
    space.port_deallocate(watched).unwrap();
    assert_eq!(notification(&space, told), notify::Notification::NoSenders(1));
    space.port_deallocate(again).unwrap();
    assert_eq!(notification(&space, told), notify::Notification::SendOnce);
    // Dead-name requests are counted.
    add_send(&space, watched);
    request(notify::DEAD_NAME, told, Disposition::MakeSendOnce);
    assert_eq!(own_out(&space, 3224, &[watched.0]), [1, 1]);
    // A null right takes it back.
    let back = request(notify::DEAD_NAME, Name::NULL, Disposition::MoveSendOnce).port_at(0).unwrap();
    assert_eq!(kind(&space, back), TypeBits::SEND_ONCE);
    assert_eq!(code(&request(9, told, Disposition::MakeSendOnce)), Code::KERN_INVALID_VALUE);
    assert_eq!(notification(&space, told), notify::Notification::SendOnce, "the right of a failed request ends");
    assert_eq!(code(&request(notify::DEAD_NAME, watched, Disposition::MakeSend)), Code::MIG_TYPE_ERROR);
    // mach_port_peek.
    send(&space, to(watched, 42).body(b"four"));
    let peeked = own_out(&space, 3209, &[watched.0, TrailerRequest::Sender.options(), 0, 68]);
    let same = space.port_peek(watched, TrailerRequest::Sender.options(), 0).unwrap();
    assert_eq!(peeked[..4], [same.seqno, same.size, 42, same.trailer.len() as u32]);
    assert_eq!(peeked[4..], words_of(&same.trailer)[..]);
    assert_eq!(own(&space, 3209, &[watched.0, TrailerRequest::Sender.options(), 0, 8]), Code::KERN_FAILURE);
    assert_eq!(receive(&space, watched).header().id, 42);
}

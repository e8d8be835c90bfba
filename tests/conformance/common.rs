//! Short hands for what most rows need.

use libtask::raw::{ConstructFlags, MsgBuffer, Options, Space, TrailerRequest, notify};
use libtask::{Code, Disposition, Name, RightKind, Task, TypeBits};
use umach_tests::SOON;

/// A call on a name, and how it ended.
pub(crate) type NameCall = fn(&Space<'_>, Name) -> Result<(), Code>;
/// A call on a member and a set.
pub(crate) type MemberCall = fn(&Space<'_>, Name, Name) -> Result<(), Code>;

/// A new receive right.
pub(crate) fn port(space: &Space<'_>) -> Name {
    space.port_allocate(RightKind::Receive).expect("a port")
}

/// A new receive right with one send right under the same name.
pub(crate) fn port_with_send(space: &Space<'_>) -> Name {
    space.port_construct(ConstructFlags::INSERT_SEND_RIGHT, 0, 0).expect("a port")
}

/// The same with a queue limit.
pub(crate) fn port_with_limit(space: &Space<'_>, limit: u32) -> Name {
    space.port_construct(ConstructFlags::INSERT_SEND_RIGHT | ConstructFlags::QLIMIT, limit, 0).expect("a port")
}

/// A new empty set.
pub(crate) fn set(space: &Space<'_>) -> Name {
    space.port_allocate(RightKind::PortSet).expect("a set")
}

/// A new dead name with one reference.
pub(crate) fn dead_name(space: &Space<'_>) -> Name {
    space.port_allocate(RightKind::DeadName).expect("a dead name")
}

/// A send-once right to a port whose receive right this space holds, under a name of its own.
pub(crate) fn send_once(space: &Space<'_>, receive: Name) -> Name {
    space.port_extract_right(receive, Disposition::MakeSendOnce).expect("a send-once right").0
}

/// One more send right under the name of the receive right.
pub(crate) fn add_send(space: &Space<'_>, receive: Name) {
    space.port_insert_right(receive, receive, Disposition::MakeSend).expect("a send right");
}

/// Ends a port by its receive right.
pub(crate) fn destroy(space: &Space<'_>, receive: Name) {
    space.port_mod_refs(receive, RightKind::Receive, -1).expect("destroy a port");
}

/// What the name stands for, registrations left out.
pub(crate) fn kind(space: &Space<'_>, name: Name) -> TypeBits {
    space.port_type(name).expect("the name is in use") & TypeBits::ALL_RIGHTS
}

/// The name means nothing.
#[track_caller]
pub(crate) fn assert_gone(space: &Space<'_>, name: Name) {
    assert_eq!(space.port_type(name), Err(Code::KERN_INVALID_NAME), "{name} should be gone");
}

/// User references of the send right.
pub(crate) fn sends(space: &Space<'_>, name: Name) -> u32 {
    space.port_get_refs(name, RightKind::Send).expect("references")
}

/// User references of the dead name.
pub(crate) fn deads(space: &Space<'_>, name: Name) -> u32 {
    space.port_get_refs(name, RightKind::DeadName).expect("references")
}

/// A message to a send right, which stays.
pub(crate) fn to(name: Name, id: i32) -> MsgBuffer {
    MsgBuffer::new(id).remote(name, Disposition::CopySend)
}

/// Sends, and fails if that does not succeed at once.
#[track_caller]
pub(crate) fn send(space: &Space<'_>, mut message: MsgBuffer) {
    assert_eq!(space.send_timeout(&mut message, 0), Code::SUCCESS);
}

/// Sends without waiting, for the code.
pub(crate) fn try_send(space: &Space<'_>, mut message: MsgBuffer) -> Code {
    space.send_timeout(&mut message, 0)
}

/// Receives what must come soon, with an audit trailer.
#[track_caller]
pub(crate) fn receive(space: &Space<'_>, name: Name) -> MsgBuffer {
    match space.receive(name, SOON) {
        Ok(message) => message,
        Err(code) => panic!("receiving on {name}: {code}"),
    }
}

/// Receives a notification and checks that the kernel sent it.
#[track_caller]
pub(crate) fn notification(space: &Space<'_>, name: Name) -> notify::Notification {
    let message = receive(space, name);
    message.notification().unwrap_or_else(|| panic!("message {} is no notification of the kernel", message.header().id))
}

/// Asks for a notification on `to`, made into a send-once right; gives the right that was registered before.
#[track_caller]
pub(crate) fn request(space: &Space<'_>, name: Name, id: i32, sync: u32, to: Name) -> Name {
    space.port_request_notification(name, id, sync, to, Disposition::MakeSendOnce).expect("request a notification")
}

/// Fills a queue to its limit with messages numbered from 0.
pub(crate) fn fill(space: &Space<'_>, send_right: Name, count: i32) {
    for id in 0..count {
        send(space, to(send_right, id));
    }
}

/// Options and a trailer request as one.
pub(crate) fn with_trailer(options: Options, trailer: TrailerRequest) -> Options {
    options | Options::from_bits_retain(trailer.options())
}

/// Receives with options of one's own, a limit, and at most [`SOON`].
pub(crate) fn receive_with(space: &Space<'_>, name: Name, options: Options, limit: u32) -> (Code, MsgBuffer) {
    let mut buffer = MsgBuffer::default();
    let code = space.mach_msg(&mut buffer, Options::RCV | Options::RCV_TIMEOUT | options, limit, name, SOON, Name::NULL);
    (code, buffer)
}

/// Starts a thread of `task` that sends; it gives the code and the buffer as it is afterwards.
pub(crate) fn send_in_thread(task: &Task, mut message: MsgBuffer) -> std::thread::JoinHandle<(Code, MsgBuffer)> {
    let task = task.clone();
    std::thread::spawn(move || {
        let code = task.raw().send_timeout(&mut message, SOON);
        (code, message)
    })
}

/// Starts a thread of `task` that receives.
pub(crate) fn receive_in_thread(task: &Task, name: Name) -> std::thread::JoinHandle<Result<MsgBuffer, Code>> {
    let task = task.clone();
    std::thread::spawn(move || task.raw().receive(name, SOON))
}

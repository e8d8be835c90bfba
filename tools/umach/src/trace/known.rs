//! Ids that are known without a description: notifications, the kernel process's own routines, and failures of the transport.

use umach_abi::notify;
use umach_abi::records::kobject;

/// What a message with this id is to a port of this kind, or from the kernel process.
pub(crate) fn name_of(id: i32, to: u32, from_kernel: bool) -> Option<&'static str> {
    match id {
        notify::PORT_DELETED => Some("port-deleted"),
        notify::SEND_POSSIBLE => Some("send-possible"),
        notify::PORT_DESTROYED => Some("port-destroyed"),
        notify::NO_SENDERS => Some("no-senders"),
        notify::SEND_ONCE => Some("send-once: nobody will answer"),
        notify::DEAD_NAME => Some("dead-name"),
        _ if to != kobject::NONE => umach_kernel::core::routine_name(id),
        _ if from_kernel => umach_kernel::core::routine_name(id - 100),
        _ => None,
    }
}

/// Whether it is one of Mach's notifications.
pub(crate) fn is_notification(id: i32) -> bool {
    (notify::PORT_DELETED..=notify::DEAD_NAME).contains(&id)
}

/// What the body of a notification says.
pub(crate) fn notice(id: i32, body: &[u8]) -> Option<String> {
    // Behind the NDR record.
    let word = body.get(8..12).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))?;
    match id {
        notify::NO_SENDERS => Some(format!("made {word}")),
        notify::DEAD_NAME | notify::PORT_DELETED | notify::SEND_POSSIBLE => Some(format!("{word:#x}")),
        _ => None,
    }
}

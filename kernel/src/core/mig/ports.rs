//! Subsystem `mach_port` (3200).

use umach_abi::message::{TrailerRequest, u32_at};
use umach_abi::records::{NameRow, SpaceRow, kobject};
use umach_abi::rights::flavor;
use umach_abi::{Code, Name, RightKind};

use super::super::Core;
use super::super::mail::Right;
use super::Call;
use super::reply::{Reply, fits};
use super::routine::Target::Space;
use super::routine::{Routine, Want};

/// Words of `mach_port_info_t`.
const INFO_MAX: usize = 17;
/// Bytes of `mach_msg_trailer_info_t`.
const TRAILER_INFO_MAX: usize = 68;
/// Bytes of `mach_port_options_t`.
const OPTIONS: usize = 24;
/// Bits of a name that are its generation.
const GENERATION_MASK: u32 = 0xff;

/// In XNU's order.
pub(super) const ROUTINES: &[Routine] = &[
    Routine::new(3200, "mach_port_names", Space, 0, names),
    Routine::new(3201, "mach_port_type", Space, 4, |core, call| {
        let kind = core.port_type(call.task, call.name())?.kind;
        Ok(Reply::default().word(kind))
    }),
    Routine::removed(3202, "mach_port_rename"),
    Routine::new(3203, "mach_port_allocate_name", Space, 8, |core, call| {
        let (right, name) = (call.word(), call.name());
        // Here the null name is one that cannot be had, and not any name.
        if name == Name::NULL {
            return Err(Code::KERN_INVALID_VALUE);
        }
        core.port_allocate(call.task, right, name).and_then(|_| Reply::done())
    }),
    Routine::new(3204, "mach_port_allocate", Space, 4, |core, call| {
        let name = core.port_allocate(call.task, call.word(), Name::NULL)?.name;
        Ok(Reply::default().word(name.0))
    }),
    Routine::new(3205, "mach_port_destroy", Space, 4, |core, call| core.port_destroy(call.task, call.name()).and_then(|_| Reply::done())),
    Routine::new(3206, "mach_port_deallocate", Space, 4, |core, call| {
        core.port_deallocate(call.task, call.name()).and_then(|()| Reply::done())
    }),
    Routine::new(3207, "mach_port_get_refs", Space, 8, |core, call| {
        let (name, right) = (call.name(), call.word());
        Ok(Reply::default().word(core.port_get_refs(call.task, name, right)?.refs))
    }),
    Routine::new(3208, "mach_port_mod_refs", Space, 12, |core, call| {
        let (name, right, delta) = (call.name(), call.word(), call.int());
        core.port_mod_refs(call.task, name, right, delta).and_then(|_| Reply::done())
    }),
    Routine::new(3209, "mach_port_peek", Space, 16, peek),
    Routine::new(3210, "mach_port_set_mscount", Space, 8, |core, call| {
        let (name, count) = (call.name(), call.word());
        core.port_set_mscount(call.task, name, count).and_then(|_| Reply::done())
    }),
    Routine::new(3211, "mach_port_get_set_status", Space, 4, set_status),
    Routine::new(3212, "mach_port_move_member", Space, 8, |core, call| {
        let (member, after) = (call.name(), call.name());
        core.port_move_member(call.task, member, after).and_then(|_| Reply::done())
    }),
    Routine::new(3213, "mach_port_request_notification", Space, 12, request_notification).with(&[Want::SendOnce]),
    Routine::new(3214, "mach_port_insert_right", Space, 4, |core, call| {
        let (name, right) = (call.name(), call.right(0));
        core.insert_right(call.task, name, right).and_then(|()| Reply::done())
    })
    .with(&[Want::Right]),
    Routine::new(3215, "mach_port_extract_right", Space, 8, |core, call| {
        let (name, disposition) = (call.name(), call.word());
        let (right, kind) = core.extract_right(call.task, name, disposition)?;
        Ok(Reply::default().port(right, kind))
    }),
    Routine::new(3216, "mach_port_set_seqno", Space, 8, |core, call| {
        let (name, seqno) = (call.name(), call.word());
        core.port_set_seqno(call.task, name, seqno).and_then(|_| Reply::done())
    }),
    Routine::new(3217, "mach_port_get_attributes", Space, 12, |core, call| {
        let (name, flavor, room) = (call.name(), call.word(), call.word());
        let info = core.port_get_attributes(call.task, name, flavor)?;
        if info.len() / 4 > room as usize {
            return Err(Code::KERN_FAILURE);
        }
        Ok(Reply::default().words(&info))
    }),
    Routine::new(3218, "mach_port_set_attributes", Space, 12, |core, call| {
        let (name, flavor, info) = (call.name(), call.word(), call.array(4));
        core.port_set_attributes(call.task, name, flavor, info).and_then(|_| Reply::done())
    })
    .and_array(4, INFO_MAX),
    Routine::unserved(3219, "mach_port_allocate_qos"),
    Routine::unserved(3220, "mach_port_allocate_full"),
    // XNU does nothing either, and says that it is done.
    Routine::new(3221, "task_set_port_space", Space, 4, |_, _| Reply::done()),
    Routine::new(3222, "mach_port_get_srights", Space, 4, |core, call| {
        Ok(Reply::default().word(core.port_get_srights(call.task, call.name())?.count))
    }),
    Routine::new(3223, "mach_port_space_info", Space, 0, space_info),
    Routine::new(3224, "mach_port_dnrequest_info", Space, 4, |core, call| {
        let name = call.name();
        core.receive_right(call.task, name)?;
        let used = u32_at(&core.port_get_attributes(call.task, name, flavor::DNREQUESTS_SIZE)?, 0).unwrap_or(0);
        Ok(Reply::default().word(used).word(used))
    }),
    Routine::removed(3225, "mach_port_kernel_object"),
    Routine::new(3226, "mach_port_insert_member", Space, 8, |core, call| {
        let (member, set) = (call.name(), call.name());
        core.port_insert_member(call.task, member, set).and_then(|_| Reply::done())
    }),
    Routine::new(3227, "mach_port_extract_member", Space, 8, |core, call| {
        let (member, set) = (call.name(), call.name());
        core.port_extract_member(call.task, member, set).and_then(|_| Reply::done())
    }),
    Routine::new(3228, "mach_port_get_context", Space, 4, |core, call| {
        Ok(Reply::default().long(core.port_get_context(call.task, call.name())?.context))
    }),
    Routine::new(3229, "mach_port_set_context", Space, 12, |core, call| {
        let (name, context) = (call.name(), call.long());
        core.port_set_context(call.task, name, context).and_then(|_| Reply::done())
    }),
    Routine::new(3230, "mach_port_kobject", Space, 4, |core, call| {
        let found = core.port_kobject(call.task, call.name())?;
        Ok(Reply::default().word(kobject::ikot(found.kind)).long(found.object))
    }),
    Routine::new(3231, "mach_port_construct", Space, 8, construct).with(&[Want::Memory]),
    Routine::new(3232, "mach_port_destruct", Space, 16, |core, call| {
        let (name, delta, guard) = (call.name(), call.int(), call.long());
        core.port_destruct(call.task, name, delta, guard).and_then(|_| Reply::done())
    }),
    Routine::new(3233, "mach_port_guard", Space, 16, |core, call| {
        let (name, guard, strict) = (call.name(), call.long(), call.word());
        core.port_guard(call.task, name, guard, u32::from(strict != 0)).and_then(|_| Reply::done())
    }),
    Routine::new(3234, "mach_port_unguard", Space, 12, |core, call| {
        let (name, guard) = (call.name(), call.long());
        core.port_unguard(call.task, name, guard).and_then(|_| Reply::done())
    }),
    Routine::new(3235, "mach_port_space_basic_info", Space, 0, |core, call| {
        let space = &core.tasks[call.task.0].space;
        let (size, used) = (space.table_size(), space.len() as u32);
        let words = [GENERATION_MASK, size, size, used, 0, 0];
        Ok(words.into_iter().fold(Reply::default(), Reply::word))
    }),
    Routine::unserved(3236, "mach_port_special_reply_port_reset_link"),
    Routine::new(3237, "mach_port_guard_with_flags", Space, 20, |core, call| {
        let (name, guard, flags) = (call.name(), call.long(), call.long());
        let flags = u32::try_from(flags).map_err(|_| Code::KERN_INVALID_ARGUMENT)?;
        core.port_guard(call.task, name, guard, flags).and_then(|_| Reply::done())
    }),
    Routine::new(3238, "mach_port_swap_guard", Space, 20, |core, call| {
        let (name, old, new) = (call.name(), call.long(), call.long());
        core.port_swap_guard(call.task, name, old, new).and_then(|_| Reply::done())
    }),
    Routine::new(3239, "mach_port_kobject_description", Space, 4, |core, call| {
        let found = core.port_kobject(call.task, call.name())?;
        Ok(Reply::default().word(kobject::ikot(found.kind)).long(found.object).string(kobject::name(found.kind)))
    }),
    Routine::unserved(3240, "mach_port_is_connection_for_service"),
    Routine::unserved(3241, "mach_port_get_service_port_info"),
    Routine::new(3242, "mach_port_assert_attributes", Space, 12, |core, call| {
        let (name, flavor, info) = (call.name(), call.word(), call.array(4));
        core.port_assert_attributes(call.task, name, flavor, info).and_then(|_| Reply::done())
    })
    .and_array(4, INFO_MAX),
];

fn names(core: &mut Core, call: &mut Call<'_>) -> Result<Reply, Code> {
    fits(8 * core.tasks[call.task.0].space.len())?;
    let (mut names, mut types) = (Vec::new(), Vec::new());
    let mut start = 0;
    loop {
        let (next, rows) = core.port_names(call.task, start);
        for row in NameRow::all(&rows) {
            names.extend_from_slice(&row.name.0.to_le_bytes());
            types.extend_from_slice(&row.kind.to_le_bytes());
        }
        if next <= start {
            break;
        }
        start = next;
    }
    let count = names.len() as u32 / 4;
    Ok(Reply::default().memory(names).memory(types).word(count).word(count))
}

fn space_info(core: &mut Core, call: &mut Call<'_>) -> Result<Reply, Code> {
    /// Words of `ipc_info_name_t`.
    const ROW: usize = 7;
    fits(4 * ROW * core.tasks[call.task.0].space.len())?;
    let (mut table, mut start) = (Vec::new(), 0);
    let size = loop {
        let (size, next, rows) = core.port_space_info(call.task, start);
        for row in SpaceRow::all(&rows) {
            let object = (row.object ^ row.object >> 32) as u32;
            let words: [u32; ROW] = [row.name.0, 0, row.kind, row.urefs, object, 0, 0];
            table.extend(words.into_iter().flat_map(u32::to_le_bytes));
        }
        if next <= start {
            break size;
        }
        start = next;
    };
    let count = (table.len() / (4 * ROW)) as u32;
    let reply = Reply::default().memory(table).memory(Vec::new());
    let reply = [GENERATION_MASK, size, size, 0, 0, 0].into_iter().fold(reply, Reply::word);
    Ok(reply.word(count).word(0))
}

fn set_status(core: &mut Core, call: &mut Call<'_>) -> Result<Reply, Code> {
    let (set, mut members, mut start) = (call.name(), Vec::new(), 0);
    loop {
        let (next, names) = core.port_get_set_status(call.task, set, start)?;
        members.extend_from_slice(&names);
        fits(members.len())?;
        if next <= start {
            break;
        }
        start = next;
    }
    let count = members.len() as u32 / 4;
    Ok(Reply::default().memory(members).word(count))
}

fn peek(core: &mut Core, call: &mut Call<'_>) -> Result<Reply, Code> {
    let (name, trailer, seqno, room) = (call.name(), call.word(), call.word(), call.word() as usize);
    let wanted = TrailerRequest::from_options(trailer).ok_or(Code::KERN_INVALID_VALUE)?;
    if wanted.size() > room.min(TRAILER_INFO_MAX) {
        return Err(Code::KERN_FAILURE);
    }
    let peeked = core.port_peek(call.task, name, trailer, seqno)?;
    Ok(Reply::default().word(peeked.seqno).word(peeked.size).word(peeked.id as u32).chars(&peeked.trailer))
}

fn request_notification(core: &mut Core, call: &mut Call<'_>) -> Result<Reply, Code> {
    let (name, id, sync) = (call.name(), call.int(), call.word());
    let notify = match call.right(0) {
        Right::Null => None,
        Right::SendOnce(port) => Some(port),
        _ => return Err(Code::KERN_INVALID_CAPABILITY),
    };
    let previous = core.request_notification(call.task, name, id, sync, notify)?;
    Ok(Reply::default().port(previous.map_or(Right::Null, Right::SendOnce), RightKind::SendOnce))
}

fn construct(core: &mut Core, call: &mut Call<'_>) -> Result<Reply, Code> {
    let context = call.long();
    let options = call.memory(0).filter(|options| options.len() == OPTIONS).ok_or(Code::MIG_TYPE_ERROR)?;
    let word = |at| u32_at(options, at).unwrap_or(0);
    let name = core.port_construct(call.task, word(0), word(4), context)?.name;
    Ok(Reply::default().word(name.0))
}

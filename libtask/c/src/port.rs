//! `mach_port_*`. What the calls mean is the kernel process's affair; here a null pointer is refused before anything is asked, and arrays become memory
//! that the program gives back with `vm_deallocate`.

use std::ffi::{c_char, c_int};

use libtask::raw::{ConstructFlags, NameRow, Space, SpaceRow, flavor, kobject};
use libtask::{Code, Name, RightKind};
use umach_abi::Disposition;

use crate::ool;
use crate::process::{check_out, code, put, space_of};

/// A call that gives no more than its code.
fn tell(task: u32, f: impl FnOnce(&Space<'static>) -> Result<(), Code>) -> i32 {
    code(space_of(task).and_then(|space| f(&space)))
}

/// A call that gives one value.
///
/// # Safety
/// `at` is null or has room for it.
unsafe fn ask<T>(task: u32, at: *mut T, f: impl FnOnce(&Space<'static>) -> Result<T, Code>) -> i32 {
    code((|| {
        check_out(at)?;
        let value = f(&space_of(task)?)?;
        // SAFETY: the caller's word.
        unsafe { put(at, value) }
    })())
}

/// An array as out-of-line memory: where, and how many. Null if it is empty.
///
/// # Safety
/// The pointers are null or have room.
pub(crate) unsafe fn put_array<T: Copy>(values: &[T], at: *mut *mut T, count: *mut u32) -> Result<(), Code> {
    check_out(at)?;
    check_out(count)?;
    let mut array = std::ptr::null_mut();
    if !values.is_empty() {
        let room = ool::allocate(size_of_val(values)).ok_or(Code::KERN_RESOURCE_SHORTAGE)?;
        array = room.as_ptr().cast::<T>();
        // SAFETY: new room for as many values, page-aligned.
        unsafe { array.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
    }
    // SAFETY: the caller's word.
    unsafe { put(at, array).and_then(|()| put(count, values.len() as u32)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_names(
    task: u32,
    names: *mut *mut u32,
    names_count: *mut u32,
    types: *mut *mut u32,
    types_count: *mut u32,
) -> i32 {
    code((|| {
        [names, types].into_iter().try_for_each(|at| check_out(at))?;
        [names_count, types_count].into_iter().try_for_each(|at| check_out(at))?;
        let rows = space_of(task)?.port_names()?;
        let column = |of: fn(&NameRow) -> u32| rows.iter().map(of).collect::<Vec<u32>>();
        // SAFETY: the caller's word, so below.
        unsafe {
            put_array(&column(|row| row.name.0), names, names_count)?;
            put_array(&column(|row| row.kind), types, types_count)
        }
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_type(task: u32, name: u32, kind: *mut u32) -> i32 {
    // SAFETY: passed on.
    unsafe { ask(task, kind, |space| space.port_type(Name(name)).map(|bits| bits.bits())) }
}

/// Removed from XNU.
#[unsafe(no_mangle)]
extern "C" fn mach_port_rename(_task: u32, _old: u32, _new: u32) -> i32 {
    Code::MIG_BAD_ID.0 as i32
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_allocate_name(task: u32, right: u32, name: u32) -> i32 {
    tell(task, |space| if name == 0 { Err(Code::KERN_INVALID_VALUE) } else { space.port_allocate_raw(right, Name(name)).map(drop) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_allocate(task: u32, right: u32, name: *mut u32) -> i32 {
    // SAFETY: passed on.
    unsafe { ask(task, name, |space| space.port_allocate_raw(right, Name::NULL).map(|name| name.0)) }
}

/// `mach_port_qos_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Qos {
    /// Bit 0: a name is given. Bit 1: a message is set aside, which means nothing here.
    bits: u32,
    len: u32,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_allocate_qos(task: u32, right: u32, _qos: *mut Qos, name: *mut u32) -> i32 {
    // SAFETY: passed on.
    unsafe { mach_port_allocate(task, right, name) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_allocate_full(task: u32, right: u32, proto: u32, qos: *mut Qos, name: *mut u32) -> i32 {
    if proto != 0 {
        return Code::KERN_INVALID_VALUE.0 as i32;
    }
    // SAFETY: null, or the caller's word.
    let named = !qos.is_null() && unsafe { qos.read_unaligned() }.bits & 1 != 0;
    if named && !name.is_null() {
        // SAFETY: not null, so a name.
        return mach_port_allocate_name(task, right, unsafe { name.read_unaligned() });
    }
    // SAFETY: passed on.
    unsafe { mach_port_allocate(task, right, name) }
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_destroy(task: u32, name: u32) -> i32 {
    tell(task, |space| space.port_destroy(Name(name)))
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_deallocate(task: u32, name: u32) -> i32 {
    tell(task, |space| space.port_deallocate(Name(name)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_get_refs(task: u32, name: u32, right: u32, refs: *mut u32) -> i32 {
    let kind = RightKind::from_raw(right).ok_or(Code::KERN_INVALID_VALUE);
    // SAFETY: passed on.
    unsafe { ask(task, refs, |space| space.port_get_refs(Name(name), kind?)) }
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_mod_refs(task: u32, name: u32, right: u32, delta: i32) -> i32 {
    tell(task, |space| space.port_mod_refs_raw(Name(name), right, delta))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_peek(
    task: u32,
    name: u32,
    trailer_type: u32,
    seqno: *mut u32,
    size: *mut u32,
    id: *mut i32,
    trailer: *mut c_char,
    trailer_count: *mut u32,
) -> i32 {
    code((|| {
        [seqno, size, trailer_count].into_iter().try_for_each(|at| check_out(at))?;
        check_out(id)?;
        check_out(trailer)?;
        // SAFETY: not null, so the caller's numbers.
        let (asked, room) = unsafe { (seqno.read_unaligned(), trailer_count.read_unaligned()) };
        let peeked = space_of(task)?.port_peek(Name(name), trailer_type, asked)?;
        if peeked.trailer.len() > room as usize {
            return Err(Code::KERN_FAILURE);
        }
        // SAFETY: the caller's word; `trailer` has room for as many bytes as it said.
        unsafe {
            trailer.cast::<u8>().copy_from(peeked.trailer.as_ptr(), peeked.trailer.len());
            put(trailer_count, peeked.trailer.len() as u32)?;
            put(seqno, peeked.seqno)?;
            put(size, peeked.size)?;
            put(id, peeked.id)
        }
    })())
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_set_mscount(task: u32, name: u32, count: u32) -> i32 {
    tell(task, |space| space.port_set_mscount(Name(name), count))
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_set_seqno(task: u32, name: u32, seqno: u32) -> i32 {
    tell(task, |space| space.port_set_seqno(Name(name), seqno))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_get_set_status(task: u32, name: u32, members: *mut *mut u32, count: *mut u32) -> i32 {
    code((|| {
        check_out(members)?;
        check_out(count)?;
        let names: Vec<u32> = space_of(task)?.port_get_set_status(Name(name))?.into_iter().map(|name| name.0).collect();
        // SAFETY: the caller's word.
        unsafe { put_array(&names, members, count) }
    })())
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_move_member(task: u32, member: u32, after: u32) -> i32 {
    tell(task, |space| space.port_move_member(Name(member), Name(after)))
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_insert_member(task: u32, name: u32, set: u32) -> i32 {
    tell(task, |space| space.port_insert_member(Name(name), Name(set)))
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_extract_member(task: u32, name: u32, set: u32) -> i32 {
    tell(task, |space| space.port_extract_member(Name(name), Name(set)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_request_notification(
    task: u32,
    name: u32,
    id: i32,
    sync: u32,
    notify: u32,
    notify_poly: u32,
    previous: *mut u32,
) -> i32 {
    let disposition = match Disposition::from_raw(notify_poly as u8) {
        Some(disposition) if notify_poly < 32 => disposition,
        // Of no right, any disposition.
        _ if notify == 0 => Disposition::MakeSendOnce,
        _ => return Code::KERN_INVALID_CAPABILITY.0 as i32,
    };
    // SAFETY: passed on.
    unsafe {
        ask(task, previous, |space| space.port_request_notification(Name(name), id, sync, Name(notify), disposition).map(|name| name.0))
    }
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_insert_right(task: u32, name: u32, right: u32, disposition: u32) -> i32 {
    tell(task, |space| space.port_insert_right_raw(Name(name), Name(right), disposition))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_extract_right(task: u32, name: u32, disposition: u32, right: *mut u32, kind: *mut u32) -> i32 {
    let disposition = u8::try_from(disposition).ok().and_then(Disposition::from_raw).ok_or(Code::KERN_INVALID_VALUE);
    code((|| {
        check_out(right)?;
        check_out(kind)?;
        let (name, as_what) = space_of(task)?.port_extract_right(Name(name), disposition?)?;
        // SAFETY: the caller's word.
        unsafe { put(right, name.0).and_then(|()| put(kind, as_what)) }
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_get_attributes(task: u32, name: u32, flavor: i32, info: *mut i32, count: *mut u32) -> i32 {
    code((|| {
        check_out(info)?;
        check_out(count)?;
        // SAFETY: not null, so how much room the caller has.
        let room = unsafe { count.read_unaligned() } as usize;
        let bytes = space_of(task)?.port_get_attributes(Name(name), flavor as u32)?;
        if bytes.len() > 4 * room {
            return Err(Code::KERN_FAILURE);
        }
        // SAFETY: the caller's word: room for so many integers.
        unsafe {
            info.cast::<u8>().copy_from(bytes.as_ptr(), bytes.len());
            put(count, (bytes.len() / 4) as u32)
        }
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_set_attributes(task: u32, name: u32, flavor: i32, info: *const i32, count: u32) -> i32 {
    // A port's attributes are few; what is longer is none.
    let count = count.min(64) as usize;
    tell(task, |space| {
        check_out(info)?;
        // SAFETY: the caller's word: so many integers.
        let bytes = unsafe { std::slice::from_raw_parts(info.cast::<u8>(), 4 * count) };
        space.port_set_attributes(Name(name), flavor as u32, bytes)
    })
}

/// Of the flavours that can be asserted there is one here: the guard, which is looked at by exchanging it for itself.
#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_assert_attributes(task: u32, name: u32, wanted: i32, info: *const i32, count: u32) -> i32 {
    tell(task, |space| {
        check_out(info)?;
        if wanted as u32 != flavor::GUARD_INFO {
            return Err(Code::KERN_INVALID_ARGUMENT);
        }
        if count != 2 {
            return Err(Code::KERN_FAILURE);
        }
        // SAFETY: two integers.
        let guard = unsafe { info.cast::<u64>().read_unaligned() };
        space.port_assert_guard(Name(name), guard)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_get_context(task: u32, name: u32, context: *mut u64) -> i32 {
    // SAFETY: passed on.
    unsafe { ask(task, context, |space| space.port_get_context(Name(name))) }
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_set_context(task: u32, name: u32, context: u64) -> i32 {
    tell(task, |space| space.port_set_context(Name(name), context))
}

/// What the port stands for, by XNU's numbers; its own number in place of an address.
#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_kobject(task: u32, name: u32, kind: *mut u32, address: *mut u64) -> i32 {
    code((|| {
        check_out(kind)?;
        check_out(address)?;
        let (what, object) = space_of(task)?.port_kobject(Name(name))?;
        // SAFETY: the caller's word.
        unsafe { put(kind, kobject::ikot(what)).and_then(|()| put(address, object)) }
    })())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_kernel_object(task: u32, name: u32, kind: *mut u32, address: *mut u32) -> i32 {
    let mut object = 0;
    // SAFETY: passed on.
    let code = unsafe { mach_port_kobject(task, name, kind, &raw mut object) };
    if code == 0 && !address.is_null() {
        // SAFETY: not null, so room.
        unsafe { address.write_unaligned(object as u32) };
    }
    code
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_get_srights(task: u32, name: u32, count: *mut u32) -> i32 {
    // SAFETY: passed on.
    unsafe { ask(task, count, |space| space.port_get_srights(Name(name))) }
}

/// `mach_port_options_t`.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
struct PortOptions {
    flags: u32,
    qlimit: u32,
    reserved: [u64; 2],
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_construct(task: u32, options: *const PortOptions, context: u64, name: *mut u32) -> i32 {
    // SAFETY: passed on.
    unsafe {
        ask(task, name, |space| {
            check_out(options)?;
            let options = options.read_unaligned();
            space.port_construct(ConstructFlags::from_bits_retain(options.flags), options.qlimit, context).map(|name| name.0)
        })
    }
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_destruct(task: u32, name: u32, srdelta: i32, guard: u64) -> i32 {
    tell(task, |space| space.port_destruct(Name(name), srdelta, guard))
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_guard(task: u32, name: u32, guard: u64, strict: c_int) -> i32 {
    tell(task, |space| space.port_guard(Name(name), guard, u32::from(strict != 0)))
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_guard_with_flags(task: u32, name: u32, guard: u64, flags: u64) -> i32 {
    let flags = u32::try_from(flags).map_err(|_| Code::KERN_INVALID_ARGUMENT);
    tell(task, |space| space.port_guard(Name(name), guard, flags?))
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_unguard(task: u32, name: u32, guard: u64) -> i32 {
    tell(task, |space| space.port_unguard(Name(name), guard))
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_swap_guard(task: u32, name: u32, old: u64, new: u64) -> i32 {
    tell(task, |space| space.port_swap_guard(Name(name), old, new))
}

/// `ipc_info_space_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct InfoSpace {
    genno_mask: u32,
    table_size: u32,
    table_next: u32,
    tree_size: u32,
    tree_small: u32,
    tree_hash: u32,
}

/// `ipc_info_name_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct InfoName {
    name: u32,
    collision: u32,
    kind: u32,
    urefs: u32,
    object: u32,
    next: u32,
    hash: u32,
}

impl InfoName {
    fn of(row: &SpaceRow) -> InfoName {
        InfoName { name: row.name.0, collision: 0, kind: row.kind, urefs: row.urefs, object: row.object as u32, next: 0, hash: 0 }
    }
}

/// There is no tree of names: it comes empty.
#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_space_info(
    task: u32,
    info: *mut InfoSpace,
    table: *mut *mut InfoName,
    table_count: *mut u32,
    tree: *mut *mut u8,
    tree_count: *mut u32,
) -> i32 {
    code((|| {
        check_out(info)?;
        check_out(table)?;
        check_out(tree)?;
        [table_count, tree_count].into_iter().try_for_each(|at| check_out(at))?;
        let rows: Vec<InfoName> = space_of(task)?.port_space_info()?.iter().map(InfoName::of).collect();
        let size = rows.len() as u32;
        // SAFETY: the caller's word.
        unsafe {
            let space = InfoSpace { genno_mask: 0xff, table_size: size, table_next: size, tree_size: 0, tree_small: 0, tree_hash: 0 };
            put(info, space)?;
            put_array(&rows, table, table_count)?;
            put_array::<u8>(&[], tree, tree_count)
        }
    })())
}

/// `ipc_info_space_basic_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct InfoSpaceBasic {
    genno_mask: u32,
    table_size: u32,
    table_next: u32,
    table_inuse: u32,
    reserved: [u32; 2],
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_space_basic_info(task: u32, info: *mut InfoSpaceBasic) -> i32 {
    // SAFETY: passed on.
    unsafe {
        ask(task, info, |space| {
            let used = space.port_space_info()?.len() as u32;
            Ok(InfoSpaceBasic { genno_mask: 0xff, table_size: used, table_next: used, table_inuse: used, reserved: [0; 2] })
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mach_port_dnrequest_info(task: u32, name: u32, total: *mut u32, used: *mut u32) -> i32 {
    code((|| {
        check_out(total)?;
        check_out(used)?;
        let bytes = space_of(task)?.port_get_attributes(Name(name), flavor::DNREQUESTS_SIZE)?;
        let count = bytes.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
        // SAFETY: the caller's word.
        unsafe { put(total, count).and_then(|()| put(used, count)) }
    })())
}

/// Obsolete in XNU: no effect.
#[unsafe(no_mangle)]
extern "C" fn task_set_port_space(_task: u32, _entries: c_int) -> i32 {
    0
}

/// There are no service ports.
#[unsafe(no_mangle)]
extern "C" fn mach_port_get_service_port_info(_task: u32, _name: u32, _info: *mut u8) -> i32 {
    Code::KERN_NOT_SUPPORTED.0 as i32
}

#[unsafe(no_mangle)]
extern "C" fn mach_port_is_connection_for_service(_task: u32, _connection: u32, _service: u32, _filter: *mut u64) -> i32 {
    Code::KERN_NOT_SUPPORTED.0 as i32
}

//! Subsystem `task` (3400).

use umach_abi::Code;
use umach_abi::limits::REGISTERED_PORTS;
use umach_abi::task_info::{self, Usage};

use super::super::Core;
use super::super::destroy::Work;
use super::super::exception::Alike;
use super::super::mail::Right;
use super::super::tasks::may_set_special;
use super::super::usage::AskedUsage;
use super::reply::Reply;
use super::routine::Target::{AnyTask, Task};
use super::routine::{Routine, Want};
use super::{Call, sendable};

/// Words of `task_info_t`.
const INFO_MAX: u32 = 90;

/// In XNU's order.
pub(super) const ROUTINES: &[Routine] = &[
    Routine::removed(3400, "task_create"),
    Routine::new(3401, "task_terminate", Task, 0, terminate),
    Routine::unserved(3402, "task_threads"),
    Routine::new(3403, "mach_ports_register", Task, 4, register).with(&[Want::Sends]),
    Routine::new(3404, "mach_ports_lookup", Task, 0, |core, call| {
        let registered = core.tasks[call.task.0].registered;
        let rights = registered.into_iter().map(|port| core.copy_of(port)).collect();
        Ok(Reply::default().sends(rights).word(REGISTERED_PORTS as u32))
    }),
    Routine::new(3405, "task_info", AnyTask, 8, info),
    Routine::unserved(3406, "task_set_info"),
    Routine::new(3407, "task_suspend", Task, 0, |core, call| core.task_suspend(call.task).and_then(|_| Reply::done())),
    Routine::new(3408, "task_resume", Task, 0, |core, call| core.task_resume(call.task).and_then(|_| Reply::done())),
    Routine::new(3409, "task_get_special_port", Task, 4, |core, call| {
        let port = core.special_port(call.task, call.word())?;
        let right = core.copy_of(port);
        Ok(Reply::default().send(right))
    }),
    Routine::new(3410, "task_set_special_port", Task, 4, |core, call| {
        may_set_special(call.word())?;
        let new = call.send_right(0)?;
        core.replace_bootstrap(Some(call.task), new);
        Reply::done()
    })
    .with(&[Want::Send]),
    Routine::unserved(3411, "thread_create"),
    Routine::unserved(3412, "thread_create_running"),
    Routine::new(3413, "task_set_exception_ports", Task, 12, |core, call| {
        let (mask, how, flavor, right) = (call.word(), call.word(), call.word(), call.right(0));
        core.set_exception_handlers(call.task, mask, right, how, flavor).and_then(|()| Reply::done())
    })
    .with(&[Want::Send]),
    Routine::new(3414, "task_get_exception_ports", Task, 4, |core, call| {
        let rows = core.exception_handlers(call.task, call.word())?;
        let rows = core.hold(rows);
        Ok(handlers(rows))
    }),
    Routine::new(3415, "task_swap_exception_ports", Task, 12, swap_exception_ports).with(&[Want::Send]),
    Routine::removed(3416, "lock_set_create"),
    Routine::removed(3417, "lock_set_destroy"),
    Routine::new(3418, "semaphore_create", Task, 8, |core, call| {
        let (policy, value) = (call.word(), call.int());
        let right = core.new_semaphore(call.task, policy, value)?;
        Ok(Reply::default().send(right))
    }),
    Routine::new(3419, "semaphore_destroy", Task, 0, |core, call| {
        // The right ends with the message.
        let semaphore = call.semaphore_at(core, 0)?;
        core.end_semaphore_of(call.task, semaphore);
        Reply::done()
    })
    .with(&[Want::Send]),
    Routine::unserved(3420, "task_policy_set"),
    Routine::unserved(3421, "task_policy_get"),
    Routine::removed(3422, "task_sample"),
    Routine::removed(3423, "task_policy"),
    Routine::removed(3424, "task_set_emulation"),
    Routine::removed(3425, "task_get_emulation_vector"),
    Routine::removed(3426, "task_set_emulation_vector"),
    Routine::removed(3427, "task_set_ras_pc"),
    Routine::removed(3428, "task_zone_info"),
    Routine::removed(3429, "task_assign"),
    Routine::removed(3430, "task_assign_default"),
    Routine::removed(3431, "task_get_assignment"),
    Routine::removed(3432, "task_set_policy"),
    Routine::unserved(3433, "task_get_state"),
    Routine::unserved(3434, "task_set_state"),
    Routine::unserved(3435, "task_set_phys_footprint_limit"),
    Routine::unserved(3436, "task_suspend2"),
    Routine::unserved(3437, "task_resume2"),
    Routine::unserved(3438, "task_purgable_info"),
    Routine::unserved(3439, "task_get_mach_voucher"),
    Routine::unserved(3440, "task_set_mach_voucher"),
    Routine::unserved(3441, "task_swap_mach_voucher"),
    Routine::unserved(3442, "task_generate_corpse"),
    Routine::unserved(3443, "task_map_corpse_info"),
    Routine::unserved(3444, "task_register_dyld_image_infos"),
    Routine::unserved(3445, "task_unregister_dyld_image_infos"),
    Routine::unserved(3446, "task_get_dyld_image_infos"),
    Routine::unserved(3447, "task_register_dyld_shared_cache_image_info"),
    Routine::unserved(3448, "task_register_dyld_set_dyld_state"),
    Routine::unserved(3449, "task_register_dyld_get_process_state"),
    Routine::unserved(3450, "task_map_corpse_info_64"),
    Routine::unserved(3451, "task_inspect"),
    Routine::unserved(3452, "task_get_exc_guard_behavior"),
    Routine::unserved(3453, "task_set_exc_guard_behavior"),
    Routine::removed(3454, "(none)"),
    Routine::new(3455, "mach_task_is_self", AnyTask, 0, |_, call| Ok(Reply::default().word(u32::from(call.task == call.caller)))),
    Routine::unserved(3456, "task_dyld_process_info_notify_register"),
    Routine::unserved(3457, "task_create_identity_token"),
    Routine::unserved(3458, "task_identity_token_get_task_port"),
    Routine::unserved(3459, "task_dyld_process_info_notify_deregister"),
    Routine::unserved(3460, "task_get_exception_ports_info"),
    Routine::unserved(3461, "task_test_sync_upcall"),
    Routine::unserved(3462, "task_set_corpse_forking_behavior"),
    Routine::unserved(3463, "task_test_async_upcall_propagation"),
    Routine::unserved(3464, "task_map_kcdata_object_64"),
];

/// The caller's own end waits until its request is done with: the lane is in use.
fn terminate(core: &mut Core, call: &mut Call<'_>) -> Result<Reply, Code> {
    if call.task == call.caller {
        core.work.push_front(Work::Terminate(call.task));
    } else {
        core.task_terminate(call.task);
    }
    Reply::done()
}

fn register(core: &mut Core, call: &mut Call<'_>) -> Result<Reply, Code> {
    let count = call.word() as usize;
    let rights = call.rights(0);
    let code = match rights.len() {
        given if given != count => Some(Code::MIG_TYPE_ERROR),
        given if given > REGISTERED_PORTS => Some(Code::KERN_INVALID_ARGUMENT),
        _ if rights.contains(&Right::Dead) => Some(Code::KERN_INVALID_CAPABILITY),
        _ => None,
    };
    if let Some(code) = code {
        rights.into_iter().for_each(|right| core.discard(right));
        return Err(code);
    }
    let mut new = [None; REGISTERED_PORTS];
    for (slot, right) in new.iter_mut().zip(rights) {
        *slot = sendable(right)?;
    }
    core.replace_registered(call.task, new);
    Reply::done()
}

fn swap_exception_ports(core: &mut Core, call: &mut Call<'_>) -> Result<Reply, Code> {
    let (mask, how, flavor) = (call.word(), call.word(), call.word());
    let rows = core.exception_handlers(call.task, mask)?;
    let before = core.hold(rows);
    let right = call.right(0);
    match core.set_exception_handlers(call.task, mask, right, how, flavor) {
        Ok(()) => Ok(handlers(before)),
        Err(code) => {
            before.into_iter().for_each(|(_, right)| core.discard(right));
            Err(code)
        }
    }
}

/// The arrays of `task_get_exception_ports`. The one of ports is as long as it can be, as MIG has it.
fn handlers(rows: Vec<(Alike, Right)>) -> Reply {
    const PORTS: usize = 32;
    let count = rows.len();
    let words = |of: fn(&Alike) -> u32| rows.iter().flat_map(|(row, _)| of(row).to_le_bytes()).collect::<Vec<u8>>();
    let (masks, behaviors) = (words(|row| row.mask), words(|row| row.handler.behavior));
    let flavors = words(|row| row.handler.flavor);
    let reply = Reply::default().words(&masks).bytes(&behaviors).bytes(&flavors);
    let rights = rows.into_iter().map(|(_, right)| right).chain((count..PORTS).map(|_| Right::Null));
    rights.fold(reply, Reply::send)
}

/// The answer comes when Linux has been asked, if it has to be.
fn info(core: &mut Core, call: &mut Call<'_>) -> Result<Reply, Code> {
    let (flavor, room) = (call.word(), call.word().min(INFO_MAX) as usize);
    let known = core.task_words(call.task, flavor, room, &Usage::default())?;
    if !task_info::asks_linux(flavor) {
        return Ok(array(known));
    }
    let reply = std::mem::replace(call.reply, Right::Null);
    core.ask_usage(AskedUsage { caller: call.caller, task: call.task, flavor, room, reply, id: call.id });
    Err(Code::MIG_NO_REPLY)
}

fn array(words: Vec<u32>) -> Reply {
    Reply::default().words(&words.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<_>>())
}

impl Core {
    pub(in super::super) fn answer_usage(&mut self, asked: AskedUsage, told: Result<Vec<u32>, Code>) {
        self.answer_call(asked.caller, asked.reply, asked.id, told.map(array));
    }
}

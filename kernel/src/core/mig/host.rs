//! Subsystem `mach_host` (200).

use umach_abi::Code;

use super::super::Core;
use super::super::clock::Clock;
use super::Call;
use super::reply::Reply;
use super::routine::Routine;
use super::routine::Target::Host;

const BASIC_INFO: u32 = 1;

/// In XNU's order.
pub(super) const ROUTINES: &[Routine] = &[
    Routine::new(200, "host_info", Host, 8, info),
    Routine::new(201, "host_kernel_version", Host, 0, |_, _| Ok(Reply::default().string(concat!("umach ", env!("CARGO_PKG_VERSION"))))),
    Routine::new(202, "_host_page_size", Host, 0, |core, _| Ok(Reply::default().long(core.config.machine.page_size))),
    Routine::unserved(203, "mach_memory_object_memory_entry"),
    Routine::unserved(204, "host_processor_info"),
    Routine::unserved(205, "host_get_io_main"),
    Routine::new(206, "host_get_clock_service", Host, 4, |core, call| {
        let clock = match call.word() {
            0 => Clock::System,
            1 => Clock::Calendar,
            _ => return Err(Code::KERN_INVALID_ARGUMENT),
        };
        let right = core.copy_of(Some(core.clock_port(clock)));
        Ok(Reply::default().send(right))
    }),
    Routine::unserved(207, "kmod_get_info"),
    Routine::removed(208, "host_zone_info"),
    Routine::unserved(209, "host_virtual_physical_table_info"),
    Routine::removed(210, "host_ipc_hash_info"),
    Routine::removed(211, "enable_bluebox"),
    Routine::removed(212, "disable_bluebox"),
    Routine::unserved(213, "processor_set_default"),
    Routine::removed(214, "processor_set_create"),
    Routine::unserved(215, "mach_memory_object_memory_entry_64"),
    Routine::unserved(216, "host_statistics"),
    Routine::unserved(217, "host_request_notification"),
    Routine::unserved(218, "host_lockgroup_info"),
    Routine::unserved(219, "host_statistics64"),
    Routine::unserved(220, "mach_zone_info"),
    Routine::unserved(221, "mach_zone_force_gc"),
    Routine::unserved(222, "host_create_mach_voucher"),
    Routine::removed(223, "host_register_mach_voucher_attr_manager"),
    Routine::removed(224, "host_register_well_known_mach_voucher_attr_manager"),
    Routine::unserved(225, "host_set_atm_diagnostic_flag"),
    Routine::removed(226, "host_get_atm_diagnostic_flag"),
    Routine::unserved(227, "mach_memory_info"),
    Routine::unserved(228, "host_set_multiuser_config_flags"),
    Routine::removed(229, "host_get_multiuser_config_flags"),
    Routine::removed(230, "host_check_multiuser_mode"),
    Routine::unserved(231, "mach_zone_info_for_zone"),
    Routine::unserved(232, "mach_zone_info_for_largest_zone"),
    Routine::unserved(233, "mach_zone_get_zlog_zones"),
    Routine::unserved(234, "mach_zone_get_btlog_records"),
];

fn info(core: &mut Core, call: &mut Call<'_>) -> Result<Reply, Code> {
    const X86: u32 = 7;
    const ARM: u32 = 12;
    const ABI64: u32 = 0x0100_0000;
    let (flavor, room) = (call.word(), call.word() as usize);
    if flavor != BASIC_INFO {
        return Err(Code::KERN_INVALID_ARGUMENT);
    }
    let machine = core.config.machine;
    let cpu = if cfg!(target_arch = "x86_64") { X86 | ABI64 } else { ARM | ABI64 };
    let (cpus, memory) = (machine.cpus, machine.memory);
    let low = u32::try_from(memory).unwrap_or(i32::MAX as u32);
    let words = [cpus, cpus, low, cpu, 0, 0, cpus, cpus, cpus, cpus, memory as u32, (memory >> 32) as u32];
    if words.len() > room {
        return Err(Code::KERN_FAILURE);
    }
    Ok(Reply::default().words(&words.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<_>>()))
}

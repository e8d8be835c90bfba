//! Sizes, offsets and numbers of the C interface against the tables: one list, written out as `_Static_assert`s.

mod common;

use std::fmt::Write;
use std::fs;

use common::{check, compilers, cpp_compilers};
use umach_abi::error::KNOWN;

/// A structure: its name, its size, and fields with their offsets.
type Layout = (&'static str, usize, &'static [(&'static str, usize)]);

const LAYOUTS: &[Layout] = &[
    (
        "mach_msg_header_t",
        24,
        &[("msgh_bits", 0), ("msgh_size", 4), ("msgh_remote_port", 8), ("msgh_local_port", 12), ("msgh_voucher_port", 16), ("msgh_id", 20)],
    ),
    ("mach_msg_body_t", 4, &[("msgh_descriptor_count", 0)]),
    ("mach_msg_base_t", 28, &[("header", 0), ("body", 24)]),
    ("mach_msg_type_descriptor_t", 12, &[]),
    ("mach_msg_port_descriptor_t", 12, &[("name", 0), ("pad1", 4)]),
    ("mach_msg_ool_descriptor_t", 16, &[("address", 0), ("size", 12)]),
    ("mach_msg_ool_descriptor64_t", 16, &[("address", 0), ("size", 12)]),
    ("mach_msg_ool_ports_descriptor_t", 16, &[("address", 0), ("count", 12)]),
    ("mach_msg_ool_ports_descriptor64_t", 16, &[("address", 0), ("count", 12)]),
    ("mach_msg_guarded_port_descriptor_t", 16, &[("context", 0), ("name", 12)]),
    ("umach_msg_file_descriptor_t", 16, &[("fd", 0), ("pad2", 12)]),
    ("mach_msg_descriptor_t", 16, &[]),
    ("mach_msg_trailer_t", 8, &[("msgh_trailer_type", 0), ("msgh_trailer_size", 4)]),
    ("mach_msg_seqno_trailer_t", 12, &[("msgh_seqno", 8)]),
    ("mach_msg_security_trailer_t", 20, &[("msgh_sender", 12)]),
    ("mach_msg_audit_trailer_t", 52, &[("msgh_sender", 12), ("msgh_audit", 20)]),
    ("mach_msg_context_trailer_t", 60, &[("msgh_audit", 20), ("msgh_context", 52)]),
    ("mach_msg_mac_trailer_t", 68, &[("msgh_context", 52), ("msgh_ad", 60), ("msgh_labels", 64)]),
    ("mach_msg_max_trailer_t", 68, &[]),
    ("mach_msg_format_0_trailer_t", 20, &[]),
    ("security_token_t", 8, &[]),
    ("audit_token_t", 32, &[]),
    ("mach_msg_empty_send_t", 24, &[]),
    ("mach_msg_empty_rcv_t", 32, &[]),
    (
        "NDR_record_t",
        8,
        &[("mig_vers", 0), ("if_vers", 1), ("mig_encoding", 3), ("int_rep", 4), ("char_rep", 5), ("float_rep", 6), ("reserved2", 7)],
    ),
    ("mig_reply_error_t", 36, &[("Head", 0), ("NDR", 24), ("RetCode", 32)]),
    ("thread_basic_info_data_t", 40, &[("user_time", 0), ("system_time", 8), ("cpu_usage", 16), ("sleep_time", 36)]),
    ("thread_identifier_info_data_t", 24, &[("thread_id", 0), ("thread_handle", 8), ("dispatch_qaddr", 16)]),
    (
        "thread_extended_info_data_t",
        112,
        &[("pth_user_time", 0), ("pth_cpu_usage", 16), ("pth_run_state", 24), ("pth_maxpriority", 44), ("pth_name", 48)],
    ),
    ("thread_time_constraint_policy_data_t", 16, &[("period", 0), ("preemptible", 12)]),
    ("mach_timespec_t", 8, &[("tv_sec", 0), ("tv_nsec", 4)]),
    #[cfg(target_arch = "x86_64")]
    ("x86_thread_state64_t", 168, &[("__rax", 0), ("__rsp", 56), ("__r8", 64), ("__rip", 128), ("__rflags", 136), ("__gs", 160)]),
    #[cfg(target_arch = "x86_64")]
    ("x86_exception_state64_t", 16, &[("__cpu", 2), ("__err", 4), ("__faultvaddr", 8)]),
    #[cfg(target_arch = "x86_64")]
    ("x86_thread_state_t", 176, &[("tsh", 0), ("uts", 8)]),
    ("task_absolutetime_info_data_t", 32, &[("threads_user", 16)]),
    (
        "task_vm_info_data_t",
        168,
        &[("page_size", 12), ("internal", 48), ("compressed", 120), ("phys_footprint", 144), ("max_address", 160)],
    ),
    ("vm_region_basic_info_data_64_t", 36, &[("offset", 20), ("behavior", 28), ("user_wired_count", 32)]),
    ("vm_region_extended_info_data_t", 36, &[("user_tag", 4), ("ref_count", 24), ("share_mode", 31), ("pages_reusable", 32)]),
    ("vm_region_top_info_data_t", 20, &[("private_pages_resident", 8), ("share_mode", 16)]),
    (
        "vm_region_submap_info_data_64_t",
        76,
        &[
            ("offset", 12),
            ("user_tag", 20),
            ("share_mode", 47),
            ("is_submap", 48),
            ("object_id", 56),
            ("pages_reusable", 64),
            ("object_id_full", 68),
        ],
    ),
    ("mach_port_deleted_notification_t", 56, &[("NDR", 24), ("not_port", 32), ("trailer", 36)]),
    ("mach_dead_name_notification_t", 56, &[("NDR", 24), ("not_port", 32), ("trailer", 36)]),
    ("mach_send_possible_notification_t", 56, &[("NDR", 24), ("not_port", 32), ("trailer", 36)]),
    ("mach_no_senders_notification_t", 56, &[("NDR", 24), ("not_count", 32), ("trailer", 36)]),
    ("mach_port_destroyed_notification_t", 60, &[("not_body", 24), ("not_port", 28), ("trailer", 40)]),
    ("mach_send_once_notification_t", 44, &[("trailer", 24)]),
    (
        "mach_port_status_t",
        40,
        &[
            ("mps_pset", 0),
            ("mps_seqno", 4),
            ("mps_mscount", 8),
            ("mps_qlimit", 12),
            ("mps_msgcount", 16),
            ("mps_sorights", 20),
            ("mps_srights", 24),
            ("mps_pdrequest", 28),
            ("mps_nsrequest", 32),
            ("mps_flags", 36),
        ],
    ),
    ("mach_port_limits_t", 4, &[("mpl_qlimit", 0)]),
    ("mach_port_options_t", 24, &[("flags", 0), ("mpl", 4), ("reserved", 8)]),
    ("mach_port_info_ext_t", 68, &[("mpie_status", 0), ("mpie_boost_cnt", 40)]),
    ("mach_port_guard_info_t", 8, &[]),
    ("mach_msg_vector_t", 24, &[("msgv_data", 0), ("msgv_rcv_addr", 8), ("msgv_send_size", 16), ("msgv_rcv_size", 20)]),
    ("mach_msg_aux_header_t", 8, &[("msgdh_size", 0), ("msgdh_reserved", 4)]),
    ("mach_port_qos_t", 8, &[("len", 4)]),
    ("ipc_info_space_t", 24, &[]),
    ("ipc_info_name_t", 28, &[("iin_name", 0), ("iin_type", 8), ("iin_urefs", 12)]),
    ("vm_region_basic_info_data_64_t", 36, &[("offset", 20), ("behavior", 28), ("user_wired_count", 32)]),
    ("vm_region_basic_info_data_t", 32, &[("offset", 20), ("behavior", 24)]),
    ("mach_timebase_info_data_t", 8, &[("numer", 0), ("denom", 4)]),
    ("kern_return_t", 4, &[]),
    ("mach_port_t", 4, &[]),
    ("mach_port_name_t", 4, &[]),
    ("natural_t", 4, &[]),
    ("integer_t", 4, &[]),
    ("boolean_t", 4, &[]),
    ("vm_address_t", 8, &[]),
    ("vm_size_t", 8, &[]),
    ("mach_vm_address_t", 8, &[]),
    ("mach_port_context_t", 8, &[]),
];

/// Numbers that are not codes.
const NUMBERS: &[(&str, u64)] = &[
    ("IKOT_TASK_CONTROL", 2),
    ("IKOT_HOST", 3),
    ("IKOT_HOST_PRIV", 4),
    ("IKOT_TASK_NAME", 20),
    ("IKOT_SEMAPHORE", 23),
    ("IKOT_CLOCK", 25),
    ("IKOT_NAMED_ENTRY", 28),
    ("MACH_MSGV_IDX_AUX", 1),
    ("MACH_MSGV_MAX_COUNT", 2),
    ("MACH_PORT_NULL", 0),
    ("MACH_PORT_DEAD", 0xffff_ffff),
    ("MACH_PORT_RIGHT_SEND", 0),
    ("MACH_PORT_RIGHT_RECEIVE", 1),
    ("MACH_PORT_RIGHT_SEND_ONCE", 2),
    ("MACH_PORT_RIGHT_PORT_SET", 3),
    ("MACH_PORT_RIGHT_DEAD_NAME", 4),
    ("MACH_PORT_TYPE_SEND", 0x10000),
    ("MACH_PORT_TYPE_RECEIVE", 0x20000),
    ("MACH_PORT_TYPE_SEND_ONCE", 0x40000),
    ("MACH_PORT_TYPE_PORT_SET", 0x80000),
    ("MACH_PORT_TYPE_DEAD_NAME", 0x10_0000),
    ("MACH_PORT_TYPE_DNREQUEST", 0x8000_0000),
    ("MACH_PORT_TYPE_SPREQUEST", 0x4000_0000),
    ("MACH_PORT_TYPE_SPREQUEST_DELAYED", 0x2000_0000),
    ("MACH_PORT_TYPE_SEND_RECEIVE", 0x3_0000),
    ("MACH_PORT_TYPE_PORT_RIGHTS", 0x7_0000),
    ("MACH_PORT_TYPE_PORT_OR_DEAD", 0x17_0000),
    ("MACH_PORT_TYPE_ALL_RIGHTS", 0x1f_0000),
    ("MACH_MSG_TYPE_MOVE_RECEIVE", 16),
    ("MACH_MSG_TYPE_MOVE_SEND", 17),
    ("MACH_MSG_TYPE_MOVE_SEND_ONCE", 18),
    ("MACH_MSG_TYPE_COPY_SEND", 19),
    ("MACH_MSG_TYPE_MAKE_SEND", 20),
    ("MACH_MSG_TYPE_MAKE_SEND_ONCE", 21),
    ("MACH_MSG_TYPE_PORT_RECEIVE", 16),
    ("MACH_MSG_TYPE_PORT_SEND", 17),
    ("MACH_MSG_TYPE_PORT_SEND_ONCE", 18),
    ("MACH_PORT_QLIMIT_DEFAULT", 5),
    ("MACH_PORT_QLIMIT_MAX", 1024),
    ("MACH_SEND_MSG", 0x1),
    ("MACH_RCV_MSG", 0x2),
    ("MACH_RCV_LARGE", 0x4),
    ("MACH_RCV_LARGE_IDENTITY", 0x8),
    ("MACH_SEND_TIMEOUT", 0x10),
    ("MACH_SEND_OVERRIDE", 0x20),
    ("MACH_SEND_INTERRUPT", 0x40),
    ("MACH_SEND_NOTIFY", 0x80),
    ("MACH_RCV_TIMEOUT", 0x100),
    ("MACH_MSG_STRICT_REPLY", 0x200),
    ("MACH_RCV_INTERRUPT", 0x400),
    ("MACH_RCV_VOUCHER", 0x800),
    ("MACH_RCV_GUARDED_DESC", 0x1000),
    ("MACH_RCV_SYNC_WAIT", 0x4000),
    ("MACH_RCV_SYNC_PEEK", 0x8000),
    ("MACH_SEND_FILTER_NONFATAL", 0x10000),
    ("MACH_SEND_TRAILER", 0x20000),
    ("MACH_SEND_NOIMPORTANCE", 0x40000),
    ("MACH_SEND_SYNC_OVERRIDE", 0x10_0000),
    ("MACH_SEND_PROPAGATE_QOS", 0x20_0000),
    ("MACH_SEND_SYNC_BOOTSTRAP_CHECKIN", 0x80_0000),
    ("MACH_RCV_OVERWRITE", 0),
    ("MACH_RCV_NOTIFY", 0),
    ("MACH64_MSG_VECTOR", 1 << 32),
    ("MACH64_SEND_KOBJECT_CALL", 2 << 32),
    ("MACH64_SEND_MQ_CALL", 4 << 32),
    ("MACH64_SEND_ANY", 8 << 32),
    ("MACH64_SEND_DK_CALL", 16 << 32),
    ("MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT)", 3 << 24),
    ("MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_CTX)", 4 << 24),
    ("MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AV)", 7 << 24),
    ("REQUESTED_TRAILER_SIZE(MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_SENDER))", 20),
    ("REQUESTED_TRAILER_SIZE(MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT))", 52),
    ("MACH_MSGH_BITS_COMPLEX", 0x8000_0000),
    ("MACH_MSGH_BITS_USER", 0x801f_1f1f),
    ("MACH_MSGH_BITS_REMOTE_MASK", 0x1f),
    ("MACH_MSGH_BITS_LOCAL_MASK", 0x1f00),
    ("MACH_MSGH_BITS_VOUCHER_MASK", 0x1f_0000),
    ("MACH_MSGH_BITS_SET(19, 21, 17, MACH_MSGH_BITS_COMPLEX)", 0x8011_1513),
    ("MACH_MSG_PORT_DESCRIPTOR", 0),
    ("MACH_MSG_OOL_DESCRIPTOR", 1),
    ("MACH_MSG_OOL_PORTS_DESCRIPTOR", 2),
    ("MACH_MSG_OOL_VOLATILE_DESCRIPTOR", 3),
    ("MACH_MSG_GUARDED_PORT_DESCRIPTOR", 4),
    ("MACH_MSG_PHYSICAL_COPY", 0),
    ("MACH_MSG_VIRTUAL_COPY", 1),
    ("MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE", 1),
    ("MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND", 2),
    ("MACH_MSG_MASK", 0x3e00),
    ("MACH_MSG_IPC_SPACE", 0x2000),
    ("MACH_MSG_VM_SPACE", 0x1000),
    ("MACH_MSG_IPC_KERNEL", 0x800),
    ("MACH_MSG_VM_KERNEL", 0x400),
    ("MACH_NOTIFY_PORT_DELETED", 65),
    ("MACH_NOTIFY_SEND_POSSIBLE", 66),
    ("MACH_NOTIFY_PORT_DESTROYED", 69),
    ("MACH_NOTIFY_NO_SENDERS", 70),
    ("MACH_NOTIFY_SEND_ONCE", 71),
    ("MACH_NOTIFY_DEAD_NAME", 72),
    ("SYNC_POLICY_FIFO", 0),
    ("SYNC_POLICY_REVERSED", 2),
    ("SYSTEM_CLOCK", 0),
    ("CALENDAR_CLOCK", 1),
    ("EXC_BAD_ACCESS", 1),
    ("EXC_BAD_INSTRUCTION", 2),
    ("EXC_ARITHMETIC", 3),
    ("EXC_BREAKPOINT", 6),
    ("EXC_CRASH", 10),
    ("EXC_CORPSE_NOTIFY", 13),
    ("EXC_TYPES_COUNT", 14),
    ("EXC_MASK_ALL", 0x1bfe),
    ("EXCEPTION_DEFAULT", 1),
    ("EXCEPTION_STATE_IDENTITY", 3),
    ("MACH_EXCEPTION_CODES", 0x8000_0000),
    ("MACH_EXCEPTION_MASK", 0xe000_0000),
    ("MACH_PORT_LIMITS_INFO", 1),
    ("MACH_PORT_RECEIVE_STATUS", 2),
    ("MACH_PORT_DNREQUESTS_SIZE", 3),
    ("MACH_PORT_TEMPOWNER", 4),
    ("MACH_PORT_IMPORTANCE_RECEIVER", 5),
    ("MACH_PORT_DENAP_RECEIVER", 6),
    ("MACH_PORT_INFO_EXT", 7),
    ("MACH_PORT_GUARD_INFO", 8),
    ("MACH_PORT_SERVICE_THROTTLED", 9),
    ("MACH_PORT_RECEIVE_STATUS_COUNT", 10),
    ("MACH_PORT_INFO_EXT_COUNT", 17),
    ("MPO_CONTEXT_AS_GUARD", 1),
    ("MPO_QLIMIT", 2),
    ("MPO_TEMPOWNER", 4),
    ("MPO_IMPORTANCE_RECEIVER", 8),
    ("MPO_INSERT_SEND_RIGHT", 0x10),
    ("MPO_STRICT", 0x20),
    ("MPO_DENAP_RECEIVER", 0x40),
    ("MPO_IMMOVABLE_RECEIVE", 0x80),
    ("MPO_FILTER_MSG", 0x100),
    ("MPO_TG_BLOCK_TRACKING", 0x200),
    ("MPO_SERVICE_PORT", 0x400),
    ("MPO_CONNECTION_PORT", 0x800),
    ("MPO_REPLY_PORT", 0x1000),
    ("MPO_ENFORCE_REPLY_PORT_SEMANTICS", 0x2000),
    ("MPO_PROVISIONAL_REPLY_PORT", 0x4000),
    ("MPO_EXCEPTION_PORT", 0x8000),
    ("MPG_STRICT", 1),
    ("MPG_IMMOVABLE_RECEIVE", 2),
    ("TASK_KERNEL_PORT", 1),
    ("TASK_HOST_PORT", 2),
    ("TASK_NAME_PORT", 3),
    ("TASK_BOOTSTRAP_PORT", 4),
    ("TASK_INSPECT_PORT", 5),
    ("TASK_READ_PORT", 6),
    ("TASK_ACCESS_PORT", 9),
    ("TASK_DEBUG_CONTROL_PORT", 10),
    ("TASK_RESOURCE_NOTIFY_PORT", 11),
    ("TASK_PORT_REGISTER_MAX", 3),
    ("BOOTSTRAP_MAX_NAME_LEN", 128),
    ("VM_PROT_READ", 1),
    ("VM_PROT_WRITE", 2),
    ("VM_PROT_EXECUTE", 4),
    ("VM_INHERIT_SHARE", 0),
    ("VM_INHERIT_COPY", 1),
    ("VM_INHERIT_NONE", 2),
    ("VM_FLAGS_ANYWHERE", 1),
];

fn asserts(keyword: &str) -> String {
    let mut text =
        "#include <mach/mach.h>\n#include <mach/mach_time.h>\n#include <mach/mach_vm.h>\n#include <mach/semaphore.h>\n#include <servers/bootstrap.h>\n#include \
                    <stddef.h>\n#define SAME(a, b) "
            .to_owned();
    writeln!(text, "{keyword}((a) == (b), #a)").unwrap();
    for (name, size, fields) in LAYOUTS {
        writeln!(text, "SAME(sizeof({name}), {size});").unwrap();
        for (field, offset) in *fields {
            writeln!(text, "SAME(offsetof({name}, {field}), {offset});").unwrap();
        }
    }
    for (name, value) in NUMBERS {
        writeln!(text, "SAME((unsigned long)({name}), {value:#x}ul);").unwrap();
    }
    for (code, known) in KNOWN {
        writeln!(text, "SAME((unsigned)({}), {:#x}u);", known.name, code.0).unwrap();
    }
    text
}

#[test]
fn layouts_and_numbers_are_those_of_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let (c, cpp) = (folder.path().join("layouts.c"), folder.path().join("layouts.cc"));
    fs::write(&c, asserts("_Static_assert")).unwrap();
    fs::write(&cpp, asserts("static_assert")).unwrap();
    // C99 has no assertions of its own; compilers take them as an extension.
    compilers().iter().for_each(|compiler| ["-std=gnu99", "-std=c11"].iter().for_each(|std| check_loosely(compiler, std, &c)));
    cpp_compilers().iter().for_each(|compiler| check_loosely(compiler, "-std=c++11", &cpp));
}

fn check_loosely(compiler: &str, std: &str, source: &std::path::Path) {
    check(compiler, &[std, "-Wno-pedantic", "-Wno-c11-extensions"], source);
}

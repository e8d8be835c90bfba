//! Section 1.11: calls as messages to the kernel's own ports, and what lives at such ports.

use super::{Section, different, elsewhere, held};

pub(super) const KERNEL_PORTS: Section = Section {
    number: (1, 11),
    title: "The kernel's own ports: calls as messages",
    rows: &[
        held("mach_port 3200 to 3242: names and references", &["s1_11_names_and_references"]),
        held("… insert_right, extract_right, get_srights: rights travel in the messages", &["s1_11_rights_in_and_out"]),
        held("… attributes, guards, context, assert_attributes, kobject", &["s1_11_attributes_guards_and_context"]),
        held("… sets; names, space_info, get_set_status with their arrays out of line", &["s1_11_sets_and_listings"]),
        held("… request_notification, dnrequest_info, peek", &["s1_11_notifications_and_peek"]),
        held("task 3400: special and registered ports, info with memory and times, is_self", &["s1_11_task"]),
        held("… suspend, resume, terminate", &["s1_11_other_tasks"]),
        held("… task_set, get and swap_exception_ports: 32 descriptors, arrays behind them", &["s1_11_exception_ports"]),
        held("mach_host 200: info, version, page size, clocks; clock 1000: time and resolution", &["s1_11_host_and_clock"]),
        elsewhere("clock 1002: an alarm is a message at its time", "the C interface's `alarms_by_message`"),
        held("task 3418, 3419 and semaphore 617200: create, destroy, signal, signal_all", &["s1_11_semaphore"]),
        different(
            "semaphore 617202 to 617206: waiting as a message",
            "KERN_NOT_SUPPORTED: a thread waits by a request, as by a trap in X; a message does not wait",
            &["s1_11_semaphore"],
        ),
        held("Sizes and descriptors before meaning: BAD_ARGUMENTS, then TYPE_ERROR", &["s1_11_malformed_requests"]),
        held(
            "X's ids that cannot be served: KERN_NOT_SUPPORTED; ids of nobody's, or of what X has removed: BAD_ID; no reply port, no answer",
            &["s1_11_what_is_not_served"],
        ),
        held("Rights of a request that fails end with it", &["s1_11_failed_requests_keep_no_rights"]),
        held("A reply that finds no room is lost, and keeps nobody waiting", &["s1_11_replies_that_find_no_room"]),
        different(
            "Listings of any length",
            "KERN_RESOURCE_SHORTAGE above 4 MiB, for the kernel process does nothing else meanwhile; the calls of the library go page by page",
            &["s1_11_sets_and_listings"],
        ),
        held("Whatever is sent there, the kernel goes on", &["s1_11_random_requests"]),
        held("notify 64 to 72 as messages of a task's: BAD_ID, for only the kernel sends what is believed", &["s1_11_what_is_not_served"]),
    ],
};

pub(super) const SEMAPHORES: Section = Section {
    number: (1, 12),
    title: "Semaphores, exception ports, tasks by their processes",
    rows: &[
        held("A semaphore counts, and a wait takes one or waits; a timeout of nothing only tries", &["s1_12_semaphore_counts"]),
        held("SYNC_POLICY_FIFO: first come, first served; REVERSED: last come", &["s1_12_semaphore_wakes_in_order"]),
        different("SYNC_POLICY_FIXED_PRIORITY", "as FIFO: threads have no priorities here", &["s1_12_semaphore_wakes_in_order"]),
        held(
            "X: signal_all does not count if nobody waits; signal_thread without a thread is NOT_WAITING then",
            &["s1_12_signal_all_and_waiting"],
        ),
        held("wait_signal: signals once it waits; a dead second semaphore ends the wait", &["s1_12_wait_signal"]),
        held("A right to one travels in messages; X: destroying another task's only drops the right", &["s1_12_semaphore_travels"]),
        held("X: destroyed: who waits or comes later gets TERMINATED, and the right stays one", &["s1_12_semaphore_destroyed"]),
        held("X: a semaphore is over when the task is that it belongs to", &["s1_12_semaphore_of_a_dead_task"]),
        different(
            "X: a thread waits on when the last right to the semaphore is gone",
            "TERMINATED, for nobody could signal it",
            &["s1_12_semaphore_that_nobody_can_signal"],
        ),
        held("A signal is not given to a waiter that is gone", &["s1_12_waiter_that_dies"]),
        held("X: INVALID_NAME, INVALID_RIGHT, INVALID_CAPABILITY for what is no semaphore", &["s1_12_semaphore_names"]),
        different("X: semaphores without limit", "paid for like ports: RESOURCE_SHORTAGE", &["s1_12_semaphores_are_paid_for"]),
        held("task_set, get and swap_exception_ports; masks, behaviours; kinds alike are told as one", &["s1_12_exception_ports"]),
        held("A new task has its maker's exception ports", &["s1_12_exception_ports_are_inherited"]),
        different(
            "task_for_pid, pid_for_task",
            "by what the caller holds: itself, tasks whose control right it has, all with the host's control right; else KERN_FAILURE",
            &["s1_12_task_for_pid"],
        ),
    ],
};

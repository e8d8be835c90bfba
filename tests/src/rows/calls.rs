//! Sections 1.6 to 1.10: notifications, sets, calls, memory, tasks.

use super::{Section, darwin, dialect, different, elsewhere, held};

pub(super) const NOTIFICATIONS: Section = Section {
    number: (1, 6),
    title: "Notifications",
    rows: &[
        held("Ids 65 (port deleted) to 72 (dead name), and the layout of each message", &["s1_6_ids_and_layouts"]),
        held("They come from the kernel, and nobody else can send what looks like one", &["s1_6_no_task_can_fake_one"]),
        held("DEAD_NAME: the port of a send or send-once right died; the name gains a reference", &["s1_6_dead_name"]),
        held("PORT_DELETED: a name with a request went by other means", &["s1_6_port_deleted"]),
        held("NO_SENDERS: the last send right is gone, those in flight included; once; at once if it is so already", &["s1_6_no_senders"]),
        held("… not before the make-send count has reached what the request says", &["s1_6_no_senders_waits_for_sync"]),
        held(
            "PORT_DESTROYED: a receive right that would be destroyed is sent instead; X: a second request is KERN_FAILURE",
            &["s1_6_port_destroyed"],
        ),
        held("SEND_ONCE: a send-once right was destroyed unused", &["s1_6_send_once"]),
        held("X: SEND_POSSIBLE: at once, or armed by a send that found the queue full; fires when there is room", &["s1_6_send_possible"]),
        dialect("3, G: MSG_ACCEPTED", "X has SEND_POSSIBLE under the same number"),
        held("A request is swapped atomically; the right that was registered comes back", &["s1_6_request_is_an_atomic_swap"]),
        held("A dead notify right is KERN_INVALID_CAPABILITY, an unknown id KERN_INVALID_VALUE", &["s1_6_request_with_bad_arguments"]),
        held("X 11417: DEAD_NAME on a dead name is KERN_INVALID_ARGUMENT; SEND_POSSIBLE fires at once", &["s1_6_request_on_dead_name"]),
    ],
};

pub(super) const SETS: Section = Section {
    number: (1, 7),
    title: "Port sets",
    rows: &[
        held("X: a port can be in many sets", &["s1_7_port_in_many_sets"]),
        dialect("3, G, O: in at most one", "X's rule holds, see the row above"),
        held("move_member: out of all sets, then into one; null only takes out", &["s1_7_move_member"]),
        held("insert_member, extract_member: ALREADY_IN_SET, NOT_IN_SET", &["s1_7_insert_and_extract_member"]),
        held("A set is no member of a set", &["s1_7_no_nesting"]),
        held("Messages stay with their port; receiving from an empty set waits", &["s1_7_messages_stay_with_the_port"]),
        held("X: members are served in turn", &["s1_7_members_are_served_in_turn"]),
        held("X: destroying a set leaves its members; who waits gets PORT_CHANGED", &["s1_7_destroying_a_set"]),
        held("X: deallocate destroys a set", &["s1_7_deallocate_destroys_a_set"]),
        held("X: a port's status says only that it is in some set", &["s1_7_status_says_in_some_set"]),
    ],
};

pub(super) const CALLS: Section = Section {
    number: (1, 8),
    title: "mach_port calls",
    rows: &[
        held("allocate: receive right, set or dead name", &["s1_8_allocate"]),
        held("allocate_name: the same under a chosen name, NAME_EXISTS if it is in use", &["s1_8_allocate_name"]),
        darwin("allocate_qos, allocate_full", "there is no QoS here; allocate, allocate_name and construct do the rest", &[]),
        held("construct and destruct with limit, guard and send right", &["s1_8_construct_and_destruct"]),
        held("Flags of construct: those that serve Darwin are taken without effect", &["s1_8_construct_flags"]),
        held("deallocate: one reference, never a receive right; X: the null and dead name succeed", &["s1_8_deallocate"]),
        held("destroy: everything under a name; X: the null and dead name succeed", &["s1_8_destroy"]),
        held("mod_refs: RECEIVE −1 destroys; more only for send rights and dead names", &["s1_8_mod_refs"]),
        held("get_refs: 0 for what is not held; X: 1 for null and dead as send or send-once", &["s1_8_get_refs"]),
        held("type: the union of the bits; X: of the dead name DEAD_NAME", &["s1_8_type"]),
        held("names: all of them with their types", &["s1_8_names"]),
        dialect("3, G, O: rename", "X has removed it"),
        held("insert_right: joins, NAME_EXISTS, RIGHT_EXISTS", &["s1_8_insert_right"]),
        held("extract_right: takes or copies out of another task", &["s1_8_extract_right"]),
        held("RECEIVE_STATUS: all its fields", &["s1_8_receive_status"]),
        held("set_mscount, set_seqno: store a value and fire nothing", &["s1_8_set_mscount_and_seqno"]),
        dialect("3, G: set_qlimit", "set_attributes with LIMITS_INFO"),
        held("get_attributes, set_attributes: flavours 1 to 9", &["s1_8_attributes"]),
        held("get_set_status", &["s1_8_set_status"]),
        held("guard, unguard, guard_with_flags, swap_guard", &["s1_8_guards"]),
        held("get_context, set_context", &["s1_8_context"]),
        dialect("G: protected payload", "X has the context, which comes with the trailer"),
        held("peek: looks at a queued message and leaves it", &["s1_8_peek"]),
        held("space_info, kobject, get_srights", &["s1_8_introspection"]),
        different("assert_attributes", "an error where Darwin kills the task whose assertion fails", &[]),
        dialect("G: set_ktype", "for the kernel's own use"),
    ],
};

pub(super) const MEMORY: Section = Section {
    number: (1, 9),
    title: "Out-of-line memory and descriptors",
    rows: &[
        held("Memory is a snapshot taken at the send, the receiver's copy its own", &["s1_9_memory_is_a_snapshot"]),
        held("deallocate moves: here, the right of a region leaves the sender", &["s1_9_deallocate_moves"]),
        held("Size 0 arrives at address 0", &["s1_9_size_zero"]),
        held("X: copy is PHYSICAL or VIRTUAL, else INVALID_TYPE; deallocate as received means VIRTUAL", &["s1_9_copy_option"]),
        held("Port arrays: one disposition for all; arrive with deallocate and VIRTUAL", &["s1_9_port_arrays"]),
        held("X: guarded descriptors: MOVE_RECEIVE only, IMMOVABLE_RECEIVE, UNGUARDED_ON_SEND", &["s1_9_guarded_descriptors"]),
        different(
            "X: the context of an immovable guarded right is the receiver's buffer address",
            "a number of the kernel's choosing: it does not know the buffer",
            &["s1_9_guarded_descriptors"],
        ),
        held("Memory that is not there, or not sealed: SEND_INVALID_MEMORY", &["s1_9_memory_that_cannot_be_sent"]),
        dialect("3, G: typed data, inline or out of line item by item", "X's descriptors"),
    ],
};

pub(super) const TASKS: Section = Section {
    number: (1, 10),
    title: "Special ports, bootstrap, tasks",
    rows: &[
        held("Task special ports KERNEL 1, HOST 2, NAME 3, BOOTSTRAP 4", &["s1_10_special_ports"]),
        darwin("X: special ports INSPECT, READ, ACCESS, DEBUG_CONTROL, RESOURCE_NOTIFY", "KERN_INVALID_ARGUMENT", &["s1_10_special_ports"]),
        different("Thread special ports", "threads are Linux's own and no objects of the kernel's", &[]),
        held("X: mach_ports_register and lookup: three slots", &["s1_10_registered_ports"]),
        held("task_self, host_self: names that every task starts with", &["s1_10_self_ports"]),
        different(
            "thread_self, host_self give a new reference each call",
            "the names are cached; task_get_special_port gives a reference of one's own",
            &["s1_10_self_ports", "s1_10_special_ports"],
        ),
        elsewhere("Bootstrap: register, check in, look up, and their errors 1100 to 1106", "the name server's tests"),
        elsewhere(
            "Bootstrap: servers declared at run time, started on demand or again at once, with services of theirs",
            "the name server's tests (`declared`)",
        ),
        elsewhere("Bootstrap: a subset and all that is in it die with its requestor", "the name server's tests (`names`, `declared`)"),
        elsewhere("mach_reply_port, thread_get_special_reply_port as calls of their own", "umach-c's tests (`conformance-c.md`)"),
        dialect("3, O: the netname server", "the name server speaks the bootstrap interface"),
        held("The end of a task ends its whole space", &["s1_10_end_of_a_task_ends_its_space"]),
        elsewhere("X: a forked child has none of its parent's rights", "libtask's `fork_is_detected_and_the_parent_goes_on`"),
        held(
            "3, G, O: a new task has its special and registered ports, and no other rights",
            &["s1_10_new_task_inherits_special_and_registered_ports_only"],
        ),
    ],
};

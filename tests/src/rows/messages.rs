//! Sections 1.1 to 1.5: rights, dispositions, queues, options, receiving.

use super::{Section, darwin, dialect, different, elsewhere, held};

const X_RULE: &str = "X's rule holds, see the row above";

pub(super) const RIGHTS: Section = Section {
    number: (1, 1),
    title: "Rights and names",
    rows: &[
        held("Numbers of rights: SEND 0, RECEIVE 1, SEND_ONCE 2, PORT_SET 3, DEAD_NAME 4; 5 is obsolete", &["s1_1_right_numbers"]),
        held("Type bits are 1 << (right + 16); DNREQUEST is bit 31", &["s1_1_type_bits"]),
        held("X: SPREQUEST is bit 30, SPREQUEST_DELAYED bit 29", &["s1_1_request_bits"]),
        dialect("G, 3: MAREQUEST is bit 30, COMPAT bit 29", X_RULE),
        held("The null name is 0, the dead name all ones", &["s1_1_null_and_dead_names"]),
        held("Send and receive right of one port share a name; each send-once right has its own", &["s1_1_send_and_receive_share_a_name"]),
        held(
            "One receive right per port; send rights and dead names carry references, the others always one",
            &["s1_1_one_receive_right_and_counted_references"],
        ),
        held("References are 16 bits wide, at most 65535", &["s1_1_references_peg_at_65535"]),
        dialect(
            "3, G, O: one too many is KERN_UREFS_OVERFLOW in calls, and silent for rights that arrive",
            "the count sticks, see the next row",
        ),
        held(
            "X: one too many sticks at 65535 and succeeds; from then on every change but −65535 does nothing",
            &["s1_1_references_peg_at_65535"],
        ),
        held("Too few: KERN_INVALID_VALUE, nothing changed", &["s1_1_underflow_changes_nothing"]),
        held(
            "X: a name is an index times 256 and a generation, low two bits set; a chosen one without them is KERN_INVALID_VALUE, with index 0 KERN_FAILURE",
            &["s1_1_name_form"],
        ),
        dialect("3, G, O: any free number may be chosen as a name", X_RULE),
        held("A freed name comes back under another generation", &["s1_1_freed_name_means_nothing"]),
    ],
};

pub(super) const DISPOSITIONS: Section = Section {
    number: (1, 2),
    title: "Dispositions",
    rows: &[
        held(
            "MOVE_RECEIVE 16 to MAKE_SEND_ONCE 21; as received 16, 17, 18; X's COPY_RECEIVE and DISPOSE_* cannot be sent with",
            &["s1_2_disposition_values"],
        ),
        dialect("G: PORT_NAME 15 and PROTECTED_PAYLOAD 23", "refused like any unknown number"),
        held("COPY_SEND of a live send right: a new one in flight, references stay", &["s1_2_copy_send_of_live_right"]),
        held(
            "COPY_SEND of a dead name in the body: arrives as the dead name, references stay",
            &["s1_2_copy_send_of_dead_name_in_body_gives_dead"],
        ),
        held(
            "MOVE_SEND or MOVE_SEND_ONCE of a dead name takes a reference and arrives dead",
            &["s1_2_move_of_dead_name_takes_a_reference"],
        ),
        held(
            "COPY_SEND or MAKE_* of a send-once right in the body: MACH_SEND_INVALID_RIGHT",
            &["s1_2_copy_or_make_of_send_once_is_refused"],
        ),
        held("MOVE_SEND of the last reference leaves the receive right under its name", &["s1_2_move_of_last_send_keeps_receive"]),
        held("MAKE_* need the receive right; MAKE_SEND counts", &["s1_2_make_needs_receive_and_counts"]),
        held(
            "MOVE_RECEIVE: the sender keeps its send rights; out of all sets; counts back to 0; queue, rights and requests stay with the port",
            &["s1_2_move_receive_keeps_sends_and_resets_port"],
        ),
        held(
            "X: … guard and context come off; a strict guard or immovability forbids it",
            &["s1_2_move_receive_takes_guard_and_context_off"],
        ),
        held("X: … threads that receive there get MACH_RCV_PORT_CHANGED", &["s1_2_move_receive_tells_blocked_receivers"]),
        dialect("3, G, O: … MACH_RCV_PORT_DIED", X_RULE),
        held("The null and the dead name can be carried by any disposition, and as the reply", &["s1_2_null_and_dead_are_carried"]),
        held("A port that dies while a right to it is queued arrives as the dead name", &["s1_2_port_dies_in_transit"]),
        held(
            "A destination that is dead or no right to send: MACH_SEND_INVALID_DEST, nothing consumed",
            &["s1_2_bad_destination_consumes_nothing"],
        ),
        held(
            "X: a send-once destination whose port died without a request on the name: success, message destroyed",
            &["s1_2_dead_send_once_destination_swallows"],
        ),
        held("X: a reply right that is dead: MACH_SEND_INVALID_REPLY", &["s1_2_dead_reply_is_refused"]),
        dialect("3, G: … arrives as the dead name", X_RULE),
        held(
            "Destination and reply are one name: taken together; two moves need two references; no send-once right",
            &["s1_2_destination_equal_to_reply"],
        ),
        held(
            "The destination dies after the send, or while the sender waits: success, message destroyed",
            &["s1_2_destination_dies_after_the_send"],
        ),
        held("A receive right into its own queue, or around a ring: success, message destroyed", &["s1_2_circular_message_is_destroyed"]),
        held("X: a port-destroyed notification into the port itself is destroyed with it", &["s1_2_circular_port_destroyed_notification"]),
        held("A receive right moved twice in one message: INVALID_RIGHT, and it is destroyed", &["s1_2_receive_right_moved_twice"]),
        held("Atomicity: errors of the header consume nothing", &["s1_2_header_errors_consume_nothing"]),
        held(
            "Atomicity: errors of the body destroy the header's rights and what came before; what stands behind stays",
            &["s1_2_body_errors_destroy_what_was_taken"],
        ),
    ],
};

pub(super) const QUEUES: Section = Section {
    number: (1, 3),
    title: "Queues and destruction",
    rows: &[
        held("A queue takes 5 messages unless told otherwise", &["s1_3_default_limit_is_5"]),
        held("X: a limit of 0 to 1024 can be set, more is KERN_INVALID_VALUE", &["s1_3_limit_from_0_to_1024"]),
        dialect("3, G, O: at most 16", X_RULE),
        held("Raising the limit wakes senders", &["s1_3_raising_the_limit_wakes_senders"]),
        held("Sending with a send-once right never waits", &["s1_3_send_once_never_waits"]),
        held("A woken sender has its place: nobody overtakes it", &["s1_3_woken_sender_is_not_overtaken"]),
        held("Messages of one thread to one port keep their order", &["s1_3_order_is_that_of_sending"]),
        held(
            "The sequence number is given when a message is dequeued, per port, in a set as well; it can be set",
            &["s1_3_sequence_number_is_given_when_dequeued"],
        ),
        held("A queued message holds a send right of its destination", &["s1_3_queued_message_holds_a_send_right"]),
        different(
            "X: at most 48 MiB inline, 16383 rights",
            "64 KiB inline, since a message is one packet and bulk goes out of line; 16383 rights as in X",
            &["s1_3_limits_of_a_message"],
        ),
        held(
            "X: the size to send is at least 24 and a multiple of 4; the field in the header does not count",
            &["s1_3_send_size_is_the_argument"],
        ),
        held(
            "Destruction of a port: queued messages end with everything in them, and whoever waits for that is told",
            &["s1_3_destruction_ends_queued_messages"],
        ),
        held("X: … senders that wait succeed, receivers get MACH_RCV_PORT_CHANGED", &["s1_3_destruction_ends_waits"]),
        held(
            "… rights elsewhere become dead names, dead-name requests fire, a no-senders request is answered with send-once",
            &["s1_3_destruction_leaves_dead_names"],
        ),
        held(
            "… the destroyer's own send rights become a dead name with as many references, one more if a request was registered",
            &["s1_3_destruction_turns_own_sends_into_dead_names"],
        ),
    ],
};

pub(super) const OPTIONS: Section = Section {
    number: (1, 4),
    title: "Options of mach_msg",
    rows: &[
        held("SEND and RCV in one call: a failed send skips the receive", &["s1_4_send_then_receive"]),
        held("SEND_TIMEOUT and RCV_TIMEOUT in milliseconds, 0 tries", &["s1_4_timeouts"]),
        elsewhere(
            "SEND_INTERRUPT and RCV_INTERRUPT: report a signal instead of going on",
            "libtask's `signal_handler_interrupts_only_who_asked_for_it`",
        ),
        held("X: SEND_NOTIFY arms a send-possible request", &["s1_4_send_notify_arms_and_reports"]),
        dialect("3, G: SEND_NOTIFY forces a message into a full queue; SEND_CANCEL, RCV_NOTIFY", "X has no such options"),
        held("RCV_LARGE leaves a message that is too large in its queue", &["s1_4_rcv_large_leaves_the_message"]),
        held("X: RCV_LARGE_IDENTITY says which member has it", &["s1_4_rcv_large_identity_names_the_member"]),
        dialect("O: RCV_OVERWRITE scatters", "X gave it up"),
        different(
            "SEND_TRAILER: the sender's own trailer",
            "taken without effect: nobody could trust what it says",
            &["s1_4_options_without_effect"],
        ),
        darwin(
            "X: STRICT_REPLY, RCV_VOUCHER, RCV_SYNC_*, SEND_OVERRIDE, FILTER_NONFATAL, NOIMPORTANCE, SYNC_OVERRIDE, PROPAGATE_QOS, SYNC_BOOTSTRAP_CHECKIN",
            "taken without effect",
            &["s1_4_options_without_effect"],
        ),
        held(
            "X: without RCV_GUARDED_DESC guarded descriptors arrive as port descriptors",
            &["s1_4_guarded_descriptors_only_when_asked_for"],
        ),
        darwin(
            "X: 64-bit options of mach_msg2 (vectors, kernel object calls)",
            "of the C interface only: vectors describe the message; what kind of call it is shows by itself",
            &[],
        ),
        held("Trailer request: nothing, seqno, sender, audit, context, all", &["s1_4_trailer_has_what_was_asked_for"]),
    ],
};

pub(super) const RECEIVING: Section = Section {
    number: (1, 5),
    title: "Failed sends, and receiving",
    rows: &[
        held(
            "A send that timed out gives the message back: rights as moved ones, nothing swapped",
            &["s1_5_timed_out_send_is_handed_back"],
        ),
        held("… what finds no room for its name is lost, and the code says so (IPC_SPACE)", &["s1_5_handed_back_without_room_for_names"]),
        held("The header is swapped: the local port is the receiver's name for the port", &["s1_5_received_header_is_swapped"]),
        different(
            "The local port is dead or null if the port died or moved meanwhile",
            "cannot be seen: taking a message out of its queue and delivering it are one step",
            &[],
        ),
        held("Receiving needs a receive right or a set, else RCV_INVALID_NAME", &["s1_5_receive_needs_a_receive_right_or_set"]),
        held("X: a member of a set can be received from", &["s1_5_receive_from_a_member_of_a_set"]),
        dialect("3, G, O: … is RCV_IN_SET", X_RULE),
        held("X: adding a port to a set keeps who waits on the port", &["s1_5_adding_to_a_set_keeps_waiters"]),
        held(
            "Too large with RCV_LARGE: stays, and the size that is needed is told, trailer included",
            &["s1_5_too_large_stays_with_rcv_large"],
        ),
        held(
            "Too large without: taken out, its rights destroyed, header and minimal trailer delivered",
            &["s1_5_too_large_is_destroyed_without"],
        ),
        held("RCV_HEADER_ERROR: the message is destroyed", &["s1_5_header_error_destroys_the_message"]),
        held("RCV_BODY_ERROR: delivered with null where something failed", &["s1_5_body_error_delivers_nulls"]),
        different(
            "RCV_INVALID_DATA, SEND_INVALID_DATA: the caller's buffer is bad",
            "cannot happen: libtask owns the buffers that the kernel process fills",
            &[],
        ),
        held("X: unknown bits of the header are cleared", &["s1_5_unknown_header_bits_are_cleared"]),
        held(
            "mach_msg_destroy drops every right and all memory: here, dropping a received message",
            &["s1_5_message_destroy_drops_everything"],
        ),
    ],
};

/* 1.3: queues, and what becomes of everything when a port is destroyed. */
#include "check.h"

static mach_port_t self(void)
{
    return mach_task_self();
}

/* s1_3_default_limit_is_5 s1_3_limit_from_0_to_1024 */
static void limits_of_a_queue(void)
{
    static const unsigned good[] = {0, 1, 1024}, bad[] = {1025, 65534, ~0u};
    mach_port_t name = new_port_with_send();
    mach_port_limits_t limits;
    EXPECT(status_of(name).mps_qlimit, 5);
    fill(name, 5);
    EXPECT_CODE(send_empty(name, MACH_MSG_TYPE_COPY_SEND, 5), MACH_SEND_TIMED_OUT);
    /* The refused message's send right came back. */
    EXPECT(refs(name, MACH_PORT_RIGHT_SEND), 2);
    EXPECT(status_of(name).mps_msgcount, 5);
    for (int n = 0; n < 5; n++)
        EXPECT(next_id(name), n);
    for (unsigned n = 0; n < COUNT(good); n++) {
        set_limit(name, good[n]);
        EXPECT(status_of(name).mps_qlimit, good[n]);
    }
    for (unsigned n = 0; n < COUNT(bad); n++) {
        limits.mpl_qlimit = bad[n];
        EXPECT_CODE(mach_port_set_attributes(self(), name, MACH_PORT_LIMITS_INFO, (mach_port_info_t)&limits, 1), KERN_INVALID_VALUE);
    }
    fill(name, 1024);
    EXPECT_CODE(send_empty(name, MACH_MSG_TYPE_COPY_SEND, 5), MACH_SEND_TIMED_OUT);
    /* Lowered below what is there, nothing is lost. */
    set_limit(name, 1);
    for (int n = 0; n < 1024; n++)
        EXPECT(next_id(name), n);
    OK(send_empty(name, MACH_MSG_TYPE_COPY_SEND, 1));
    OK(mach_port_destroy(self(), name));
}

/* s1_3_raising_the_limit_wakes_senders s1_3_woken_sender_is_not_overtaken */
static void senders_wait_for_room_in_order(void)
{
    static waiter_t waiters[3];
    for (int raised = 0; raised < 2; raised++) {
        mach_port_t name = new_port_with_send();
        set_limit(name, 1);
        fill(name, 1);
        for (int n = 0; n < 3; n++) {
            start_message(&waiters[n].message, name, MACH_MSG_TYPE_COPY_SEND, 24, n + 1);
            start_sender(&waiters[n]);
        }
        if (raised) {
            set_limit(name, 3);
            EXPECT(status_of(name).mps_msgcount, 3);
        }
        for (int n = 0; n < 4; n++) {
            EXPECT(next_id(name), n);
            /* The room that this made belongs to the next in line. */
            if (!raised && n < 3)
                EXPECT_CODE(send_empty(name, MACH_MSG_TYPE_COPY_SEND, 99), MACH_SEND_TIMED_OUT);
        }
        for (int n = 0; n < 3; n++)
            OK(end_waiter(&waiters[n]));
        expect_nothing(name);
        OK(mach_port_destroy(self(), name));
    }
}

/* s1_3_send_once_never_waits */
static void send_once_right_never_waits(void)
{
    mach_port_t name = new_port_with_send();
    any_message m;
    set_limit(name, 1);
    fill(name, 1);
    for (int n = 1; n < 20; n++)
        OK(send_empty(new_send_once(name), MACH_MSG_TYPE_MOVE_SEND_ONCE, n));
    OK(send_empty(name, MACH_MSG_TYPE_MAKE_SEND_ONCE, 20));
    EXPECT_CODE(send_empty(name, MACH_MSG_TYPE_COPY_SEND, 99), MACH_SEND_TIMED_OUT);
    for (int n = 0; n < 21; n++) {
        OK(receive_it(&m, name));
        EXPECT(m.header.msgh_id, n);
        EXPECT(MACH_MSGH_BITS_LOCAL(m.header.msgh_bits), n ? MACH_MSG_TYPE_PORT_SEND_ONCE : MACH_MSG_TYPE_PORT_SEND);
    }
    OK(mach_port_destroy(self(), name));
}

enum { EACH = 300 };

static void floods(mach_port_t maker)
{
    any_message m;
    for (int n = 0; n < EACH; n++) {
        start_message(&m, maker, MACH_MSG_TYPE_COPY_SEND, 24 + 4 * (mach_msg_size_t)(n % 5), n);
        OK(mach_msg(&m.header, MACH_SEND_MSG, m.header.msgh_size, 0, 0, 0, 0));
    }
}

/* s1_3_order_is_that_of_sending */
static void order_is_that_of_sending(void)
{
    child_t children[2] = {start_child(floods), start_child(floods)};
    mach_port_t set = new_set();
    int next[2] = {0, 0};
    any_message m;
    for (int n = 0; n < 2; n++)
        OK(mach_port_insert_member(self(), children[n].meeting, set));
    for (int n = 0; n < 2 * EACH; n++) {
        OK(receive_it(&m, set));
        int from = m.header.msgh_local_port == children[1].meeting;
        EXPECT(m.header.msgh_id, next[from]);
        next[from]++;
    }
    for (int n = 0; n < 2; n++)
        end_child(&children[n]);
    OK(mach_port_destroy(self(), set));
}

static unsigned seqno(mach_port_t port)
{
    any_message m;
    memset(&m, 0, sizeof m);
    OK(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_SEQNO), 0, sizeof m, port, 2000, 0));
    return ((mach_msg_seqno_trailer_t *)(void *)(m.room + m.header.msgh_size))->msgh_seqno;
}

/* s1_3_sequence_number_is_given_when_dequeued */
static void sequence_numbers_are_given_when_dequeued(void)
{
    mach_port_t name = new_port_with_send(), other = new_port_with_send(), set = new_set();
    fill(name, 5);
    EXPECT(seqno(name), 0);
    EXPECT(seqno(name), 1);
    OK(mach_port_insert_member(self(), name, set));
    OK(mach_port_insert_member(self(), other, set));
    EXPECT(seqno(set), 2);
    fill(other, 1);
    EXPECT(seqno(other), 0);
    OK(mach_port_set_seqno(self(), name, 100));
    EXPECT(seqno(set), 100);
    EXPECT(seqno(name), 101);
    OK(mach_port_set_seqno(self(), name, ~0u));
    fill(name, 2);
    EXPECT(seqno(name), ~0u);
    EXPECT(seqno(name), 0);
    OK(mach_port_destroy(self(), name));
    OK(mach_port_destroy(self(), other));
    OK(mach_port_destroy(self(), set));
}

/* s1_3_queued_message_holds_a_send_right */
static void queued_message_holds_a_send_right(void)
{
    mach_port_t told = new_port();
    any_message m;
    for (int received = 0; received < 2; received++) {
        mach_port_t name = new_port_with_send();
        request(name, MACH_NOTIFY_NO_SENDERS, 1, told);
        start_message(&m, name, MACH_MSG_TYPE_MOVE_SEND, 200, 1);
        OK(send_it(&m));
        EXPECT(type_of(name) & MACH_PORT_TYPE_ALL_RIGHTS, MACH_PORT_TYPE_RECEIVE);
        EXPECT(srights_of(name), 1);
        expect_nothing(told);
        if (received)
            OK(receive_it(&m, name));
        else
            EXPECT_CODE(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, 100, name, 0, 0), MACH_RCV_TOO_LARGE);
        EXPECT(notice(told, MACH_NOTIFY_NO_SENDERS), 1);
        EXPECT(srights_of(name), 0);
        drop_port(name);
    }
    drop_port(told);
}

/* s1_3_limits_of_a_message s1_3_send_size_is_the_argument */
static void limits_of_a_message(void)
{
    static union {
        mach_msg_header_t header;
        unsigned char bytes[65536 + 128];
    } big;
    static mach_port_t array[16384];
    static const mach_msg_size_t none[] = {0, 4, 20, 23, 25, 26, 27, 29};
    mach_port_t name = new_port_with_send(), carried = new_port_with_send();
    any_message m;
    for (unsigned n = 24; n < 65536; n++)
        big.bytes[n] = (unsigned char)n;
    big.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0);
    big.header.msgh_remote_port = name;
    OK(mach_msg(&big.header, MACH_SEND_MSG, 65536, 0, 0, 0, 0));
    memset(&big, 0, sizeof big);
    OK(mach_msg(&big.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof big, name, 2000, 0));
    EXPECT(big.header.msgh_size, 65536);
    unsigned wrong = 0;
    for (unsigned n = 24; n < 65536; n++)
        wrong += big.bytes[n] != (unsigned char)n;
    EXPECT(wrong, 0);
    EXPECT_CODE(mach_msg(&big.header, MACH_SEND_MSG, 65540, 0, 0, 0, 0), MACH_SEND_TOO_LARGE);
    for (unsigned n = 0; n < 16384; n++)
        array[n] = carried;
    start_complex(&m, name, MACH_MSG_TYPE_COPY_SEND, sizeof m.ports, 1);
    m.ports.ports.address = array;
    m.ports.ports.count = 16383;
    m.ports.ports.disposition = MACH_MSG_TYPE_COPY_SEND;
    m.ports.ports.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
    any_message too_many = m;
    too_many.ports.ports.count = 16384;
    OK(send_it(&m));
    OK(receive_it(&m, name));
    EXPECT(m.ports.ports.count, 16383);
    EXPECT(refs(carried, MACH_PORT_RIGHT_SEND), 16384);
    OK(vm_deallocate(self(), (vm_address_t)m.ports.ports.address, 4 * 16383));
    EXPECT_CODE(send_it(&too_many), MACH_SEND_TOO_LARGE);
    for (unsigned n = 0; n < COUNT(none); n++) {
        start_message(&m, name, MACH_MSG_TYPE_COPY_SEND, 24, 1);
        EXPECT_CODE(mach_msg(&m.header, MACH_SEND_MSG, none[n], 0, 0, 0, 0), MACH_SEND_MSG_TOO_SMALL);
    }
    start_message(&m, name, MACH_MSG_TYPE_COPY_SEND, 9999, 1);
    OK(mach_msg(&m.header, MACH_SEND_MSG, 32, 0, 0, 0, 0));
    OK(receive_it(&m, name));
    EXPECT(m.header.msgh_size, 32);
    OK(mach_port_destroy(self(), carried));
    OK(mach_port_destroy(self(), name));
}

/* The three ways to end a port by its receive right. */
static void end_port(mach_port_t name, int way)
{
    switch (way) {
    case 0:
        drop_port(name);
        break;
    case 1:
        OK(mach_port_destroy(self(), name));
        break;
    default:
        OK(mach_port_destruct(self(), name, 0, 0));
    }
}

/* s1_3_destruction_ends_queued_messages */
static void destruction_ends_queued_messages(void)
{
    for (int way = 0; way < 3; way++) {
        mach_port_t told = new_port(), told_of_senders = new_port(), saved_to = new_port(), victim = new_port_with_send();
        mach_port_t counted = new_port_with_send(), inner = new_port_with_send(), saved = new_port_with_send();
        any_message m;
        request(counted, MACH_NOTIFY_NO_SENDERS, 0, told_of_senders);
        request(saved, MACH_NOTIFY_PORT_DESTROYED, 0, saved_to);
        OK(send_right(inner, told, MACH_MSG_TYPE_MAKE_SEND_ONCE));
        carry(&m, victim, counted, MACH_MSG_TYPE_MOVE_SEND);
        m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
        m.header.msgh_local_port = told;
        OK(send_it(&m));
        OK(send_right(victim, inner, MACH_MSG_TYPE_MOVE_RECEIVE));
        OK(send_right(victim, saved, MACH_MSG_TYPE_MOVE_RECEIVE));
        OK(send_right(victim, told, MACH_MSG_TYPE_MAKE_SEND_ONCE));
        end_port(victim, way);
        for (int n = 0; n < 3; n++)
            notice(told, MACH_NOTIFY_SEND_ONCE);
        EXPECT(notice(told_of_senders, MACH_NOTIFY_NO_SENDERS), 1);
        EXPECT(notice(saved_to, MACH_NOTIFY_PORT_DESTROYED), saved);
        EXPECT(type_of(saved), MACH_PORT_TYPE_SEND_RECEIVE);
        EXPECT(type_of(inner), MACH_PORT_TYPE_DEAD_NAME);
        expect_nothing(told);
        const mach_port_t drop[] = {told, told_of_senders, saved_to, counted, inner, saved};
        for (unsigned n = 0; n < COUNT(drop); n++)
            OK(mach_port_destroy(self(), drop[n]));
        if (way != 1)
            OK(mach_port_destroy(self(), victim));
    }
}

/* s1_3_destruction_ends_waits */
static void destruction_ends_waits(void)
{
    static waiter_t on_set, on_port, senders[2];
    for (int way = 0; way < 3; way++) {
        mach_port_t victim = new_port_with_send(), other = new_port_with_send(), set = new_set();
        OK(mach_port_insert_member(self(), other, set));
        OK(mach_port_insert_member(self(), victim, set));
        start_receiver(&on_set, set);
        start_receiver(&on_port, victim);
        end_port(victim, way);
        EXPECT_CODE(end_waiter(&on_port), MACH_RCV_PORT_CHANGED);
        OK(send_empty(other, MACH_MSG_TYPE_COPY_SEND, 7));
        OK(end_waiter(&on_set));
        EXPECT(on_set.message.header.msgh_id, 7);
        mach_port_t full = new_port_with_send();
        set_limit(full, 1);
        fill(full, 1);
        for (int n = 0; n < 2; n++) {
            start_message(&senders[n].message, full, MACH_MSG_TYPE_COPY_SEND, 24, n);
            start_sender(&senders[n]);
        }
        end_port(full, way);
        for (int n = 0; n < 2; n++)
            OK(end_waiter(&senders[n]));
        OK(mach_port_destroy(self(), other));
        OK(mach_port_destroy(self(), set));
    }
}

static mach_port_t handed_inbox;

static void watches(mach_port_t maker)
{
    mach_port_t inbox = new_port(), told = new_port();
    OK(send_right(maker, inbox, MACH_MSG_TYPE_MAKE_SEND));
    mach_port_t held = receive_right(inbox), once = receive_right(inbox), watched = receive_right(inbox);
    OK(mach_port_mod_refs(self(), held, MACH_PORT_RIGHT_SEND, 2));
    request(watched, MACH_NOTIFY_DEAD_NAME, 0, told);
    OK(send_empty(maker, MACH_MSG_TYPE_COPY_SEND, 1));
    EXPECT(notice(told, MACH_NOTIFY_DEAD_NAME), watched);
    EXPECT(type_of(held), MACH_PORT_TYPE_DEAD_NAME);
    EXPECT(refs(held, MACH_PORT_RIGHT_DEAD_NAME), 3);
    EXPECT(refs(once, MACH_PORT_RIGHT_DEAD_NAME), 1);
    EXPECT(refs(watched, MACH_PORT_RIGHT_DEAD_NAME), 2);
}

/* s1_3_destruction_leaves_dead_names */
static void destruction_leaves_dead_names(void)
{
    mach_port_t victim = new_port(), told = new_port();
    child_t child = start_child(watches);
    handed_inbox = receive_right(child.meeting);
    OK(send_right(handed_inbox, victim, MACH_MSG_TYPE_MAKE_SEND));
    OK(send_right(handed_inbox, victim, MACH_MSG_TYPE_MAKE_SEND_ONCE));
    OK(send_right(handed_inbox, victim, MACH_MSG_TYPE_MAKE_SEND_ONCE));
    EXPECT(next_id(child.meeting), 1);
    request(victim, MACH_NOTIFY_NO_SENDERS, 0, told);
    drop_port(victim);
    /* There will be no no-senders notification. */
    notice(told, MACH_NOTIFY_SEND_ONCE);
    end_child(&child);
    drop_port(told);
}

/* s1_3_destruction_turns_own_sends_into_dead_names */
static void own_send_rights_become_dead_names(void)
{
    mach_port_t told = new_port(), name = new_port_with_send();
    OK(mach_port_mod_refs(self(), name, MACH_PORT_RIGHT_SEND, 4));
    drop_port(name);
    EXPECT(refs(name, MACH_PORT_RIGHT_DEAD_NAME), 5);
    OK(mach_port_destroy(self(), name));
    name = new_port_with_send();
    request(name, MACH_NOTIFY_DEAD_NAME, 0, told);
    drop_port(name);
    EXPECT(refs(name, MACH_PORT_RIGHT_DEAD_NAME), 2);
    EXPECT(notice(told, MACH_NOTIFY_DEAD_NAME), name);
    OK(mach_port_destroy(self(), name));
    name = new_port();
    request(name, MACH_NOTIFY_DEAD_NAME, 0, told);
    drop_port(name);
    EXPECT(type_of(name), MACH_PORT_TYPE_NONE);
    EXPECT(notice(told, MACH_NOTIFY_PORT_DELETED), name);
    drop_port(told);
}

CHECK_MAIN(CASE(limits_of_a_queue), CASE(senders_wait_for_room_in_order), CASE(send_once_right_never_waits), CASE(order_is_that_of_sending),
           CASE(sequence_numbers_are_given_when_dequeued), CASE(queued_message_holds_a_send_right), CASE(limits_of_a_message),
           CASE(destruction_ends_queued_messages), CASE(destruction_ends_waits), CASE(destruction_leaves_dead_names),
           CASE(own_send_rights_become_dead_names))

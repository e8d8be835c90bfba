/* 1.2: what each disposition does to which right, and what a failed send consumes. */
#include "check.h"

static mach_port_t self(void)
{
    return mach_task_self();
}

/* s1_2_disposition_values */
static void values_and_what_arrives(void)
{
    static const unsigned char pairs[][2] = {{16, 16}, {17, 17}, {18, 18}, {19, 17}, {20, 17}, {21, 18}};
    static const unsigned char none[] = {0, 15, 22, 23, 24, 25, 26, 31};
    mach_port_t inbox = new_port_with_send();
    any_message m;
    for (unsigned n = 0; n < COUNT(pairs); n++) {
        mach_port_t name = new_port_with_send();
        OK(send_right(inbox, pairs[n][0] == MACH_MSG_TYPE_MOVE_SEND_ONCE ? new_send_once(name) : name, pairs[n][0]));
        OK(receive_it(&m, inbox));
        EXPECT(m.port.port.disposition, pairs[n][1]);
        if (pairs[n][1] == MACH_MSG_TYPE_PORT_SEND_ONCE)
            OK(mach_port_deallocate(self(), m.port.port.name));
        OK(mach_port_destroy(self(), name));
    }
    mach_port_t name = new_port_with_send();
    for (unsigned n = 0; n < COUNT(none); n++) {
        EXPECT_CODE(send_right(inbox, name, none[n]), MACH_SEND_INVALID_RIGHT);
        EXPECT_CODE(send_empty(inbox, none[n], 1), MACH_SEND_INVALID_HEADER);
        start_message(&m, inbox, MACH_MSG_TYPE_COPY_SEND, 24, 1);
        m.header.msgh_bits |= MACH_MSGH_BITS(0, none[n]);
        m.header.msgh_local_port = name;
        EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_HEADER);
    }
    EXPECT_CODE(send_empty(inbox, MACH_MSG_TYPE_MOVE_RECEIVE, 1), MACH_SEND_INVALID_HEADER);
    EXPECT(type_of(name), MACH_PORT_TYPE_SEND_RECEIVE);
    expect_nothing(inbox);
    OK(mach_port_destroy(self(), name));
    OK(mach_port_destroy(self(), inbox));
}

static void uses_what_comes(mach_port_t maker)
{
    mach_port_t inbox = new_port();
    OK(send_right(maker, inbox, MACH_MSG_TYPE_MAKE_SEND));
    mach_port_t given = receive_right(inbox);
    EXPECT(type_of(given), MACH_PORT_TYPE_SEND);
    EXPECT(refs(given, MACH_PORT_RIGHT_SEND), 1);
    OK(send_empty(given, MACH_MSG_TYPE_COPY_SEND, 2));
}

/* s1_2_copy_send_of_live_right s1_2_make_needs_receive_and_counts */
static void copy_of_a_live_right(void)
{
    mach_port_t name = new_port_with_send();
    OK(mach_port_mod_refs(self(), name, MACH_PORT_RIGHT_SEND, 2));
    child_t child = start_child(uses_what_comes);
    mach_port_t inbox = receive_right(child.meeting);
    OK(send_right(inbox, name, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(refs(name, MACH_PORT_RIGHT_SEND), 3);
    EXPECT(next_id(name), 2);
    EXPECT(status_of(name).mps_mscount, 1);
    end_child(&child);
    /* What is made is counted, and needs the receive right. */
    EXPECT_CODE(send_right(inbox, self(), MACH_MSG_TYPE_MAKE_SEND), MACH_SEND_INVALID_DEST);
    mach_port_t home = new_port_with_send();
    EXPECT_CODE(send_right(home, self(), MACH_MSG_TYPE_MAKE_SEND), MACH_SEND_INVALID_RIGHT);
    EXPECT_CODE(send_right(home, self(), MACH_MSG_TYPE_MAKE_SEND_ONCE), MACH_SEND_INVALID_RIGHT);
    OK(send_right(home, name, MACH_MSG_TYPE_MAKE_SEND));
    OK(send_right(home, name, MACH_MSG_TYPE_MAKE_SEND_ONCE));
    EXPECT(status_of(name).mps_mscount, 2);
    EXPECT(status_of(name).mps_sorights, 1);
    OK(mach_port_destroy(self(), home));
    OK(mach_port_destroy(self(), name));
}

/* s1_2_copy_send_of_dead_name_in_body_gives_dead */
static void copy_of_a_dead_name(void)
{
    mach_port_t inbox = new_port_with_send(), names[2] = {new_dead_port(), new_dead_name()};
    for (int n = 0; n < 2; n++) {
        OK(send_right(inbox, names[n], MACH_MSG_TYPE_COPY_SEND));
        EXPECT(receive_right(inbox), MACH_PORT_DEAD);
        EXPECT(refs(names[n], MACH_PORT_RIGHT_DEAD_NAME), 1);
        OK(mach_port_deallocate(self(), names[n]));
    }
    OK(mach_port_destroy(self(), inbox));
}

/* s1_2_move_of_dead_name_takes_a_reference */
static void move_of_a_dead_name(void)
{
    mach_port_t inbox = new_port_with_send(), dead = new_dead_name(), died = new_port(), once = new_send_once(died);
    any_message m;
    OK(mach_port_mod_refs(self(), dead, MACH_PORT_RIGHT_DEAD_NAME, 2));
    for (unsigned n = 0; n < 2; n++) {
        OK(send_right(inbox, dead, n ? MACH_MSG_TYPE_MOVE_SEND_ONCE : MACH_MSG_TYPE_MOVE_SEND));
        OK(receive_it(&m, inbox));
        EXPECT(m.port.port.name, MACH_PORT_DEAD);
        EXPECT(m.port.port.disposition, n ? MACH_MSG_TYPE_PORT_SEND_ONCE : MACH_MSG_TYPE_PORT_SEND);
        EXPECT(refs(dead, MACH_PORT_RIGHT_DEAD_NAME), 2 - n);
    }
    OK(send_right(inbox, dead, MACH_MSG_TYPE_MOVE_SEND));
    EXPECT(type_of(dead), MACH_PORT_TYPE_NONE);
    drop_port(died);
    OK(send_right(inbox, once, MACH_MSG_TYPE_MOVE_SEND_ONCE));
    EXPECT(type_of(once), MACH_PORT_TYPE_NONE);
    OK(mach_port_destroy(self(), inbox));
}

/* s1_2_copy_or_make_of_send_once_is_refused */
static void send_once_is_moved_or_not_at_all(void)
{
    static const unsigned refused[] = {MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE, MACH_MSG_TYPE_MOVE_SEND,
                                       MACH_MSG_TYPE_MOVE_RECEIVE};
    mach_port_t inbox = new_port_with_send(), once = new_send_once(inbox), dead = new_dead_name(), set = new_set();
    for (unsigned n = 0; n < COUNT(refused); n++) {
        EXPECT_CODE(send_right(inbox, once, refused[n]), MACH_SEND_INVALID_RIGHT);
        EXPECT(type_of(once), MACH_PORT_TYPE_SEND_ONCE);
    }
    EXPECT_CODE(send_right(inbox, dead, MACH_MSG_TYPE_MAKE_SEND), MACH_SEND_INVALID_RIGHT);
    EXPECT_CODE(send_right(inbox, dead, MACH_MSG_TYPE_MOVE_RECEIVE), MACH_SEND_INVALID_RIGHT);
    EXPECT_CODE(send_right(inbox, set, MACH_MSG_TYPE_COPY_SEND), MACH_SEND_INVALID_RIGHT);
    EXPECT_CODE(send_right(inbox, NOTHING, MACH_MSG_TYPE_COPY_SEND), MACH_SEND_INVALID_RIGHT);
    EXPECT(refs(dead, MACH_PORT_RIGHT_DEAD_NAME), 1);
    expect_nothing(inbox);
    OK(mach_port_destroy(self(), dead));
    OK(mach_port_destroy(self(), set));
    OK(mach_port_destroy(self(), inbox));
    OK(mach_port_destroy(self(), once));
}

/* s1_2_move_of_last_send_keeps_receive */
static void last_send_right_leaves_the_receive_right(void)
{
    mach_port_t inbox = new_port_with_send(), name = new_port_with_send();
    OK(send_right(inbox, name, MACH_MSG_TYPE_MOVE_SEND));
    EXPECT(type_of(name), MACH_PORT_TYPE_RECEIVE);
    EXPECT(refs(name, MACH_PORT_RIGHT_SEND), 0);
    EXPECT(srights_of(name), 1);
    EXPECT(receive_right(inbox), name);
    OK(mach_port_destroy(self(), name));
    OK(mach_port_destroy(self(), inbox));
}

/* s1_2_move_receive_keeps_sends_and_resets_port s1_2_move_receive_takes_guard_and_context_off */
static void moved_receive_right(void)
{
    mach_port_t inbox = new_port_with_send(), name = new_port_with_send(), set = new_set(), told = new_port();
    mach_port_context_t context = 1;
    any_message m;
    OK(mach_port_insert_member(self(), name, set));
    OK(mach_port_set_seqno(self(), name, 9));
    OK(mach_port_set_context(self(), name, 77));
    request(name, MACH_NOTIFY_NO_SENDERS, 0, told);
    fill(name, 2);
    OK(send_right(inbox, name, MACH_MSG_TYPE_MOVE_RECEIVE));
    EXPECT(type_of(name), MACH_PORT_TYPE_SEND);
    EXPECT_CODE(receive_it(&m, name), MACH_RCV_INVALID_NAME);
    EXPECT_CODE(mach_port_get_context(self(), name, &context), KERN_INVALID_RIGHT);
    EXPECT(receive_right(inbox), name);
    mach_port_status_t status = status_of(name);
    EXPECT(status.mps_pset, 0);
    EXPECT(status.mps_mscount, 0);
    EXPECT(status.mps_seqno, 0);
    EXPECT(status.mps_msgcount, 2);
    EXPECT(status.mps_srights, 1);
    EXPECT(status.mps_nsrequest, 1);
    OK(mach_port_get_context(self(), name, &context));
    EXPECT(context, 0);
    EXPECT(next_id(name), 0);
    OK(mach_port_destroy(self(), name));
    EXPECT(next_id(told), MACH_NOTIFY_SEND_ONCE);
    /* A strict guard and immovability forbid it; a plain guard comes off. */
    for (unsigned flags = 0; flags < 3; flags++) {
        name = new_port();
        OK(mach_port_guard_with_flags(self(), name, 5, flags));
        if (flags != 0) {
            EXPECT_CODE(send_right(inbox, name, MACH_MSG_TYPE_MOVE_RECEIVE), MACH_SEND_INVALID_RIGHT);
            EXPECT(type_of(name), MACH_PORT_TYPE_RECEIVE);
            OK(mach_port_unguard(self(), name, 5));
        }
        OK(send_right(inbox, name, MACH_MSG_TYPE_MOVE_RECEIVE));
        drop_port(receive_right(inbox));
    }
    OK(mach_port_destroy(self(), set));
    OK(mach_port_destroy(self(), told));
    OK(mach_port_destroy(self(), inbox));
}

/* s1_2_move_receive_tells_blocked_receivers */
static void receivers_hear_of_the_move(void)
{
    static waiter_t waiters[2];
    mach_port_t inbox = new_port_with_send(), name = new_port();
    for (int n = 0; n < 2; n++)
        start_receiver(&waiters[n], name);
    OK(send_right(inbox, name, MACH_MSG_TYPE_MOVE_RECEIVE));
    for (int n = 0; n < 2; n++)
        EXPECT_CODE(end_waiter(&waiters[n]), MACH_RCV_PORT_CHANGED);
    drop_port(receive_right(inbox));
    OK(mach_port_destroy(self(), inbox));
}

/* s1_2_null_and_dead_are_carried */
static void null_and_dead_go_by_any_disposition(void)
{
    static const mach_port_t names[2] = {MACH_PORT_NULL, MACH_PORT_DEAD};
    mach_port_t inbox = new_port_with_send();
    any_message m;
    for (int n = 0; n < 2; n++) {
        for (unsigned sent = MACH_MSG_TYPE_MOVE_RECEIVE; sent <= MACH_MSG_TYPE_MAKE_SEND_ONCE; sent++) {
            carry(&m, inbox, names[n], sent);
            if (sent != MACH_MSG_TYPE_MOVE_RECEIVE) {
                m.header.msgh_bits |= MACH_MSGH_BITS(0, sent);
                m.header.msgh_local_port = names[n];
            }
            OK(send_it(&m));
            OK(receive_it(&m, inbox));
            EXPECT(m.port.port.name, names[n]);
            EXPECT(m.header.msgh_remote_port, sent == MACH_MSG_TYPE_MOVE_RECEIVE ? MACH_PORT_NULL : names[n]);
        }
        EXPECT_CODE(send_empty(names[n], MACH_MSG_TYPE_COPY_SEND, 1), MACH_SEND_INVALID_DEST);
    }
    OK(mach_port_destroy(self(), inbox));
}

/* s1_2_port_dies_in_transit */
static void port_dies_on_its_way(void)
{
    mach_port_t inbox = new_port_with_send(), name = new_port_with_send(), array[3] = {name, inbox, name};
    any_message m;
    carry(&m, inbox, name, MACH_MSG_TYPE_COPY_SEND);
    m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    m.header.msgh_local_port = name;
    OK(send_it(&m));
    start_complex(&m, inbox, MACH_MSG_TYPE_COPY_SEND, sizeof m.ports, 2);
    m.ports.ports.address = array;
    m.ports.ports.count = 3;
    m.ports.ports.disposition = MACH_MSG_TYPE_COPY_SEND;
    m.ports.ports.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
    OK(send_it(&m));
    drop_port(name);
    OK(receive_it(&m, inbox));
    EXPECT(m.header.msgh_remote_port, MACH_PORT_DEAD);
    EXPECT(MACH_MSGH_BITS_REMOTE(m.header.msgh_bits), MACH_MSG_TYPE_PORT_SEND_ONCE);
    EXPECT(m.port.port.name, MACH_PORT_DEAD);
    OK(receive_it(&m, inbox));
    mach_port_t *got = (mach_port_t *)m.ports.ports.address;
    EXPECT(got[0], MACH_PORT_DEAD);
    EXPECT(got[1], inbox);
    EXPECT(got[2], MACH_PORT_DEAD);
    mach_msg_destroy(&m.header);
    EXPECT(refs(name, MACH_PORT_RIGHT_DEAD_NAME), 1);
    OK(mach_port_destroy(self(), name));
    OK(mach_port_destroy(self(), inbox));
}

/* s1_2_bad_destination_consumes_nothing s1_2_header_errors_consume_nothing */
static void header_errors_take_nothing(void)
{
    mach_port_t live = new_port_with_send(), reply = new_send_once(live), moved = new_port_with_send(), bare = new_port(), set = new_set();
    mach_port_t dead = new_dead_name(), died = new_dead_port(), once = new_send_once(live);
    const struct {
        mach_port_t dest;
        unsigned disposition;
    } all[] = {{dead, MACH_MSG_TYPE_COPY_SEND},
               {dead, MACH_MSG_TYPE_MOVE_SEND},
               {dead, MACH_MSG_TYPE_MOVE_SEND_ONCE},
               {died, MACH_MSG_TYPE_COPY_SEND},
               {died, MACH_MSG_TYPE_MOVE_SEND},
               {set, MACH_MSG_TYPE_COPY_SEND},
               {once, MACH_MSG_TYPE_COPY_SEND},
               {once, MACH_MSG_TYPE_MOVE_SEND},
               {bare, MACH_MSG_TYPE_COPY_SEND},
               {bare, MACH_MSG_TYPE_MOVE_SEND_ONCE},
               {live, MACH_MSG_TYPE_MOVE_SEND_ONCE},
               {NOTHING, MACH_MSG_TYPE_COPY_SEND},
               {MACH_PORT_NULL, MACH_MSG_TYPE_COPY_SEND},
               {MACH_PORT_DEAD, MACH_MSG_TYPE_MOVE_SEND}};
    any_message m;
    for (unsigned n = 0; n < COUNT(all); n++) {
        carry(&m, all[n].dest, moved, MACH_MSG_TYPE_MOVE_SEND);
        m.header.msgh_bits = MACH_MSGH_BITS(all[n].disposition, MACH_MSG_TYPE_MOVE_SEND_ONCE) | MACH_MSGH_BITS_COMPLEX;
        m.header.msgh_local_port = reply;
        EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_DEST);
    }
    carry(&m, live, moved, MACH_MSG_TYPE_MOVE_SEND);
    m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_COPY_SEND);
    m.header.msgh_local_port = bare;
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_REPLY);
    m.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 9) | MACH_MSGH_BITS_COMPLEX;
    m.header.msgh_local_port = reply;
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_HEADER);
    m.header.msgh_bits = MACH_MSGH_BITS_SET(MACH_MSG_TYPE_MOVE_SEND, MACH_MSG_TYPE_MOVE_SEND_ONCE, MACH_MSG_TYPE_COPY_SEND, MACH_MSGH_BITS_COMPLEX);
    m.header.msgh_voucher_port = moved;
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_VOUCHER);
    m.header.msgh_voucher_port = 0;
    EXPECT_CODE(mach_msg(&m.header, MACH_SEND_MSG, 20, 0, 0, 0, 0), MACH_SEND_MSG_TOO_SMALL);
    EXPECT_CODE(mach_msg(&m.header, MACH_SEND_MSG, 0x20000, 0, 0, 0, 0), MACH_SEND_TOO_LARGE);
    EXPECT(type_of(reply), MACH_PORT_TYPE_SEND_ONCE);
    EXPECT(type_of(once), MACH_PORT_TYPE_SEND_ONCE);
    EXPECT(refs(moved, MACH_PORT_RIGHT_SEND), 1);
    EXPECT(refs(live, MACH_PORT_RIGHT_SEND), 1);
    EXPECT(refs(dead, MACH_PORT_RIGHT_DEAD_NAME), 1);
    EXPECT(refs(died, MACH_PORT_RIGHT_DEAD_NAME), 1);
    expect_nothing(live);
    const mach_port_t drop[] = {live, reply, moved, bare, set, dead, died, once};
    for (unsigned n = 0; n < COUNT(drop); n++)
        OK(mach_port_destroy(self(), drop[n]));
}

/* s1_2_dead_send_once_destination_swallows */
static void dead_send_once_right_swallows(void)
{
    mach_port_t inbox = new_port_with_send(), carried = new_port_with_send(), name = new_port();
    mach_port_t once = new_send_once(name), watched = new_send_once(name);
    any_message m;
    request(watched, MACH_NOTIFY_DEAD_NAME, 0, inbox);
    drop_port(name);
    EXPECT(notice(inbox, MACH_NOTIFY_DEAD_NAME), watched);
    carry(&m, once, carried, MACH_MSG_TYPE_MOVE_SEND);
    m.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND_ONCE, MACH_MSG_TYPE_MAKE_SEND_ONCE) | MACH_MSGH_BITS_COMPLEX;
    m.header.msgh_local_port = inbox;
    OK(send_it(&m));
    EXPECT(type_of(once), MACH_PORT_TYPE_NONE);
    notice(inbox, MACH_NOTIFY_SEND_ONCE);
    EXPECT(type_of(carried), MACH_PORT_TYPE_RECEIVE);
    EXPECT_CODE(send_empty(watched, MACH_MSG_TYPE_MOVE_SEND_ONCE, 1), MACH_SEND_INVALID_DEST);
    OK(mach_port_destroy(self(), watched));
    OK(mach_port_destroy(self(), inbox));
    drop_port(carried);
}

/* s1_2_dead_reply_is_refused */
static void dead_reply_right_is_refused(void)
{
    mach_port_t inbox = new_port_with_send(), died = new_dead_port(), dead = new_dead_name(), set = new_set(), bare = new_port();
    const mach_port_t names[] = {died, dead, set, bare, NOTHING};
    any_message m;
    for (unsigned n = 0; n < COUNT(names); n++) {
        start_message(&m, inbox, MACH_MSG_TYPE_MOVE_SEND, 24, 1);
        m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_COPY_SEND);
        m.header.msgh_local_port = names[n];
        EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_REPLY);
    }
    EXPECT(refs(inbox, MACH_PORT_RIGHT_SEND), 1);
    EXPECT(refs(died, MACH_PORT_RIGHT_DEAD_NAME), 1);
    expect_nothing(inbox);
    const mach_port_t drop[] = {inbox, died, dead, set, bare};
    for (unsigned n = 0; n < COUNT(drop); n++)
        OK(mach_port_destroy(self(), drop[n]));
}

static mach_msg_return_t both(mach_port_t name, unsigned remote, unsigned local)
{
    any_message m;
    start_message(&m, name, remote, 24, 1);
    m.header.msgh_bits |= MACH_MSGH_BITS(0, local);
    m.header.msgh_local_port = name;
    return send_it(&m);
}

/* s1_2_destination_equal_to_reply */
static void destination_and_reply_are_one_name(void)
{
    mach_port_t name = new_port_with_send(), once = new_send_once(name);
    any_message m;
    OK(both(name, MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(refs(name, MACH_PORT_RIGHT_SEND), 1);
    OK(receive_it(&m, name));
    EXPECT(m.header.msgh_remote_port, name);
    OK(both(name, MACH_MSG_TYPE_MOVE_SEND, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(refs(name, MACH_PORT_RIGHT_SEND), 1);
    OK(receive_it(&m, name));
    EXPECT(refs(name, MACH_PORT_RIGHT_SEND), 2);
    OK(mach_port_deallocate(self(), name));
    EXPECT_CODE(both(name, MACH_MSG_TYPE_MOVE_SEND, MACH_MSG_TYPE_MOVE_SEND), MACH_SEND_INVALID_DEST);
    EXPECT(refs(name, MACH_PORT_RIGHT_SEND), 1);
    OK(mach_port_mod_refs(self(), name, MACH_PORT_RIGHT_SEND, 1));
    OK(both(name, MACH_MSG_TYPE_MOVE_SEND, MACH_MSG_TYPE_MOVE_SEND));
    EXPECT(type_of(name), MACH_PORT_TYPE_RECEIVE);
    OK(receive_it(&m, name));
    EXPECT(refs(name, MACH_PORT_RIGHT_SEND), 1);
    OK(both(name, MACH_MSG_TYPE_MAKE_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE));
    OK(receive_it(&m, name));
    OK(mach_port_deallocate(self(), m.header.msgh_remote_port));
    notice(name, MACH_NOTIFY_SEND_ONCE);
    EXPECT_CODE(both(once, MACH_MSG_TYPE_MOVE_SEND_ONCE, MACH_MSG_TYPE_MOVE_SEND_ONCE), MACH_SEND_INVALID_DEST);
    EXPECT_CODE(both(once, MACH_MSG_TYPE_MOVE_SEND_ONCE, MACH_MSG_TYPE_COPY_SEND), MACH_SEND_INVALID_DEST);
    EXPECT_CODE(both(once, MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MOVE_SEND_ONCE), MACH_SEND_INVALID_DEST);
    EXPECT(type_of(once), MACH_PORT_TYPE_SEND_ONCE);
    expect_nothing(name);
    OK(mach_port_destroy(self(), name));
    OK(mach_port_destroy(self(), once));
}

/* s1_2_destination_dies_after_the_send */
static void destination_dies_while_the_sender_waits(void)
{
    static waiter_t waiter;
    mach_port_t told = new_port(), full = new_port_with_send(), carried = new_port_with_send();
    fill(full, 5);
    carry(&waiter.message, full, carried, MACH_MSG_TYPE_MOVE_SEND);
    waiter.message.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    waiter.message.header.msgh_local_port = told;
    start_sender(&waiter);
    drop_port(full);
    OK(end_waiter(&waiter));
    notice(told, MACH_NOTIFY_SEND_ONCE);
    EXPECT(type_of(carried), MACH_PORT_TYPE_RECEIVE);
    EXPECT(type_of(full), MACH_PORT_TYPE_DEAD_NAME);
    OK(mach_port_destroy(self(), full));
    drop_port(carried);
    drop_port(told);
}

/* s1_2_circular_message_is_destroyed s1_2_circular_port_destroyed_notification */
static void circles_are_destroyed(void)
{
    mach_port_t own = new_port_with_send(), a = new_port_with_send(), b = new_port_with_send(), c = new_port_with_send();
    OK(send_right(own, own, MACH_MSG_TYPE_MOVE_RECEIVE));
    EXPECT(type_of(own), MACH_PORT_TYPE_DEAD_NAME);
    OK(send_right(b, c, MACH_MSG_TYPE_MOVE_RECEIVE));
    OK(send_right(a, b, MACH_MSG_TYPE_MOVE_RECEIVE));
    EXPECT(type_of(b), MACH_PORT_TYPE_SEND);
    OK(send_right(c, a, MACH_MSG_TYPE_MOVE_RECEIVE));
    const mach_port_t dead[] = {own, a, b, c};
    for (unsigned n = 0; n < COUNT(dead); n++) {
        EXPECT(type_of(dead[n]), MACH_PORT_TYPE_DEAD_NAME);
        OK(mach_port_deallocate(self(), dead[n]));
    }
    mach_port_t name = new_port_with_send();
    request(name, MACH_NOTIFY_PORT_DESTROYED, 0, name);
    drop_port(name);
    EXPECT(type_of(name), MACH_PORT_TYPE_DEAD_NAME);
    OK(mach_port_deallocate(self(), name));
}

typedef struct {
    mach_msg_base_t base;
    mach_msg_port_descriptor_t ports[4];
} four_ports;

static mach_msg_return_t send_four(four_ports *m, mach_port_t dest, unsigned disposition, unsigned count)
{
    m->base.header.msgh_bits = MACH_MSGH_BITS(disposition, 0) | MACH_MSGH_BITS_COMPLEX;
    m->base.header.msgh_remote_port = dest;
    m->base.body.msgh_descriptor_count = count;
    return mach_msg(&m->base.header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, (mach_msg_size_t)(28 + 12 * count), 0, 0, 0, 0);
}

/* s1_2_receive_right_moved_twice */
static void receive_right_cannot_be_moved_twice(void)
{
    mach_port_t inbox = new_port_with_send(), name = new_port_with_send();
    four_ports m;
    memset(&m, 0, sizeof m);
    for (int n = 0; n < 2; n++) {
        m.ports[n].name = name;
        m.ports[n].disposition = MACH_MSG_TYPE_MOVE_RECEIVE;
    }
    EXPECT_CODE(send_four(&m, inbox, MACH_MSG_TYPE_COPY_SEND, 2), MACH_SEND_INVALID_RIGHT);
    EXPECT(type_of(name), MACH_PORT_TYPE_DEAD_NAME);
    expect_nothing(inbox);
    OK(mach_port_destroy(self(), name));
    OK(mach_port_destroy(self(), inbox));
}

/* s1_2_body_errors_destroy_what_was_taken */
static void body_errors_destroy_what_came_before(void)
{
    static const struct {
        mach_msg_port_descriptor_t bad;
        mach_msg_return_t code;
    } all[] = {{{NOTHING, 0, 0, MACH_MSG_TYPE_COPY_SEND, MACH_MSG_PORT_DESCRIPTOR}, MACH_SEND_INVALID_RIGHT},
               {{NOTHING, 0, 0, 99, MACH_MSG_PORT_DESCRIPTOR}, MACH_SEND_INVALID_RIGHT},
               {{NOTHING, 0, 0, MACH_MSG_TYPE_COPY_SEND, 77}, MACH_SEND_INVALID_TYPE}};
    for (unsigned n = 0; n < COUNT(all); n++) {
        mach_port_t dest = new_port_with_send(), told = new_port(), first = new_port_with_send(), receive = new_port_with_send();
        mach_port_t last = new_port_with_send();
        four_ports m;
        memset(&m, 0, sizeof m);
        OK(mach_port_mod_refs(self(), dest, MACH_PORT_RIGHT_SEND, 1));
        m.base.header.msgh_local_port = MACH_PORT_NULL;
        m.ports[0].name = first;
        m.ports[0].disposition = MACH_MSG_TYPE_MOVE_SEND;
        m.ports[1].name = receive;
        m.ports[1].disposition = MACH_MSG_TYPE_MOVE_RECEIVE;
        m.ports[2] = all[n].bad;
        m.ports[3].name = last;
        m.ports[3].disposition = MACH_MSG_TYPE_MOVE_SEND;
        EXPECT_CODE(send_four(&m, dest, MACH_MSG_TYPE_MOVE_SEND, 4), all[n].code);
        EXPECT(refs(dest, MACH_PORT_RIGHT_SEND), 1);
        EXPECT(type_of(first), MACH_PORT_TYPE_RECEIVE);
        EXPECT(srights_of(first), 0);
        EXPECT(type_of(receive), MACH_PORT_TYPE_DEAD_NAME);
        EXPECT(refs(last, MACH_PORT_RIGHT_SEND), 1);
        expect_nothing(dest);
        const mach_port_t drop[] = {dest, told, first, receive, last};
        for (unsigned d = 0; d < COUNT(drop); d++)
            OK(mach_port_destroy(self(), drop[d]));
    }
    /* A message that ends before its descriptors do. */
    mach_port_t dest = new_port_with_send(), told = new_port(), last = new_port_with_send();
    any_message m;
    carry(&m, dest, last, MACH_MSG_TYPE_MOVE_SEND);
    m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    m.header.msgh_local_port = told;
    m.port.base.body.msgh_descriptor_count = 2;
    EXPECT_CODE(send_it(&m), MACH_SEND_MSG_TOO_SMALL);
    notice(told, MACH_NOTIFY_SEND_ONCE);
    EXPECT(type_of(last), MACH_PORT_TYPE_RECEIVE);
    const mach_port_t drop[] = {dest, told, last};
    for (unsigned d = 0; d < COUNT(drop); d++)
        OK(mach_port_destroy(self(), drop[d]));
}

CHECK_MAIN(CASE(values_and_what_arrives), CASE(copy_of_a_live_right), CASE(copy_of_a_dead_name), CASE(move_of_a_dead_name),
           CASE(send_once_is_moved_or_not_at_all), CASE(last_send_right_leaves_the_receive_right), CASE(moved_receive_right),
           CASE(receivers_hear_of_the_move), CASE(null_and_dead_go_by_any_disposition), CASE(port_dies_on_its_way),
           CASE(header_errors_take_nothing), CASE(dead_send_once_right_swallows), CASE(dead_reply_right_is_refused),
           CASE(destination_and_reply_are_one_name), CASE(destination_dies_while_the_sender_waits), CASE(circles_are_destroyed),
           CASE(receive_right_cannot_be_moved_twice), CASE(body_errors_destroy_what_came_before))

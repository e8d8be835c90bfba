/* 1.4 and 1.5: options of mach_msg, what comes back from a failed send, and what a receive delivers. */
#include "check.h"

static mach_port_t self(void)
{
    return mach_task_self();
}

static void echoes(mach_port_t maker)
{
    mach_port_t port = new_port();
    any_message m;
    OK(send_right(maker, port, MACH_MSG_TYPE_MAKE_SEND));
    OK(receive_it(&m, port));
    m.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND_ONCE, 0);
    m.header.msgh_local_port = MACH_PORT_NULL;
    m.header.msgh_id += 100;
    OK(send_it(&m));
}

/* s1_4_send_then_receive s1_5_received_header_is_swapped */
static void send_and_receive_in_one(void)
{
    child_t child = start_child(echoes);
    mach_port_t server = receive_right(child.meeting), reply = new_port_with_send();
    mach_msg_option_t all = MACH_SEND_MSG | MACH_RCV_MSG | MACH_SEND_TIMEOUT | MACH_RCV_TIMEOUT;
    any_message m;
    start_message(&m, server, MACH_MSG_TYPE_COPY_SEND, 40, 4);
    m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    m.header.msgh_local_port = reply;
    m.plain.words[1] = 0x6f686365;
    OK(mach_msg(&m.header, all, 40, sizeof m, reply, 5000, 0));
    EXPECT(m.header.msgh_id, 104);
    EXPECT(m.header.msgh_bits, MACH_MSGH_BITS(0, MACH_MSG_TYPE_PORT_SEND_ONCE));
    EXPECT(m.header.msgh_remote_port, MACH_PORT_NULL);
    EXPECT(m.header.msgh_local_port, reply);
    EXPECT(m.plain.words[1], 0x6f686365);
    end_child(&child);
    /* A failed send keeps the receive from starting. */
    OK(send_empty(reply, MACH_MSG_TYPE_COPY_SEND, 5));
    start_message(&m, NOTHING, MACH_MSG_TYPE_COPY_SEND, 24, 6);
    EXPECT_CODE(mach_msg(&m.header, all, 24, sizeof m, reply, 0, 0), MACH_SEND_INVALID_DEST);
    EXPECT(m.header.msgh_id, 6);
    EXPECT(next_id(reply), 5);
    /* Neither: nothing happens. */
    OK(mach_msg(&m.header, 0, 0, 0, MACH_PORT_NULL, 0, 0));
    /* Through a set the local port is the member, and the reply stands where the destination was. */
    mach_port_t set = new_set();
    OK(mach_port_insert_member(self(), reply, set));
    start_message(&m, reply, MACH_MSG_TYPE_COPY_SEND, 24, 7);
    m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_COPY_SEND);
    m.header.msgh_local_port = self();
    OK(send_it(&m));
    OK(receive_it(&m, set));
    EXPECT(m.header.msgh_bits, MACH_MSGH_BITS(MACH_MSG_TYPE_PORT_SEND, MACH_MSG_TYPE_PORT_SEND));
    EXPECT(m.header.msgh_local_port, reply);
    EXPECT(m.header.msgh_remote_port, self());
    mach_msg_destroy(&m.header);
    OK(mach_port_destroy(self(), set));
    OK(mach_port_destroy(self(), reply));
}

/* s1_4_timeouts */
static void timeouts_count_for_their_phase(void)
{
    static waiter_t waiter;
    mach_port_t name = new_port_with_send(), reply = new_port();
    any_message m;
    EXPECT_CODE(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof m, name, 0, 0), MACH_RCV_TIMED_OUT);
    EXPECT_CODE(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof m, name, 15, 0), MACH_RCV_TIMED_OUT);
    set_limit(name, 1);
    fill(name, 1);
    for (mach_msg_timeout_t timeout = 0; timeout < 20; timeout += 15) {
        start_message(&m, name, MACH_MSG_TYPE_COPY_SEND, 24, 1);
        EXPECT_CODE(mach_msg(&m.header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, 24, 0, 0, timeout, 0), MACH_SEND_TIMED_OUT);
        mach_msg_destroy(&m.header);
    }
    /* The option of one phase leaves the other alone: the send waits (longer than the number says), and then the receive waits no longer. */
    start_message(&waiter.message, name, MACH_MSG_TYPE_MAKE_SEND, 24, 1);
    waiter.option = MACH_SEND_MSG;
    waiter.name = MACH_PORT_NULL;
    start_waiter(&waiter);
    EXPECT(next_id(name), 0);
    OK(end_waiter(&waiter));
    EXPECT(next_id(name), 1);
    waiter.option = MACH_RCV_MSG;
    waiter.name = reply;
    start_waiter(&waiter);
    OK(send_empty(reply, MACH_MSG_TYPE_MAKE_SEND, 2));
    OK(end_waiter(&waiter));
    OK(mach_port_destroy(self(), name));
    drop_port(reply);
}

/* s1_4_rcv_large_leaves_the_message s1_4_rcv_large_identity_names_the_member s1_5_too_large_stays_with_rcv_large */
static void too_large_message_stays_where_it_is(void)
{
    mach_port_t name = new_port_with_send(), set = new_set();
    any_message m;
    OK(mach_port_insert_member(self(), name, set));
    start_message(&m, name, MACH_MSG_TYPE_COPY_SEND, 64, 3);
    OK(send_it(&m));
    static const mach_msg_size_t rooms[] = {0, 24, 71};
    for (unsigned n = 0; n < COUNT(rooms); n++) {
        EXPECT_CODE(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_LARGE | MACH_RCV_TIMEOUT, 0, rooms[n], name, 0, 0), MACH_RCV_TOO_LARGE);
        EXPECT(m.header.msgh_size, 72);
    }
    static const struct {
        int elements;
        mach_msg_size_t size;
    } asked[] = {{MACH_RCV_TRAILER_NULL, 72}, {MACH_RCV_TRAILER_SEQNO, 76}, {MACH_RCV_TRAILER_AUDIT, 116}};
    for (unsigned n = 0; n < COUNT(asked); n++) {
        mach_msg_option_t option = MACH_RCV_MSG | MACH_RCV_LARGE | MACH_RCV_LARGE_IDENTITY | MACH_RCV_TIMEOUT;
        option |= MACH_RCV_TRAILER_ELEMENTS(asked[n].elements);
        m.header.msgh_local_port = 0;
        EXPECT_CODE(mach_msg(&m.header, option, 0, asked[n].size - 1, set, 0, 0), MACH_RCV_TOO_LARGE);
        EXPECT(m.header.msgh_size, asked[n].size);
        EXPECT(m.header.msgh_local_port, name);
    }
    EXPECT(status_of(name).mps_msgcount, 1);
    OK(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_LARGE | MACH_RCV_TIMEOUT, 0, 72, name, 0, 0));
    EXPECT(m.header.msgh_id, 3);
    OK(mach_port_destroy(self(), name));
    OK(mach_port_destroy(self(), set));
}

/* s1_5_too_large_is_destroyed_without */
static void too_large_message_is_destroyed(void)
{
    mach_port_t inbox = new_port_with_send(), carried = new_port_with_send(), told = new_port();
    any_message m;
    carry(&m, inbox, carried, MACH_MSG_TYPE_MOVE_SEND);
    m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    m.header.msgh_local_port = told;
    m.header.msgh_id = 3;
    OK(send_it(&m));
    OK(send_empty(inbox, MACH_MSG_TYPE_COPY_SEND, 4));
    memset(&m, 0xee, sizeof m);
    EXPECT_CODE(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, 36, inbox, 0, 0), MACH_RCV_TOO_LARGE);
    EXPECT(m.header.msgh_id, 3);
    EXPECT(m.header.msgh_local_port, inbox);
    EXPECT(m.header.msgh_remote_port, MACH_PORT_NULL);
    notice(told, MACH_NOTIFY_SEND_ONCE);
    EXPECT(srights_of(carried), 0);
    memset(&m, 0, sizeof m);
    OK(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_SEQNO), 0, sizeof m, inbox, 0, 0));
    EXPECT(m.header.msgh_id, 4);
    EXPECT(((mach_msg_seqno_trailer_t *)(void *)(m.room + 24))->msgh_seqno, 1);
    OK(mach_port_destroy(self(), inbox));
    drop_port(carried);
    drop_port(told);
}

/* s1_4_options_without_effect */
static void options_of_darwin_are_taken(void)
{
    static const mach_msg_option_t sending[] = {MACH_SEND_OVERRIDE,       MACH_SEND_FILTER_NONFATAL, MACH_SEND_TRAILER,
                                                MACH_SEND_NOIMPORTANCE,   MACH_SEND_SYNC_OVERRIDE,   MACH_SEND_PROPAGATE_QOS,
                                                MACH_MSG_STRICT_REPLY,    MACH_SEND_SYNC_BOOTSTRAP_CHECKIN};
    static const mach_msg_option_t receiving[] = {MACH_MSG_STRICT_REPLY, MACH_RCV_VOUCHER, MACH_RCV_SYNC_PEEK};
    mach_port_t name = new_port_with_send();
    any_message m;
    for (unsigned n = 0; n < COUNT(sending); n++) {
        start_message(&m, name, MACH_MSG_TYPE_COPY_SEND, 24, (int)n);
        OK(mach_msg(&m.header, MACH_SEND_MSG | MACH_SEND_TIMEOUT | sending[n], 24, 0, 0, 0, 0));
        EXPECT(next_id(name), n);
    }
    for (unsigned n = 0; n < COUNT(receiving); n++) {
        OK(send_empty(name, MACH_MSG_TYPE_COPY_SEND, (int)n));
        OK(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT | receiving[n], 0, sizeof m, name, 2000, 0));
        EXPECT(m.header.msgh_id, n);
    }
    /* A voucher field that names nothing. */
    start_message(&m, name, MACH_MSG_TYPE_COPY_SEND, 24, 1);
    m.header.msgh_bits |= MACH_MSG_TYPE_MOVE_SEND << 16;
    OK(send_it(&m));
    OK(receive_it(&m, name));
    EXPECT(m.header.msgh_bits, MACH_MSGH_BITS(0, MACH_MSG_TYPE_PORT_SEND));
    EXPECT(m.header.msgh_voucher_port, 0);
    OK(mach_port_destroy(self(), name));
}

/* s1_4_trailer_has_what_was_asked_for */
static void unknown_trailers_are_refused(void)
{
    static const unsigned requests[] = {5u << 24, 6u << 24, 9u << 24, 1u << 28, 0xfu << 28};
    mach_port_t name = new_port_with_send();
    any_message m;
    OK(send_empty(name, MACH_MSG_TYPE_COPY_SEND, 1));
    for (unsigned n = 0; n < COUNT(requests); n++) {
        mach_msg_option_t option = (mach_msg_option_t)(MACH_RCV_MSG | MACH_RCV_TIMEOUT | requests[n]);
        EXPECT_CODE(mach_msg(&m.header, option, 0, sizeof m, name, 0, 0), MACH_RCV_INVALID_TRAILER);
    }
    EXPECT(next_id(name), 1);
    OK(mach_port_destroy(self(), name));
}

/* s1_5_timed_out_send_is_handed_back */
static void failed_send_comes_back(void)
{
    struct {
        mach_msg_base_t base;
        mach_msg_port_descriptor_t send, receive, once;
        mach_msg_ool_ports_descriptor_t array;
        uint32_t text;
    } m;
    mach_port_t full = new_port_with_send(), inbox = new_port_with_send(), name = new_port_with_send(), gone = new_port();
    mach_port_t pair[2] = {name, MACH_PORT_DEAD};
    set_limit(full, 0);
    memset(&m, 0, sizeof m);
    m.base.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE) | MACH_MSGH_BITS_COMPLEX;
    m.base.header.msgh_remote_port = full;
    m.base.header.msgh_local_port = name;
    m.base.header.msgh_id = 77;
    m.base.body.msgh_descriptor_count = 4;
    m.send.name = name;
    m.send.disposition = MACH_MSG_TYPE_MOVE_SEND;
    m.receive.name = gone;
    m.receive.disposition = MACH_MSG_TYPE_MOVE_RECEIVE;
    m.once.name = new_send_once(name);
    m.once.disposition = MACH_MSG_TYPE_MOVE_SEND_ONCE;
    m.array.address = pair;
    m.array.count = 2;
    m.array.disposition = MACH_MSG_TYPE_MAKE_SEND;
    m.array.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
    m.text = 0x74786574;
    EXPECT_CODE(mach_msg(&m.base.header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, sizeof m, 0, 0, 15, 0), MACH_SEND_TIMED_OUT);
    /* Nothing is swapped, and every right is one that was moved here. */
    EXPECT(m.base.header.msgh_id, 77);
    EXPECT(m.base.header.msgh_remote_port, full);
    EXPECT(m.base.header.msgh_bits, MACH_MSGH_BITS(MACH_MSG_TYPE_PORT_SEND, MACH_MSG_TYPE_PORT_SEND_ONCE) | MACH_MSGH_BITS_COMPLEX);
    EXPECT(type_of(m.base.header.msgh_local_port), MACH_PORT_TYPE_SEND_ONCE);
    EXPECT(refs(full, MACH_PORT_RIGHT_SEND), 2);
    EXPECT(m.send.name, name);
    EXPECT(m.send.disposition, MACH_MSG_TYPE_PORT_SEND);
    EXPECT(type_of(m.receive.name), MACH_PORT_TYPE_RECEIVE);
    EXPECT(m.receive.disposition, MACH_MSG_TYPE_PORT_RECEIVE);
    EXPECT(type_of(m.once.name), MACH_PORT_TYPE_SEND_ONCE);
    EXPECT(((mach_port_t *)m.array.address)[0], name);
    EXPECT(((mach_port_t *)m.array.address)[1], MACH_PORT_DEAD);
    EXPECT(refs(name, MACH_PORT_RIGHT_SEND), 2);
    EXPECT(m.text, 0x74786574);
    /* As it stands it can be sent elsewhere. */
    OK(mach_port_deallocate(self(), full));
    OK(mach_port_insert_right(self(), inbox, inbox, MACH_MSG_TYPE_MAKE_SEND));
    m.base.header.msgh_remote_port = inbox;
    OK(mach_msg(&m.base.header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, sizeof m, 0, 0, 0, 0));
    any_message got;
    OK(receive_it(&got, inbox));
    EXPECT(got.header.msgh_id, 77);
    EXPECT(got.header.msgh_size, sizeof m);
    mach_msg_destroy(&got.header);
    const mach_port_t drop[] = {full, inbox, name};
    for (unsigned n = 0; n < COUNT(drop); n++)
        OK(mach_port_destroy(self(), drop[n]));
}

/* s1_5_receive_needs_a_receive_right_or_set */
static void receive_needs_a_receive_right_or_set(void)
{
    mach_port_t name = new_port(), set = new_set(), dead = new_dead_name();
    const mach_port_t none[] = {new_send_once(name), dead, self(), NOTHING, MACH_PORT_NULL, MACH_PORT_DEAD};
    any_message m;
    for (unsigned n = 0; n < COUNT(none); n++)
        EXPECT_CODE(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof m, none[n], 0, 0), MACH_RCV_INVALID_NAME);
    expect_nothing(name);
    expect_nothing(set);
    OK(mach_port_destroy(self(), none[0]));
    OK(mach_port_destroy(self(), dead));
    OK(mach_port_destroy(self(), set));
    drop_port(name);
}

/* s1_5_receive_from_a_member_of_a_set s1_5_adding_to_a_set_keeps_waiters */
static void member_of_a_set_can_be_received_from(void)
{
    static waiter_t on_set, on_port;
    mach_port_t set = new_set(), name = new_port_with_send();
    start_receiver(&on_port, name);
    OK(mach_port_insert_member(self(), name, set));
    OK(mach_port_move_member(self(), name, set));
    OK(mach_port_extract_member(self(), name, set));
    OK(send_empty(name, MACH_MSG_TYPE_COPY_SEND, 6));
    OK(end_waiter(&on_port));
    EXPECT(on_port.message.header.msgh_id, 6);
    OK(mach_port_insert_member(self(), name, set));
    fill(name, 3);
    EXPECT(next_id(name), 0);
    EXPECT(next_id(set), 1);
    EXPECT(next_id(name), 2);
    /* Who waits on the member is served before who waits on the set. */
    start_receiver(&on_set, set);
    start_receiver(&on_port, name);
    OK(send_empty(name, MACH_MSG_TYPE_COPY_SEND, 3));
    OK(end_waiter(&on_port));
    EXPECT(on_port.message.header.msgh_id, 3);
    OK(send_empty(name, MACH_MSG_TYPE_COPY_SEND, 4));
    OK(end_waiter(&on_set));
    EXPECT(on_set.message.header.msgh_id, 4);
    OK(mach_port_destroy(self(), name));
    OK(mach_port_destroy(self(), set));
}

static void sends_much(mach_port_t maker)
{
    mach_port_t inbox = new_port();
    OK(send_right(maker, inbox, MACH_MSG_TYPE_MAKE_SEND));
    mach_port_t right = receive_right(inbox), reply = new_port(), counted = new_port_with_send(), inner = new_port_with_send(), own = new_port();
    mach_port_t told = new_port();
    struct {
        mach_msg_base_t base;
        mach_msg_port_descriptor_t counted, once, inner;
        mach_msg_ool_descriptor_t memory;
    } m;
    static char bytes[100000];
    memset(&m, 0, sizeof m);
    request(counted, MACH_NOTIFY_NO_SENDERS, 0, told);
    request(inner, MACH_NOTIFY_DEAD_NAME, 0, told);
    m.base.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE) | MACH_MSGH_BITS_COMPLEX;
    m.base.header.msgh_remote_port = right;
    m.base.header.msgh_local_port = reply;
    m.base.body.msgh_descriptor_count = 4;
    m.counted.name = counted;
    m.counted.disposition = MACH_MSG_TYPE_MOVE_SEND;
    m.once.name = own;
    m.once.disposition = MACH_MSG_TYPE_MAKE_SEND_ONCE;
    m.inner.name = inner;
    m.inner.disposition = MACH_MSG_TYPE_MOVE_RECEIVE;
    m.memory.address = bytes;
    m.memory.size = sizeof bytes;
    m.memory.copy = MACH_MSG_VIRTUAL_COPY;
    m.memory.type = MACH_MSG_OOL_DESCRIPTOR;
    OK(mach_msg(&m.base.header, MACH_SEND_MSG, sizeof m, 0, 0, 0, 0));
    notice(reply, MACH_NOTIFY_SEND_ONCE);
    notice(own, MACH_NOTIFY_SEND_ONCE);
    notice(told, MACH_NOTIFY_NO_SENDERS);
    EXPECT(notice(told, MACH_NOTIFY_DEAD_NAME), inner);
    EXPECT(type_of(inner), MACH_PORT_TYPE_DEAD_NAME);
}

static unsigned long names_held(void)
{
    ipc_info_space_basic_t info;
    OK(mach_port_space_basic_info(self(), &info));
    return info.iisb_table_inuse;
}

/* s1_5_message_destroy_drops_everything */
static void destroyed_message_leaves_nothing(void)
{
    child_t child = start_child(sends_much);
    mach_port_t inbox = receive_right(child.meeting), home = new_port();
    any_message m;
    OK(send_right(inbox, home, MACH_MSG_TYPE_MAKE_SEND));
    unsigned long before = names_held();
    OK(receive_it(&m, home));
    EXPECT(m.port.base.body.msgh_descriptor_count, 4);
    TRUE_THAT(names_held() > before);
    mach_msg_destroy(&m.header);
    EXPECT(names_held(), before);
    end_child(&child);
    drop_port(home);
}

/* Two pages of which the second is not there. */
static char *page_with_an_end(void)
{
    vm_address_t at = 0;
    OK(vm_allocate(self(), &at, 2 * vm_page_size, VM_FLAGS_ANYWHERE));
    OK(vm_protect(self(), at + vm_page_size, vm_page_size, FALSE, VM_PROT_NONE));
    return (char *)at;
}

/* Only what comes has to fit. */
static void buffer_may_be_shorter_than_it_is_said_to_be(void)
{
    mach_port_t port = new_port_with_send();
    char *page = page_with_an_end();
    static const mach_msg_size_t sizes[] = {1000, 100000, 0x7fffffff, ~0u};
    for (size_t n = 0; n < COUNT(sizes); n++) {
        mach_msg_header_t *in = (mach_msg_header_t *)(void *)(page + vm_page_size - 100);
        mach_msg_option_t option = MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_SENDER);
        OK(send_empty(port, MACH_MSG_TYPE_COPY_SEND, 7));
        OK(mach_msg(in, option, 0, sizes[n], port, 1000, 0));
        EXPECT(in->msgh_id, 7);
        EXPECT(in->msgh_local_port, port);
        EXPECT(((mach_msg_security_trailer_t *)(in + 1))->msgh_trailer_size, sizeof(mach_msg_security_trailer_t));
        EXPECT(((mach_msg_security_trailer_t *)(in + 1))->msgh_sender.val[0], geteuid());
        /* With a right in it. */
        OK(send_right(port, port, MACH_MSG_TYPE_MAKE_SEND));
        OK(mach_msg(in, option, 0, sizes[n], port, 1000, 0));
        EXPECT(((any_message *)in)->port.port.name, port);
        EXPECT(((any_message *)in)->port.port.disposition, MACH_MSG_TYPE_PORT_SEND);
        OK(mach_port_deallocate(self(), port));
        /* It does not: received and lost. */
        in = (mach_msg_header_t *)(void *)(page + vm_page_size - 32);
        OK(send_empty(port, MACH_MSG_TYPE_COPY_SEND, 7));
        EXPECT_CODE(mach_msg(in, option, 0, sizes[n], port, 1000, 0), MACH_RCV_INVALID_DATA);
        expect_nothing(port);
    }
    OK(vm_deallocate(self(), (vm_address_t)page, 2 * vm_page_size));
    drop_port(port);
}

/* A message that cannot be sent comes back to where it was sent from, whatever buffer there is to receive into; if that can be read only, not at all. */
static void failed_send_comes_back_to_its_buffer(void)
{
    mach_port_t port = new_port_with_send(), other = new_port();
    char *page = page_with_an_end();
    any_message in, out;
    while (send_empty(port, MACH_MSG_TYPE_COPY_SEND, 1) == MACH_MSG_SUCCESS)
        ;
    memset(&in, 0x55, sizeof in);
    start_message(&out, port, MACH_MSG_TYPE_COPY_SEND, 40, 9);
    out.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    out.header.msgh_local_port = other;
    mach_msg_option_t option = MACH_SEND_MSG | MACH_SEND_TIMEOUT | MACH_RCV_MSG | MACH_RCV_TIMEOUT;
    EXPECT_CODE(mach_msg_overwrite(&out.header, option, 40, sizeof in, other, 0, 0, &in.header, 0), MACH_SEND_TIMED_OUT);
    EXPECT(in.header.msgh_bits, 0x55555555);
    EXPECT(out.header.msgh_bits, MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND, MACH_MSG_TYPE_MOVE_SEND_ONCE));
    EXPECT(out.header.msgh_remote_port, port);
    EXPECT(type_of(out.header.msgh_local_port), MACH_PORT_TYPE_SEND_ONCE);
    mach_msg_destroy(&out.header);
    /* Not the header's second right, which a received message has none of. */
    OK(mach_port_deallocate(self(), out.header.msgh_local_port));
    notice(other, MACH_NOTIFY_SEND_ONCE);

    mach_msg_header_t *constant = (mach_msg_header_t *)(void *)page;
    start_message(&out, port, MACH_MSG_TYPE_COPY_SEND, 40, 9);
    memcpy(page, &out, 40);
    OK(vm_protect(self(), (vm_address_t)page, vm_page_size, FALSE, VM_PROT_READ));
    unsigned before = refs(port, MACH_PORT_RIGHT_SEND);
    EXPECT_CODE(mach_msg(constant, MACH_SEND_MSG | MACH_SEND_TIMEOUT, 40, 0, 0, 0, 0), MACH_SEND_TIMED_OUT);
    EXPECT(constant->msgh_bits, MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0));
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND), before + 1);
    OK(vm_deallocate(self(), (vm_address_t)page, 2 * vm_page_size));
    drop_port(port);
    drop_port(other);
}

CHECK_MAIN(CASE(send_and_receive_in_one), CASE(timeouts_count_for_their_phase), CASE(too_large_message_stays_where_it_is),
           CASE(too_large_message_is_destroyed), CASE(options_of_darwin_are_taken), CASE(unknown_trailers_are_refused), CASE(failed_send_comes_back),
           CASE(receive_needs_a_receive_right_or_set), CASE(member_of_a_set_can_be_received_from), CASE(destroyed_message_leaves_nothing),
           CASE(buffer_may_be_shorter_than_it_is_said_to_be), CASE(failed_send_comes_back_to_its_buffer))

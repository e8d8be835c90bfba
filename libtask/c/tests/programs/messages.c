/* mach_msg through the C interface: dispositions, headers, sizes, trailers, timeouts, queues. */
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

/* s1_5_received_header_is_swapped */
static void plain_message_arrives_with_header_swapped(void)
{
    mach_port_t port = new_port();
    any_message m;
    start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND, 40, 7);
    m.plain.words[3] = 0x12345678;
    OK(send_it(&m));
    OK(receive_it(&m, port));
    EXPECT(m.header.msgh_bits, MACH_MSGH_BITS(0, MACH_MSG_TYPE_PORT_SEND));
    EXPECT(m.header.msgh_size, 40);
    EXPECT(m.header.msgh_remote_port, MACH_PORT_NULL);
    EXPECT(m.header.msgh_local_port, port);
    EXPECT(m.header.msgh_voucher_port, 0);
    EXPECT(m.header.msgh_id, 7);
    EXPECT(m.plain.words[3], 0x12345678);
    drop_port(port);
}

/* s1_3_send_size_is_the_argument */
static void size_argument_counts_and_not_the_field(void)
{
    mach_port_t port = new_port();
    any_message m;
    start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND, 0xdead, 1);
    OK(mach_msg(&m.header, MACH_SEND_MSG, 28, 0, 0, 0, 0));
    OK(receive_it(&m, port));
    EXPECT(m.header.msgh_size, 28);
    drop_port(port);
}

static void sizes_that_are_none_are_refused(void)
{
    mach_port_t port = new_port();
    any_message m;
    start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND, 24, 1);
    for (mach_msg_size_t size = 0; size < 24; size++)
        EXPECT_CODE(mach_msg(&m.header, MACH_SEND_MSG, size, 0, 0, 0, 0), MACH_SEND_MSG_TOO_SMALL);
    EXPECT_CODE(mach_msg(&m.header, MACH_SEND_MSG, 25, 0, 0, 0, 0), MACH_SEND_MSG_TOO_SMALL);
    EXPECT_CODE(mach_msg(&m.header, MACH_SEND_MSG, 26, 0, 0, 0, 0), MACH_SEND_MSG_TOO_SMALL);
    EXPECT_CODE(mach_msg(&m.header, MACH_SEND_MSG, 27, 0, 0, 0, 0), MACH_SEND_MSG_TOO_SMALL);
    EXPECT_CODE(mach_msg(&m.header, MACH_SEND_MSG, 0x7ffffffc, 0, 0, 0, 0), MACH_SEND_TOO_LARGE);
    EXPECT_CODE(mach_msg(&m.header, MACH_SEND_MSG, 0xfffffffc, 0, 0, 0, 0), MACH_SEND_TOO_LARGE);
    expect_nothing(port);
    drop_port(port);
}

static void buffers_that_are_none_are_refused(void)
{
    mach_port_t port = new_port_with_send();
    EXPECT_CODE(mach_msg(NULL, MACH_SEND_MSG, 24, 0, 0, 0, 0), MACH_SEND_INVALID_DATA);
    EXPECT_CODE(mach_msg((mach_msg_header_t *)8, MACH_SEND_MSG, 24, 0, 0, 0, 0), MACH_SEND_INVALID_DATA);
    EXPECT_CODE(mach_msg((mach_msg_header_t *)(uintptr_t)-64, MACH_SEND_MSG, 64, 0, 0, 0, 0), MACH_SEND_INVALID_DATA);
    /* It ends in a page that is not there. */
    size_t page = vm_page_size;
    char *pages = (char *)mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(pages + page, page);
    any_message m;
    start_message(&m, port, MACH_MSG_TYPE_COPY_SEND, 40, 3);
    memcpy(pages + page - 32, &m, 32);
    EXPECT_CODE(mach_msg((mach_msg_header_t *)(void *)(pages + page - 32), MACH_SEND_MSG, 40, 0, 0, 0, 0), MACH_SEND_INVALID_DATA);
    OK(mach_msg((mach_msg_header_t *)(void *)(pages + page - 32), MACH_SEND_MSG, 32, 0, 0, 0, 0));
    /* Received and lost. */
    EXPECT_CODE(mach_msg(NULL, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, 200, port, 1000, 0), MACH_RCV_INVALID_DATA);
    expect_nothing(port);
    mprotect(pages, page, PROT_READ);
    OK(send_it(&m));
    EXPECT_CODE(mach_msg((mach_msg_header_t *)(void *)pages, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, 200, port, 1000, 0), MACH_RCV_INVALID_DATA);
    munmap(pages, page);
    drop_port(port);
}

/* s1_2_bad_destination_consumes_nothing */
static void destinations_that_are_none_are_refused(void)
{
    mach_port_t port = new_port(), dead = new_port_with_send(), set;
    any_message m;
    start_message(&m, MACH_PORT_NULL, MACH_MSG_TYPE_COPY_SEND, 24, 1);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_DEST);
    start_message(&m, MACH_PORT_DEAD, MACH_MSG_TYPE_COPY_SEND, 24, 1);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_DEST);
    start_message(&m, 0x12345603, MACH_MSG_TYPE_COPY_SEND, 24, 1);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_DEST);
    /* Only a receive right. */
    start_message(&m, port, MACH_MSG_TYPE_COPY_SEND, 24, 1);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_DEST);
    drop_port(dead);
    EXPECT(type_of(dead), MACH_PORT_TYPE_DEAD_NAME);
    start_message(&m, dead, MACH_MSG_TYPE_COPY_SEND, 24, 1);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_DEST);
    OK(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_PORT_SET, &set));
    start_message(&m, set, MACH_MSG_TYPE_MAKE_SEND, 24, 1);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_DEST);
    /* Dispositions that cannot send, or are none. */
    for (unsigned disposition = 0; disposition < 32; disposition++) {
        if (disposition >= MACH_MSG_TYPE_MOVE_SEND && disposition <= MACH_MSG_TYPE_MAKE_SEND_ONCE)
            continue;
        start_message(&m, port, disposition, 24, 1);
        EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_HEADER);
    }
    drop_port(port);
    OK(mach_port_destroy(mach_task_self(), set));
    OK(mach_port_deallocate(mach_task_self(), dead));
}

/* s1_2_dead_reply_is_refused */
static void reply_rights_are_made_and_checked(void)
{
    mach_port_t port = new_port(), reply = new_port(), dead = new_port_with_send();
    drop_port(dead);
    any_message m;
    start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND, 24, 1);
    m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    m.header.msgh_local_port = reply;
    OK(send_it(&m));
    OK(receive_it(&m, port));
    EXPECT(MACH_MSGH_BITS_REMOTE(m.header.msgh_bits), MACH_MSG_TYPE_PORT_SEND_ONCE);
    EXPECT(type_of(m.header.msgh_remote_port), MACH_PORT_TYPE_SEND_ONCE);
    start_message(&m, m.header.msgh_remote_port, MACH_MSG_TYPE_MOVE_SEND_ONCE, 24, 2);
    OK(send_it(&m));
    OK(receive_it(&m, reply));
    EXPECT(m.header.msgh_id, 2);
    EXPECT(MACH_MSGH_BITS_LOCAL(m.header.msgh_bits), MACH_MSG_TYPE_PORT_SEND_ONCE);

    start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND, 24, 1);
    m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_COPY_SEND);
    m.header.msgh_local_port = dead;
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_REPLY);
    m.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, MACH_MSG_TYPE_MOVE_RECEIVE);
    m.header.msgh_local_port = reply;
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_HEADER);
    m.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_HEADER);
    expect_nothing(port);
    drop_port(port);
    drop_port(reply);
    OK(mach_port_deallocate(mach_task_self(), dead));
}

/* s1_5_unknown_header_bits_are_cleared */
static void unknown_header_bits_are_masked(void)
{
    mach_port_t port = new_port();
    any_message m;
    start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND, 24, 1);
    m.header.msgh_bits |= 0x7fe0e0e0 & ~MACH_MSGH_BITS_USER;
    OK(send_it(&m));
    OK(receive_it(&m, port));
    EXPECT(m.header.msgh_bits, MACH_MSGH_BITS(0, MACH_MSG_TYPE_PORT_SEND));
    drop_port(port);
}

/* s1_4_trailer_has_what_was_asked_for */
static void trailers_have_what_was_asked_for(void)
{
    static const struct {
        int elements;
        unsigned size;
    } all[] = {{MACH_RCV_TRAILER_NULL, 8},   {MACH_RCV_TRAILER_SEQNO, 12}, {MACH_RCV_TRAILER_SENDER, 20}, {MACH_RCV_TRAILER_AUDIT, 52},
               {MACH_RCV_TRAILER_CTX, 60},   {MACH_RCV_TRAILER_AV, 68},    {MACH_RCV_TRAILER_LABELS, 68}};
    mach_port_t port = new_port();
    OK(mach_port_set_context(mach_task_self(), port, 0x1122334455667788));
    for (unsigned n = 0; n < sizeof all / sizeof all[0]; n++) {
        any_message m;
        start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND, 28, 1);
        OK(send_it(&m));
        memset(&m, 0xee, sizeof m);
        mach_msg_option_t option = MACH_RCV_MSG | MACH_RCV_TRAILER_ELEMENTS(all[n].elements);
        OK(mach_msg(&m.header, option, 0, 28 + all[n].size, port, 0, 0));
        mach_msg_mac_trailer_t *trailer = (mach_msg_mac_trailer_t *)(void *)(m.room + 28);
        EXPECT(trailer->msgh_trailer_type, MACH_MSG_TRAILER_FORMAT_0);
        EXPECT(trailer->msgh_trailer_size, all[n].size);
        if (all[n].size >= 12)
            EXPECT(trailer->msgh_seqno, n);
        if (all[n].size >= 20) {
            EXPECT(trailer->msgh_sender.val[0], geteuid());
            EXPECT(trailer->msgh_sender.val[1], getegid());
        }
        if (all[n].size >= 52) {
            EXPECT(trailer->msgh_audit.val[1], geteuid());
            EXPECT(trailer->msgh_audit.val[5], getpid());
        }
        if (all[n].size >= 60)
            EXPECT(trailer->msgh_context, 0x1122334455667788);
        /* Nothing behind it. */
        EXPECT((unsigned char)m.room[28 + all[n].size], 0xee);
    }
    any_message m;
    start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND, 24, 1);
    OK(send_it(&m));
    EXPECT_CODE(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_TRAILER_ELEMENTS(5), 0, sizeof m, port, 0, 0), MACH_RCV_INVALID_TRAILER);
    drop_port(port);
}

/* s1_4_rcv_large_leaves_the_message s1_5_too_large_is_destroyed_without */
static void too_large_message_stays_if_asked(void)
{
    mach_port_t port = new_port();
    any_message m;
    start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND, 40, 9);
    OK(send_it(&m));
    memset(&m, 0xee, sizeof m);
    EXPECT_CODE(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_LARGE, 0, 47, port, 0, 0), MACH_RCV_TOO_LARGE);
    EXPECT(m.header.msgh_size, 48);
    EXPECT(m.header.msgh_bits, 0xeeeeeeee);
    EXPECT(m.header.msgh_local_port, 0xeeeeeeee);
    EXPECT_CODE(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_LARGE | MACH_RCV_LARGE_IDENTITY, 0, 0, port, 0, 0), MACH_RCV_TOO_LARGE);
    EXPECT(m.header.msgh_local_port, port);
    OK(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_LARGE, 0, 48, port, 0, 0));
    EXPECT(m.header.msgh_id, 9);

    start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND, 40, 9);
    OK(send_it(&m));
    memset(&m, 0xee, sizeof m);
    EXPECT_CODE(mach_msg(&m.header, MACH_RCV_MSG, 0, 40, port, 0, 0), MACH_RCV_TOO_LARGE);
    EXPECT(m.header.msgh_size, 40);
    EXPECT(m.header.msgh_id, 9);
    EXPECT((unsigned char)m.room[40], 0xee);
    expect_nothing(port);
    drop_port(port);
}

/* s1_5_timed_out_send_is_handed_back */
static void full_queue_times_out_and_hands_back(void)
{
    mach_port_t port = new_port_with_send(), carried = new_port();
    any_message m;
    for (int n = 0; n < 5; n++) {
        start_message(&m, port, MACH_MSG_TYPE_COPY_SEND, 24, n);
        OK(send_it(&m));
    }
    start_complex(&m, port, MACH_MSG_TYPE_COPY_SEND, sizeof m.port, 9);
    m.port.port.name = carried;
    m.port.port.disposition = MACH_MSG_TYPE_MAKE_SEND;
    EXPECT_CODE(send_it(&m), MACH_SEND_TIMED_OUT);
    /* The rights are in the buffer again, as moved ones: header not swapped. */
    EXPECT(m.header.msgh_remote_port, port);
    EXPECT(m.header.msgh_id, 9);
    EXPECT(m.port.port.name, carried);
    EXPECT(m.port.port.disposition, MACH_MSG_TYPE_PORT_SEND);
    EXPECT(type_of(carried), MACH_PORT_TYPE_SEND_RECEIVE);
    mach_msg_destroy(&m.header);
    EXPECT(type_of(carried), MACH_PORT_TYPE_RECEIVE);
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 1);

    start_message(&m, port, MACH_MSG_TYPE_COPY_SEND, 24, 9);
    EXPECT_CODE(mach_msg(&m.header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, 24, 0, 0, 20, 0), MACH_SEND_TIMED_OUT);
    /* A send-once right is never too late. */
    start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND_ONCE, 24, 5);
    OK(send_it(&m));
    for (int n = 0; n < 6; n++) {
        OK(receive_it(&m, port));
        EXPECT(m.header.msgh_id, n);
    }
    expect_nothing(port);
    drop_port(port);
    drop_port(carried);
}

/* s1_5_receive_needs_a_receive_right_or_set */
static void receive_from_what_cannot_is_refused(void)
{
    mach_port_t port = new_port_with_send();
    any_message m;
    start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND_ONCE, 24, 1);
    EXPECT_CODE(receive_it(&m, MACH_PORT_NULL), MACH_RCV_INVALID_NAME);
    EXPECT_CODE(receive_it(&m, MACH_PORT_DEAD), MACH_RCV_INVALID_NAME);
    EXPECT_CODE(receive_it(&m, mach_task_self()), MACH_RCV_INVALID_NAME);
    drop_port(port);
    EXPECT_CODE(receive_it(&m, port), MACH_RCV_INVALID_NAME);
    OK(mach_port_deallocate(mach_task_self(), port));
}

/* s1_4_timeouts */
static void receive_times_out(void)
{
    mach_port_t port = new_port();
    any_message m;
    EXPECT_CODE(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof m, port, 0, 0), MACH_RCV_TIMED_OUT);
    EXPECT_CODE(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof m, port, 30, 0), MACH_RCV_TIMED_OUT);
    drop_port(port);
}

/* s1_4_send_then_receive */
static void failed_send_skips_the_receive(void)
{
    mach_port_t port = new_port();
    any_message m;
    start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND, 24, 1);
    OK(send_it(&m));
    start_message(&m, MACH_PORT_DEAD, MACH_MSG_TYPE_COPY_SEND, 24, 2);
    EXPECT_CODE(mach_msg(&m.header, MACH_SEND_MSG | MACH_RCV_MSG, 24, sizeof m, port, 0, 0), MACH_SEND_INVALID_DEST);
    OK(receive_it(&m, port));
    drop_port(port);
}

static void overwrite_receives_elsewhere(void)
{
    mach_port_t port = new_port();
    any_message m, other;
    start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND, 28, 4);
    m.plain.words[0] = 77;
    memset(&other, 0, sizeof other);
    OK(mach_msg_overwrite(&m.header, MACH_SEND_MSG | MACH_RCV_MSG, 28, sizeof other, port, 0, 0, &other.header, 0));
    EXPECT(other.header.msgh_id, 4);
    EXPECT(other.plain.words[0], 77);
    EXPECT(m.header.msgh_remote_port, port);
    drop_port(port);
}

static void short_forms_send_and_receive(void)
{
    mach_port_t port = new_port();
    any_message m;
    start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND, 32, 6);
    OK(mach_msg_send(&m.header));
    memset(&m, 0, sizeof m);
    m.header.msgh_size = sizeof m;
    m.header.msgh_local_port = port;
    OK(mach_msg_receive(&m.header));
    EXPECT(m.header.msgh_id, 6);
    drop_port(port);
}

static void second_form_takes_its_header_from_arguments(void)
{
    mach_port_t port = new_port();
    any_message m;
    memset(&m, 0xaa, sizeof m);
    m.plain.words[0] = 99;
    mach_msg_header_t header = {MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0), 28, port, 0, 0, 12};
    OK(mach_msg2(&m, MACH64_SEND_MSG | MACH64_SEND_ANY, header, 28, 0, 0, 0, 0));
    memset(&m, 0, sizeof m);
    memset(&header, 0, sizeof header);
    OK(mach_msg2(&m, MACH64_RCV_MSG | MACH64_RCV_TIMEOUT, header, 0, sizeof m, port, 1000, 0));
    EXPECT(m.header.msgh_id, 12);
    EXPECT(m.plain.words[0], 99);
    drop_port(port);
}

static void vectors_describe_messages(void)
{
    mach_port_t port = new_port();
    any_message m, into;
    mach_msg_aux_header_t aux = {99, 99};
    mach_msg_header_t header = {MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0), 28, port, 0, 0, 12}, none;
    mach_msg_vector_t v[2];
    memset(v, 0, sizeof v);
    memset(&none, 0, sizeof none);
    memset(&m, 0xaa, sizeof m);
    m.plain.words[0] = 99;
    v[0].msgv_data = (uintptr_t)&m;
    v[0].msgv_rcv_addr = (uintptr_t)&into;
    v[0].msgv_send_size = 28;
    v[0].msgv_rcv_size = sizeof into;
    v[1].msgv_data = (uintptr_t)&aux;
    v[1].msgv_rcv_size = sizeof aux;
    mach_msg_option64_t send = MACH64_SEND_MSG | MACH64_SEND_ANY | MACH64_MSG_VECTOR, receive = MACH64_RCV_MSG | MACH64_RCV_TIMEOUT | MACH64_MSG_VECTOR;
    OK(mach_msg2(v, send, header, 1, 0, 0, 0, 0));
    OK(mach_msg2(v, receive, none, 0, 2, port, 1000, 0));
    EXPECT(into.header.msgh_id, 12);
    EXPECT(into.plain.words[0], 99);
    EXPECT(m.header.msgh_id, 0xffffffffaaaaaaaa);
    /* Nothing came beside it. */
    EXPECT(aux.msgdh_size, 8);
    /* Both in one. */
    memset(&into, 0, sizeof into);
    OK(mach_msg2(v, send | receive, header, 2, 1, port, 1000, 0));
    EXPECT(into.header.msgh_id, 12);
    EXPECT_CODE(mach_msg2(v, send, header, 0, 0, 0, 0, 0), MACH_SEND_INVALID_DATA);
    EXPECT_CODE(mach_msg2(v, send, header, 3, 0, 0, 0, 0), MACH_SEND_INVALID_DATA);
    EXPECT_CODE(mach_msg2(NULL, send, header, 1, 0, 0, 0, 0), MACH_SEND_INVALID_DATA);
    EXPECT_CODE(mach_msg2(v, receive, none, 0, 3, port, 0, 0), MACH_RCV_INVALID_ARGUMENTS);
    v[1].msgv_send_size = 4;
    EXPECT_CODE(mach_msg2(v, send, header, 2, 0, 0, 0, 0), MACH_SEND_AUX_TOO_SMALL);
    v[1].msgv_send_size = 1025;
    EXPECT_CODE(mach_msg2(v, send, header, 2, 0, 0, 0, 0), MACH_SEND_AUX_TOO_LARGE);
    /* There are no auxiliary data here. */
    v[1].msgv_send_size = 16;
    EXPECT_CODE(mach_msg2(v, send, header, 2, 0, 0, 0, 0), MACH_SEND_INVALID_OPTIONS);
    v[1].msgv_rcv_size = 4;
    EXPECT_CODE(mach_msg2(v, receive, none, 0, 2, port, 0, 0), MACH_RCV_INVALID_ARGUMENTS);
    v[0].msgv_send_size = 26;
    EXPECT_CODE(mach_msg2(v, send, header, 1, 0, 0, 0, 0), MACH_SEND_MSG_TOO_SMALL);
    v[0].msgv_send_size = 0x20000;
    EXPECT_CODE(mach_msg2(v, send, header, 1, 0, 0, 0, 0), MACH_SEND_TOO_LARGE);
    v[0].msgv_data = 0;
    EXPECT_CODE(mach_msg2(v, send, header, 1, 0, 0, 0, 0), MACH_SEND_INVALID_DATA);
    expect_nothing(port);
    drop_port(port);
}

/* s1_4_options_without_effect */
static void options_without_effect_are_accepted(void)
{
    mach_port_t port = new_port();
    any_message m;
    start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND, 24, 1);
    OK(mach_msg(&m.header, MACH_SEND_MSG | MACH_SEND_OVERRIDE | MACH_SEND_NOIMPORTANCE | MACH_SEND_PROPAGATE_QOS | MACH_SEND_SYNC_OVERRIDE, 24, 0,
                0, 0, 0));
    OK(mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_VOUCHER | MACH_RCV_SYNC_PEEK, 0, sizeof m, port, 0, 0));
    drop_port(port);
}

static void *receives(void *port)
{
    any_message m;
    return (void *)(uintptr_t)(unsigned)mach_msg(&m.header, MACH_RCV_MSG, 0, sizeof m, *(mach_port_t *)port, 0, 0);
}

static void waiting_receiver_hears_of_its_ports_end(void)
{
    mach_msg_return_t code = MACH_RCV_INVALID_NAME;
    /* On a busy machine the thread may come too late to wait, and then it has named nothing. */
    for (useconds_t tries = 1; tries <= 10 && code == MACH_RCV_INVALID_NAME; tries++) {
        mach_port_t port = new_port();
        pthread_t thread;
        void *result;
        pthread_create(&thread, NULL, receives, &port);
        usleep(50000 * tries);
        drop_port(port);
        pthread_join(thread, &result);
        code = (mach_msg_return_t)(uintptr_t)result;
    }
    EXPECT_CODE(code, MACH_RCV_PORT_CHANGED);
}

static mach_msg_option_t interruptible;

static void nothing(int signal)
{
    (void)signal;
}

static void *receives_a_while(void *port)
{
    any_message m;
    mach_msg_option_t option = MACH_RCV_MSG | MACH_RCV_TIMEOUT | interruptible;
    return (void *)(uintptr_t)(unsigned)mach_msg(&m.header, option, 0, sizeof m, *(mach_port_t *)port, 1000, 0);
}

static void signal_interrupts_who_asked_for_it(void)
{
    mach_port_t port = new_port();
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = nothing;
    sigaction(SIGUSR1, &action, NULL);
    for (int asked = 0; asked < 2; asked++) {
        pthread_t thread;
        void *code;
        interruptible = asked ? MACH_RCV_INTERRUPT : 0;
        pthread_create(&thread, NULL, receives_a_while, &port);
        /* Again and again: it may not wait yet. */
        while (pthread_tryjoin_np(thread, &code) != 0) {
            usleep(20000);
            pthread_kill(thread, SIGUSR1);
        }
        EXPECT_CODE((uintptr_t)code, asked ? MACH_RCV_INTERRUPTED : MACH_RCV_TIMED_OUT);
    }
    drop_port(port);
}

static void *sends_a_while(void *arg)
{
    waiter_t *waiter = (waiter_t *)arg;
    mach_msg_option_t option = MACH_SEND_MSG | MACH_SEND_TIMEOUT | interruptible;
    waiter->code = mach_msg(&waiter->message.header, option, 24, 0, 0, 1000, 0);
    return NULL;
}

static void signal_interrupts_a_send(void)
{
    static waiter_t waiter;
    mach_port_t port = new_port_with_send();
    fill(port, 5);
    for (int asked = 0; asked < 2; asked++) {
        interruptible = asked ? MACH_SEND_INTERRUPT : 0;
        start_message(&waiter.message, port, MACH_MSG_TYPE_COPY_SEND, 24, 9);
        pthread_create(&waiter.thread, NULL, sends_a_while, &waiter);
        while (pthread_tryjoin_np(waiter.thread, NULL) != 0) {
            usleep(20000);
            pthread_kill(waiter.thread, SIGUSR1);
        }
        EXPECT_CODE(waiter.code, asked ? MACH_SEND_INTERRUPTED : MACH_SEND_TIMED_OUT);
        /* It came back. */
        EXPECT(waiter.message.header.msgh_remote_port, port);
        mach_msg_destroy(&waiter.message.header);
        EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 1);
    }
    OK(mach_port_destroy(mach_task_self(), port));
}

CHECK_MAIN(CASE(plain_message_arrives_with_header_swapped), CASE(size_argument_counts_and_not_the_field), CASE(sizes_that_are_none_are_refused),
           CASE(buffers_that_are_none_are_refused), CASE(destinations_that_are_none_are_refused), CASE(reply_rights_are_made_and_checked),
           CASE(unknown_header_bits_are_masked), CASE(trailers_have_what_was_asked_for), CASE(too_large_message_stays_if_asked),
           CASE(full_queue_times_out_and_hands_back), CASE(receive_from_what_cannot_is_refused), CASE(receive_times_out),
           CASE(failed_send_skips_the_receive), CASE(overwrite_receives_elsewhere), CASE(short_forms_send_and_receive),
           CASE(second_form_takes_its_header_from_arguments), CASE(vectors_describe_messages), CASE(options_without_effect_are_accepted),
           CASE(waiting_receiver_hears_of_its_ports_end), CASE(signal_interrupts_who_asked_for_it),
           CASE(signal_interrupts_a_send))

/* The MIG runtime: servers in the form that MIG emits under mach_msg_server, reply ports, and what calls say of servers that answer wrongly. */
#include "check.h"

#include <mach/clock.h>
#include <mach/mig_errors.h>
#include <sys/resource.h>

static mach_port_t self(void)
{
    return mach_task_self();
}

/* Answers 1 with success, 2 not at all, 3 with an error, others as unknown. */
static boolean_t demux(mach_msg_header_t *in, mach_msg_header_t *out)
{
    mig_reply_error_t *reply = (mig_reply_error_t *)(void *)out;
    out->msgh_bits = MACH_MSGH_BITS(MACH_MSGH_BITS_REMOTE(in->msgh_bits), 0);
    out->msgh_remote_port = in->msgh_remote_port;
    out->msgh_local_port = MACH_PORT_NULL;
    out->msgh_voucher_port = 0;
    out->msgh_size = sizeof *reply;
    out->msgh_id = in->msgh_id + 100;
    reply->NDR = NDR_record;
    switch (in->msgh_id) {
    case 1:
        reply->RetCode = KERN_SUCCESS;
        return TRUE;
    case 2:
        reply->RetCode = MIG_NO_REPLY;
        /* Kept for later. */
        return TRUE;
    case 3:
        reply->RetCode = MIG_ARRAY_TOO_LARGE;
        return TRUE;
    default:
        reply->RetCode = MIG_BAD_ID;
        return FALSE;
    }
}

static void ask(mach_port_t server, mach_port_t reply, int id, mach_port_t carried)
{
    any_message m;
    if (carried)
        carry(&m, server, carried, MACH_MSG_TYPE_MAKE_SEND);
    else
        start_message(&m, server, MACH_MSG_TYPE_COPY_SEND, 24, id);
    m.header.msgh_id = id;
    m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    m.header.msgh_local_port = reply;
    OK(send_it(&m));
}

static kern_return_t answer(mach_port_t reply)
{
    any_message m;
    OK(receive_it(&m, reply));
    return ((mig_reply_error_t *)(void *)&m)->RetCode;
}

static void server_answers_once(void)
{
    mach_port_t server = new_port_with_send(), reply = new_port(), carried = new_port();
    ask(server, reply, 1, 0);
    OK(mach_msg_server_once(demux, 200, server, 0));
    EXPECT_CODE(answer(reply), KERN_SUCCESS);
    ask(server, reply, 2, 0);
    OK(mach_msg_server_once(demux, 200, server, 0));
    expect_nothing(reply);
    ask(server, reply, 3, 0);
    OK(mach_msg_server_once(demux, 200, server, 0));
    EXPECT_CODE(answer(reply), MIG_ARRAY_TOO_LARGE);
    /* What is not taken is dropped with its rights. */
    ask(server, reply, 9, carried);
    OK(mach_msg_server_once(demux, 200, server, 0));
    EXPECT_CODE(answer(reply), MIG_BAD_ID);
    EXPECT(srights_of(carried), 0);
    /* One that is too large ends it; asked to keep it, it makes room. */
    any_message m;
    start_message(&m, server, MACH_MSG_TYPE_COPY_SEND, 600, 1);
    OK(send_it(&m));
    EXPECT_CODE(mach_msg_server_once(demux, 100, server, 0), MACH_RCV_TOO_LARGE);
    start_message(&m, server, MACH_MSG_TYPE_COPY_SEND, 600, 1);
    OK(send_it(&m));
    OK(mach_msg_server_once(demux, 100, server, MACH_RCV_LARGE));
    /* A caller that has gone is no error. */
    mach_port_t gone = new_port();
    ask(server, gone, 1, 0);
    drop_port(gone);
    OK(mach_msg_server_once(demux, 200, server, 0));
    EXPECT_CODE(mach_msg_server_once(demux, 200, NOTHING, 0), MACH_RCV_INVALID_NAME);
    OK(mach_port_destroy(self(), server));
    drop_port(reply);
    drop_port(carried);
}

/* A program may say any size: no message is so large. */
static void servers_need_no_more_room_than_messages(void)
{
    mach_port_t port = new_port_with_send(), reply = new_port();
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit most = {1 << 30, 1 << 30};
        port = new_port();
        check_failures = 0;
        OK(setrlimit(RLIMIT_DATA, &most));
        EXPECT_CODE(mach_msg_server_once(demux, ~0u, port, MACH_RCV_TIMEOUT), MACH_RCV_TIMED_OUT);
        _exit(check_failures != 0);
    }
    int status = -1;
    EXPECT(waitpid(pid, &status, 0), pid);
    EXPECT(status, 0);
    any_message m;
    start_message(&m, port, MACH_MSG_TYPE_COPY_SEND, 24, 1);
    m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    m.header.msgh_local_port = reply;
    OK(send_it(&m));
    OK(mach_msg_server_once(demux, ~0u, port, MACH_RCV_TIMEOUT));
    EXPECT(next_id(reply), 101);
    drop_port(port);
    drop_port(reply);
}

typedef struct {
    mach_port_t port;
    /* 0: destroys the request; else answers with this id. */
    int id;
} liar_t;

static void *lies(void *arg)
{
    liar_t *liar = (liar_t *)arg;
    any_message m;
    OK(receive_it(&m, liar->port));
    if (liar->id == 0) {
        mach_msg_destroy(&m.header);
        return NULL;
    }
    start_message(&m, m.header.msgh_remote_port, MACH_MSG_TYPE_MOVE_SEND_ONCE, 36, liar->id);
    OK(send_it(&m));
    return NULL;
}

static kern_return_t ask_liar(int id)
{
    liar_t liar = {new_port_with_send(), id};
    mach_timespec_t time;
    pthread_t thread;
    pthread_create(&thread, NULL, lies, &liar);
    kern_return_t code = clock_get_time(liar.port, &time);
    pthread_join(thread, NULL);
    OK(mach_port_destroy(self(), liar.port));
    return code;
}

static void wrong_answers_are_told_apart(void)
{
    EXPECT_CODE(ask_liar(4711), MIG_REPLY_MISMATCH);
    EXPECT_CODE(ask_liar(0), MIG_SERVER_DIED);
    /* The right id, and too short for a result. */
    EXPECT_CODE(ask_liar(1100), MIG_TYPE_ERROR);
}

static void *has_reply_port(void *unused)
{
    (void)unused;
    mach_port_t port = mig_get_reply_port();
    EXPECT(type_of(port), MACH_PORT_TYPE_RECEIVE);
    return (void *)(uintptr_t)port;
}

static void threads_have_reply_ports(void)
{
    mach_port_t mine = mig_get_reply_port();
    EXPECT(mig_get_reply_port(), mine);
    mig_put_reply_port(mine);
    EXPECT(mig_get_reply_port(), mine);
    pthread_t thread;
    void *theirs;
    pthread_create(&thread, NULL, has_reply_port, NULL);
    pthread_join(thread, &theirs);
    TRUE_THAT((mach_port_t)(uintptr_t)theirs != mine);
    /* It went with its thread. */
    EXPECT(type_of((mach_port_t)(uintptr_t)theirs), MACH_PORT_TYPE_NONE);
    mig_dealloc_reply_port(mine);
    EXPECT(type_of(mine), MACH_PORT_TYPE_NONE);
    mach_port_t next = mig_get_reply_port();
    TRUE_THAT(next != mine);
    EXPECT(type_of(next), MACH_PORT_TYPE_RECEIVE);
}

static void texts_are_cut_with_a_zero(void)
{
    char to[8];
    memset(to, 'x', sizeof to);
    EXPECT(mig_strncpy(to, "ab", 8), 3);
    EXPECT(strcmp(to, "ab"), 0);
    EXPECT(mig_strncpy(to, "abcdefghij", 8), 8);
    EXPECT(strcmp(to, "abcdefg"), 0);
    memset(to, 'x', sizeof to);
    EXPECT(mig_strncpy_zerofill(to, "ab", 8), 3);
    for (int n = 2; n < 8; n++)
        EXPECT(to[n], 0);
}

CHECK_MAIN(CASE(server_answers_once), CASE(servers_need_no_more_room_than_messages), CASE(wrong_answers_are_told_apart),
           CASE(threads_have_reply_ports), CASE(texts_are_cut_with_a_zero))

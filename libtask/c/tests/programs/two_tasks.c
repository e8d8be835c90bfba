/* The same between two processes, where messages go over links: every kind of message to a forked child and back, until it dies. */
#include "check.h"

#include <servers/bootstrap.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned char byte_of(unsigned long n, unsigned seed)
{
    return (unsigned char)(n * 13 + seed);
}

static void nothing(int signal)
{
    (void)signal;
}

/* Answers each request with what it brought. */
static void serve(mach_port_t port)
{
    for (;;) {
        any_message m;
        if (mach_msg(&m.header, MACH_RCV_MSG, 0, sizeof m, port, 0, 0) != MACH_MSG_SUCCESS || m.header.msgh_id == 99)
            _exit(check_failures != 0);
        m.header.msgh_bits = MACH_MSGH_BITS(MACH_MSGH_BITS_REMOTE(m.header.msgh_bits), 0) | (m.header.msgh_bits & MACH_MSGH_BITS_COMPLEX);
        m.header.msgh_local_port = MACH_PORT_NULL;
        if (m.header.msgh_id == 2)
            m.memory.memory.deallocate = TRUE;
        if (m.header.msgh_id == 4) {
            /* Never answered: the caller is told. It is a right like any. */
            mach_port_t owed = m.header.msgh_remote_port;
            EXPECT(type_of(owed), MACH_PORT_TYPE_SEND_ONCE);
            EXPECT(refs(owed, MACH_PORT_RIGHT_SEND_ONCE), 1);
            EXPECT(refs(owed, MACH_PORT_RIGHT_SEND), 0);
            EXPECT_CODE(mach_port_mod_refs(mach_task_self(), owed, MACH_PORT_RIGHT_SEND, -1), KERN_INVALID_RIGHT);
            EXPECT_CODE(mach_port_mod_refs(mach_task_self(), owed, MACH_PORT_RIGHT_SEND_ONCE, 1), KERN_INVALID_VALUE);
            switch (m.plain.words[2]) {
            case 0:
                mach_msg_destroy(&m.header);
                break;
            case 1:
                OK(mach_port_deallocate(mach_task_self(), owed));
                break;
            case 2:
                OK(mach_port_destroy(mach_task_self(), owed));
                break;
            case 3:
                OK(mach_port_mod_refs(mach_task_self(), owed, MACH_PORT_RIGHT_SEND_ONCE, -1));
                break;
            default: {
                /* Under a name of one's own choice, and dropped there. */
                OK(mach_port_insert_right(mach_task_self(), 0x60000003, owed, MACH_MSG_TYPE_MOVE_SEND_ONCE));
                EXPECT(type_of(0x60000003), MACH_PORT_TYPE_SEND_ONCE);
                OK(mach_port_deallocate(mach_task_self(), 0x60000003));
            }
            }
            EXPECT(type_of(owed), MACH_PORT_TYPE_NONE);
            continue;
        }
        if (m.header.msgh_id == 5) {
            /* Waits where messages come over links, until a signal ends it. */
            any_message none;
            m.plain.words[2] = mach_msg(&none.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_INTERRUPT, 0, sizeof none, port, 20000, 0);
        }
        m.header.msgh_id += 100;
        if (mach_msg(&m.header, MACH_SEND_MSG, m.header.msgh_size, 0, 0, 0, 0) != MACH_MSG_SUCCESS)
            _exit(1);
    }
}

static mach_msg_return_t call(any_message *m, mach_port_t reply)
{
    m->header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    m->header.msgh_local_port = reply;
    return mach_msg(&m->header, MACH_SEND_MSG | MACH_RCV_MSG | MACH_RCV_TIMEOUT, m->header.msgh_size, sizeof *m, reply, 10000, 0);
}

static void every_kind_goes_there_and_back(void)
{
    static unsigned char data[3 << 20];
    mach_port_t meeting = new_port_with_send(), reply = mig_get_reply_port(), server;
    any_message m;
    OK(mach_ports_register(mach_task_self(), &meeting, 1));
    pid_t pid = fork();
    if (pid == 0) {
        mach_port_array_t got;
        mach_msg_type_number_t count;
        mach_port_t port = new_port();
        mach_ports_lookup(mach_task_self(), &got, &count);
        start_complex(&m, got[0], MACH_MSG_TYPE_COPY_SEND, sizeof m.port, 1);
        m.port.port.name = port;
        m.port.port.disposition = MACH_MSG_TYPE_MAKE_SEND;
        OK(send_it(&m));
        struct sigaction action;
        memset(&action, 0, sizeof action);
        action.sa_handler = nothing;
        sigaction(SIGUSR1, &action, NULL);
        serve(port);
    }
    OK(receive_it(&m, meeting));
    server = m.port.port.name;

    for (unsigned n = 0; n < 2000; n++) {
        start_message(&m, server, MACH_MSG_TYPE_COPY_SEND, 40, 1);
        m.plain.words[2] = n;
        OK(call(&m, reply));
        EXPECT(m.header.msgh_id, 101);
        EXPECT(m.header.msgh_size, 40);
        EXPECT(m.header.msgh_bits, MACH_MSGH_BITS(0, MACH_MSG_TYPE_PORT_SEND_ONCE));
        EXPECT(m.header.msgh_local_port, reply);
        EXPECT(m.plain.words[2], n);
    }
    static const mach_msg_size_t sizes[] = {1, 500, 4096, 33000, 100000, 1 << 20, 3 << 20};
    for (unsigned turn = 0; turn < 60; turn++) {
        mach_msg_size_t size = sizes[turn % (sizeof sizes / sizeof sizes[0])];
        for (unsigned long n = 0; n < size; n++)
            data[n] = byte_of(n, turn);
        start_complex(&m, server, MACH_MSG_TYPE_COPY_SEND, sizeof m.memory, 2);
        m.memory.memory.address = data;
        m.memory.memory.size = size;
        m.memory.memory.copy = turn % 5 ? MACH_MSG_VIRTUAL_COPY : MACH_MSG_PHYSICAL_COPY;
        m.memory.memory.type = MACH_MSG_OOL_DESCRIPTOR;
        m.memory.after = turn;
        OK(call(&m, reply));
        EXPECT(m.header.msgh_id, 102);
        EXPECT(m.memory.memory.size, size);
        EXPECT(m.memory.after, turn);
        unsigned long wrong = 0;
        for (unsigned long n = 0; n < size; n++)
            wrong += ((unsigned char *)m.memory.memory.address)[n] != byte_of(n, turn);
        EXPECT(wrong, 0);
        OK(vm_deallocate(mach_task_self(), (vm_address_t)m.memory.memory.address, size));
    }
    for (unsigned turn = 0; turn < 60; turn++) {
        mach_port_t own = new_port();
        start_complex(&m, server, MACH_MSG_TYPE_COPY_SEND, sizeof m.port, 3);
        m.port.port.name = own;
        m.port.port.disposition = MACH_MSG_TYPE_MAKE_SEND;
        OK(call(&m, reply));
        EXPECT(m.header.msgh_id, 103);
        /* There as a send right, and back under the name of the port. */
        EXPECT(m.port.port.name, own);
        EXPECT(type_of(own), MACH_PORT_TYPE_SEND_RECEIVE);
        OK(mach_port_destroy(mach_task_self(), own));
    }
    /* Answers that find too little room: gone, or still there. */
    for (int large = 0; large < 2; large++) {
        start_message(&m, server, MACH_MSG_TYPE_COPY_SEND, 40, 1);
        m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
        m.header.msgh_local_port = reply;
        memset(m.room + 44, 0xee, 20);
        mach_msg_option_t option = MACH_SEND_MSG | MACH_RCV_MSG | (large ? MACH_RCV_LARGE : 0);
        EXPECT_CODE(mach_msg(&m.header, option, 40, 44, reply, 0, 0), MACH_RCV_TOO_LARGE);
        EXPECT(m.header.msgh_size, large ? 48 : 40);
        EXPECT((unsigned char)m.room[44], 0xee);
        if (large) {
            OK(receive_it(&m, reply));
            EXPECT(m.header.msgh_id, 101);
            EXPECT(m.header.msgh_size, 40);
            EXPECT(m.header.msgh_local_port, reply);
        }
        expect_nothing(reply);
    }
    for (unsigned way = 0; way < 5; way++) {
        start_message(&m, server, MACH_MSG_TYPE_COPY_SEND, 40, 4);
        m.plain.words[2] = way;
        OK(call(&m, reply));
        EXPECT(m.header.msgh_id, MACH_NOTIFY_SEND_ONCE);
        start_message(&m, server, MACH_MSG_TYPE_COPY_SEND, 40, 1);
        OK(call(&m, reply));
        EXPECT(m.header.msgh_id, 101);
    }

    start_message(&m, server, MACH_MSG_TYPE_COPY_SEND, 40, 5);
    m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    m.header.msgh_local_port = reply;
    OK(mach_msg_send(&m.header));
    mach_msg_return_t answered = MACH_RCV_TIMED_OUT;
    for (int n = 0; n < 1000 && answered == MACH_RCV_TIMED_OUT; n++) {
        kill(pid, SIGUSR1);
        answered = mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof m, reply, 20, 0);
    }
    OK(answered);
    EXPECT(m.header.msgh_id, 105);
    EXPECT_CODE(m.plain.words[2], MACH_RCV_INTERRUPTED);

    start_message(&m, server, MACH_MSG_TYPE_COPY_SEND, 40, 99);
    OK(mach_msg_send(&m.header));
    int status = 1;
    waitpid(pid, &status, 0);
    EXPECT(status, 0);
    mach_port_t previous;
    kern_return_t code = mach_port_request_notification(mach_task_self(), server, MACH_NOTIFY_DEAD_NAME, 0, meeting, MACH_MSG_TYPE_MAKE_SEND_ONCE,
                                                        &previous);
    if (code == KERN_SUCCESS) {
        OK(receive_it(&m, meeting));
        EXPECT(m.header.msgh_id, MACH_NOTIFY_DEAD_NAME);
    }
    start_message(&m, server, MACH_MSG_TYPE_COPY_SEND, 40, 1);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_DEST);
}

CHECK_MAIN(CASE(every_kind_goes_there_and_back))

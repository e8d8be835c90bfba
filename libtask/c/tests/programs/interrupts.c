/* Signals and sends that wait for room at another task's port, where messages go over links: a handler that ran ends the wait if the send asked for it,
   and nothing is lost or sent twice. */
#include "check.h"

#include <sys/time.h>

enum { KINDS = 4, STORM = 2000 };

static mach_port_t port, gate, told;
static char data[9000];
static unsigned number;

/* The receiving task: receives as many messages as it is told at its gate, which must be numbered one after the other, and says which number comes next. */
static void receives(mach_port_t maker)
{
    any_message m;
    mach_port_t own = new_port(), door = new_port();
    unsigned next = 0;
    tell_right(maker, own, MACH_MSG_TYPE_MAKE_SEND);
    tell_right(maker, door, MACH_MSG_TYPE_MAKE_SEND);
    for (;;) {
        OK(mach_msg(&m.header, MACH_RCV_MSG, 0, sizeof m, door, 0, 0));
        unsigned count = m.plain.words[2], slowly = m.plain.words[3];
        if (count == 0)
            return;
        for (unsigned n = 0; n < count; n++, next++) {
            if (slowly && n % 7 == 0)
                usleep(1000);
            mach_msg_return_t code = mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof m, own, 20000, 0);
            EXPECT_CODE(code, MACH_MSG_SUCCESS);
            EXPECT(m.header.msgh_id, next);
            if (code != MACH_MSG_SUCCESS || m.header.msgh_id != (int)next)
                return;
            mach_msg_destroy(&m.header);
        }
        OK(send_empty(maker, MACH_MSG_TYPE_COPY_SEND, (int)next));
    }
}

/* Plain, with a right, with memory, with a reply right. */
static void make(any_message *m, unsigned kind)
{
    switch (kind) {
    case 1:
        start_complex(m, port, MACH_MSG_TYPE_COPY_SEND, sizeof m->port, (int)number);
        m->port.port.name = told;
        m->port.port.disposition = MACH_MSG_TYPE_MAKE_SEND;
        m->port.port.type = MACH_MSG_PORT_DESCRIPTOR;
        break;
    case 2:
        start_complex(m, port, MACH_MSG_TYPE_COPY_SEND, sizeof m->memory, (int)number);
        m->memory.memory.address = data;
        m->memory.memory.size = sizeof data;
        m->memory.memory.copy = MACH_MSG_VIRTUAL_COPY;
        m->memory.memory.type = MACH_MSG_OOL_DESCRIPTOR;
        break;
    default:
        start_message(m, port, MACH_MSG_TYPE_COPY_SEND, 40, (int)number);
        if (kind == 3) {
            m->header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_COPY_SEND);
            m->header.msgh_local_port = gate;
        }
    }
}

static mach_msg_return_t post(unsigned kind, mach_msg_option_t option, mach_msg_timeout_t timeout)
{
    any_message m;
    make(&m, kind);
    mach_msg_return_t code = mach_msg(&m.header, MACH_SEND_MSG | option, m.header.msgh_size, 0, 0, timeout, 0);
    if (code == MACH_MSG_SUCCESS)
        number++;
    else
        mach_msg_destroy(&m.header);
    return code;
}

static void let_receive(unsigned count, unsigned slowly)
{
    any_message m;
    start_message(&m, gate, MACH_MSG_TYPE_COPY_SEND, 40, 1);
    m.plain.words[2] = count;
    m.plain.words[3] = slowly;
    OK(send_it(&m));
}

static void expect_received(mach_port_t meeting)
{
    any_message m;
    mach_msg_return_t code = mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof m, meeting, 60000, 0);
    EXPECT_CODE(code, MACH_MSG_SUCCESS);
    EXPECT(m.header.msgh_id, number);
    /* The receiving task has ended, and said why: nothing that follows could be right. */
    if (code != MACH_MSG_SUCCESS)
        exit(1);
}

/* By the handler, in whichever thread it runs. */
static unsigned handled;

static unsigned handled_now(void)
{
    return __atomic_load_n(&handled, __ATOMIC_RELAXED);
}

static void count_it(int signal)
{
    (void)signal;
    __atomic_fetch_add(&handled, 1, __ATOMIC_RELAXED);
}

static child_t start(void)
{
    child_t child = start_child(receives);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = count_it;
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    port = receive_right(child.meeting);
    gate = receive_right(child.meeting);
    told = new_port();
    number = 0;
    let_receive(30, 0);
    for (unsigned n = 0; n < 30; n++)
        OK(post(0, MACH_SEND_TIMEOUT, 10000));
    expect_received(child.meeting);
    return child;
}

static void end(child_t *child)
{
    let_receive(0, 0);
    drop_port(told);
    end_child(child);
    OK(mach_port_destroy(mach_task_self(), port));
    OK(mach_port_destroy(mach_task_self(), gate));
}

typedef struct {
    unsigned kind;
    mach_msg_option_t option;
    mach_msg_return_t code;
} sender_t;

static void *sends(void *arg)
{
    sender_t *sender = (sender_t *)arg;
    sender->code = post(sender->kind, sender->option, 20000);
    return NULL;
}

static void handler_ends_a_send_that_asked_for_it(void)
{
    child_t child = start();
    for (unsigned kind = 0; kind < KINDS; kind++)
        for (int timed = 0; timed < 2; timed++) {
            unsigned from = number;
            sender_t sender = {kind, MACH_SEND_INTERRUPT | (timed ? MACH_SEND_TIMEOUT : 0), MACH_MSG_SUCCESS};
            /* Each mode has its own idea of how much room there is; in the end there is none. */
            for (int tries = 0; tries < 2000 && sender.code == MACH_MSG_SUCCESS; tries++) {
                pthread_t thread;
                pthread_create(&thread, NULL, sends, &sender);
                while (pthread_tryjoin_np(thread, NULL) != 0) {
                    usleep(2000);
                    pthread_kill(thread, SIGUSR1);
                }
            }
            EXPECT_CODE(sender.code, MACH_SEND_INTERRUPTED);
            TRUE_THAT(number >= from + 5);
            EXPECT_CODE(post(kind, MACH_SEND_TIMEOUT, 0), MACH_SEND_TIMED_OUT);
            let_receive(number - from, 0);
            expect_received(child.meeting);
        }
    end(&child);
}

static void handler_does_not_end_a_send_that_did_not(void)
{
    child_t child = start();
    for (unsigned kind = 0; kind < KINDS; kind++) {
        unsigned from = number;
        sender_t sender = {kind, MACH_SEND_TIMEOUT, MACH_MSG_SUCCESS};
        int waits = 0;
        pthread_t thread;
        /* In the random mode a route may end meanwhile, and then there is room elsewhere. */
        for (int tries = 0; tries < 1000 && !waits; tries++) {
            while (post(kind, MACH_SEND_TIMEOUT, 0) == MACH_MSG_SUCCESS)
                ;
            unsigned sent = number, before = handled_now();
            pthread_create(&thread, NULL, sends, &sender);
            for (int n = 0; n < 60; n++) {
                usleep(2000);
                pthread_kill(thread, SIGUSR1);
            }
            waits = pthread_tryjoin_np(thread, NULL) != 0;
            if (waits) {
                TRUE_THAT(handled_now() > before);
                /* One more is on its way. */
                let_receive(sent + 1 - from, 0);
                pthread_join(thread, NULL);
            }
            EXPECT_CODE(sender.code, MACH_MSG_SUCCESS);
            EXPECT(number, sent + 1);
        }
        TRUE_THAT(waits);
        expect_received(child.meeting);
    }
    end(&child);
}

static void alarms(unsigned microseconds)
{
    struct itimerval timer = {{0, microseconds}, {0, microseconds}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void nothing_is_lost_or_sent_twice_in_a_storm_of_signals(void)
{
    for (int asked = 0; asked < 2; asked++) {
        child_t child = start();
        unsigned interrupted = 0, from = number;
        __atomic_store_n(&handled, 0, __ATOMIC_RELAXED);
        let_receive(STORM, 1);
        alarms(400);
        while (number - from < STORM) {
            mach_msg_return_t code = post(number % KINDS, MACH_SEND_TIMEOUT | (asked ? MACH_SEND_INTERRUPT : 0), 30000);
            if (code == MACH_SEND_INTERRUPTED && asked)
                interrupted++;
            else
                EXPECT_CODE(code, MACH_MSG_SUCCESS);
            if (code != MACH_MSG_SUCCESS && code != MACH_SEND_INTERRUPTED)
                break;
        }
        alarms(0);
        expect_received(child.meeting);
        TRUE_THAT(handled_now() > 0);
        EXPECT(interrupted > 0, asked);
        end(&child);
    }
}

typedef struct {
    volatile int entered;
    mach_msg_return_t code;
    mach_port_t port;
} receiver_t;

static void *receives_soon(void *arg)
{
    receiver_t *receiver = (receiver_t *)arg;
    any_message m;
    __atomic_store_n(&receiver->entered, 1, __ATOMIC_RELEASE);
    receiver->code = mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_INTERRUPT | MACH_RCV_TIMEOUT, 0, sizeof m, receiver->port, 100, 0);
    return NULL;
}

/* Who asked for it sleeps at once. A thread that has not come so far when the signal comes misses it, as one that is not yet in a trap does; a busy machine
   has such. */
static void signal_that_comes_soon_ends_a_receive(void)
{
    enum { ROUNDS = 40 };
    struct sigaction action;
    int ended = 0;
    memset(&action, 0, sizeof action);
    action.sa_handler = count_it;
    sigaction(SIGUSR1, &action, NULL);
    receiver_t receiver = {0, 0, new_port()};
    for (int n = 0; n < ROUNDS; n++) {
        pthread_t thread;
        receiver.entered = 0;
        pthread_create(&thread, NULL, receives_soon, &receiver);
        while (!__atomic_load_n(&receiver.entered, __ATOMIC_ACQUIRE))
            ;
        usleep(30);
        pthread_kill(thread, SIGUSR1);
        pthread_join(thread, NULL);
        ended += receiver.code == MACH_RCV_INTERRUPTED;
        TRUE_THAT(receiver.code == MACH_RCV_INTERRUPTED || receiver.code == MACH_RCV_TIMED_OUT);
    }
    TRUE_THAT(ended >= ROUNDS / 4);
    drop_port(receiver.port);
}

CHECK_MAIN(CASE(handler_ends_a_send_that_asked_for_it), CASE(handler_does_not_end_a_send_that_did_not),
           CASE(nothing_is_lost_or_sent_twice_in_a_storm_of_signals), CASE(signal_that_comes_soon_ends_a_receive))

/* Many threads in everything at once: calls and one-way messages, memory and rights, sets that change, names that go while others use them, semaphores, and
   children forked beside it all. Run as it is, and under ThreadSanitizer (`cargo xtask san`). UMACH_THREAD_ROUNDS: how often each thread does what it does. */
#include "check.h"

#include <mach/semaphore.h>
#include <mach/task.h>
#include <stdatomic.h>

static int rounds = 200;

static atomic_int failures;

#define MUST(code) \
    do { \
        if ((code) != KERN_SUCCESS) \
            atomic_fetch_add(&failures, 1); \
    } while (0)

static mach_port_t self(void)
{
    return mach_task_self();
}

static void start(pthread_t *threads, int count, void *(*run)(void *), void *arg)
{
    for (int n = 0; n < count; n++)
        EXPECT(pthread_create(&threads[n], NULL, run, arg), 0);
}

static void join(pthread_t *threads, int count)
{
    for (int n = 0; n < count; n++)
        EXPECT(pthread_join(threads[n], NULL), 0);
}

enum { STOP = 99 };

/* Answers until it is told to stop. */
static void *serves(void *arg)
{
    mach_port_t port = *(mach_port_t *)arg;
    for (;;) {
        any_message m;
        MUST(mach_msg(&m.header, MACH_RCV_MSG, 0, sizeof m, port, 0, 0));
        if (m.header.msgh_id == STOP)
            return NULL;
        m.header.msgh_bits = MACH_MSGH_BITS(MACH_MSGH_BITS_REMOTE(m.header.msgh_bits), 0) | (m.header.msgh_bits & MACH_MSGH_BITS_COMPLEX);
        m.header.msgh_local_port = MACH_PORT_NULL;
        m.header.msgh_id += 100;
        if (m.header.msgh_id == 102)
            m.memory.memory.deallocate = TRUE;
        MUST(mach_msg(&m.header, MACH_SEND_MSG, m.header.msgh_size, 0, 0, 0, 0));
    }
}

/* Calls with nothing, with memory and with a right, by the thread's MIG reply port. */
static void *calls(void *arg)
{
    mach_port_t server = *(mach_port_t *)arg, reply = mig_get_reply_port();
    static const char bytes[70000] = "memory";
    for (int n = 0; n < rounds; n++) {
        any_message m;
        int id = n % 3 + 1;
        if (id == 1) {
            start_message(&m, server, MACH_MSG_TYPE_COPY_SEND, 40, 1);
        } else if (id == 2) {
            start_complex(&m, server, MACH_MSG_TYPE_COPY_SEND, sizeof m.memory, 2);
            m.memory.memory.address = (void *)(uintptr_t)bytes;
            m.memory.memory.size = n % 2 ? 100 : sizeof bytes;
            m.memory.memory.copy = MACH_MSG_VIRTUAL_COPY;
            m.memory.memory.type = MACH_MSG_OOL_DESCRIPTOR;
        } else {
            carry(&m, server, reply, MACH_MSG_TYPE_MAKE_SEND);
            m.header.msgh_id = 3;
        }
        m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
        m.header.msgh_local_port = reply;
        MUST(mach_msg(&m.header, MACH_SEND_MSG | MACH_RCV_MSG, m.header.msgh_size, sizeof m, reply, 0, 0));
        MUST(m.header.msgh_id != id + 100);
        if (id == 2) {
            MUST(memcmp(m.memory.memory.address, "memory", 7));
            MUST(vm_deallocate(self(), (vm_address_t)m.memory.memory.address, m.memory.memory.size));
        } else if (id == 3) {
            MUST(mach_port_deallocate(self(), m.port.port.name));
        }
    }
    return NULL;
}

static void answer_all(mach_port_t server, int servers, int clients)
{
    pthread_t serving[4], calling[8];
    start(serving, servers, serves, &server);
    start(calling, clients, calls, &server);
    join(calling, clients);
    for (int n = 0; n < servers; n++)
        OK(mach_msg_send(&(mach_msg_header_t){MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0), 24, server, 0, 0, STOP}));
    join(serving, servers);
}

static void threads_call_threads(void)
{
    mach_port_t server = new_port_with_send();
    answer_all(server, 2, 6);
    EXPECT(atomic_load(&failures), 0);
    EXPECT(refs(server, MACH_PORT_RIGHT_SEND), 1);
    OK(mach_port_destroy(self(), server));
}

static void child_calls(mach_port_t maker)
{
    pthread_t threads[4];
    start(threads, 4, calls, &maker);
    join(threads, 4);
    EXPECT(atomic_load(&failures), 0);
}

static void threads_of_two_tasks(void)
{
    pthread_t serving[2];
    child_t child = start_child(child_calls);
    start(serving, 2, serves, &child.meeting);
    int status = -1;
    EXPECT(waitpid(child.pid, &status, 0), child.pid);
    EXPECT(status, 0);
    for (int n = 0; n < 2; n++)
        OK(mach_msg_send(&(mach_msg_header_t){MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0), 24, child.meeting, 0, 0, STOP}));
    join(serving, 2);
    EXPECT(atomic_load(&failures), 0);
    OK(mach_port_destroy(self(), child.control));
    OK(mach_port_destroy(self(), child.meeting));
}

typedef struct {
    mach_port_t ports[3], set;
    atomic_int left, received;
} flood_t;

static void *floods(void *arg)
{
    flood_t *flood = (flood_t *)arg;
    for (int n = 0; n < rounds; n++) {
        any_message m;
        start_message(&m, flood->ports[n % 3], MACH_MSG_TYPE_COPY_SEND, 28, 1);
        MUST(mach_msg(&m.header, MACH_SEND_MSG, 28, 0, 0, 0, 0));
    }
    atomic_fetch_sub(&flood->left, 1);
    return NULL;
}

static void *drains(void *arg)
{
    flood_t *flood = (flood_t *)arg;
    for (;;) {
        any_message m;
        int last = atomic_load(&flood->left) == 0;
        kern_return_t code = mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof m, flood->set, last ? 0 : 20, 0);
        if (code == MACH_MSG_SUCCESS)
            atomic_fetch_add(&flood->received, 1);
        else if (last)
            return NULL;
        else
            MUST(code != MACH_RCV_TIMED_OUT);
    }
}

/* Members come and go while others receive from the set. */
static void *shuffles(void *arg)
{
    flood_t *flood = (flood_t *)arg;
    mach_port_t other = new_set();
    for (int n = 0; n < rounds; n++) {
        MUST(mach_port_insert_member(self(), flood->ports[n % 3], other));
        MUST(mach_port_extract_member(self(), flood->ports[n % 3], other));
    }
    OK(mach_port_destroy(self(), other));
    return NULL;
}

static void sets_change_while_they_are_drained(void)
{
    static flood_t flood;
    pthread_t sending[3], receiving[3], shuffling;
    flood.set = new_set();
    for (int n = 0; n < 3; n++) {
        flood.ports[n] = new_port_with_send();
        OK(mach_port_insert_member(self(), flood.ports[n], flood.set));
    }
    atomic_store(&flood.left, 3);
    start(sending, 3, floods, &flood);
    start(receiving, 3, drains, &flood);
    start(&shuffling, 1, shuffles, &flood);
    join(sending, 3);
    join(receiving, 3);
    join(&shuffling, 1);
    EXPECT(atomic_load(&failures), 0);
    EXPECT(atomic_load(&flood.received), 3 * rounds);
    for (int n = 0; n < 3; n++)
        OK(mach_port_destroy(self(), flood.ports[n]));
    OK(mach_port_destroy(self(), flood.set));
}

static mach_port_t doomed;

/* Sends to names that another thread destroys meanwhile: any of Mach's answers will do, and nothing else. */
static void *sends_to_the_doomed(void *unused)
{
    (void)unused;
    for (int n = 0; n < rounds; n++) {
        any_message m;
        start_message(&m, __atomic_load_n(&doomed, __ATOMIC_RELAXED), MACH_MSG_TYPE_COPY_SEND, 24, 1);
        kern_return_t code = mach_msg(&m.header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, 24, 0, 0, 1, 0);
        if (code == MACH_SEND_TIMED_OUT)
            mach_msg_destroy(&m.header);
        else
            MUST(code != MACH_MSG_SUCCESS && code != MACH_SEND_INVALID_DEST);
    }
    return NULL;
}

static void *receives_from_the_doomed(void *unused)
{
    (void)unused;
    for (int n = 0; n < rounds; n++) {
        any_message m;
        kern_return_t code = mach_msg(&m.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof m, __atomic_load_n(&doomed, __ATOMIC_RELAXED), 1, 0);
        MUST(code != MACH_MSG_SUCCESS && code != MACH_RCV_TIMED_OUT && code != MACH_RCV_INVALID_NAME && code != MACH_RCV_PORT_CHANGED);
    }
    return NULL;
}

static void names_go_while_others_use_them(void)
{
    pthread_t sending[3], receiving[2];
    doomed = new_port_with_send();
    start(sending, 3, sends_to_the_doomed, NULL);
    start(receiving, 2, receives_from_the_doomed, NULL);
    for (int n = 0; n < rounds; n++) {
        mach_port_t old = doomed;
        __atomic_store_n(&doomed, new_port_with_send(), __ATOMIC_RELAXED);
        kern_return_t code = mach_port_destroy(self(), old);
        TRUE_THAT(code == KERN_SUCCESS);
    }
    join(sending, 3);
    join(receiving, 2);
    EXPECT(atomic_load(&failures), 0);
    OK(mach_port_destroy(self(), doomed));
}

static void *allocates(void *unused)
{
    (void)unused;
    for (int n = 0; n < rounds; n++) {
        vm_address_t at = 0;
        MUST(vm_allocate(self(), &at, 70000, VM_FLAGS_ANYWHERE));
        memset((void *)at, n, 70000);
        MUST(vm_protect(self(), at, vm_page_size, FALSE, VM_PROT_READ));
        MUST(vm_deallocate(self(), at, 70000));
        mach_port_t port = mach_reply_port();
        MUST(port == MACH_PORT_NULL);
        MUST(mach_port_mod_refs(self(), port, MACH_PORT_RIGHT_RECEIVE, -1));
        mach_port_t thread = mach_thread_self();
        MUST(mach_port_deallocate(self(), thread));
    }
    return NULL;
}

/* Children that are tasks of their own at once, forked while other threads are in the library. */
static void forks_beside_everything(void)
{
    pthread_t calling[2], allocating[2], serving[1];
    mach_port_t server = new_port_with_send();
    start(serving, 1, serves, &server);
    start(calling, 2, calls, &server);
    start(allocating, 2, allocates, NULL);
    for (int n = 0; n < 8; n++) {
        pid_t pid = fork();
        if (pid == 0) {
            mach_port_t port = MACH_PORT_NULL;
            any_message m;
            kern_return_t code = mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port);
            if (code == KERN_SUCCESS) {
                start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND, 24, 5);
                code = mach_msg(&m.header, MACH_SEND_MSG | MACH_RCV_MSG | MACH_RCV_TIMEOUT, 24, sizeof m, port, 10000, 0);
            }
            _exit(code == KERN_SUCCESS && m.header.msgh_id == 5 ? 0 : 1);
        }
        int status = -1;
        EXPECT(waitpid(pid, &status, 0), pid);
        EXPECT(status, 0);
    }
    join(calling, 2);
    join(allocating, 2);
    OK(mach_msg_send(&(mach_msg_header_t){MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0), 24, server, 0, 0, STOP}));
    join(serving, 1);
    EXPECT(atomic_load(&failures), 0);
    OK(mach_port_destroy(self(), server));
}

typedef struct {
    semaphore_t room, full;
    /* Written by who was let in by one semaphore, read by who was let in by the other: what they order is ordered for memory, too. */
    long value;
} handoff_t;

static void *produces(void *arg)
{
    handoff_t *handoff = (handoff_t *)arg;
    for (int n = 0; n < rounds; n++) {
        MUST(semaphore_wait(handoff->room));
        __atomic_store_n(&handoff->value, n, __ATOMIC_RELAXED);
        MUST(semaphore_signal(handoff->full));
    }
    return NULL;
}

static void semaphores_hand_over(void)
{
    static handoff_t handoff;
    pthread_t producer;
    OK(semaphore_create(self(), &handoff.room, SYNC_POLICY_FIFO, 1));
    OK(semaphore_create(self(), &handoff.full, SYNC_POLICY_FIFO, 0));
    start(&producer, 1, produces, &handoff);
    for (int n = 0; n < rounds; n++) {
        OK(semaphore_wait(handoff.full));
        EXPECT(__atomic_load_n(&handoff.value, __ATOMIC_RELAXED), n);
        OK(semaphore_signal(handoff.room));
    }
    join(&producer, 1);
    OK(semaphore_destroy(self(), handoff.room));
    OK(semaphore_destroy(self(), handoff.full));
}

static const check_t cases[] = {CASE(threads_call_threads),           CASE(threads_of_two_tasks),    CASE(sets_change_while_they_are_drained),
                                CASE(names_go_while_others_use_them), CASE(forks_beside_everything), CASE(semaphores_hand_over)};

int main(void)
{
    if (getenv("UMACH_THREAD_ROUNDS"))
        rounds = atoi(getenv("UMACH_THREAD_ROUNDS"));
    return check_all(cases, COUNT(cases));
}

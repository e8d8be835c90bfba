/* Exception ports of single threads, and the registers of a thread whose fault is being dealt with. */
#include "raised.h"

#include <mach/mig_errors.h>
#include <mach/thread_act.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT ((int)(EXCEPTION_DEFAULT | MACH_EXCEPTION_CODES))

static mach_port_t self(void)
{
    return mach_task_self();
}

typedef struct {
    exception_mask_t masks[EXC_TYPES_COUNT];
    mach_port_t ports[EXC_TYPES_COUNT];
    int behaviors[EXC_TYPES_COUNT], flavors[EXC_TYPES_COUNT];
    mach_msg_type_number_t count;
} rows_t;

static void get(rows_t *rows, mach_port_t thread, exception_mask_t mask)
{
    rows->count = EXC_TYPES_COUNT;
    OK(thread_get_exception_ports(thread, mask, rows->masks, &rows->count, rows->ports, rows->behaviors, rows->flavors));
}

static void ports_of_a_thread_are_kept_by_kind(void)
{
    rows_t rows;
    mach_port_t own = mach_thread_self(), port = new_port_with_send(), other = new_port_with_send();
    const exception_mask_t two = EXC_MASK_BAD_ACCESS | EXC_MASK_BREAKPOINT;
    get(&rows, own, EXC_MASK_ALL);
    EXPECT(rows.count, 1);
    EXPECT(rows.masks[0], EXC_MASK_ALL);
    EXPECT(rows.ports[0], MACH_PORT_NULL);
    OK(thread_set_exception_ports(own, two, port, DEFAULT, THREAD_STATE_NONE));
    /* One reference for each kind. */
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 3);
    get(&rows, own, two);
    EXPECT(rows.count, 1);
    EXPECT(rows.masks[0], two);
    EXPECT(rows.ports[0], port);
    EXPECT(rows.behaviors[0], DEFAULT);
    EXPECT(rows.flavors[0], THREAD_STATE_NONE);
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 4);
    OK(mach_port_deallocate(self(), port));
    rows.count = EXC_TYPES_COUNT;
    OK(thread_swap_exception_ports(own, EXC_MASK_BREAKPOINT, other, EXCEPTION_STATE, 4, rows.masks, &rows.count, rows.ports, rows.behaviors,
                                   rows.flavors));
    EXPECT(rows.count, 1);
    EXPECT(rows.ports[0], port);
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 3);
    EXPECT(refs(other, MACH_PORT_RIGHT_SEND), 2);
    OK(mach_port_deallocate(self(), port));
    get(&rows, own, two);
    EXPECT(rows.count, 2);
    OK(mach_port_deallocate(self(), port));
    OK(mach_port_deallocate(self(), other));
    EXPECT_CODE(thread_set_exception_ports(own, 1u << 20, port, DEFAULT, THREAD_STATE_NONE), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(thread_set_exception_ports(own, EXC_MASK_BREAKPOINT, port, 77, THREAD_STATE_NONE), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(thread_set_exception_ports(own, EXC_MASK_BREAKPOINT, MACH_PORT_DEAD, DEFAULT, THREAD_STATE_NONE), KERN_INVALID_CAPABILITY);
    EXPECT_CODE(thread_set_exception_ports(own, EXC_MASK_BREAKPOINT, 0x123456, DEFAULT, THREAD_STATE_NONE), KERN_INVALID_NAME);
    EXPECT_CODE(thread_set_exception_ports(self(), EXC_MASK_BREAKPOINT, port, DEFAULT, THREAD_STATE_NONE), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(thread_set_exception_ports(MACH_PORT_NULL, EXC_MASK_BREAKPOINT, port, DEFAULT, 0), MACH_SEND_INVALID_DEST);
    EXPECT_CODE(thread_get_exception_ports(own, EXC_MASK_ALL, NULL, &rows.count, rows.ports, rows.behaviors, rows.flavors), KERN_INVALID_ARGUMENT);
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 2);
    OK(thread_set_exception_ports(own, EXC_MASK_ALL, MACH_PORT_NULL, DEFAULT, THREAD_STATE_NONE));
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 1);
    EXPECT(refs(other, MACH_PORT_RIGHT_SEND), 1);
    drop_port(port);
    drop_port(other);
    OK(mach_port_deallocate(self(), own));
}

static void *sets_its_own(void *arg)
{
    mach_port_t own = mach_thread_self();
    OK(thread_set_exception_ports(own, EXC_MASK_BAD_ACCESS | EXC_MASK_ARITHMETIC, *(mach_port_t *)arg, DEFAULT, THREAD_STATE_NONE));
    OK(mach_port_deallocate(self(), own));
    return NULL;
}

static void rights_end_with_the_thread(void)
{
    pthread_t thread;
    mach_port_t port = new_port_with_send();
    for (int n = 0; n < 20; n++) {
        EXPECT(pthread_create(&thread, NULL, sets_its_own, &port), 0);
        EXPECT(pthread_join(thread, NULL), 0);
        EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 1);
    }
    drop_port(port);
}

static void forked_child_has_none(void)
{
    rows_t rows;
    mach_port_t own = mach_thread_self(), port = new_port_with_send();
    OK(thread_set_exception_ports(own, EXC_MASK_BAD_ACCESS, port, DEFAULT, THREAD_STATE_NONE));
    pid_t pid = fork();
    if (pid == 0) {
        mach_port_t mine = mach_thread_self();
        get(&rows, mine, EXC_MASK_ALL);
        _exit(rows.count == 1 && rows.ports[0] == MACH_PORT_NULL ? 0 : 1);
    }
    int status = 0;
    EXPECT(waitpid(pid, &status, 0), pid);
    EXPECT(status, 0);
    OK(thread_set_exception_ports(own, EXC_MASK_BAD_ACCESS, MACH_PORT_NULL, DEFAULT, THREAD_STATE_NONE));
    drop_port(port);
    OK(mach_port_deallocate(self(), own));
}

#if defined(__x86_64__)
#define NOWHERE 0x18
/* One instruction of two bytes: mov eax, [rax]. */
#define LOAD(value) __asm__ volatile("movl (%%rax), %%eax" : "=a"(value) : "a"((uint64_t)NOWHERE) : "memory")

typedef struct {
    /* Refuses what comes here, if it is not null, and deals with what comes there. */
    mach_port_t refuses, mends;
    mach_port_t thread;
} handler_t;

static void *deals_with_one(void *arg)
{
    handler_t *handler = (handler_t *)arg;
    any_message message;
    const raise_t *raise = (const raise_t *)&message;
    x86_thread_state64_t state;
    x86_exception_state64_t said;
    if (handler->refuses != MACH_PORT_NULL) {
        OK(receive_it(&message, handler->refuses));
        EXPECT(raise->thread.name, handler->thread);
        answer(&message, KERN_FAILURE);
    }
    OK(receive_it(&message, handler->mends));
    EXPECT(raise->exception, EXC_BAD_ACCESS);
    EXPECT(raise->thread.name, handler->thread);
    mach_port_t thread = raise->thread.name, own = mach_thread_self();
    mach_msg_type_number_t count = x86_EXCEPTION_STATE64_COUNT;
    OK(thread_get_state(thread, x86_EXCEPTION_STATE64, (thread_state_t)&said, &count));
    EXPECT(count, x86_EXCEPTION_STATE64_COUNT);
    EXPECT(said.__trapno, 14);
    EXPECT(said.__faultvaddr, NOWHERE);
    EXPECT_CODE(thread_set_state(thread, x86_EXCEPTION_STATE64, (thread_state_t)&said, count), KERN_INVALID_ARGUMENT);
    count = x86_THREAD_STATE64_COUNT - 1;
    EXPECT_CODE(thread_get_state(thread, x86_THREAD_STATE64, (thread_state_t)&state, &count), KERN_INVALID_ARGUMENT);
    count = THREAD_STATE_MAX;
    EXPECT_CODE(thread_get_state(thread, 99, (thread_state_t)&state, &count), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(thread_get_state(thread, x86_THREAD_STATE64, NULL, &count), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(thread_get_state(own, x86_THREAD_STATE64, (thread_state_t)&state, &count), KERN_NOT_SUPPORTED);
    EXPECT_CODE(thread_set_state(own, x86_THREAD_STATE64, (thread_state_t)&state, x86_THREAD_STATE64_COUNT), KERN_NOT_SUPPORTED);
    OK(thread_get_state(thread, x86_THREAD_STATE64, (thread_state_t)&state, &count));
    EXPECT(count, x86_THREAD_STATE64_COUNT);
    EXPECT(state.__rax, NOWHERE);
    state.__rax = 42;
    state.__rip += 2;
    EXPECT_CODE(thread_set_state(thread, x86_THREAD_STATE64, (thread_state_t)&state, count - 1), KERN_INVALID_ARGUMENT);
    OK(thread_set_state(thread, x86_THREAD_STATE64, (thread_state_t)&state, count));
    answer(&message, KERN_SUCCESS);
    OK(mach_port_deallocate(self(), own));
    return NULL;
}

/* Reads from nowhere while somebody deals with it. */
static unsigned mended(handler_t handler)
{
    pthread_t thread;
    unsigned value = 0;
    EXPECT(pthread_create(&thread, NULL, deals_with_one, &handler), 0);
    LOAD(value);
    EXPECT(pthread_join(thread, NULL), 0);
    return value;
}

static void handler_looks_into_the_thread_and_mends_it(void)
{
    x86_thread_state64_t state;
    mach_msg_type_number_t count = x86_THREAD_STATE64_COUNT;
    mach_port_t own = mach_thread_self(), port = new_port_with_send();
    OK(thread_set_exception_ports(own, EXC_MASK_BAD_ACCESS, port, DEFAULT, THREAD_STATE_NONE));
    for (int n = 0; n < 3; n++)
        EXPECT(mended((handler_t){MACH_PORT_NULL, port, own}), 42);
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 2);
    EXPECT_CODE(thread_get_state(own, x86_THREAD_STATE64, (thread_state_t)&state, &count), KERN_NOT_SUPPORTED);
    OK(thread_set_exception_ports(own, EXC_MASK_BAD_ACCESS, MACH_PORT_NULL, DEFAULT, THREAD_STATE_NONE));
    drop_port(port);
    OK(mach_port_deallocate(self(), own));
}

static void task_is_told_if_the_thread_s_handler_refuses(void)
{
    mach_port_t own = mach_thread_self(), first = new_port_with_send(), second = new_port_with_send();
    OK(thread_set_exception_ports(own, EXC_MASK_BAD_ACCESS, first, DEFAULT, THREAD_STATE_NONE));
    OK(task_set_exception_ports(self(), EXC_MASK_BAD_ACCESS, second, DEFAULT, THREAD_STATE_NONE));
    EXPECT(mended((handler_t){first, second, own}), 42);
    /* And if it is dead. */
    drop_port(first);
    EXPECT(mended((handler_t){MACH_PORT_NULL, second, own}), 42);
    EXPECT(refs(second, MACH_PORT_RIGHT_SEND), 1);
    OK(thread_set_exception_ports(own, EXC_MASK_BAD_ACCESS, MACH_PORT_NULL, DEFAULT, THREAD_STATE_NONE));
    OK(task_set_exception_ports(self(), EXC_MASK_BAD_ACCESS, MACH_PORT_NULL, DEFAULT, THREAD_STATE_NONE));
    drop_port(second);
    OK(mach_port_deallocate(self(), own));
}

typedef struct {
    pthread_barrier_t ready, set;
    mach_port_t thread;
    unsigned value;
} worker_t;

static void *faults_when_told(void *arg)
{
    worker_t *worker = (worker_t *)arg;
    worker->thread = mach_thread_self();
    pthread_barrier_wait(&worker->ready);
    pthread_barrier_wait(&worker->set);
    LOAD(worker->value);
    return NULL;
}

static void ports_of_another_thread_are_only_its_own(void)
{
    worker_t worker = {.value = 0};
    pthread_t thread;
    rows_t rows;
    mach_port_t own = mach_thread_self(), port = new_port_with_send();
    pthread_barrier_init(&worker.ready, NULL, 2);
    pthread_barrier_init(&worker.set, NULL, 2);
    EXPECT(pthread_create(&thread, NULL, faults_when_told, &worker), 0);
    pthread_barrier_wait(&worker.ready);
    OK(thread_set_exception_ports(worker.thread, EXC_MASK_BAD_ACCESS, port, DEFAULT, THREAD_STATE_NONE));
    get(&rows, own, EXC_MASK_BAD_ACCESS);
    EXPECT(rows.ports[0], MACH_PORT_NULL);
    pthread_barrier_wait(&worker.set);
    handler_t handler = {MACH_PORT_NULL, port, worker.thread};
    deals_with_one(&handler);
    EXPECT(pthread_join(thread, NULL), 0);
    EXPECT(worker.value, 42);
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 1);
    EXPECT_CODE(thread_set_exception_ports(worker.thread, EXC_MASK_BAD_ACCESS, port, DEFAULT, THREAD_STATE_NONE), KERN_INVALID_ARGUMENT);
    OK(mach_port_destroy(self(), worker.thread));
    pthread_barrier_destroy(&worker.ready);
    pthread_barrier_destroy(&worker.set);
    drop_port(port);
    OK(mach_port_deallocate(self(), own));
}
#define WITH_REGISTERS                                                                                                         \
    , CASE(handler_looks_into_the_thread_and_mends_it), CASE(task_is_told_if_the_thread_s_handler_refuses),                    \
        CASE(ports_of_another_thread_are_only_its_own)
#else
#define WITH_REGISTERS
#endif

CHECK_MAIN(CASE(ports_of_a_thread_are_kept_by_kind), CASE(rights_end_with_the_thread), CASE(forked_child_has_none) WITH_REGISTERS)

/* Exception ports, and what becomes of faults: each fault happens in a child of its own. */
#include "raised.h"

#include <mach/exc.h>
#include <mach/mig_errors.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT ((int)(EXCEPTION_DEFAULT | MACH_EXCEPTION_CODES))

static mach_port_t self(void)
{
    return mach_task_self();
}

static unsigned rows(exception_mask_t mask, exception_mask_t *masks, mach_port_t *ports, int *behaviors, int *flavors)
{
    mach_msg_type_number_t count = EXC_TYPES_COUNT;
    OK(task_get_exception_ports(self(), mask, masks, &count, ports, behaviors, flavors));
    return count;
}

/* s1_12_exception_ports */
static void ports_are_kept_by_kind(void)
{
    exception_mask_t masks[EXC_TYPES_COUNT];
    mach_port_t ports[EXC_TYPES_COUNT];
    int behaviors[EXC_TYPES_COUNT], flavors[EXC_TYPES_COUNT];
    mach_port_t port = new_port_with_send(), other = new_port_with_send();
    EXPECT(rows(EXC_MASK_ALL, masks, ports, behaviors, flavors), 1);
    EXPECT(ports[0], MACH_PORT_NULL);
    EXPECT(masks[0], EXC_MASK_ALL);
    OK(task_set_exception_ports(self(), EXC_MASK_BAD_ACCESS | EXC_MASK_BREAKPOINT, port, DEFAULT, THREAD_STATE_NONE));
    EXPECT(rows(EXC_MASK_BAD_ACCESS | EXC_MASK_BREAKPOINT, masks, ports, behaviors, flavors), 1);
    EXPECT(masks[0], EXC_MASK_BAD_ACCESS | EXC_MASK_BREAKPOINT);
    EXPECT(ports[0], port);
    EXPECT(behaviors[0], DEFAULT);
    EXPECT(flavors[0], THREAD_STATE_NONE);
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 2);
    OK(mach_port_deallocate(self(), port));
    mach_msg_type_number_t count = EXC_TYPES_COUNT;
    OK(task_swap_exception_ports(self(), EXC_MASK_BREAKPOINT, other, EXCEPTION_STATE, 4, masks, &count, ports, behaviors, flavors));
    EXPECT(count, 1);
    EXPECT(ports[0], port);
    OK(mach_port_deallocate(self(), port));
    EXPECT(rows(EXC_MASK_BAD_ACCESS | EXC_MASK_BREAKPOINT, masks, ports, behaviors, flavors), 2);
    OK(mach_port_deallocate(self(), port));
    OK(mach_port_deallocate(self(), other));
    /* Room for one row: the other's right is not left over. */
    count = 1;
    OK(task_get_exception_ports(self(), EXC_MASK_BAD_ACCESS | EXC_MASK_BREAKPOINT, masks, &count, ports, behaviors, flavors));
    EXPECT(count, 1);
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND) + refs(other, MACH_PORT_RIGHT_SEND), 3);
    OK(mach_port_deallocate(self(), ports[0]));
    EXPECT_CODE(task_set_exception_ports(self(), 1u << 20, port, DEFAULT, THREAD_STATE_NONE), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(task_set_exception_ports(self(), EXC_MASK_BREAKPOINT, port, 77, THREAD_STATE_NONE), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(task_get_exception_ports(self(), EXC_MASK_ALL, NULL, &count, ports, behaviors, flavors), KERN_INVALID_ARGUMENT);
    OK(task_set_exception_ports(self(), EXC_MASK_ALL, MACH_PORT_NULL, DEFAULT, THREAD_STATE_NONE));
    drop_port(port);
    drop_port(other);
}

static void read_nowhere(void)
{
    *(volatile int *)0x10;
}

static void divide(void)
{
    volatile int many = 700, zero = 0;
    zero = many / zero;
}

static void illegal(void)
{
    __builtin_trap();
}

static void send_oneself(void)
{
    kill(getpid(), SIGSEGV);
}

static void *fault_in_thread(void *arg)
{
    (void)arg;
    read_nowhere();
    return NULL;
}

static void in_a_thread(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, fault_in_thread, NULL);
    pthread_join(thread, NULL);
}

static void expect_death(pid_t pid, int signal)
{
    int status = 0;
    EXPECT(waitpid(pid, &status, 0), pid);
    TRUE_THAT(WIFSIGNALED(status));
    EXPECT(WTERMSIG(status), signal);
}

/* Forks a child that faults, which must die of `signal`. Whoever is told refuses, if `exception` is not 0; nobody must be told if it is. */
static void dies(void (*fault)(void), int signal, int behavior, int exception)
{
    mach_port_t port = new_port_with_send();
    OK(task_set_exception_ports(self(), EXC_MASK_ALL, port, behavior, THREAD_STATE_NONE));
    pid_t pid = fork();
    if (pid == 0) {
        fault();
        _exit(7);
    }
    OK(task_set_exception_ports(self(), EXC_MASK_ALL, MACH_PORT_NULL, behavior, THREAD_STATE_NONE));
    if (exception != 0) {
        any_message message;
        OK(receive_it(&message, port));
        raise_t *raise = (raise_t *)&message;
        int wide = (behavior & (int)MACH_EXCEPTION_CODES) != 0;
        EXPECT(message.header.msgh_id, wide ? 2405 : 2401);
        EXPECT(message.header.msgh_size, wide ? 84 : 76);
        EXPECT(raise->exception, exception);
        EXPECT(raise->count, 2);
        int of = 0;
        OK(pid_for_task(raise->task.name, &of));
        EXPECT(of, pid);
        EXPECT(type_of(raise->thread.name), MACH_PORT_TYPE_SEND);
        answer(&message, KERN_FAILURE);
    }
    expect_death(pid, signal);
    expect_nothing(port);
    drop_port(port);
}

/* s1_12_exception_ports_are_inherited */
static void faults_are_told_and_then_the_signals(void)
{
    dies(read_nowhere, SIGSEGV, DEFAULT, EXC_BAD_ACCESS);
    dies(read_nowhere, SIGSEGV, EXCEPTION_DEFAULT, EXC_BAD_ACCESS);
    dies(divide, SIGFPE, DEFAULT, EXC_ARITHMETIC);
    dies(illegal, SIGILL, DEFAULT, EXC_BAD_INSTRUCTION);
    dies(in_a_thread, SIGSEGV, DEFAULT, EXC_BAD_ACCESS);
}

/* A child that ends by a signal tells so, whatever the answer. */
static void crashes(void (*fault)(void), int signal, unsigned kind, unsigned long first)
{
    mach_port_t port = new_port_with_send();
    OK(task_set_exception_ports(self(), EXC_MASK_CRASH, port, DEFAULT, THREAD_STATE_NONE));
    pid_t pid = fork();
    if (pid == 0) {
        fault();
        _exit(7);
    }
    OK(task_set_exception_ports(self(), EXC_MASK_CRASH, MACH_PORT_NULL, DEFAULT, THREAD_STATE_NONE));
    any_message message;
    OK(receive_it(&message, port));
    raise_t *raise = (raise_t *)&message;
    EXPECT(message.header.msgh_id, 2405);
    EXPECT(raise->exception, EXC_CRASH);
    unsigned long code = (unsigned long)raise->codes[1] << 32 | raise->codes[0];
    EXPECT(code >> 24, (unsigned long)(signal == SIGBUS ? 10 : signal));
    EXPECT(code >> 20 & 0xf, kind);
    EXPECT(code & 0xfffff, first);
    answer(&message, KERN_SUCCESS);
    expect_death(pid, signal);
    expect_nothing(port);
    drop_port(port);
}

static void aborts(void)
{
    abort();
}

static void crashes_are_told(void)
{
    crashes(read_nowhere, SIGSEGV, EXC_BAD_ACCESS, KERN_INVALID_ADDRESS);
    crashes(divide, SIGFPE, EXC_ARITHMETIC, EXC_I386_DIV);
    crashes(aborts, SIGABRT, EXC_SOFTWARE, 0);
    crashes(send_oneself, SIGSEGV, EXC_SOFTWARE, 0);
}

static void what_is_sent_is_no_exception(void)
{
    dies(send_oneself, SIGSEGV, DEFAULT, 0);
}

static void nobody_to_tell_is_the_signal(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        read_nowhere();
        _exit(7);
    }
    expect_death(pid, SIGSEGV);
}

static void handler_that_goes_without_an_answer_is_a_refusal(void)
{
    mach_port_t port = new_port_with_send();
    OK(task_set_exception_ports(self(), EXC_MASK_ALL, port, DEFAULT, THREAD_STATE_NONE));
    pid_t pid = fork();
    if (pid == 0) {
        read_nowhere();
        _exit(7);
    }
    any_message message;
    OK(receive_it(&message, port));
    mach_msg_destroy(&message.header);
    OK(task_set_exception_ports(self(), EXC_MASK_ALL, MACH_PORT_NULL, DEFAULT, THREAD_STATE_NONE));
    drop_port(port);
    expect_death(pid, SIGSEGV);
}

static void flavours_are_looked_at(void)
{
    mach_port_t port = new_port_with_send();
    EXPECT_CODE(task_set_exception_ports(self(), EXC_MASK_BREAKPOINT, port, EXCEPTION_STATE, 99), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(task_set_exception_ports(self(), EXC_MASK_BREAKPOINT, port, EXCEPTION_STATE, THREAD_STATE_NONE), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(task_set_exception_ports(self(), EXC_MASK_BREAKPOINT, port, DEFAULT, 99), KERN_INVALID_ARGUMENT);
    drop_port(port);
    OK(mach_port_deallocate(self(), port));
}

#if defined(__x86_64__)
static _Atomic int caught;
static int state_flavor;
static kern_return_t verdict;
static mach_port_t handler_port;

/* Reads from `address`, in an instruction of two bytes. */
static unsigned load(uint64_t address)
{
    unsigned value = 0;
    __asm__ volatile("movl (%%rax), %%eax" : "=a"(value) : "a"(address) : "memory");
    return value;
}

kern_return_t catch_exception_raise(mach_port_t port, mach_port_t thread, mach_port_t task, exception_type_t exception,
                                    exception_data_t code, mach_msg_type_number_t count)
{
    EXPECT(port, handler_port);
    EXPECT(task, self());
    EXPECT(type_of(thread) & MACH_PORT_TYPE_SEND, MACH_PORT_TYPE_SEND);
    EXPECT(exception, EXC_BAD_ACCESS);
    EXPECT(count, 2);
    EXPECT(code[0], KERN_INVALID_ADDRESS);
    caught++;
    if (verdict == KERN_SUCCESS) {
        OK(mach_port_deallocate(self(), thread));
        OK(mach_port_deallocate(self(), task));
    }
    return verdict;
}

kern_return_t catch_exception_raise_state(mach_port_t port, exception_type_t exception, const exception_data_t code,
                                          mach_msg_type_number_t count, int *flavor, const thread_state_t old, mach_msg_type_number_t old_count,
                                          thread_state_t new, mach_msg_type_number_t *new_count)
{
    EXPECT(port, handler_port);
    EXPECT(exception, EXC_BAD_ACCESS);
    EXPECT(count, 2);
    EXPECT(*flavor, state_flavor);
    TRUE_THAT(*new_count >= old_count);
    memcpy(new, old, old_count * sizeof *old);
    *new_count = old_count;
    caught++;
    if (*flavor == x86_EXCEPTION_STATE64 || *flavor == x86_EXCEPTION_STATE) {
        x86_exception_state_t *state = (x86_exception_state_t *)(old - (*flavor == x86_EXCEPTION_STATE64 ? 2 : 0));
        if (*flavor == x86_EXCEPTION_STATE) {
            EXPECT(state->esh.flavor, x86_EXCEPTION_STATE64);
            EXPECT(state->esh.count, x86_EXCEPTION_STATE64_COUNT);
        }
        EXPECT(state->ues.es64.__trapno, code[0] == EXC_I386_GPFLT ? 13 : 14);
        if (code[0] != EXC_I386_GPFLT)
            EXPECT(state->ues.es64.__faultvaddr, 0x10);
        return KERN_FAILURE;
    }
    x86_thread_state64_t *state = (x86_thread_state64_t *)(void *)(new + (*flavor == x86_THREAD_STATE ? 2 : 0));
    if (*flavor == x86_THREAD_STATE) {
        EXPECT(new[0], x86_THREAD_STATE64);
        EXPECT(new[1], x86_THREAD_STATE64_COUNT);
    }
    EXPECT(state->__rax, 0x10);
    state->__rax = 42;
    state->__rip += 2;
    return KERN_SUCCESS;
}

static void *serve(void *arg)
{
    (void)arg;
    mach_msg_server(exc_server, 2 * THREAD_STATE_MAX * 4, handler_port, 0);
    return NULL;
}

/* A debugger's loop, of which the library has the server's half: it calls what the program defines. */
static void exc_server_calls_what_the_program_defines(void)
{
    pthread_t thread;
    handler_port = new_port_with_send();
    pthread_create(&thread, NULL, serve, NULL);
    static const int flavors[] = {x86_THREAD_STATE64, x86_THREAD_STATE};
    for (size_t n = 0; n < COUNT(flavors); n++) {
        state_flavor = flavors[n];
        caught = 0;
        OK(task_set_exception_ports(self(), EXC_MASK_BAD_ACCESS, handler_port, EXCEPTION_STATE, state_flavor));
        EXPECT(load(0x10), 42);
        EXPECT(caught, 1);
    }

    /* Told on by the program, as a debugger does that was not the first. */
    int codes[2] = {KERN_INVALID_ADDRESS, 0x10};
    mach_port_t me = mach_thread_self();
    caught = 0;
    verdict = KERN_SUCCESS;
    OK(exception_raise(handler_port, me, self(), EXC_BAD_ACCESS, codes, 2));
    verdict = KERN_NO_ACCESS;
    EXPECT_CODE(exception_raise(handler_port, me, self(), EXC_BAD_ACCESS, codes, 2), KERN_NO_ACCESS);
    EXPECT(caught, 2);
    x86_thread_state64_t state, changed;
    mach_msg_type_number_t count = x86_THREAD_STATE64_COUNT;
    memset(&state, 0, sizeof state);
    state.__rax = 0x10;
    int flavor = state_flavor = x86_THREAD_STATE64;
    OK(exception_raise_state(handler_port, EXC_BAD_ACCESS, codes, 2, &flavor, (thread_state_t)&state, count, (thread_state_t)&changed, &count));
    EXPECT(changed.__rax, 42);
    EXPECT(count, x86_THREAD_STATE64_COUNT);
    count--;
    EXPECT_CODE(exception_raise_state(handler_port, EXC_BAD_ACCESS, codes, 2, &flavor, (thread_state_t)&state, count + 1,
                                      (thread_state_t)&changed, &count),
                MIG_ARRAY_TOO_LARGE);
    /* The third is defined nowhere. */
    count = x86_THREAD_STATE64_COUNT;
    EXPECT_CODE(exception_raise_state_identity(handler_port, me, self(), EXC_BAD_ACCESS, codes, 2, &flavor, (thread_state_t)&state, count,
                                               (thread_state_t)&changed, &count),
                KERN_FAILURE);
    EXPECT_CODE(exception_raise(handler_port, me, self(), EXC_BAD_ACCESS, codes, 3), MIG_ARRAY_TOO_LARGE);
    EXPECT_CODE(exception_raise(MACH_PORT_NULL, me, self(), EXC_BAD_ACCESS, codes, 2), MACH_SEND_INVALID_DEST);

    /* What it does not know. */
    any_message request, reply;
    memset(&request, 0, sizeof request);
    request.header.msgh_size = 24;
    request.header.msgh_id = 2404;
    EXPECT(exc_server(&request.header, &reply.header), FALSE);
    EXPECT_CODE(((mig_reply_error_t *)&reply)->RetCode, MIG_BAD_ID);
    request.header.msgh_id = 2401;
    EXPECT(exc_server(&request.header, &reply.header), TRUE);
    EXPECT_CODE(((mig_reply_error_t *)&reply)->RetCode, MIG_BAD_ARGUMENTS);
    EXPECT(reply.header.msgh_id, 2501);

    OK(task_set_exception_ports(self(), EXC_MASK_BAD_ACCESS, MACH_PORT_NULL, EXCEPTION_DEFAULT, THREAD_STATE_NONE));
    drop_port(handler_port);
    pthread_join(thread, NULL);
    OK(mach_port_deallocate(self(), me));
}

/* Where nothing is, and where no address is. */
static void exceptions_have_a_state_of_their_own(void)
{
    static const uint64_t addresses[] = {0x10, 0x10, 0x8000000000000000};
    static const int flavors[] = {x86_EXCEPTION_STATE64, x86_EXCEPTION_STATE, x86_EXCEPTION_STATE};
    for (size_t n = 0; n < COUNT(flavors); n++) {
        handler_port = new_port_with_send();
        state_flavor = flavors[n];
        caught = 0;
        OK(task_set_exception_ports(self(), EXC_MASK_BAD_ACCESS, handler_port, EXCEPTION_STATE, state_flavor));
        pid_t pid = fork();
        if (pid == 0) {
            load(addresses[n]);
            _exit(7);
        }
        OK(task_set_exception_ports(self(), EXC_MASK_BAD_ACCESS, MACH_PORT_NULL, EXCEPTION_DEFAULT, THREAD_STATE_NONE));
        OK(mach_msg_server_once(exc_server, 2 * THREAD_STATE_MAX * 4, handler_port, 0));
        EXPECT(caught, 1);
        expect_death(pid, SIGSEGV);
        drop_port(handler_port);
    }
}

#define CASES_OF_STATES , CASE(exc_server_calls_what_the_program_defines), CASE(exceptions_have_a_state_of_their_own)
#else
#define CASES_OF_STATES
#endif

CHECK_MAIN(CASE(ports_are_kept_by_kind), CASE(faults_are_told_and_then_the_signals), CASE(crashes_are_told), CASE(what_is_sent_is_no_exception),
           CASE(nobody_to_tell_is_the_signal), CASE(handler_that_goes_without_an_answer_is_a_refusal), CASE(flavours_are_looked_at) CASES_OF_STATES)

/* Exception ports, and what becomes of faults: each fault happens in a child of its own. */
#include "check.h"

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

typedef struct {
    mach_msg_base_t base;
    mach_msg_port_descriptor_t thread, task;
    NDR_record_t NDR;
    int exception;
    unsigned count;
    uint32_t codes[4];
} raise_t;

/* Answers, and gives back what the exception brought. */
static void answer(const any_message *message, kern_return_t code)
{
    const raise_t *raise = (const raise_t *)message;
    mig_reply_error_t reply = {{MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND_ONCE, 0), sizeof reply, message->header.msgh_remote_port, 0, 0,
                                message->header.msgh_id + 100},
                               NDR_record,
                               code};
    OK(mach_msg_send(&reply.Head));
    OK(mach_port_deallocate(self(), raise->task.name));
    OK(mach_port_deallocate(self(), raise->thread.name));
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

CHECK_MAIN(CASE(ports_are_kept_by_kind), CASE(faults_are_told_and_then_the_signals), CASE(crashes_are_told), CASE(what_is_sent_is_no_exception),
           CASE(nobody_to_tell_is_the_signal), CASE(handler_that_goes_without_an_answer_is_a_refusal))

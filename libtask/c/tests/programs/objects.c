/* Semaphores, clocks, and calls to the kernel's own ports as generated stubs make them. */
#include "check.h"

#include <mach/clock.h>
#include <mach/mach_host.h>
#include <mach/mig_errors.h>
#include <mach/semaphore.h>
#include <mach/task.h>
#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static mach_port_t self(void)
{
    return mach_task_self();
}

static const mach_timespec_t now = {0, 0}, soon = {0, 20000000}, long_time = {20, 0};

static void semaphore_counts(void)
{
    semaphore_t semaphore;
    OK(semaphore_create(self(), &semaphore, SYNC_POLICY_FIFO, 1));
    EXPECT(type_of(semaphore), MACH_PORT_TYPE_SEND);
    OK(semaphore_wait(semaphore));
    EXPECT_CODE(semaphore_timedwait(semaphore, now), KERN_OPERATION_TIMED_OUT);
    EXPECT_CODE(semaphore_timedwait(semaphore, soon), KERN_OPERATION_TIMED_OUT);
    OK(semaphore_signal(semaphore));
    OK(semaphore_timedwait(semaphore, now));
    OK(semaphore_signal_all(semaphore));
    EXPECT_CODE(semaphore_timedwait(semaphore, now), KERN_OPERATION_TIMED_OUT);
    EXPECT_CODE(semaphore_signal_thread(semaphore, THREAD_NULL), KERN_NOT_WAITING);
    EXPECT_CODE(semaphore_signal_thread(semaphore, mach_thread_self()), KERN_NOT_SUPPORTED);
    mach_timespec_t bad = {0, -1};
    EXPECT_CODE(semaphore_timedwait(semaphore, bad), KERN_INVALID_VALUE);
    OK(semaphore_destroy(self(), semaphore));
    EXPECT(type_of(semaphore), MACH_PORT_TYPE_NONE);
    EXPECT_CODE(semaphore_create(self(), &semaphore, SYNC_POLICY_FIFO, -1), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(semaphore_create(self(), &semaphore, 77, 0), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(semaphore_create(self(), NULL, SYNC_POLICY_FIFO, 0), KERN_INVALID_ARGUMENT);
    mach_port_t port = new_port_with_send();
    EXPECT_CODE(semaphore_signal(port), KERN_INVALID_CAPABILITY);
    drop_port(port);
}

typedef struct {
    semaphore_t go, done;
    int rounds;
} pair_t;

static void *answer(void *arg)
{
    pair_t *pair = arg;
    for (int n = 0; n < pair->rounds; n++) {
        OK(semaphore_wait(pair->go));
        OK(semaphore_signal(pair->done));
    }
    return (void *)(long)semaphore_wait(pair->go);
}

static void threads_wait_for_each_other(void)
{
    pair_t pair = {0, 0, 200};
    pthread_t thread;
    void *ended = NULL;
    OK(semaphore_create(self(), &pair.go, SYNC_POLICY_FIFO, 0));
    OK(semaphore_create(self(), &pair.done, SYNC_POLICY_FIFO, 0));
    EXPECT(pthread_create(&thread, NULL, answer, &pair), 0);
    for (int n = 0; n < pair.rounds / 2; n++) {
        OK(semaphore_signal(pair.go));
        OK(semaphore_wait(pair.done));
    }
    for (int n = 0; n < pair.rounds / 2; n++)
        OK(semaphore_timedwait_signal(pair.done, pair.go, long_time));
    /* Over while the thread waits, or before. */
    OK(semaphore_destroy(self(), pair.go));
    EXPECT(pthread_join(thread, &ended), 0);
    TRUE_THAT((long)ended == KERN_TERMINATED || (long)ended == KERN_INVALID_NAME);
    OK(semaphore_destroy(self(), pair.done));
}

static void another_task_signals(void)
{
    semaphore_t semaphores[2];
    OK(semaphore_create(self(), &semaphores[0], SYNC_POLICY_FIFO, 0));
    OK(semaphore_create(self(), &semaphores[1], SYNC_POLICY_FIFO, 0));
    OK(mach_ports_register(self(), semaphores, 2));
    pid_t pid = fork();
    if (pid == 0) {
        mach_port_array_t ports = NULL;
        mach_msg_type_number_t count = 0;
        if (mach_ports_lookup(self(), &ports, &count) != KERN_SUCCESS || count < 2)
            _exit(1);
        for (int n = 0; n < 50; n++)
            if (semaphore_wait(ports[0]) != KERN_SUCCESS || semaphore_signal(ports[1]) != KERN_SUCCESS)
                _exit(2);
        _exit(0);
    }
    for (int n = 0; n < 50; n++) {
        OK(semaphore_signal(semaphores[0]));
        OK(semaphore_timedwait(semaphores[1], long_time));
    }
    int status = -1;
    EXPECT(waitpid(pid, &status, 0), pid);
    EXPECT(status, 0);
    OK(mach_ports_register(self(), NULL, 0));
    OK(semaphore_destroy(self(), semaphores[0]));
    OK(semaphore_destroy(self(), semaphores[1]));
}

static void clocks_tell_the_time(void)
{
    clock_serv_t clock;
    mach_timespec_t at;
    struct timespec here;
    mach_port_t host = mach_host_self();
    OK(host_get_clock_service(host, CALENDAR_CLOCK, &clock));
    OK(clock_get_time(clock, &at));
    clock_gettime(CLOCK_REALTIME, &here);
    TRUE_THAT((unsigned)here.tv_sec - at.tv_sec < 60 && !BAD_MACH_TIMESPEC(&at));
    int resolution = 0;
    mach_msg_type_number_t count = 1;
    OK(clock_get_attributes(clock, CLOCK_GET_TIME_RES, &resolution, &count));
    EXPECT(count, 1);
    TRUE_THAT(resolution > 0);
    EXPECT_CODE(clock_alarm(clock, TIME_RELATIVE, now, MACH_PORT_NULL), KERN_NOT_SUPPORTED);
    OK(mach_port_deallocate(self(), clock));
    OK(host_get_clock_service(host, SYSTEM_CLOCK, &clock));
    mach_timespec_t later;
    OK(clock_get_time(clock, &at));
    OK(clock_get_time(clock, &later));
    TRUE_THAT(later.tv_sec > at.tv_sec || (later.tv_sec == at.tv_sec && later.tv_nsec >= at.tv_nsec));
    OK(mach_port_deallocate(self(), clock));
    EXPECT_CODE(host_get_clock_service(host, 9, &clock), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(clock_get_time(MACH_PORT_NULL, &at), MACH_SEND_INVALID_DEST);
}

/* As MIG writes the user's side of mach_port_allocate. */
static kern_return_t stub_allocate(ipc_space_t task, mach_port_right_t right, mach_port_name_t *name)
{
#pragma pack(push, 4)
    typedef struct {
        mach_msg_header_t Head;
        NDR_record_t NDR;
        mach_port_right_t right;
    } Request;
    typedef struct {
        mach_msg_header_t Head;
        NDR_record_t NDR;
        kern_return_t RetCode;
        mach_port_name_t name;
        mach_msg_trailer_t trailer;
    } Reply;
#pragma pack(pop)
    union {
        Request In;
        Reply Out;
    } Mess;
    Mess.In.NDR = NDR_record;
    Mess.In.right = right;
    Mess.In.Head.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    Mess.In.Head.msgh_remote_port = task;
    Mess.In.Head.msgh_local_port = mig_get_reply_port();
    Mess.In.Head.msgh_id = 3204;
    Mess.In.Head.msgh_reserved = 0;
    kern_return_t result = mach_msg(&Mess.In.Head, MACH_SEND_MSG | MACH_RCV_MSG, sizeof Mess.In, sizeof Mess.Out,
                                    Mess.In.Head.msgh_local_port, MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
    if (result != MACH_MSG_SUCCESS) {
        mig_dealloc_reply_port(Mess.In.Head.msgh_local_port);
        return result;
    }
    mig_put_reply_port(Mess.In.Head.msgh_local_port);
    if (Mess.Out.Head.msgh_id != 3304)
        return MIG_REPLY_MISMATCH;
    if (Mess.Out.RetCode == KERN_SUCCESS)
        *name = Mess.Out.name;
    return Mess.Out.RetCode;
}

static void generated_stubs_reach_the_kernel(void)
{
    for (int n = 0; n < 100; n++) {
        mach_port_name_t name = 0;
        OK(stub_allocate(self(), MACH_PORT_RIGHT_RECEIVE, &name));
        EXPECT(type_of(name), MACH_PORT_TYPE_RECEIVE);
        drop_port(name);
        EXPECT_CODE(stub_allocate(self(), 77, &name), KERN_INVALID_VALUE);
    }
}

CHECK_MAIN(CASE(semaphore_counts), CASE(threads_wait_for_each_other), CASE(another_task_signals), CASE(clocks_tell_the_time),
           CASE(generated_stubs_reach_the_kernel))

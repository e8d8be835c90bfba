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

/* s1_12_semaphore_counts s1_12_signal_all_and_waiting */
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
    EXPECT_CODE(semaphore_signal_thread(semaphore, mach_thread_self()), KERN_NOT_WAITING);
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

/* s1_12_semaphore_destroyed s1_12_wait_signal */
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

/* s1_12_semaphore_travels */
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
    /* The calendar has no alarms. */
    EXPECT_CODE(clock_alarm(clock, TIME_RELATIVE, now, MACH_PORT_NULL), KERN_FAILURE);
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

#pragma pack(push, 4)
typedef struct {
    mach_msg_header_t Head;
    NDR_record_t NDR;
    kern_return_t alarm_code;
    alarm_type_t alarm_type;
    mach_timespec_t alarm_time;
    mach_msg_max_trailer_t trailer;
} alarm_reply_t;
#pragma pack(pop)

static alarm_reply_t next_alarm(mach_port_t port)
{
    alarm_reply_t alarm;
    memset(&alarm, 0, sizeof alarm);
    OK(mach_msg(&alarm.Head, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof alarm, port, 5000, 0));
    EXPECT(alarm.Head.msgh_id, UMACH_CLOCK_ALARM_REPLY);
    EXPECT(alarm.Head.msgh_size, 48);
    return alarm;
}

static int before(mach_timespec_t one, mach_timespec_t other)
{
    return one.tv_sec < other.tv_sec || (one.tv_sec == other.tv_sec && one.tv_nsec < other.tv_nsec);
}

static void alarms_come(void)
{
    mach_port_t host = mach_host_self(), port = new_port();
    clock_serv_t clock;
    mach_timespec_t start, end, at;
    OK(host_get_clock_service(host, SYSTEM_CLOCK, &clock));
    OK(clock_get_time(clock, &start));
    OK(clock_alarm(clock, TIME_RELATIVE, soon, port));
    alarm_reply_t alarm = next_alarm(port);
    OK(clock_get_time(clock, &end));
    EXPECT_CODE(alarm.alarm_code, KERN_SUCCESS);
    EXPECT(alarm.alarm_type, TIME_RELATIVE);
    at = start;
    at.tv_nsec += soon.tv_nsec;
    if (at.tv_nsec >= 1000000000) {
        at.tv_nsec -= 1000000000;
        at.tv_sec++;
    }
    TRUE_THAT(!before(end, at) && !before(alarm.alarm_time, at) && !before(end, alarm.alarm_time));
    /* A time that has been comes at once; one that is none is told so. */
    OK(clock_alarm(clock, TIME_ABSOLUTE, start, port));
    EXPECT_CODE(next_alarm(port).alarm_code, KERN_SUCCESS);
    end.tv_sec += 3600;
    OK(clock_alarm(clock, TIME_ABSOLUTE, end, port));
    expect_nothing(port);
    mach_timespec_t none = {0, -1};
    OK(clock_alarm(clock, TIME_RELATIVE, none, port));
    EXPECT_CODE(next_alarm(port).alarm_code, KERN_INVALID_VALUE);
    OK(clock_alarm(clock, 7, now, port));
    EXPECT_CODE(next_alarm(port).alarm_code, KERN_INVALID_VALUE);
    EXPECT_CODE(clock_alarm(clock, TIME_RELATIVE, soon, NOTHING), KERN_INVALID_CAPABILITY);
    EXPECT_CODE(clock_alarm(host, TIME_RELATIVE, soon, port), KERN_INVALID_ARGUMENT);
    OK(mach_port_deallocate(self(), clock));
    OK(mach_port_deallocate(self(), host));
    drop_port(port);
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

typedef struct {
    pthread_t thread;
    volatile int tid;
    semaphore_t wait, signal;
    kern_return_t code;
    int *order, *next, number;
} sleeper_t;

static void *sleeps(void *arg)
{
    sleeper_t *sleeper = arg;
    __atomic_store_n(&sleeper->tid, (int)syscall(SYS_gettid), __ATOMIC_RELEASE);
    sleeper->code = semaphore_timedwait_signal(sleeper->wait, sleeper->signal, long_time);
    if (sleeper->order)
        sleeper->order[__atomic_fetch_add(sleeper->next, 1, __ATOMIC_ACQ_REL)] = sleeper->number;
    return NULL;
}

/* `order`: where the thread notes its number when it has woken, at `next`; null if nobody wants to know. */
static void start_numbered(sleeper_t *sleeper, semaphore_t wait, semaphore_t signal, int number, int *order, int *next)
{
    memset(sleeper, 0, sizeof *sleeper);
    sleeper->wait = wait;
    sleeper->signal = signal;
    sleeper->number = number;
    sleeper->order = order;
    sleeper->next = next;
    pthread_create(&sleeper->thread, NULL, sleeps, sleeper);
    await_asleep(&sleeper->tid);
}

static void start_sleeper(sleeper_t *sleeper, semaphore_t wait, semaphore_t signal)
{
    start_numbered(sleeper, wait, signal, 0, NULL, NULL);
}

static kern_return_t end_sleeper(sleeper_t *sleeper)
{
    pthread_join(sleeper->thread, NULL);
    return sleeper->code;
}

/* s1_12_semaphore_wakes_in_order */
static void waiters_wake_in_order(void)
{
    static const struct {
        int policy, order[3];
    } all[] = {{SYNC_POLICY_FIFO, {0, 1, 2}}, {1, {0, 1, 2}}, {SYNC_POLICY_REVERSED, {2, 1, 0}}};
    for (unsigned n = 0; n < COUNT(all); n++) {
        semaphore_t semaphore;
        static sleeper_t sleepers[3];
        int order[3] = {9, 9, 9}, next = 0;
        OK(semaphore_create(self(), &semaphore, all[n].policy, 0));
        for (int s = 0; s < 3; s++)
            start_numbered(&sleepers[s], semaphore, 0, s, order, &next);
        for (int s = 1; s <= 3; s++) {
            OK(semaphore_signal(semaphore));
            for (int tries = 0; __atomic_load_n(&next, __ATOMIC_ACQUIRE) < s && tries < 5000; tries++)
                usleep(1000);
        }
        for (int s = 0; s < 3; s++)
            OK(end_sleeper(&sleepers[s]));
        for (int s = 0; s < 3; s++)
            EXPECT(order[s], all[n].order[s]);
        OK(semaphore_destroy(self(), semaphore));
    }
}

/* s1_12_signal_all_and_waiting s1_12_wait_signal */
static void all_waiters_or_one(void)
{
    static sleeper_t sleepers[4];
    semaphore_t semaphore, signal;
    int woken = 0;
    OK(semaphore_create(self(), &semaphore, SYNC_POLICY_FIFO, 0));
    OK(semaphore_create(self(), &signal, SYNC_POLICY_FIFO, 0));
    OK(semaphore_signal_all(semaphore));
    EXPECT_CODE(semaphore_signal_thread(semaphore, THREAD_NULL), KERN_NOT_WAITING);
    EXPECT_CODE(semaphore_timedwait(semaphore, now), KERN_OPERATION_TIMED_OUT);
    for (int n = 0; n < 4; n++)
        start_sleeper(&sleepers[n], semaphore, signal);
    /* Each has signalled the second one. */
    for (int n = 0; n < 4; n++)
        OK(semaphore_timedwait(signal, long_time));
    OK(semaphore_signal_thread(semaphore, THREAD_NULL));
    OK(semaphore_signal_all(semaphore));
    for (int n = 0; n < 4; n++)
        woken += end_sleeper(&sleepers[n]) == KERN_SUCCESS;
    EXPECT(woken, 4);
    EXPECT_CODE(semaphore_timedwait(semaphore, now), KERN_OPERATION_TIMED_OUT);
    /* The same one: the thread wakes itself. A second one that is over ends the wait. */
    OK(semaphore_wait_signal(semaphore, semaphore));
    OK(mach_port_mod_refs(self(), signal, MACH_PORT_RIGHT_SEND, 1));
    OK(semaphore_destroy(self(), signal));
    EXPECT_CODE(semaphore_timedwait_signal(semaphore, signal, long_time), KERN_TERMINATED);
    OK(mach_port_deallocate(self(), signal));
    OK(semaphore_destroy(self(), semaphore));
}

static void holds_a_semaphore(mach_port_t maker)
{
    semaphore_t semaphore;
    mach_port_t inbox = new_port();
    OK(semaphore_create(self(), &semaphore, SYNC_POLICY_FIFO, 1));
    OK(send_right(maker, semaphore, MACH_MSG_TYPE_COPY_SEND));
    OK(send_right(maker, inbox, MACH_MSG_TYPE_MAKE_SEND));
    semaphore_t theirs = receive_right(inbox);
    OK(semaphore_signal(theirs));
    /* It is another task's: destroying it only drops the right. */
    OK(semaphore_destroy(self(), theirs));
    EXPECT(type_of(theirs), MACH_PORT_TYPE_NONE);
    theirs = receive_right(inbox);
    OK(send_empty(maker, MACH_MSG_TYPE_COPY_SEND, 1));
    semaphore_wait(theirs);
    pause();
}

/* s1_12_semaphore_of_a_dead_task s1_12_waiter_that_dies s1_12_semaphore_travels s1_12_semaphore_destroyed */
static void semaphores_and_the_ends_of_tasks(void)
{
    static sleeper_t sleeper;
    semaphore_t mine;
    OK(semaphore_create(self(), &mine, SYNC_POLICY_FIFO, 0));
    child_t child = start_child(holds_a_semaphore);
    semaphore_t theirs = receive_right(child.meeting);
    mach_port_t inbox = receive_right(child.meeting);
    OK(semaphore_timedwait(theirs, now));
    OK(send_right(inbox, mine, MACH_MSG_TYPE_COPY_SEND));
    OK(semaphore_timedwait(mine, long_time));
    OK(send_right(inbox, mine, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(next_id(child.meeting), 1);
    usleep(100000);
    start_sleeper(&sleeper, theirs, 0);
    kill_child(&child);
    EXPECT_CODE(end_sleeper(&sleeper), KERN_TERMINATED);
    EXPECT(type_of(theirs), MACH_PORT_TYPE_SEND);
    EXPECT_CODE(semaphore_signal(theirs), KERN_TERMINATED);
    EXPECT_CODE(semaphore_signal_all(theirs), KERN_TERMINATED);
    EXPECT_CODE(semaphore_timedwait(theirs, now), KERN_TERMINATED);
    EXPECT_CODE(semaphore_wait(theirs), KERN_TERMINATED);
    /* The waiter that is gone takes no signal. */
    OK(semaphore_signal(mine));
    OK(semaphore_timedwait(mine, now));
    const mach_port_t drop[] = {theirs, inbox, child.control, child.meeting};
    for (unsigned n = 0; n < COUNT(drop); n++)
        OK(mach_port_destroy(self(), drop[n]));
    OK(semaphore_destroy(self(), mine));
}

/* s1_12_semaphore_that_nobody_can_signal s1_12_semaphore_names */
static void what_is_no_semaphore(void)
{
    static sleeper_t sleeper;
    semaphore_t semaphore;
    mach_port_t port = new_port(), dead = new_dead_name(), host = mach_host_self();
    OK(semaphore_create(self(), &semaphore, SYNC_POLICY_FIFO, 0));
    start_sleeper(&sleeper, semaphore, 0);
    OK(mach_port_deallocate(self(), semaphore));
    EXPECT_CODE(end_sleeper(&sleeper), KERN_TERMINATED);
    const struct {
        mach_port_t name;
        kern_return_t code;
    } all[] = {{MACH_PORT_NULL, KERN_INVALID_NAME}, {MACH_PORT_DEAD, KERN_INVALID_NAME}, {NOTHING, KERN_INVALID_NAME},
               {port, KERN_INVALID_RIGHT},          {dead, KERN_INVALID_RIGHT},          {host, KERN_INVALID_CAPABILITY}};
    for (unsigned n = 0; n < COUNT(all); n++) {
        EXPECT_CODE(semaphore_signal(all[n].name), all[n].code);
        EXPECT_CODE(semaphore_signal_all(all[n].name), all[n].code);
        EXPECT_CODE(semaphore_timedwait(all[n].name, now), all[n].code);
        EXPECT_CODE(semaphore_destroy(self(), all[n].name), all[n].code);
    }
    EXPECT_CODE(semaphore_create(host, &semaphore, SYNC_POLICY_FIFO, 0), KERN_INVALID_TASK);
    OK(mach_port_deallocate(self(), host));
    OK(mach_port_deallocate(self(), dead));
    drop_port(port);
}

static void interrupted_nothing(int signal)
{
    (void)signal;
}

static void signal_handler_ends_a_wait(void)
{
    static sleeper_t sleeper;
    struct sigaction action;
    semaphore_t semaphore;
    memset(&action, 0, sizeof action);
    action.sa_handler = interrupted_nothing;
    sigaction(SIGUSR1, &action, NULL);
    OK(semaphore_create(self(), &semaphore, SYNC_POLICY_FIFO, 0));
    start_sleeper(&sleeper, semaphore, 0);
    pthread_kill(sleeper.thread, SIGUSR1);
    EXPECT_CODE(end_sleeper(&sleeper), KERN_ABORTED);
    OK(semaphore_destroy(self(), semaphore));
}

static void sleeps_of_a_clock(void)
{
    clock_serv_t clock = MACH_PORT_NULL, calendar = MACH_PORT_NULL;
    mach_timespec_t now, woken, wait = {0, 20000000};
    OK(host_get_clock_service(mach_host_self(), SYSTEM_CLOCK, &clock));
    OK(host_get_clock_service(mach_host_self(), CALENDAR_CLOCK, &calendar));
    OK(clock_get_time(clock, &now));
    OK(clock_sleep(clock, TIME_RELATIVE, wait, &woken));
    ADD_MACH_TIMESPEC(&now, &wait);
    TRUE_THAT(CMP_MACH_TIMESPEC(&woken, &now) >= 0);
    ADD_MACH_TIMESPEC(&woken, &wait);
    OK(clock_sleep(clock, TIME_ABSOLUTE, woken, &now));
    TRUE_THAT(CMP_MACH_TIMESPEC(&now, &woken) >= 0);
    SUB_MACH_TIMESPEC(&now, &wait);
    OK(clock_sleep_trap(clock, TIME_ABSOLUTE, (int)now.tv_sec, now.tv_nsec, NULL));
    EXPECT_CODE(clock_sleep(calendar, TIME_RELATIVE, wait, &woken), KERN_FAILURE);
    EXPECT_CODE(clock_sleep(MACH_PORT_NULL, TIME_RELATIVE, wait, &woken), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(clock_sleep(clock, 7, wait, &woken), KERN_INVALID_VALUE);
    wait.tv_nsec = -1;
    EXPECT_CODE(clock_sleep(clock, TIME_RELATIVE, wait, &woken), KERN_INVALID_VALUE);
    OK(mach_port_deallocate(mach_task_self(), clock));
    OK(mach_port_deallocate(mach_task_self(), calendar));

    semaphore_t semaphore = MACH_PORT_NULL;
    OK(semaphore_create(mach_task_self(), &semaphore, SYNC_POLICY_FIFO, 0));
    OK(semaphore_signal_trap(semaphore));
    OK(semaphore_wait_trap(semaphore));
    EXPECT_CODE(semaphore_timedwait_trap(semaphore, 0, 1000), KERN_OPERATION_TIMED_OUT);
    EXPECT_CODE(semaphore_timedwait_signal_trap(semaphore, semaphore, 0, -1), KERN_INVALID_VALUE);
    OK(semaphore_destroy(mach_task_self(), semaphore));
}

CHECK_MAIN(CASE(semaphore_counts), CASE(threads_wait_for_each_other), CASE(another_task_signals), CASE(clocks_tell_the_time), CASE(alarms_come),
           CASE(generated_stubs_reach_the_kernel), CASE(waiters_wake_in_order), CASE(all_waiters_or_one), CASE(semaphores_and_the_ends_of_tasks),
           CASE(what_is_no_semaphore), CASE(signal_handler_ends_a_wait), CASE(sleeps_of_a_clock))

/* Threads: a port for each, which ends with it; which there are; what is told of them; semaphores signalled for one of them. */
#include "check.h"

#include <mach/semaphore.h>

static mach_port_t self(void)
{
    return mach_task_self();
}

typedef struct {
    pthread_t thread;
    int tid;
    int stop;
    mach_port_t port;
} worker_t;

static void burn(int milliseconds)
{
    struct timespec start, now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    do
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < milliseconds);
}

static void *asks_for_its_port(void *arg)
{
    worker_t *worker = (worker_t *)arg;
    worker->port = mach_thread_self();
    burn(60);
    __atomic_store_n(&worker->tid, (int)syscall(SYS_gettid), __ATOMIC_RELEASE);
    while (!__atomic_load_n(&worker->stop, __ATOMIC_RELAXED))
        usleep(1000);
    return NULL;
}

static void *asks_for_nothing(void *arg)
{
    worker_t *worker = (worker_t *)arg;
    __atomic_store_n(&worker->tid, (int)syscall(SYS_gettid), __ATOMIC_RELEASE);
    while (!__atomic_load_n(&worker->stop, __ATOMIC_RELAXED))
        usleep(1000);
    return NULL;
}

static void start_worker(worker_t *worker, void *(*run)(void *))
{
    memset(worker, 0, sizeof *worker);
    pthread_create(&worker->thread, NULL, run, worker);
    while (!__atomic_load_n(&worker->tid, __ATOMIC_ACQUIRE))
        usleep(500);
}

static void end_worker(worker_t *worker)
{
    __atomic_store_n(&worker->stop, 1, __ATOMIC_RELAXED);
    pthread_join(worker->thread, NULL);
}

static uint64_t id_of(mach_port_t thread)
{
    thread_identifier_info_data_t info = {0, 0, 0};
    mach_msg_type_number_t count = THREAD_IDENTIFIER_INFO_COUNT;
    OK(thread_info(thread, THREAD_IDENTIFIER_INFO, (thread_info_t)&info, &count));
    EXPECT(count, 6);
    return info.thread_id;
}

static void each_thread_has_a_port_of_its_own(void)
{
    worker_t first, second;
    mach_port_t own = mach_thread_self();
    EXPECT(mach_thread_self(), own);
    start_worker(&first, asks_for_its_port);
    start_worker(&second, asks_for_its_port);
    TRUE_THAT(first.port != own && second.port != own && first.port != second.port && own != MACH_PORT_NULL);
    EXPECT(id_of(own), syscall(SYS_gettid));
    EXPECT(id_of(first.port), first.tid);
    EXPECT(id_of(second.port), second.tid);
    /* It ends with its thread: at once, and who asked is told. */
    mach_port_t told = new_port();
    EXPECT(request(first.port, MACH_NOTIFY_DEAD_NAME, 0, told), MACH_PORT_NULL);
    end_worker(&first);
    EXPECT(notice(told, MACH_NOTIFY_DEAD_NAME), first.port);
    EXPECT(type_of(first.port), MACH_PORT_TYPE_DEAD_NAME);
    OK(mach_port_destroy(self(), first.port));
    end_worker(&second);
    OK(mach_port_destroy(self(), second.port));
    drop_port(told);
    OK(mach_port_deallocate(self(), own));
    OK(mach_port_deallocate(self(), own));
    EXPECT(mach_thread_self(), own);
    OK(mach_port_deallocate(self(), own));
}

static unsigned position(mach_port_t name, const thread_act_t *all, unsigned count)
{
    unsigned at = 0;
    while (at < count && all[at] != name)
        at++;
    return at;
}

static void all_threads_are_listed(void)
{
    worker_t with, without;
    thread_act_array_t before, all;
    mach_msg_type_number_t before_count, count;
    OK(task_threads(self(), &before, &before_count));
    start_worker(&with, asks_for_its_port);
    start_worker(&without, asks_for_nothing);
    unsigned had = refs(with.port, MACH_PORT_RIGHT_SEND);
    OK(task_threads(self(), &all, &count));
    EXPECT(count, before_count + 2);
    TRUE_THAT(position(with.port, all, count) < count);
    EXPECT(refs(with.port, MACH_PORT_RIGHT_SEND), had + 1);
    for (unsigned n = 0; n < before_count; n++)
        TRUE_THAT(position(before[n], all, count) < count);
    /* The one that never asked has one too, and it is what the thread would be told. */
    mach_port_t given = MACH_PORT_NULL;
    for (unsigned n = 0; n < count; n++)
        if (id_of(all[n]) == (uint64_t)without.tid)
            given = all[n];
    TRUE_THAT(given != MACH_PORT_NULL);
    end_worker(&with);
    end_worker(&without);
    EXPECT(type_of(with.port), MACH_PORT_TYPE_DEAD_NAME);
    for (unsigned n = 0; n < before_count; n++)
        OK(mach_port_deallocate(self(), before[n]));
    OK(vm_deallocate(self(), (vm_address_t)before, before_count * sizeof *before));
    /* Gone when somebody asks next. */
    OK(task_threads(self(), &before, &before_count));
    EXPECT(before_count, count - 2);
    EXPECT(type_of(given), MACH_PORT_TYPE_DEAD_NAME);
    for (unsigned n = 0; n < before_count; n++)
        OK(mach_port_deallocate(self(), before[n]));
    for (unsigned n = 0; n < count; n++)
        OK(mach_port_deallocate(self(), all[n]));
    OK(mach_port_destroy(self(), with.port));
    OK(vm_deallocate(self(), (vm_address_t)all, count * sizeof *all));
    OK(vm_deallocate(self(), (vm_address_t)before, before_count * sizeof *before));
    EXPECT_CODE(task_threads(self(), NULL, &count), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(task_threads(MACH_PORT_NULL, &all, &count), MACH_SEND_INVALID_DEST);
}

static void threads_tell_what_they_used(void)
{
    worker_t worker;
    thread_basic_info_data_t basic;
    thread_extended_info_data_t extended;
    mach_msg_type_number_t count = THREAD_BASIC_INFO_COUNT;
    mach_port_t own = mach_thread_self();
    burn(60);
    OK(thread_info(own, THREAD_BASIC_INFO, (thread_info_t)&basic, &count));
    EXPECT(count, 10);
    EXPECT(basic.run_state, TH_STATE_RUNNING);
    EXPECT(basic.policy, POLICY_TIMESHARE);
    EXPECT(basic.suspend_count, 0);
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    long long micros = (basic.user_time.seconds + basic.system_time.seconds) * 1000000ll + basic.user_time.microseconds + basic.system_time.microseconds;
    TRUE_THAT(micros >= 50000 && micros <= used.tv_sec * 1000000ll + used.tv_nsec / 1000 + 20000);

    start_worker(&worker, asks_for_its_port);
    pthread_setname_np(worker.thread, "a) thread");
    count = THREAD_EXTENDED_INFO_COUNT;
    OK(thread_info(worker.port, THREAD_EXTENDED_INFO, (thread_info_t)&extended, &count));
    EXPECT(count, 28);
    EXPECT(strcmp(extended.pth_name, "a) thread"), 0);
    TRUE_THAT(extended.pth_user_time + extended.pth_system_time >= 30000000);
    EXPECT(extended.pth_policy, POLICY_TIMESHARE);
    TRUE_THAT(extended.pth_run_state >= TH_STATE_RUNNING && extended.pth_run_state <= TH_STATE_UNINTERRUPTIBLE);
    TRUE_THAT(extended.pth_priority >= 0 && extended.pth_priority <= extended.pth_maxpriority);
    count = THREAD_BASIC_INFO_COUNT - 1;
    EXPECT_CODE(thread_info(worker.port, THREAD_BASIC_INFO, (thread_info_t)&basic, &count), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(thread_info(worker.port, 99, (thread_info_t)&basic, &count), KERN_INVALID_ARGUMENT);
    end_worker(&worker);
    count = THREAD_BASIC_INFO_COUNT;
    EXPECT_CODE(thread_info(worker.port, THREAD_BASIC_INFO, (thread_info_t)&basic, &count), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(thread_info(self(), THREAD_BASIC_INFO, (thread_info_t)&basic, &count), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(thread_info(MACH_PORT_NULL, THREAD_BASIC_INFO, (thread_info_t)&basic, &count), MACH_SEND_INVALID_DEST);
    OK(mach_port_destroy(self(), worker.port));
    OK(mach_port_deallocate(self(), own));
}

static void what_cannot_be_done_says_so(void)
{
    mach_port_t own = mach_thread_self(), port = MACH_PORT_NULL;
    thread_precedence_policy_data_t precedence = {1};
    natural_t state[64];
    mach_msg_type_number_t count = 64;
    boolean_t standard = FALSE;
    OK(thread_policy_set(own, THREAD_PRECEDENCE_POLICY, (thread_policy_t)&precedence, THREAD_PRECEDENCE_POLICY_COUNT));
    EXPECT_CODE(thread_policy_set(own, THREAD_PRECEDENCE_POLICY, (thread_policy_t)&precedence, 0), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(thread_policy_set(own, 99, (thread_policy_t)&precedence, 1), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(thread_policy_set(self(), THREAD_PRECEDENCE_POLICY, (thread_policy_t)&precedence, 1), KERN_INVALID_ARGUMENT);
    OK(thread_get_kernel_port(own, &port));
    EXPECT(port, own);
    OK(mach_port_deallocate(self(), port));
    EXPECT_CODE(thread_get_special_port(own, 99, &port), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(thread_set_special_port(own, THREAD_KERNEL_PORT, own), KERN_NOT_SUPPORTED);
    EXPECT_CODE(thread_terminate(own), KERN_NOT_SUPPORTED);
    EXPECT_CODE(thread_suspend(own), KERN_NOT_SUPPORTED);
    EXPECT_CODE(thread_resume(own), KERN_NOT_SUPPORTED);
    EXPECT_CODE(thread_abort(own), KERN_NOT_SUPPORTED);
    EXPECT_CODE(thread_abort_safely(own), KERN_NOT_SUPPORTED);
    EXPECT_CODE(thread_depress_abort(own), KERN_NOT_SUPPORTED);
    EXPECT_CODE(thread_get_state(own, 4, state, &count), KERN_NOT_SUPPORTED);
    EXPECT_CODE(thread_set_state(own, 4, state, count), KERN_NOT_SUPPORTED);
    EXPECT_CODE(thread_policy_get(own, THREAD_PRECEDENCE_POLICY, (thread_policy_t)&precedence, &count, &standard), KERN_NOT_SUPPORTED);
    OK(mach_port_deallocate(self(), own));
}

static void forks(mach_port_t maker)
{
    thread_act_array_t all;
    mach_msg_type_number_t count;
    mach_port_t own = mach_thread_self();
    EXPECT(id_of(own), syscall(SYS_gettid));
    OK(task_threads(self(), &all, &count));
    TRUE_THAT(position(own, all, count) < count);
    OK(send_empty(maker, MACH_MSG_TYPE_COPY_SEND, 1));
}

static void forked_child_has_threads_of_its_own(void)
{
    worker_t worker;
    thread_act_array_t all;
    mach_msg_type_number_t count;
    start_worker(&worker, asks_for_its_port);
    child_t child = start_child(forks);
    EXPECT(next_id(child.meeting), 1);
    /* Of another task, only its library knows. */
    EXPECT_CODE(task_threads(child.control, &all, &count), KERN_NOT_SUPPORTED);
    end_child(&child);
    EXPECT(id_of(worker.port), worker.tid);
    end_worker(&worker);
    OK(mach_port_destroy(self(), worker.port));
}

typedef struct {
    worker_t worker;
    semaphore_t semaphore;
    int woken;
    kern_return_t code;
} sleeper_t;

static void *waits(void *arg)
{
    sleeper_t *sleeper = (sleeper_t *)arg;
    mach_timespec_t long_time = {20, 0};
    sleeper->worker.port = mach_thread_self();
    __atomic_store_n(&sleeper->worker.tid, (int)syscall(SYS_gettid), __ATOMIC_RELEASE);
    sleeper->code = semaphore_timedwait(sleeper->semaphore, long_time);
    __atomic_store_n(&sleeper->woken, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* s1_12_signal_all_and_waiting */
static void semaphore_wakes_the_thread_that_was_chosen(void)
{
    enum { SLEEPERS = 3 };
    static const unsigned order[SLEEPERS] = {1, 2, 0};
    sleeper_t sleepers[SLEEPERS];
    semaphore_t semaphore, other;
    mach_timespec_t now = {0, 0};
    mach_port_t own = mach_thread_self();
    OK(semaphore_create(self(), &semaphore, SYNC_POLICY_FIFO, 0));
    OK(semaphore_create(self(), &other, SYNC_POLICY_FIFO, 0));
    EXPECT_CODE(semaphore_signal_thread(semaphore, own), KERN_NOT_WAITING);
    EXPECT_CODE(semaphore_signal_thread(semaphore, self()), KERN_INVALID_ARGUMENT);
    for (unsigned n = 0; n < SLEEPERS; n++) {
        memset(&sleepers[n], 0, sizeof sleepers[n]);
        sleepers[n].semaphore = semaphore;
        pthread_create(&sleepers[n].worker.thread, NULL, waits, &sleepers[n]);
        await_asleep(&sleepers[n].worker.tid);
    }
    EXPECT_CODE(semaphore_signal_thread(other, sleepers[0].worker.port), KERN_NOT_WAITING);
    for (unsigned n = 0; n < SLEEPERS; n++) {
        sleeper_t *chosen = &sleepers[order[n]];
        OK(semaphore_signal_thread(semaphore, chosen->worker.port));
        pthread_join(chosen->worker.thread, NULL);
        OK(chosen->code);
        for (unsigned m = n + 1; m < SLEEPERS; m++)
            EXPECT(__atomic_load_n(&sleepers[order[m]].woken, __ATOMIC_ACQUIRE), 0);
        EXPECT_CODE(semaphore_signal_thread(semaphore, chosen->worker.port), KERN_INVALID_ARGUMENT);
        OK(mach_port_destroy(self(), chosen->worker.port));
    }
    /* Nothing was counted. */
    EXPECT_CODE(semaphore_timedwait(semaphore, now), KERN_OPERATION_TIMED_OUT);
    OK(semaphore_destroy(self(), semaphore));
    OK(semaphore_destroy(self(), other));
    OK(mach_port_deallocate(self(), own));
}

CHECK_MAIN(CASE(each_thread_has_a_port_of_its_own), CASE(all_threads_are_listed), CASE(threads_tell_what_they_used), CASE(what_cannot_be_done_says_so),
           CASE(forked_child_has_threads_of_its_own), CASE(semaphore_wakes_the_thread_that_was_chosen))

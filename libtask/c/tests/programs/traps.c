/* What is there without asking: the task's own ports, the host, times, timers, names in words; and what becomes of them in a forked child. */
#include "check.h"

#include <mach/mach_time.h>
#include <mach/mk_timer.h>
#include <pthread.h>
#include <servers/bootstrap.h>
#include <sys/wait.h>
#include <unistd.h>

/* s1_10_self_ports */
static void own_ports_are_there_before_main(void)
{
    EXPECT(type_of(mach_task_self()) & MACH_PORT_TYPE_SEND, MACH_PORT_TYPE_SEND);
    EXPECT((mach_task_self)(), mach_task_self());
    EXPECT(type_of(bootstrap_port), MACH_PORT_TYPE_SEND);
    EXPECT(vm_page_size, (unsigned long)sysconf(_SC_PAGESIZE));
    EXPECT(vm_page_mask, vm_page_size - 1);
    EXPECT(1ul << vm_page_shift, vm_page_size);
    EXPECT(round_page(1), vm_page_size);
}

static void self_traps_give_references(void)
{
    mach_port_t host = mach_host_self(), thread = mach_thread_self();
    unsigned before = refs(host, MACH_PORT_RIGHT_SEND);
    EXPECT(mach_host_self(), host);
    EXPECT(refs(host, MACH_PORT_RIGHT_SEND), before + 1);
    before = refs(thread, MACH_PORT_RIGHT_SEND);
    EXPECT(mach_thread_self(), thread);
    EXPECT(refs(thread, MACH_PORT_RIGHT_SEND), before + 1);
    mach_port_t reply = mach_reply_port();
    EXPECT(type_of(reply), MACH_PORT_TYPE_RECEIVE);
    drop_port(reply);
    EXPECT_CODE(thread_suspend(thread), KERN_NOT_SUPPORTED);
    OK(thread_switch(MACH_PORT_NULL, SWITCH_OPTION_NONE, 0));
    EXPECT_CODE(thread_switch(MACH_PORT_NULL, 99, 0), KERN_INVALID_ARGUMENT);
}

static mach_msg_return_t receive_in_step(any_message *m, mach_port_t port, mach_port_t whom)
{
    return mach_msg(&m->header, MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_SYNC_WAIT, 0, sizeof *m, port, 0, whom);
}

static void *special_thread(void *ports)
{
    mach_port_t *three = ports;
    any_message m;
    /* Another thread's. */
    EXPECT_CODE(receive_in_step(&m, three[0], three[1]), MACH_RCV_INVALID_NOTIFY);
    three[2] = thread_get_special_reply_port();
    three[0] = mig_get_special_reply_port();
    EXPECT(mig_get_special_reply_port(), three[0]);
    TRUE_THAT(three[0] != three[2] && three[0] != mig_get_reply_port());
    return NULL;
}

static void special_reply_ports_belong_to_their_threads(void)
{
    mach_port_t first = thread_get_special_reply_port(), special = thread_get_special_reply_port();
    mach_port_t plain = new_port_with_send(), dead = new_dead_port(), three[3] = {special, plain, MACH_PORT_NULL}, moved = MACH_PORT_NULL;
    mach_msg_type_name_t kind = 0;
    any_message m;
    pthread_t thread;
    TRUE_THAT(first != special);
    EXPECT(type_of(first), MACH_PORT_TYPE_RECEIVE);
    EXPECT(type_of(special), MACH_PORT_TYPE_RECEIVE);
    EXPECT_CODE(mach_port_deallocate(mach_task_self(), special), KERN_INVALID_RIGHT);
    /* It stays where it is, also one that is the thread's no longer. */
    EXPECT_CODE(mach_port_extract_right(mach_task_self(), special, MACH_MSG_TYPE_MOVE_RECEIVE, &moved, &kind), KERN_INVALID_CAPABILITY);
    start_complex(&m, plain, MACH_MSG_TYPE_COPY_SEND, sizeof m.port, 1);
    m.port.port.name = first;
    m.port.port.disposition = MACH_MSG_TYPE_MOVE_RECEIVE;
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_RIGHT);
    EXPECT(type_of(first), MACH_PORT_TYPE_RECEIVE);

    start_message(&m, special, MACH_MSG_TYPE_MAKE_SEND_ONCE, 24, 5);
    OK(send_it(&m));
    EXPECT_CODE(receive_in_step(&m, first, plain), MACH_RCV_INVALID_NOTIFY);
    EXPECT_CODE(receive_in_step(&m, plain, plain), MACH_RCV_INVALID_NOTIFY);
    EXPECT_CODE(receive_in_step(&m, special, MACH_PORT_NULL), MACH_RCV_INVALID_NOTIFY);
    EXPECT_CODE(receive_in_step(&m, special, MACH_PORT_DEAD), MACH_RCV_INVALID_NOTIFY);
    EXPECT_CODE(receive_in_step(&m, NOTHING, plain), MACH_RCV_INVALID_NAME);
    OK(receive_in_step(&m, special, plain));
    EXPECT(m.header.msgh_id, 5);
    EXPECT_CODE(receive_in_step(&m, special, dead), MACH_RCV_TIMED_OUT);
    EXPECT_CODE(receive_in_step(&m, special, NOTHING), MACH_RCV_TIMED_OUT);
    /* A receive that is refused does not stop the send before it. */
    start_message(&m, plain, MACH_MSG_TYPE_COPY_SEND, 24, 6);
    EXPECT_CODE(mach_msg(&m.header, MACH_SEND_MSG | MACH_RCV_MSG | MACH_RCV_SYNC_WAIT, 24, sizeof m, first, 0, plain), MACH_RCV_INVALID_NOTIFY);
    OK(receive_it(&m, plain));
    EXPECT(m.header.msgh_id, 6);
    /* A call in which the send says for whom the thread waits. */
    start_message(&m, special, MACH_MSG_TYPE_MAKE_SEND_ONCE, 24, 7);
    OK(mach_msg(&m.header, MACH_SEND_MSG | MACH_RCV_MSG | MACH_RCV_SYNC_WAIT | MACH_SEND_SYNC_OVERRIDE, 24, sizeof m, special, 0, 0));
    EXPECT(m.header.msgh_id, 7);

    pthread_create(&thread, NULL, special_thread, three);
    pthread_join(thread, NULL);
    /* The stubs' own went with its thread; what the program asked for is the program's. */
    EXPECT(type_of(three[0]), MACH_PORT_TYPE_NONE);
    EXPECT(type_of(three[2]), MACH_PORT_TYPE_RECEIVE);
    drop_port(three[2]);
    mach_port_t stub = mig_get_special_reply_port();
    mig_dealloc_special_reply_port(stub);
    EXPECT(type_of(stub), MACH_PORT_TYPE_NONE);
    TRUE_THAT(mig_get_special_reply_port() != stub);
    OK(mach_port_destroy(mach_task_self(), special));
    drop_port(first);
    OK(mach_port_destroy(mach_task_self(), plain));
    OK(mach_port_deallocate(mach_task_self(), dead));
}

static void *other_thread(void *unused)
{
    (void)unused;
    return (void *)(uintptr_t)mach_thread_self();
}

static void threads_have_ports_of_their_own(void)
{
    pthread_t thread;
    void *port;
    pthread_create(&thread, NULL, other_thread, NULL);
    pthread_join(thread, &port);
    TRUE_THAT((mach_port_t)(uintptr_t)port != mach_thread_self());
    /* It went with its thread. */
    EXPECT(type_of((mach_port_t)(uintptr_t)port), MACH_PORT_TYPE_DEAD_NAME);
}

/* s1_10_special_ports s1_10_registered_ports */
static void special_ports_are_got_and_set(void)
{
    mach_port_t port = MACH_PORT_NULL, mine = new_port_with_send(), old;
    OK(task_get_special_port(mach_task_self(), TASK_KERNEL_PORT, &port));
    EXPECT(port, mach_task_self());
    OK(task_get_special_port(mach_task_self(), TASK_HOST_PORT, &port));
    EXPECT(port, mach_host_self());
    OK(task_get_special_port(mach_task_self(), TASK_NAME_PORT, &port));
    OK(task_get_bootstrap_port(mach_task_self(), &old));
    EXPECT(old, bootstrap_port);
    OK(task_set_bootstrap_port(mach_task_self(), mine));
    OK(task_get_bootstrap_port(mach_task_self(), &port));
    EXPECT(port, mine);
    OK(task_set_bootstrap_port(mach_task_self(), old));
    TRUE_THAT(task_get_special_port(mach_task_self(), 77, &port) != KERN_SUCCESS);
    TRUE_THAT(task_set_special_port(mach_task_self(), 77, mine) != KERN_SUCCESS);

    mach_port_t three[3] = {mine, MACH_PORT_NULL, mine};
    mach_port_array_t got;
    mach_msg_type_number_t count = 0;
    OK(mach_ports_register(mach_task_self(), three, 3));
    OK(mach_ports_lookup(mach_task_self(), &got, &count));
    EXPECT(count, 3);
    EXPECT(got[0], mine);
    EXPECT(got[1], MACH_PORT_NULL);
    OK(vm_deallocate(mach_task_self(), (vm_address_t)got, count * sizeof *got));
    EXPECT_CODE(mach_ports_register(mach_task_self(), three, 4), KERN_INVALID_ARGUMENT);
    OK(mach_ports_register(mach_task_self(), NULL, 0));
}

/* s1_12_task_for_pid */
static void processes_have_tasks(void)
{
    int pid = 0;
    mach_port_t task = MACH_PORT_NULL;
    OK(pid_for_task(mach_task_self(), &pid));
    EXPECT(pid, getpid());
    OK(task_for_pid(mach_task_self(), getpid(), &task));
    EXPECT(task, mach_task_self());
    EXPECT_CODE(pid_for_task(0x77777703, &pid), KERN_FAILURE);
    EXPECT_CODE(task_for_pid(mach_task_self(), 1, &task), KERN_FAILURE);
}

static void task_is_described(void)
{
    mach_task_basic_info_data_t basic;
    mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
    OK(task_info(mach_task_self(), MACH_TASK_BASIC_INFO, (task_info_t)&basic, &count));
    EXPECT(count, MACH_TASK_BASIC_INFO_COUNT);
    TRUE_THAT(basic.resident_size > 0 && basic.virtual_size >= basic.resident_size);
    EXPECT(basic.suspend_count, 0);
    task_basic_info_data_t old;
    count = TASK_BASIC_INFO_COUNT;
    OK(task_info(mach_task_self(), TASK_BASIC_INFO, (task_info_t)&old, &count));
    TRUE_THAT(old.resident_size > 0);
    audit_token_t audit;
    count = TASK_AUDIT_TOKEN_COUNT;
    task_vm_info_data_t memory;
    memset(&memory, 0x77, sizeof memory);
    count = TASK_VM_INFO_COUNT;
    OK(task_info(mach_task_self(), TASK_VM_INFO, (task_info_t)&memory, &count));
    EXPECT(count, TASK_VM_INFO_COUNT);
    EXPECT(memory.page_size, vm_page_size);
    TRUE_THAT(memory.phys_footprint > 0 && memory.phys_footprint < memory.virtual_size);
    TRUE_THAT(memory.internal > 0 && memory.internal <= memory.resident_size);
    /* One compiled for an earlier form. */
    memset(&memory, 0x77, sizeof memory);
    count = TASK_VM_INFO_REV1_COUNT + 1;
    OK(task_info(mach_task_self(), TASK_VM_INFO, (task_info_t)&memory, &count));
    EXPECT(count, TASK_VM_INFO_REV1_COUNT);
    TRUE_THAT(memory.phys_footprint > 0);
    EXPECT(memory.min_address, 0x7777777777777777);
    count = TASK_VM_INFO_REV0_COUNT - 1;
    EXPECT_CODE(task_info(mach_task_self(), TASK_VM_INFO, (task_info_t)&memory, &count), KERN_INVALID_ARGUMENT);
    task_absolutetime_info_data_t times;
    count = TASK_ABSOLUTETIME_INFO_COUNT;
    OK(task_info(mach_task_self(), TASK_ABSOLUTETIME_INFO, (task_info_t)&times, &count));
    TRUE_THAT(times.threads_user <= times.total_user);
    count = TASK_ABSOLUTETIME_INFO_COUNT;
    EXPECT_CODE(task_info(MACH_PORT_NULL, TASK_ABSOLUTETIME_INFO, (task_info_t)&times, &count), MACH_SEND_INVALID_DEST);
    EXPECT(vm_kernel_page_size, vm_page_size);
    EXPECT(vm_kernel_page_mask, vm_page_mask);
    EXPECT(vm_kernel_page_shift, vm_page_shift);
    count = TASK_AUDIT_TOKEN_COUNT;
    OK(task_info(mach_task_self(), TASK_AUDIT_TOKEN, (task_info_t)&audit, &count));
    EXPECT(audit.val[5], getpid());
    EXPECT(audit.val[1], geteuid());
    security_token_t security;
    count = TASK_SECURITY_TOKEN_COUNT;
    OK(task_info(mach_task_self(), TASK_SECURITY_TOKEN, (task_info_t)&security, &count));
    EXPECT(security.val[0], geteuid());
    count = 1;
    EXPECT_CODE(task_info(mach_task_self(), TASK_AUDIT_TOKEN, (task_info_t)&audit, &count), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(task_info(mach_task_self(), 999, (task_info_t)&audit, &count), KERN_INVALID_ARGUMENT);
}

static void host_is_described(void)
{
    host_basic_info_data_t info;
    mach_msg_type_number_t count = HOST_BASIC_INFO_COUNT;
    OK(host_info(mach_host_self(), HOST_BASIC_INFO, (host_info_t)&info, &count));
    TRUE_THAT(info.max_cpus > 0 && info.avail_cpus > 0 && info.max_mem > 1 << 20);
    vm_size_t page = 0;
    OK(host_page_size(mach_host_self(), &page));
    EXPECT(page, vm_page_size);
    kernel_version_t version;
    OK(host_kernel_version(mach_host_self(), version));
    TRUE_THAT(strncmp(version, "umach", 5) == 0);
    EXPECT_CODE(host_info(mach_task_self(), HOST_BASIC_INFO, (host_info_t)&info, &count), KERN_INVALID_HOST);
    EXPECT_CODE(host_info(mach_host_self(), 999, (host_info_t)&info, &count), KERN_INVALID_ARGUMENT);
}

static void clock_goes(void)
{
    mach_timebase_info_data_t base = {0, 0};
    OK(mach_timebase_info(&base));
    TRUE_THAT(base.numer > 0 && base.denom > 0);
    uint64_t start = mach_absolute_time(), wait = 20000000ull * base.denom / base.numer;
    OK(mach_wait_until(start + wait));
    TRUE_THAT(mach_absolute_time() >= start + wait);
    OK(mach_wait_until(start));
}

static void timers_fire(void)
{
    mach_port_name_t timer = mk_timer_create(), other = mk_timer_create();
    struct {
        mk_timer_expire_msg_t message;
        mach_msg_trailer_t trailer;
    } in;
    uint64_t due = mach_absolute_time() + 20000000, was = 0;
    OK(mk_timer_arm(timer, due));
    OK(mk_timer_arm(other, due + 600000000000));
    OK(mach_msg(&in.message.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof in, timer, 5000, 0));
    TRUE_THAT(mach_absolute_time() >= due);
    OK(mk_timer_cancel(other, &was));
    EXPECT(was, due + 600000000000);
    EXPECT_CODE(mk_timer_arm(0x12345603, due), KERN_INVALID_ARGUMENT);
    /* However often it is due, one message waits. */
    for (int n = 0; n < 3; n++) {
        OK(mk_timer_arm(timer, 0));
        do
            usleep(1000);
        while (status_of(timer).mps_msgcount == 0);
        usleep(2000);
    }
    EXPECT(status_of(timer).mps_msgcount, 1);
    OK(mach_msg(&in.message.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof in, timer, 5000, 0));
    OK(mk_timer_arm(timer, 0));
    OK(mach_msg(&in.message.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof in, timer, 5000, 0));
    OK(mk_timer_destroy(timer));
    OK(mk_timer_destroy(other));
    EXPECT_CODE(mk_timer_destroy(other), KERN_INVALID_ARGUMENT);
    timer = mk_timer_create();
    drop_port(timer);
    EXPECT_CODE(mk_timer_arm(timer, due), KERN_INVALID_ARGUMENT);
}

static void names_are_found(void)
{
    mach_port_t mine = new_port_with_send(), found = MACH_PORT_NULL, subset = MACH_PORT_NULL, served = MACH_PORT_NULL;
    EXPECT_CODE(bootstrap_look_up(bootstrap_port, "org.umach.test.none", &found), BOOTSTRAP_UNKNOWN_SERVICE);
    OK(bootstrap_register(bootstrap_port, "org.umach.test.one", mine));
    EXPECT_CODE(bootstrap_register(bootstrap_port, "org.umach.test.one", mine), BOOTSTRAP_NAME_IN_USE);
    OK(bootstrap_look_up(bootstrap_port, "org.umach.test.one", &found));
    EXPECT(found, mine);
    OK(bootstrap_subset(bootstrap_port, mach_task_self(), &subset));
    OK(bootstrap_check_in(subset, "org.umach.test.two", &served));
    EXPECT(type_of(served) & MACH_PORT_TYPE_RECEIVE, MACH_PORT_TYPE_RECEIVE);
    OK(bootstrap_look_up(subset, "org.umach.test.one", &found));
    EXPECT_CODE(bootstrap_look_up(bootstrap_port, "org.umach.test.two", &found), BOOTSTRAP_UNKNOWN_SERVICE);
    EXPECT_CODE(bootstrap_look_up(MACH_PORT_NULL, "x", &found), MACH_SEND_INVALID_DEST);
    EXPECT_CODE(bootstrap_look_up(bootstrap_port, "x", NULL), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(bootstrap_look_up(bootstrap_port, NULL, &found), KERN_INVALID_ARGUMENT);
    char longest[200];
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = 0;
    EXPECT_CODE(bootstrap_look_up(bootstrap_port, longest, &found), BOOTSTRAP_UNKNOWN_SERVICE);
    EXPECT_CODE(bootstrap_parent(bootstrap_port, &found), BOOTSTRAP_NOT_PRIVILEGED);
    EXPECT_CODE(bootstrap_check_in(bootstrap_port, "org.umach.test.one", &found), BOOTSTRAP_SERVICE_ACTIVE);
    EXPECT_CODE(bootstrap_register(bootstrap_port, "org.umach.test.three", NOTHING), KERN_INVALID_NAME);
    drop_port(mine);
    drop_port(served);
}

static void codes_have_words(void)
{
    EXPECT(strncmp(mach_error_string(KERN_INVALID_NAME), "(os/kern) ", 10), 0);
    EXPECT(strncmp(mach_error_string(MACH_SEND_INVALID_DEST), "(ipc/send) ", 11), 0);
    EXPECT(strncmp(mach_error_string(MACH_RCV_BODY_ERROR | MACH_MSG_IPC_SPACE), "(ipc/rcv) ", 10), 0);
    EXPECT(strncmp(mach_error_string(MIG_BAD_ID), "(ipc/mig) ", 10), 0);
    EXPECT(strncmp(bootstrap_strerror(BOOTSTRAP_UNKNOWN_SERVICE), "(bootstrap) ", 12), 0);
    for (int code = 0; code <= KERN_NOT_FOUND; code++)
        TRUE_THAT(strstr(mach_error_string(code), "unknown") == NULL);
    TRUE_THAT(strstr(mach_error_string(0x7777), "unknown") != NULL);
}

/* s1_10_new_task_inherits_special_and_registered_ports_only */
static void forked_child_is_a_task_of_its_own(void)
{
    mach_port_t port = new_port_with_send();
    OK(mach_ports_register(mach_task_self(), &port, 1));
    /* Also a child of a child. */
    pid_t pid = fork();
    if (pid == 0) {
        mach_port_array_t got;
        mach_msg_type_number_t count;
        any_message m;
        int before = check_failures;
        int own = 0;
        OK(pid_for_task(mach_task_self(), &own));
        EXPECT(own, getpid());
        EXPECT(type_of(bootstrap_port), MACH_PORT_TYPE_SEND);
        OK(mach_ports_lookup(mach_task_self(), &got, &count));
        start_message(&m, got[0], MACH_MSG_TYPE_COPY_SEND, 24, 61);
        OK(send_it(&m));
        pid_t grandchild = fork();
        if (grandchild == 0) {
            OK(mach_ports_lookup(mach_task_self(), &got, &count));
            start_message(&m, got[0], MACH_MSG_TYPE_COPY_SEND, 24, 62);
            OK(send_it(&m));
            _exit(check_failures != before);
        }
        int status = 1;
        waitpid(grandchild, &status, 0);
        EXPECT(status, 0);
        _exit(check_failures != before);
    }
    any_message m;
    OK(receive_it(&m, port));
    EXPECT(m.header.msgh_id, 61);
    OK(receive_it(&m, port));
    EXPECT(m.header.msgh_id, 62);
    int status = 1;
    waitpid(pid, &status, 0);
    EXPECT(status, 0);
    EXPECT(type_of(port), MACH_PORT_TYPE_SEND_RECEIVE);
    drop_port(port);
}

static void holds_all_kinds(mach_port_t maker)
{
    mach_port_t service = new_port_with_send(), set = new_set();
    OK(mach_port_insert_member(mach_task_self(), service, set));
    OK(send_right(maker, service, MACH_MSG_TYPE_COPY_SEND));
    for (int n = 0; n < 2; n++)
        receive_right(service);
    OK(send_empty(maker, MACH_MSG_TYPE_COPY_SEND, 1));
    pause();
}

/* s1_10_end_of_a_task_ends_its_space */
static void end_of_a_task_ends_its_space(void)
{
    mach_port_t told = new_port(), counted = new_port();
    child_t child = start_child(holds_all_kinds);
    mach_port_t service = receive_right(child.meeting);
    OK(send_right(service, counted, MACH_MSG_TYPE_MAKE_SEND));
    OK(send_right(service, told, MACH_MSG_TYPE_MAKE_SEND_ONCE));
    EXPECT(next_id(child.meeting), 1);
    request(service, MACH_NOTIFY_DEAD_NAME, 0, told);
    request(child.control, MACH_NOTIFY_DEAD_NAME, 0, told);
    request(counted, MACH_NOTIFY_NO_SENDERS, 0, told);
    /* In the queue of a task that ends. */
    OK(send_right(service, told, MACH_MSG_TYPE_MAKE_SEND_ONCE));
    kill_child(&child);
    int seen[80];
    memset(seen, 0, sizeof seen);
    for (int n = 0; n < 5; n++) {
        int id = next_id(told);
        TRUE_THAT(id >= 64 && id < 80);
        seen[id & 0x7f]++;
    }
    EXPECT(seen[MACH_NOTIFY_DEAD_NAME], 2);
    EXPECT(seen[MACH_NOTIFY_NO_SENDERS], 1);
    EXPECT(seen[MACH_NOTIFY_SEND_ONCE], 2);
    EXPECT(type_of(service), MACH_PORT_TYPE_DEAD_NAME);
    EXPECT(type_of(child.control), MACH_PORT_TYPE_DEAD_NAME);
    mach_port_t name;
    EXPECT_CODE(mach_port_allocate(child.control, MACH_PORT_RIGHT_RECEIVE, &name), KERN_INVALID_TASK);
    OK(mach_port_destroy(mach_task_self(), service));
    OK(mach_port_destroy(mach_task_self(), child.control));
    OK(mach_port_destroy(mach_task_self(), child.meeting));
    drop_port(told);
    drop_port(counted);
}

CHECK_MAIN(CASE(own_ports_are_there_before_main), CASE(self_traps_give_references), CASE(special_reply_ports_belong_to_their_threads), CASE(threads_have_ports_of_their_own),
           CASE(special_ports_are_got_and_set), CASE(processes_have_tasks), CASE(task_is_described), CASE(host_is_described), CASE(clock_goes),
           CASE(timers_fire), CASE(names_are_found), CASE(codes_have_words), CASE(forked_child_is_a_task_of_its_own),
           CASE(end_of_a_task_ends_its_space))

/* 1.11: the kernel's own ports, called by messages in the form in which generated stubs make them. */
#include "stubs.h"

#include <mach/clock.h>
#include <mach/mig_errors.h>
#include <mach/semaphore.h>

static mach_port_t self(void)
{
    return mach_task_self();
}

/* s1_11_names_and_references */
static void names_and_references(void)
{
    call_t c;
    OK(ask(&c, self(), 3204, 1, MACH_PORT_RIGHT_RECEIVE));
    mach_port_t name = c.plain.words[1];
    EXPECT(type_of(name), MACH_PORT_TYPE_RECEIVE);
    OK(ask(&c, self(), 3201, 1, name));
    EXPECT(c.plain.words[1], MACH_PORT_TYPE_RECEIVE);
    OK(mach_port_insert_right(self(), name, name, MACH_MSG_TYPE_MAKE_SEND));
    OK(ask(&c, self(), 3208, 3, name, MACH_PORT_RIGHT_SEND, 2));
    OK(ask(&c, self(), 3207, 2, name, MACH_PORT_RIGHT_SEND));
    EXPECT(c.plain.words[1], 3);
    OK(ask(&c, self(), 3206, 1, name));
    EXPECT(refs(name, MACH_PORT_RIGHT_SEND), 2);
    EXPECT_CODE(ask(&c, self(), 3208, 3, name, MACH_PORT_RIGHT_SEND, (unsigned)-3), KERN_INVALID_VALUE);
    OK(ask(&c, self(), 3205, 1, name));
    EXPECT_CODE(ask(&c, self(), 3201, 1, name), KERN_INVALID_NAME);
    EXPECT_CODE(ask(&c, self(), 3204, 1, 9), KERN_INVALID_VALUE);
    OK(ask(&c, self(), 3203, 2, MACH_PORT_RIGHT_PORT_SET, 0x4d03));
    EXPECT_CODE(ask(&c, self(), 3203, 2, MACH_PORT_RIGHT_PORT_SET, 0x4d03), KERN_NAME_EXISTS);
    OK(mach_port_destroy(self(), 0x4d03));
    OK(ask(&c, self(), 3221, 1, 100));
}

/* s1_11_rights_in_and_out */
static void rights_in_and_out(void)
{
    call_t c;
    mach_port_t mine = new_port(), there = 0x12c03;
    EXPECT_CODE(ask_with(&c, self(), 3214, mine, MACH_MSG_TYPE_MAKE_SEND, 1, mine), KERN_SUCCESS);
    EXPECT(refs(mine, MACH_PORT_RIGHT_SEND), 1);
    EXPECT_CODE(ask_with(&c, self(), 3214, mine, MACH_MSG_TYPE_MAKE_SEND, 1, there), KERN_RIGHT_EXISTS);
    EXPECT_CODE(ask_with(&c, self(), 3214, mine, MACH_MSG_TYPE_MAKE_SEND, 1, 0), KERN_INVALID_VALUE);
    EXPECT_CODE(ask_with(&c, self(), 3214, MACH_PORT_NULL, MACH_MSG_TYPE_MAKE_SEND, 1, there), KERN_INVALID_CAPABILITY);
    OK(ask_with(&c, self(), 3214, mine, MACH_MSG_TYPE_MAKE_SEND_ONCE, 1, there));
    EXPECT(type_of(there), MACH_PORT_TYPE_SEND_ONCE);
    OK(ask(&c, self(), 3215, 2, mine, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(c.ports.ports[0].name, mine);
    EXPECT(c.ports.ports[0].disposition, MACH_MSG_TYPE_PORT_SEND);
    EXPECT_CODE(ask(&c, self(), 3215, 2, 0, MACH_MSG_TYPE_COPY_SEND), KERN_INVALID_NAME);
    EXPECT_CODE(ask(&c, self(), 3215, 2, mine, 99), KERN_INVALID_VALUE);
    OK(ask(&c, self(), 3222, 1, mine));
    EXPECT(c.plain.words[1], 1);
    OK(mach_port_destroy(self(), there));
    OK(mach_port_destroy(self(), mine));
}

/* s1_11_attributes_guards_and_context */
static void attributes_guards_and_context(void)
{
    call_t c;
    mach_port_t name = new_port_with_send();
    OK(ask(&c, self(), 3210, 2, name, 7));
    OK(ask(&c, self(), 3216, 2, name, 9));
    OK(ask(&c, self(), 3218, 4, name, MACH_PORT_LIMITS_INFO, 1, 11));
    OK(ask(&c, self(), 3217, 3, name, MACH_PORT_RECEIVE_STATUS, 10));
    EXPECT(c.plain.words[1], 10);
    EXPECT(c.plain.words[3], 9);
    EXPECT(c.plain.words[4], 7);
    EXPECT(c.plain.words[5], 11);
    EXPECT_CODE(ask(&c, self(), 3217, 3, name, MACH_PORT_RECEIVE_STATUS, 9), KERN_FAILURE);
    EXPECT_CODE(ask(&c, self(), 3218, 4, name, MACH_PORT_LIMITS_INFO, 18, 1), MIG_BAD_ARGUMENTS);
    OK(ask(&c, self(), 3229, 3, name, 0x9abcdef0, 0x12345678));
    OK(ask(&c, self(), 3228, 1, name));
    EXPECT(c.plain.words[1], 0x9abcdef0);
    EXPECT(c.plain.words[2], 0x12345678);
    OK(mach_port_set_context(self(), name, 0));
    OK(ask(&c, self(), 3233, 4, name, 5, 0, 1));
    OK(ask(&c, self(), 3242, 5, name, MACH_PORT_GUARD_INFO, 2, 5, 0));
    EXPECT_CODE(ask(&c, self(), 3242, 5, name, MACH_PORT_GUARD_INFO, 2, 6, 0), KERN_INVALID_ARGUMENT);
    OK(ask(&c, self(), 3238, 5, name, 5, 0, 3, 0));
    EXPECT_CODE(ask(&c, self(), 3234, 3, name, 5, 0), KERN_INVALID_ARGUMENT);
    OK(ask(&c, self(), 3234, 3, name, 3, 0));
    OK(mach_port_destroy(self(), name));
}

/* s1_11_sets_and_listings */
static void sets_and_listings(void)
{
    call_t c;
    mach_port_t first = new_port(), set = new_set();
    OK(ask(&c, self(), 3226, 2, first, set));
    EXPECT_CODE(ask(&c, self(), 3226, 2, first, set), KERN_ALREADY_IN_SET);
    OK(ask(&c, self(), 3211, 1, set));
    EXPECT(c.memory.memory[0].size, 4);
    EXPECT(*(mach_port_t *)c.memory.memory[0].address, first);
    mach_msg_destroy(&c.header);
    OK(ask(&c, self(), 3227, 2, first, set));
    EXPECT_CODE(ask(&c, self(), 3227, 2, first, set), KERN_NOT_IN_SET);
    OK(ask(&c, self(), 3200, 0));
    EXPECT(c.memory.base.body.msgh_descriptor_count, 2);
    mach_msg_size_t bytes = c.memory.memory[0].size;
    EXPECT(c.memory.memory[1].size, bytes);
    EXPECT(c.memory.words[0], bytes / 4);
    int found = 0;
    for (unsigned n = 0; n < bytes / 4; n++)
        found += ((mach_port_t *)c.memory.memory[0].address)[n] == set &&
                 ((mach_port_type_t *)c.memory.memory[1].address)[n] == MACH_PORT_TYPE_PORT_SET;
    EXPECT(found, 1);
    mach_msg_destroy(&c.header);
    drop_port(first);
    OK(mach_port_destroy(self(), set));
}

/* s1_11_notifications_and_peek */
static void notifications_and_peek(void)
{
    call_t c;
    mach_port_t told = new_port(), name = new_port_with_send();
    OK(ask_with(&c, self(), 3213, told, MACH_MSG_TYPE_MAKE_SEND_ONCE, 3, name, MACH_NOTIFY_NO_SENDERS, 0));
    OK(mach_port_deallocate(self(), name));
    EXPECT(notice(told, MACH_NOTIFY_NO_SENDERS), 1);
    EXPECT_CODE(ask_with(&c, self(), 3213, told, MACH_MSG_TYPE_MAKE_SEND_ONCE, 3, name, 68, 0), KERN_INVALID_VALUE);
    notice(told, MACH_NOTIFY_SEND_ONCE);
    OK(mach_port_insert_right(self(), name, name, MACH_MSG_TYPE_MAKE_SEND));
    OK(send_empty(name, MACH_MSG_TYPE_COPY_SEND, 17));
    OK(ask(&c, self(), 3209, 4, name, 0, 0, 68));
    EXPECT(c.plain.words[2], 32);
    EXPECT(c.plain.words[3], 17);
    OK(mach_port_destroy(self(), name));
    EXPECT_CODE(ask(&c, self(), 3209, 4, name, 0, 0, 68), KERN_INVALID_NAME);
    drop_port(told);
}

/* s1_11_task */
static void calls_of_the_task(void)
{
    call_t c;
    mach_port_t first = new_port_with_send(), old = bootstrap_port, name = 0;
    OK(ask_with(&c, self(), 3410, first, MACH_MSG_TYPE_COPY_SEND, 1, TASK_BOOTSTRAP_PORT));
    EXPECT_CODE(ask_with(&c, self(), 3410, first, MACH_MSG_TYPE_COPY_SEND, 1, TASK_KERNEL_PORT), KERN_NO_ACCESS);
    EXPECT_CODE(ask_with(&c, self(), 3410, first, MACH_MSG_TYPE_COPY_SEND, 1, 99), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(ask_with(&c, self(), 3410, first, MACH_MSG_TYPE_MAKE_SEND_ONCE, 1, TASK_BOOTSTRAP_PORT), MIG_TYPE_ERROR);
    notice(first, MACH_NOTIFY_SEND_ONCE);
    OK(ask(&c, self(), 3409, 1, TASK_BOOTSTRAP_PORT));
    EXPECT(c.ports.ports[0].name, first);
    OK(task_set_bootstrap_port(self(), old));
    OK(ask(&c, self(), 3405, 2, TASK_AUDIT_TOKEN, 8));
    EXPECT(c.plain.words[1], 8);
    EXPECT(c.plain.words[1 + 6], getpid());
    EXPECT_CODE(ask(&c, self(), 3405, 2, TASK_AUDIT_TOKEN, 7), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(ask(&c, self(), 3405, 2, 77, 90), KERN_INVALID_ARGUMENT);
    OK(ask(&c, self(), 3455, 0));
    EXPECT(c.plain.words[1], 1);
    /* A name right shows the task and controls nothing. */
    OK(task_get_special_port(self(), TASK_NAME_PORT, &name));
    OK(ask(&c, name, 3405, 2, TASK_AUDIT_TOKEN, 8));
    EXPECT_CODE(ask(&c, name, 3409, 1, 1), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(ask(&c, name, 3201, 1, 1), KERN_INVALID_TASK);
    OK(mach_port_deallocate(self(), name));
    OK(mach_port_destroy(self(), first));
}

/* What the library says of a task, as words: how many. */
static unsigned library_info(mach_port_t task, unsigned flavor, uint32_t *words)
{
    mach_msg_type_number_t count = 90;
    OK(task_info(task, flavor, (task_info_t)words, &count));
    return count;
}

static unsigned long long time_of(const uint32_t *words)
{
    return words[0] * 1000000ull + words[1];
}

/* s1_11_task */
static void task_info_tells_what_the_library_tells(void)
{
    /* Where each flavour has its times (user, then system), and where its sizes. */
    static const struct {
        unsigned flavor, count, times, sizes, words;
    } flavors[] = {{TASK_BASIC_INFO_32, 8, 3, 1, 1}, {TASK_BASIC_INFO_64, 10, 5, 1, 2}, {MACH_TASK_BASIC_INFO, 12, 6, 0, 2}, {TASK_THREAD_TIMES_INFO, 4, 0, 0, 0},
                   {TASK_EVENTS_INFO, 8, 0, 0, 0}, {TASK_SECURITY_TOKEN, 2, 0, 0, 0}, {TASK_AUDIT_TOKEN, 8, 0, 0, 0}};
    call_t c;
    struct timespec used;
    do
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    while (used.tv_sec == 0 && used.tv_nsec < 60000000);
    for (unsigned n = 0; n < COUNT(flavors); n++) {
        uint32_t before[90], after[90], *said = &c.plain.words[2];
        unsigned count = library_info(self(), flavors[n].flavor, before);
        OK(ask(&c, self(), 3405, 2, flavors[n].flavor, 90));
        EXPECT(library_info(self(), flavors[n].flavor, after), count);
        EXPECT(count, flavors[n].count);
        EXPECT(c.plain.words[1], count);
        if (flavors[n].count == 4 || flavors[n].times)
            for (unsigned at = flavors[n].times; at < flavors[n].times + 4; at += 2) {
                TRUE_THAT(time_of(before + at) <= time_of(said + at));
                TRUE_THAT(time_of(said + at) <= time_of(after + at));
            }
        if (flavors[n].times)
            TRUE_THAT(time_of(said + flavors[n].times) + time_of(said + flavors[n].times + 2) > 0);
        /* Memory that the calls themselves take is little. */
        for (unsigned which = 0; which < (flavors[n].words ? 2 : 0); which++) {
            unsigned at = flavors[n].sizes + which * flavors[n].words;
            long near = (long)said[at] - (long)before[at];
            TRUE_THAT(said[at] > 0);
            TRUE_THAT(near > -(8 << 20) && near < 8 << 20);
        }
        if (flavors[n].flavor == TASK_EVENTS_INFO) {
            TRUE_THAT(before[0] > 0 && before[0] <= said[0] && said[0] <= after[0]);
            TRUE_THAT(before[3] <= said[3] && said[3] <= after[3]);
        }
        if (flavors[n].flavor == TASK_SECURITY_TOKEN || flavors[n].flavor == TASK_AUDIT_TOKEN)
            EXPECT(memcmp(before, said, 4 * count), 0);
    }
    EXPECT_CODE(ask(&c, self(), 3405, 2, MACH_TASK_BASIC_INFO, 11), KERN_INVALID_ARGUMENT);
}

static void waits(mach_port_t maker)
{
    mach_port_t port = new_port_with_send();
    OK(send_empty(maker, MACH_MSG_TYPE_COPY_SEND, 1));
    any_message m;
    mach_msg(&m.header, MACH_RCV_MSG, 0, sizeof m, port, 0, 0);
}

/* s1_11_other_tasks */
static void other_tasks_are_stopped_and_ended(void)
{
    call_t c;
    child_t child = start_child(waits);
    EXPECT(next_id(child.meeting), 1);
    OK(ask(&c, child.control, 3455, 0));
    EXPECT(c.plain.words[1], 0);
    EXPECT_CODE(ask(&c, child.control, 3408, 0), KERN_FAILURE);
    OK(ask(&c, child.control, 3407, 0));
    OK(ask(&c, child.control, 3407, 0));
    OK(ask(&c, child.control, 3405, 2, MACH_TASK_BASIC_INFO, 12));
    EXPECT(c.plain.words[1 + 12], 2);
    TRUE_THAT(c.plain.words[1 + 3] > 0);
    OK(ask(&c, child.control, 3408, 0));
    OK(ask(&c, child.control, 3408, 0));
    OK(ask(&c, child.control, 3401, 0));
    int status = 0;
    EXPECT(waitpid(child.pid, &status, 0), child.pid);
    TRUE_THAT(WIFSIGNALED(status) || WIFEXITED(status));
    EXPECT(type_of(child.control), MACH_PORT_TYPE_DEAD_NAME);
    OK(mach_port_destroy(self(), child.control));
    OK(mach_port_destroy(self(), child.meeting));
}

/* s1_11_exception_ports */
static void exception_ports_by_message(void)
{
    call_t c;
    mach_port_t first = new_port_with_send(), second = new_port_with_send();
    OK(ask_with(&c, self(), 3413, first, MACH_MSG_TYPE_COPY_SEND, 3, 6, 1, 7));
    OK(ask_with(&c, self(), 3413, second, MACH_MSG_TYPE_COPY_SEND, 3, 8, 0x80000001, 7));
    EXPECT_CODE(ask_with(&c, self(), 3413, first, MACH_MSG_TYPE_COPY_SEND, 3, 1, 1, 7), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(ask_with(&c, self(), 3413, first, MACH_MSG_TYPE_COPY_SEND, 3, 6, 9, 7), KERN_INVALID_ARGUMENT);
    EXPECT(srights_of(first), 3);
    OK(ask(&c, self(), 3414, 1, 0x1e));
    EXPECT(c.ports.base.body.msgh_descriptor_count, 32);
    EXPECT(c.ports.ports[0].name, first);
    EXPECT(c.ports.ports[1].name, second);
    EXPECT(c.ports.ports[2].name, MACH_PORT_NULL);
    uint32_t *rows = (uint32_t *)(void *)(c.room + 28 + 32 * 12 + 8);
    EXPECT(rows[0], 3);
    EXPECT(rows[1], 6);
    EXPECT(rows[2], 8);
    OK(ask_with(&c, self(), 3415, MACH_PORT_NULL, MACH_MSG_TYPE_COPY_SEND, 3, 0x1e, 1, 0));
    EXPECT(c.ports.ports[0].name, first);
    OK(mach_port_destroy(self(), first));
    OK(mach_port_destroy(self(), second));
}

/* s1_11_host_and_clock */
static void host_and_clocks(void)
{
    call_t c;
    mach_port_t host = mach_host_self();
    OK(ask(&c, host, 200, 2, HOST_BASIC_INFO, 68));
    EXPECT(c.plain.words[1], 12);
    TRUE_THAT(c.plain.words[2] >= 1);
    EXPECT_CODE(ask(&c, host, 200, 2, HOST_BASIC_INFO, 11), KERN_FAILURE);
    EXPECT_CODE(ask(&c, host, 200, 2, 77, 68), KERN_INVALID_ARGUMENT);
    OK(ask(&c, host, 202, 0));
    EXPECT(c.plain.words[1], vm_page_size);
    EXPECT_CODE(ask(&c, self(), 202, 0), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(ask(&c, host, 206, 1, 2), KERN_INVALID_ARGUMENT);
    OK(ask(&c, host, 206, 1, 0));
    mach_port_t clock = c.ports.ports[0].name;
    OK(ask(&c, clock, 1000, 0));
    TRUE_THAT(c.plain.words[2] < 1000000000);
    OK(ask(&c, clock, 1001, 2, 1, 4));
    EXPECT(c.plain.words[1], 1);
    EXPECT_CODE(ask(&c, clock, 1001, 2, 9, 4), KERN_INVALID_VALUE);
    EXPECT_CODE(ask(&c, host, 1000, 0), KERN_INVALID_ARGUMENT);
    OK(mach_port_deallocate(self(), clock));
    OK(mach_port_deallocate(self(), host));
}

typedef struct {
    kern_return_t code;
    unsigned type;
    unsigned long long time;
} told_t;

/* What the alarm that comes next tells; its time in nanoseconds. */
static told_t next_alarm(mach_port_t port)
{
    call_t c;
    memset(&c, 0, sizeof c);
    OK(mach_msg(&c.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof c, port, 5000, 0));
    EXPECT(c.header.msgh_id, UMACH_CLOCK_ALARM_REPLY);
    EXPECT(c.header.msgh_size, 48);
    told_t told = {(kern_return_t)c.plain.words[0], c.plain.words[1], c.plain.words[2] * 1000000000ull + c.plain.words[3]};
    return told;
}

static unsigned long long time_now(mach_port_t clock)
{
    call_t c;
    OK(ask(&c, clock, 1000, 0));
    return c.plain.words[1] * 1000000000ull + c.plain.words[2];
}

static kern_return_t set_alarm(mach_port_t clock, unsigned type, unsigned seconds, unsigned nanoseconds, mach_port_t port)
{
    call_t c;
    return ask_with(&c, clock, 1002, port, MACH_MSG_TYPE_MAKE_SEND_ONCE, 3, type, seconds, nanoseconds);
}

static void alarms_by_message(void)
{
    mach_port_t host = mach_host_self(), port = new_port(), clock, calendar;
    OK(host_get_clock_service(host, SYSTEM_CLOCK, &clock));
    OK(host_get_clock_service(host, CALENDAR_CLOCK, &calendar));
    unsigned long long start = time_now(clock);
    OK(set_alarm(clock, TIME_RELATIVE, 0, 30000000, port));
    told_t told = next_alarm(port);
    unsigned long long end = time_now(clock);
    OK(told.code);
    EXPECT(told.type, TIME_RELATIVE);
    TRUE_THAT(told.time >= start + 30000000 && told.time <= end);
    /* In the order of their times, whatever the order in which they were set. */
    start = time_now(clock);
    for (unsigned n = 5; n > 0; n--) {
        unsigned long long at = start + n * 20000000ull;
        OK(set_alarm(clock, TIME_ABSOLUTE, (unsigned)(at / 1000000000), (unsigned)(at % 1000000000), port));
    }
    for (unsigned n = 1; n <= 5; n++) {
        told = next_alarm(port);
        EXPECT(told.time, start + n * 20000000ull);
        EXPECT(told.type, TIME_ABSOLUTE);
        TRUE_THAT(time_now(clock) >= told.time);
    }
    /* A time that has been comes at once; one that is none is told so. */
    OK(set_alarm(clock, TIME_ABSOLUTE, (unsigned)(start / 1000000000), 0, port));
    OK(next_alarm(port).code);
    OK(set_alarm(clock, TIME_RELATIVE, 0, 0, port));
    OK(next_alarm(port).code);
    OK(set_alarm(clock, TIME_RELATIVE, 0, 1000000000, port));
    EXPECT_CODE(next_alarm(port).code, KERN_INVALID_VALUE);
    OK(set_alarm(clock, 7, 0, 0, port));
    EXPECT_CODE(next_alarm(port).code, KERN_INVALID_VALUE);
    /* The calendar has none, and what is no clock neither; the right ends with the message. */
    EXPECT_CODE(set_alarm(calendar, TIME_RELATIVE, 0, 0, port), KERN_FAILURE);
    notice(port, MACH_NOTIFY_SEND_ONCE);
    EXPECT_CODE(set_alarm(host, TIME_RELATIVE, 0, 0, port), KERN_INVALID_ARGUMENT);
    notice(port, MACH_NOTIFY_SEND_ONCE);
    EXPECT_CODE(set_alarm(clock, TIME_RELATIVE, 0, 0, MACH_PORT_NULL), KERN_INVALID_CAPABILITY);
    /* So many and no more, until some have come; those of a port that is gone are nobody's affair. */
    unsigned count = 0;
    while (count < 1000 && set_alarm(clock, TIME_RELATIVE, 1000, 0, port) == KERN_SUCCESS)
        count++;
    EXPECT(count, 256);
    EXPECT_CODE(set_alarm(clock, TIME_RELATIVE, 1000, 0, port), KERN_RESOURCE_SHORTAGE);
    notice(port, MACH_NOTIFY_SEND_ONCE);
    notice(port, MACH_NOTIFY_SEND_ONCE);
    expect_nothing(port);
    drop_port(port);
    OK(mach_port_deallocate(self(), clock));
    OK(mach_port_deallocate(self(), calendar));
    OK(mach_port_deallocate(self(), host));
}

/* s1_11_semaphore */
static void semaphores_by_message(void)
{
    call_t c;
    mach_timespec_t now = {0, 0};
    OK(ask(&c, self(), 3418, 2, 0, 1));
    mach_port_t semaphore = c.ports.ports[0].name;
    OK(semaphore_timedwait(semaphore, now));
    EXPECT_CODE(semaphore_timedwait(semaphore, now), KERN_OPERATION_TIMED_OUT);
    OK(ask(&c, semaphore, 617200, 0));
    OK(ask(&c, semaphore, 617201, 0));
    OK(semaphore_timedwait(semaphore, now));
    EXPECT_CODE(ask(&c, self(), 3418, 2, 0, (unsigned)-1), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(ask(&c, semaphore, 617202, 0), KERN_NOT_SUPPORTED);
    EXPECT_CODE(ask(&c, self(), 617200, 0), KERN_INVALID_ARGUMENT);
    OK(mach_port_mod_refs(self(), semaphore, MACH_PORT_RIGHT_SEND, 1));
    OK(ask_with(&c, self(), 3419, semaphore, MACH_MSG_TYPE_MOVE_SEND, 0));
    EXPECT_CODE(ask(&c, semaphore, 617200, 0), KERN_TERMINATED);
    OK(mach_port_deallocate(self(), semaphore));
}

static const struct {
    int first, count;
} subsystems[] = {{200, 35}, {1000, 3}, {3200, 43}, {3400, 65}, {617200, 7}};

/* s1_11_malformed_requests */
static void malformed_requests_are_refused(void)
{
    call_t c;
    mach_port_t host = mach_host_self();
    for (unsigned s = 0; s < COUNT(subsystems); s++)
        for (int id = subsystems[s].first; id < subsystems[s].first + subsystems[s].count; id++) {
            mach_port_t to = subsystems[s].first == 200 ? host : self();
            for (int form = 0; form < 3; form++) {
                memset(&c, 0, sizeof c);
                if (form == 0) {
                    c.plain.ndr = NDR_record;
                    do_call(&c, to, id, 32 + 4 * 60, 0);
                } else if (form == 1) {
                    c.plain.ndr = NDR_record;
                    do_call(&c, to, id, 28, 0);
                } else {
                    c.ports.base.body.msgh_descriptor_count = 3;
                    for (int n = 0; n < 3; n++)
                        c.ports.ports[n].disposition = MACH_MSG_TYPE_COPY_SEND;
                    do_call(&c, to, id, 28 + 3 * 12, MACH_MSGH_BITS_COMPLEX);
                }
                int code = (int)c.plain.words[0];
                TRUE_THAT(code == MIG_BAD_ARGUMENTS || code == MIG_TYPE_ERROR || code == KERN_NOT_SUPPORTED || code == MIG_BAD_ID);
            }
        }
    OK(mach_port_deallocate(self(), host));
}

/* s1_11_what_is_not_served */
static void what_is_not_served_says_so(void)
{
    static const int known[] = {3219, 3402, 3411, 3436, 3464, 204, 216, 617204, 3800, 4800, 3600, 400};
    static const int none[] = {3202, 3225, 3400, 3416, 3422, 208, 214, 0, 64, 71, 199, 235, 3199, 3243, 3465, 617199, 617207, 1000000, -1};
    call_t c;
    for (unsigned n = 0; n < COUNT(known); n++)
        EXPECT_CODE(ask(&c, self(), known[n], 0), KERN_NOT_SUPPORTED);
    for (unsigned n = 0; n < COUNT(none); n++)
        EXPECT_CODE(ask(&c, self(), none[n], 0), MIG_BAD_ID);
    /* Without a reply port the call is made and nobody is told. */
    mach_port_t name = new_port();
    memset(&c, 0, sizeof c);
    c.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0);
    c.header.msgh_remote_port = self();
    c.header.msgh_id = 3210;
    c.plain.ndr = NDR_record;
    c.plain.words[0] = name;
    c.plain.words[1] = 5;
    OK(mach_msg(&c.header, MACH_SEND_MSG, 40, 0, 0, 0, 0));
    EXPECT(status_of(name).mps_mscount, 5);
    OK(send_empty(self(), MACH_MSG_TYPE_COPY_SEND, 77));
    drop_port(name);
}

/* s1_11_failed_requests_keep_no_rights */
static void rights_of_failed_requests_end(void)
{
    static const int ids[] = {3213, 3214, 3410, 3413, 3402, 9999};
    call_t c;
    mach_port_t told = new_port();
    for (unsigned n = 0; n < COUNT(ids); n++) {
        TRUE_THAT(ask_with(&c, self(), ids[n], told, MACH_MSG_TYPE_MAKE_SEND_ONCE, 3, 0, 0, 0) != KERN_SUCCESS);
        notice(told, MACH_NOTIFY_SEND_ONCE);
    }
    drop_port(told);
}

/* s1_11_replies_that_find_no_room */
static void replies_without_room_are_lost(void)
{
    call_t c;
    mach_port_t full = new_port_with_send();
    set_limit(full, 1);
    fill(full, 1);
    memset(&c, 0, sizeof c);
    c.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_COPY_SEND);
    c.header.msgh_remote_port = self();
    c.header.msgh_local_port = full;
    c.header.msgh_id = 3204;
    c.plain.ndr = NDR_record;
    c.plain.words[0] = MACH_PORT_RIGHT_RECEIVE;
    OK(mach_msg(&c.header, MACH_SEND_MSG, 36, 0, 0, 0, 0));
    EXPECT(next_id(full), 0);
    expect_nothing(full);
    OK(mach_port_destroy(self(), full));
}

/* s1_11_random_requests */
static void random_requests_harm_nobody(void)
{
    call_t c;
    unsigned chance = 12345;
    mach_port_t keep[64], host = mach_host_self();
    for (int round = 0; round < 3000; round++) {
        memset(&c, 0, sizeof c);
        for (unsigned n = 6; n < 40; n++) {
            chance = chance * 1664525 + 1013904223;
            ((uint32_t *)(void *)&c)[n] = chance >> 8 & (round % 3 ? 0xff : ~0u);
        }
        unsigned s = chance >> 10 & 3;
        int id = subsystems[s].first + (int)(chance >> 16) % subsystems[s].count;
        /* Not those that end this task, stop it, or take its right to itself away; nor those that reach its names. */
        if (id == 3401 || id == 3407 || id == 3205 || id == 3206 || id == 3208 || id == 3215 || id == 3232 || id == 3403 || id == 3410 || id == 3413 || id == 3415)
            continue;
        do_call(&c, round % 5 ? self() : host, id, 24 + 4 * (chance >> 20 & 15), 0);
        if (MACH_MSGH_BITS_IS_COMPLEX(c.header.msgh_bits))
            mach_msg_destroy(&c.header);
    }
    /* It goes on. */
    for (unsigned n = 0; n < COUNT(keep); n++)
        keep[n] = new_port_with_send();
    for (unsigned n = 0; n < COUNT(keep); n++)
        OK(mach_port_destroy(self(), keep[n]));
    OK(mach_port_deallocate(self(), host));
}

CHECK_MAIN(CASE(names_and_references), CASE(rights_in_and_out), CASE(attributes_guards_and_context), CASE(sets_and_listings),
           CASE(notifications_and_peek), CASE(calls_of_the_task), CASE(task_info_tells_what_the_library_tells), CASE(other_tasks_are_stopped_and_ended), CASE(exception_ports_by_message),
           CASE(host_and_clocks), CASE(alarms_by_message), CASE(semaphores_by_message), CASE(malformed_requests_are_refused), CASE(what_is_not_served_says_so),
           CASE(rights_of_failed_requests_end), CASE(replies_without_room_are_lost), CASE(random_requests_harm_nobody))

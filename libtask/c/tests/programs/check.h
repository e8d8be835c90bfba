/* Cases, and what they expect. A program says which expectations failed, and fails if any did.

   The comment before a case names the rows of docs/conformance.md that it holds, by their Rust tests; docs/conformance-c.md is made from that, and from the
   codes in EXPECT_CODE. */
#ifndef CHECK_H
#define CHECK_H

#include <mach/mach.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *check_case;
static int check_failures;

#define EXPECT_CODE(code, expected) \
    do { \
        int code_ = (int)(code); \
        if (code_ != (int)(expected)) { \
            printf("%s:%d: %s: %s gave %#x (%s), not %s\n", __FILE__, __LINE__, check_case, #code, (unsigned)code_, \
                   mach_error_string(code_), #expected); \
            check_failures++; \
        } \
    } while (0)

#define OK(code) EXPECT_CODE(code, KERN_SUCCESS)

#define EXPECT(left, right) \
    do { \
        unsigned long left_ = (unsigned long)(left), right_ = (unsigned long)(right); \
        if (left_ != right_) { \
            printf("%s:%d: %s: %s is %#lx, %s is %#lx\n", __FILE__, __LINE__, check_case, #left, left_, #right, right_); \
            check_failures++; \
        } \
    } while (0)

#define TRUE_THAT(what) EXPECT(!!(what), 1)

typedef struct {
    const char *name;
    void (*run)(void);
} check_t;

#define CASE(name) {#name, name}

static int check_all(const check_t *cases, size_t count)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    for (size_t n = 0; n < count; n++) {
        check_case = cases[n].name;
        cases[n].run();
    }
    printf("%zu cases, %d failures\n", count, check_failures);
    return check_failures != 0;
}

#define CHECK_MAIN(...) \
    int main(void) \
    { \
        static const check_t cases[] = {__VA_ARGS__}; \
        return check_all(cases, sizeof cases / sizeof cases[0]); \
    }

/* What most cases need. */

static inline mach_port_t new_port(void)
{
    mach_port_t port = MACH_PORT_NULL;
    OK(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port));
    return port;
}

/* A port with one send right under the same name. */
static inline mach_port_t new_port_with_send(void)
{
    mach_port_t port = new_port();
    OK(mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND));
    return port;
}

static inline void drop_port(mach_port_t port)
{
    OK(mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_RECEIVE, -1));
}

static inline unsigned refs(mach_port_t name, mach_port_right_t right)
{
    mach_port_urefs_t count = 0;
    OK(mach_port_get_refs(mach_task_self(), name, right, &count));
    return count;
}

static inline mach_port_type_t type_of(mach_port_t name)
{
    mach_port_type_t type = 0;
    if (mach_port_type(mach_task_self(), name, &type) != KERN_SUCCESS)
        return MACH_PORT_TYPE_NONE;
    return type;
}

/* A message of any kind, and room for its trailer. */
typedef union {
    mach_msg_header_t header;
    struct {
        mach_msg_header_t header;
        uint32_t words[4];
    } plain;
    struct {
        mach_msg_base_t base;
        mach_msg_port_descriptor_t port;
    } port;
    struct {
        mach_msg_base_t base;
        mach_msg_ool_descriptor_t memory;
        uint32_t after;
    } memory;
    struct {
        mach_msg_base_t base;
        mach_msg_ool_ports_descriptor_t ports;
    } ports;
    struct {
        mach_msg_base_t base;
        mach_msg_guarded_port_descriptor_t guarded;
    } guarded;
    char room[1024];
} any_message;

static inline void start_message(any_message *message, mach_port_t dest, unsigned disposition, mach_msg_size_t size, int id)
{
    memset(message, 0, sizeof *message);
    message->header.msgh_bits = MACH_MSGH_BITS(disposition, 0);
    message->header.msgh_size = size;
    message->header.msgh_remote_port = dest;
    message->header.msgh_id = id;
}

static inline void start_complex(any_message *message, mach_port_t dest, unsigned disposition, mach_msg_size_t size, int id)
{
    start_message(message, dest, disposition, size, id);
    message->header.msgh_bits |= MACH_MSGH_BITS_COMPLEX;
    message->port.base.body.msgh_descriptor_count = 1;
}

static inline mach_msg_return_t send_it(any_message *message)
{
    return mach_msg(&message->header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, message->header.msgh_size, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL);
}

static inline mach_msg_return_t receive_it(any_message *message, mach_port_t port)
{
    memset(message, 0xee, sizeof *message);
    return mach_msg(&message->header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof *message, port, 2000, MACH_PORT_NULL);
}

static inline void expect_nothing(mach_port_t port)
{
    any_message message;
    EXPECT_CODE(mach_msg(&message.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof message, port, 0, MACH_PORT_NULL), MACH_RCV_TIMED_OUT);
}

/* A name that nothing has. */
#define NOTHING 0x7ffffe03u

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static inline mach_port_t new_set(void)
{
    mach_port_t set = MACH_PORT_NULL;
    OK(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_PORT_SET, &set));
    return set;
}

static inline mach_port_t new_dead_name(void)
{
    mach_port_t dead = MACH_PORT_NULL;
    OK(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_DEAD_NAME, &dead));
    return dead;
}

/* A dead name with one reference, of a port that there was. */
static inline mach_port_t new_dead_port(void)
{
    mach_port_t port = new_port_with_send();
    drop_port(port);
    return port;
}

static inline mach_port_t new_send_once(mach_port_t port)
{
    mach_port_t once = MACH_PORT_NULL;
    mach_msg_type_name_t kind = 0;
    OK(mach_port_extract_right(mach_task_self(), port, MACH_MSG_TYPE_MAKE_SEND_ONCE, &once, &kind));
    EXPECT(kind, MACH_MSG_TYPE_PORT_SEND_ONCE);
    return once;
}

static inline void set_limit(mach_port_t port, unsigned limit)
{
    mach_port_limits_t limits = {limit};
    OK(mach_port_set_attributes(mach_task_self(), port, MACH_PORT_LIMITS_INFO, (mach_port_info_t)&limits, MACH_PORT_LIMITS_INFO_COUNT));
}

static inline mach_port_status_t status_of(mach_port_t port)
{
    mach_port_status_t status;
    mach_msg_type_number_t count = MACH_PORT_RECEIVE_STATUS_COUNT;
    memset(&status, 0, sizeof status);
    OK(mach_port_get_attributes(mach_task_self(), port, MACH_PORT_RECEIVE_STATUS, (mach_port_info_t)&status, &count));
    return status;
}

static inline unsigned srights_of(mach_port_t port)
{
    mach_port_rights_t count = 0;
    OK(mach_port_get_srights(mach_task_self(), port, &count));
    return count;
}

/* Fills a queue with messages numbered from 0. */
static inline void fill(mach_port_t send_right, int count)
{
    for (int n = 0; n < count; n++) {
        any_message message;
        start_message(&message, send_right, MACH_MSG_TYPE_COPY_SEND, 24, n);
        OK(send_it(&message));
    }
}

/* Sends an empty message without waiting. */
static inline mach_msg_return_t send_empty(mach_port_t dest, unsigned disposition, int id)
{
    any_message message;
    start_message(&message, dest, disposition, 24, id);
    return send_it(&message);
}

/* The id of what comes next. */
static inline int next_id(mach_port_t port)
{
    any_message message;
    OK(receive_it(&message, port));
    return message.header.msgh_id;
}

/* Asks for a notification on `to`; gives the right that was registered before. */
static inline mach_port_t request(mach_port_t name, int id, unsigned sync, mach_port_t to)
{
    mach_port_t previous = MACH_PORT_NULL;
    OK(mach_port_request_notification(mach_task_self(), name, id, sync, to, MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous));
    return previous;
}

/* Receives a notification of this kind; gives the name or count in it. It must be the kernel's. */
static inline unsigned notice(mach_port_t port, int id)
{
    any_message message;
    memset(&message, 0, sizeof message);
    mach_msg_option_t option = MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT);
    OK(mach_msg(&message.header, option, 0, sizeof message, port, 5000, MACH_PORT_NULL));
    EXPECT(message.header.msgh_id, id);
    mach_msg_audit_trailer_t *trailer = (mach_msg_audit_trailer_t *)(void *)(message.room + message.header.msgh_size);
    EXPECT(trailer->msgh_sender.val[0], ~0u);
    EXPECT(trailer->msgh_audit.val[5], 0);
    if (id == MACH_NOTIFY_PORT_DESTROYED)
        return message.port.port.name;
    return id == MACH_NOTIFY_SEND_ONCE ? 0 : message.plain.words[2];
}

/* A port descriptor in a message that has one. */
static inline void carry(any_message *message, mach_port_t dest, mach_port_t name, unsigned disposition)
{
    start_complex(message, dest, MACH_MSG_TYPE_COPY_SEND, sizeof message->port, 1);
    message->port.port.name = name;
    message->port.port.disposition = (unsigned char)disposition;
    message->port.port.type = MACH_MSG_PORT_DESCRIPTOR;
}

static inline mach_msg_return_t send_right(mach_port_t dest, mach_port_t name, unsigned disposition)
{
    any_message message;
    carry(&message, dest, name, disposition);
    return send_it(&message);
}

/* The name that a message with one port descriptor brings. */
static inline mach_port_t receive_right(mach_port_t port)
{
    any_message message;
    OK(receive_it(&message, port));
    return message.port.port.name;
}

/* Threads that wait in mach_msg. */

typedef struct {
    pthread_t thread;
    volatile int tid;
    mach_msg_option_t option;
    mach_port_t name;
    mach_msg_return_t code;
    any_message message;
} waiter_t;

static inline void *waiter_run(void *arg)
{
    waiter_t *waiter = (waiter_t *)arg;
    mach_msg_size_t size = waiter->option & MACH_SEND_MSG ? waiter->message.header.msgh_size : 0;
    __atomic_store_n(&waiter->tid, (int)syscall(SYS_gettid), __ATOMIC_RELEASE);
    waiter->code = mach_msg(&waiter->message.header, waiter->option, size, sizeof waiter->message, waiter->name, 20000, MACH_PORT_NULL);
    return NULL;
}

/* Until a thread has slept for some time, seen several times. */
static inline void await_asleep(volatile const int *tid)
{
    char path[64], line[512];
    for (int seen = 0, tries = 0; seen < 5 && tries < 5000; tries++) {
        usleep(3000);
        int id = __atomic_load_n(tid, __ATOMIC_ACQUIRE);
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", id);
        FILE *file = id ? fopen(path, "r") : NULL;
        const char *state = file && fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
        seen = state && state[2] == 'S' ? seen + 1 : 0;
        if (file)
            fclose(file);
    }
    /* What it asked for is in the kernel's hands before what comes next. */
    type_of(mach_task_self());
}

static inline void start_waiter(waiter_t *waiter)
{
    waiter->tid = 0;
    pthread_create(&waiter->thread, NULL, waiter_run, waiter);
    await_asleep(&waiter->tid);
}

static inline void start_receiver(waiter_t *waiter, mach_port_t port)
{
    waiter->option = MACH_RCV_MSG | MACH_RCV_TIMEOUT;
    waiter->name = port;
    start_waiter(waiter);
}

/* `message` is there already. */
static inline void start_sender(waiter_t *waiter)
{
    waiter->option = MACH_SEND_MSG | MACH_SEND_TIMEOUT;
    waiter->name = MACH_PORT_NULL;
    start_waiter(waiter);
}

static inline mach_msg_return_t end_waiter(waiter_t *waiter)
{
    pthread_join(waiter->thread, NULL);
    return waiter->code;
}

/* Other tasks: forked children, each of which starts with a send right to a port of its maker's and tells its own control right there. */

typedef struct {
    pid_t pid;
    /* The child's control right, and what it carried with it: a send right that the child made. */
    mach_port_t control, service;
    /* Where the child sends to. */
    mach_port_t meeting;
} child_t;

/* In the child: sends a right to the maker. */
static inline void tell_right(mach_port_t maker, mach_port_t name, unsigned disposition)
{
    OK(send_right(maker, name, disposition));
}

static inline child_t start_child(void (*run)(mach_port_t maker))
{
    child_t child = {0, MACH_PORT_NULL, MACH_PORT_NULL, new_port_with_send()};
    OK(mach_ports_register(mach_task_self(), &child.meeting, 1));
    child.pid = fork();
    if (child.pid == 0) {
        mach_port_array_t given = NULL;
        mach_msg_type_number_t count = 0;
        check_failures = 0;
        OK(mach_ports_lookup(mach_task_self(), &given, &count));
        mach_port_t maker = given[0];
        tell_right(maker, mach_task_self(), MACH_MSG_TYPE_COPY_SEND);
        run(maker);
        _exit(check_failures != 0);
    }
    OK(mach_ports_register(mach_task_self(), NULL, 0));
    child.control = receive_right(child.meeting);
    return child;
}

/* The child is to have ended well. */
static inline void end_child(child_t *child)
{
    int status = -1;
    EXPECT(waitpid(child->pid, &status, 0), child->pid);
    EXPECT(status, 0);
    OK(mach_port_deallocate(mach_task_self(), child->control));
    drop_port(child->meeting);
    OK(mach_port_deallocate(mach_task_self(), child->meeting));
}

static inline void kill_child(child_t *child)
{
    kill(child->pid, 9);
    EXPECT(waitpid(child->pid, NULL, 0), child->pid);
}

#endif

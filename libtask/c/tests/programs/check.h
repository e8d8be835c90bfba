/* Cases, and what they expect. A program says which expectations failed, and fails if any did. */
#ifndef CHECK_H
#define CHECK_H

#include <mach/mach.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

#endif

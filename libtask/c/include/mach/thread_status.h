/* What messages of exceptions tell of a thread's state: EXCEPTION_STATE and EXCEPTION_STATE_IDENTITY. */
#ifndef UMACH_MACH_THREAD_STATUS_H
#define UMACH_MACH_THREAD_STATUS_H

#include <stdint.h>
#include <mach/mach_types.h>

#if defined(__x86_64__)
/* Told are the two of 64 bits, and those that begin with a header, which here have the same inside. */
#define x86_THREAD_STATE32 1
#define x86_FLOAT_STATE32 2
#define x86_EXCEPTION_STATE32 3
#define x86_THREAD_STATE64 4
#define x86_FLOAT_STATE64 5
#define x86_EXCEPTION_STATE64 6
#define x86_THREAD_STATE 7
#define x86_FLOAT_STATE 8
#define x86_EXCEPTION_STATE 9
#define x86_DEBUG_STATE32 10
#define x86_DEBUG_STATE64 11
#define x86_DEBUG_STATE 12
#define THREAD_STATE_NONE 13

typedef struct {
    uint64_t __rax, __rbx, __rcx, __rdx, __rdi, __rsi, __rbp, __rsp;
    uint64_t __r8, __r9, __r10, __r11, __r12, __r13, __r14, __r15;
    uint64_t __rip, __rflags, __cs, __fs, __gs;
} x86_thread_state64_t;

typedef struct {
    uint16_t __trapno;
    uint16_t __cpu;
    uint32_t __err;
    uint64_t __faultvaddr;
} x86_exception_state64_t;

struct x86_state_hdr {
    uint32_t flavor;
    uint32_t count;
};
typedef struct x86_state_hdr x86_state_hdr_t;

struct x86_thread_state {
    x86_state_hdr_t tsh;
    union {
        x86_thread_state64_t ts64;
    } uts;
};
typedef struct x86_thread_state x86_thread_state_t;

struct x86_exception_state {
    x86_state_hdr_t esh;
    union {
        x86_exception_state64_t es64;
    } ues;
};
typedef struct x86_exception_state x86_exception_state_t;

#define x86_THREAD_STATE64_COUNT ((mach_msg_type_number_t)(sizeof(x86_thread_state64_t) / sizeof(natural_t)))
#define x86_EXCEPTION_STATE64_COUNT ((mach_msg_type_number_t)(sizeof(x86_exception_state64_t) / sizeof(natural_t)))
#define x86_THREAD_STATE_COUNT ((mach_msg_type_number_t)(sizeof(x86_thread_state_t) / sizeof(natural_t)))
#define x86_EXCEPTION_STATE_COUNT ((mach_msg_type_number_t)(sizeof(x86_exception_state_t) / sizeof(natural_t)))

#define MACHINE_THREAD_STATE x86_THREAD_STATE
#define MACHINE_THREAD_STATE_COUNT x86_THREAD_STATE_COUNT
#else
#define THREAD_STATE_NONE 5
#endif

#endif

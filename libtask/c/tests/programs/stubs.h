/* Calls of the kernel's own ports by messages, in the form in which generated stubs make them. */
#ifndef STUBS_H
#define STUBS_H

#include "check.h"

/* A request and its reply, with room for what stubs of these subsystems have. */
typedef union {
    mach_msg_header_t header;
    struct {
        mach_msg_header_t header;
        NDR_record_t ndr;
        uint32_t words[64];
    } plain;
    struct {
        mach_msg_base_t base;
        mach_msg_port_descriptor_t ports[40];
    } ports;
    struct {
        mach_msg_base_t base;
        mach_msg_ool_descriptor_t memory[2];
        NDR_record_t ndr;
        uint32_t words[8];
    } memory;
    char room[4096];
} call_t;

/* Sends a call of `size` bytes and receives the answer, which must be the kernel's. */
static inline void do_call(call_t *call, mach_port_t to, int id, mach_msg_size_t size, unsigned complex)
{
    mach_port_t reply = mig_get_reply_port();
    call->header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE) | complex;
    call->header.msgh_remote_port = to;
    call->header.msgh_local_port = reply;
    call->header.msgh_voucher_port = 0;
    call->header.msgh_id = id;
    OK(mach_msg(&call->header, MACH_SEND_MSG | MACH_RCV_MSG | MACH_RCV_TIMEOUT, size, sizeof *call, reply, 5000, 0));
    EXPECT(call->header.msgh_id, id + 100);
}

/* A call with words only. Its return code; results are in `words` from 1 on. */
static inline kern_return_t ask(call_t *call, mach_port_t to, int id, unsigned count, ...)
{
    __builtin_va_list words;
    memset(call, 0, sizeof *call);
    call->plain.ndr = NDR_record;
    __builtin_va_start(words, count);
    for (unsigned n = 0; n < count; n++)
        call->plain.words[n] = __builtin_va_arg(words, unsigned);
    __builtin_va_end(words);
    do_call(call, to, id, count ? 32 + 4 * count : 24, 0);
    return MACH_MSGH_BITS_IS_COMPLEX(call->header.msgh_bits) ? KERN_SUCCESS : (kern_return_t)call->plain.words[0];
}

/* A call with one right and words. */
static inline kern_return_t ask_with(call_t *call, mach_port_t to, int id, mach_port_t right, unsigned how, unsigned count, ...)
{
    __builtin_va_list words;
    memset(call, 0, sizeof *call);
    call->ports.base.body.msgh_descriptor_count = 1;
    call->ports.ports[0].name = right;
    call->ports.ports[0].disposition = (unsigned char)how;
    uint32_t *at = (uint32_t *)(void *)(call->room + 40);
    if (count)
        memcpy(at, &NDR_record, 8);
    __builtin_va_start(words, count);
    for (unsigned n = 0; n < count; n++)
        at[2 + n] = __builtin_va_arg(words, unsigned);
    __builtin_va_end(words);
    do_call(call, to, id, count ? 48 + 4 * count : 40, MACH_MSGH_BITS_COMPLEX);
    return MACH_MSGH_BITS_IS_COMPLEX(call->header.msgh_bits) ? KERN_SUCCESS : (kern_return_t)call->plain.words[0];
}

#endif

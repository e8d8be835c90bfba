/* A message that tells of an exception, as a handler receives and answers it. */
#ifndef RAISED_H
#define RAISED_H

#include "check.h"

#include <mach/mig_errors.h>

typedef struct {
    mach_msg_base_t base;
    mach_msg_port_descriptor_t thread, task;
    NDR_record_t NDR;
    int exception;
    unsigned count;
    uint32_t codes[4];
} raise_t;

/* Answers, and gives back what the exception brought. */
static inline void answer(const any_message *message, kern_return_t code)
{
    const raise_t *raise = (const raise_t *)message;
    mig_reply_error_t reply = {{MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND_ONCE, 0), sizeof reply, message->header.msgh_remote_port, 0, 0,
                                message->header.msgh_id + 100},
                               NDR_record,
                               code};
    OK(mach_msg_send(&reply.Head));
    OK(mach_port_deallocate(mach_task_self(), raise->task.name));
    OK(mach_port_deallocate(mach_task_self(), raise->thread.name));
}

#endif

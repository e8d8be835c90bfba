/* The messages that faults become (mach_exc, 2405 to 2407), in the shape that MIG gives them. */
#ifndef CRASH_H
#define CRASH_H

#include <mach/mach.h>
#include <mach/mig_errors.h>

#define RAISE 2405
#define RAISE_STATE_IDENTITY 2407

#pragma pack(push, 4)
typedef struct {
    mach_msg_header_t Head;
    mach_msg_body_t msgh_body;
    mach_msg_port_descriptor_t thread;
    mach_msg_port_descriptor_t task;
    NDR_record_t NDR;
    exception_type_t exception;
    mach_msg_type_number_t codeCnt;
    int64_t code[2];
    int flavor; /* from here on with RAISE_STATE_IDENTITY only */
    mach_msg_type_number_t old_stateCnt;
    natural_t old_state[224];
    mach_msg_max_trailer_t trailer;
} raise_request_t;

typedef struct {
    mach_msg_header_t Head;
    NDR_record_t NDR;
    kern_return_t RetCode;
    int flavor; /* from here on with RAISE_STATE_IDENTITY only */
    mach_msg_type_number_t new_stateCnt;
    natural_t new_state[224];
} raise_reply_t;
#pragma pack(pop)

#endif

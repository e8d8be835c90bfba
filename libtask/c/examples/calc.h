/* An interface as MIG writes it: one routine, and one simple routine that is not answered. */
#ifndef CALC_H
#define CALC_H

#include <mach/mach.h>

#define CALC_NAME "org.umach.example.calc"
#define CALC_SUBSYSTEM 70000

kern_return_t calc_add(mach_port_t server, int left, int right, int *sum);
kern_return_t calc_reverse(mach_port_t server, const char *text, mach_msg_type_number_t textCnt, char **reversed,
                           mach_msg_type_number_t *reversedCnt);
kern_return_t calc_stop(mach_port_t server);

#pragma pack(push, 4)

typedef struct {
    mach_msg_header_t Head;
    NDR_record_t NDR;
    int left;
    int right;
} Request__calc_add_t;

typedef struct {
    mach_msg_header_t Head;
    NDR_record_t NDR;
    kern_return_t RetCode;
    int sum;
} Reply__calc_add_t;

typedef struct {
    mach_msg_header_t Head;
    mach_msg_body_t msgh_body;
    mach_msg_ool_descriptor_t text;
    NDR_record_t NDR;
    mach_msg_type_number_t textCnt;
} Request__calc_reverse_t;

typedef struct {
    mach_msg_header_t Head;
    mach_msg_body_t msgh_body;
    mach_msg_ool_descriptor_t reversed;
    NDR_record_t NDR;
    mach_msg_type_number_t reversedCnt;
} Reply__calc_reverse_t;

typedef struct {
    mach_msg_header_t Head;
} Request__calc_stop_t;

typedef union {
    Request__calc_add_t add;
    Request__calc_reverse_t reverse;
    Request__calc_stop_t stop;
    mig_reply_error_t error;
    Reply__calc_add_t add_reply;
    Reply__calc_reverse_t reverse_reply;
} calc_message_t;

#pragma pack(pop)

#endif

/* What the adder's server and its clients say to each other. */
#ifndef ADDER_H
#define ADDER_H

#include <mach/mach.h>

#define ADDER_NAME "org.umach.example.adder"
#define ADDER_ADD 500
#define ADDER_STOP 501

typedef struct {
    mach_msg_header_t header;
    int32_t left;
    int32_t right;
} adder_request_t;

typedef struct {
    mach_msg_header_t header;
    int32_t sum;
} adder_reply_t;

#endif

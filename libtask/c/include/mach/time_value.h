/* Times in seconds and microseconds. */
#ifndef UMACH_MACH_TIME_VALUE_H
#define UMACH_MACH_TIME_VALUE_H

#include <mach/vm_types.h>

typedef struct time_value {
    integer_t seconds;
    integer_t microseconds;
} time_value_t;

#endif

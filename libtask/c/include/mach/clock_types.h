/* Times and clocks. */
#ifndef UMACH_MACH_CLOCK_TYPES_H
#define UMACH_MACH_CLOCK_TYPES_H

#include <mach/time_value.h>
#include <mach/vm_types.h>

typedef int alarm_type_t;
typedef int sleep_type_t;
typedef int clock_id_t;
typedef int clock_flavor_t;
typedef int *clock_attr_t;
typedef int clock_res_t;

struct mach_timespec {
    unsigned int tv_sec;
    clock_res_t tv_nsec;
};
typedef struct mach_timespec mach_timespec_t;

/* Clocks of the host: since the machine started, and the time of day. */
#define SYSTEM_CLOCK 0
#define CALENDAR_CLOCK 1
#define REALTIME_CLOCK 0

/* Flavour of clock_get_attributes: nanoseconds between two readings that differ. */
#define CLOCK_GET_TIME_RES 1
#define CLOCK_ALARM_CURRES 3
#define CLOCK_ALARM_MINRES 4
#define CLOCK_ALARM_MAXRES 5

#define NSEC_PER_USEC 1000ull
#define USEC_PER_SEC 1000000ull
#define NSEC_PER_SEC 1000000000ull
#define NSEC_PER_MSEC 1000000ull

#define BAD_MACH_TIMESPEC(t) ((t)->tv_nsec < 0 || (t)->tv_nsec >= (clock_res_t)NSEC_PER_SEC)

/* Order, sum and difference of times. */
#define CMP_MACH_TIMESPEC(t1, t2) \
    ((t1)->tv_sec > (t2)->tv_sec ? (long)NSEC_PER_SEC \
                                 : ((t1)->tv_sec < (t2)->tv_sec ? -(long)NSEC_PER_SEC : (long)(t1)->tv_nsec - (long)(t2)->tv_nsec))
#define ADD_MACH_TIMESPEC(t1, t2) \
    do { \
        if (((t1)->tv_nsec += (t2)->tv_nsec) >= (clock_res_t)NSEC_PER_SEC) { \
            (t1)->tv_nsec -= (clock_res_t)NSEC_PER_SEC; \
            (t1)->tv_sec += 1; \
        } \
        (t1)->tv_sec += (t2)->tv_sec; \
    } while (0)
#define ADD_MACH_TIMESPEC_NSEC(t1, nsec) \
    do { \
        (t1)->tv_nsec += (clock_res_t)(nsec); \
        if ((clock_res_t)(nsec) > 0 && (t1)->tv_nsec >= (clock_res_t)NSEC_PER_SEC) { \
            (t1)->tv_nsec -= (clock_res_t)NSEC_PER_SEC; \
            (t1)->tv_sec += 1; \
        } else if ((clock_res_t)(nsec) < 0 && (t1)->tv_nsec < 0) { \
            (t1)->tv_nsec += (clock_res_t)NSEC_PER_SEC; \
            (t1)->tv_sec -= 1; \
        } \
    } while (0)
#define SUB_MACH_TIMESPEC(t1, t2) \
    do { \
        if (((t1)->tv_nsec -= (t2)->tv_nsec) < 0) { \
            (t1)->tv_nsec += (clock_res_t)NSEC_PER_SEC; \
            (t1)->tv_sec -= 1; \
        } \
        (t1)->tv_sec -= (t2)->tv_sec; \
    } while (0)

#define BAD_ALRMTYPE(t) (((t) & ~TIME_RELATIVE) != 0)
#define ALRMTYPE 0xff
#define TIME_ABSOLUTE 0x00
#define TIME_RELATIVE 0x01

#endif

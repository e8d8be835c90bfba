/* Clocks: ports of the host (host_get_clock_service). */
#ifndef UMACH_MACH_CLOCK_H
#define UMACH_MACH_CLOCK_H

#include <mach/clock_types.h>
#include <mach/mach_types.h>

#ifdef __cplusplus
extern "C" {
#endif

kern_return_t clock_get_time(clock_serv_t clock_serv, mach_timespec_t *cur_time);
kern_return_t clock_get_attributes(clock_serv_t clock_serv, clock_flavor_t flavor, clock_attr_t clock_attr,
                                   mach_msg_type_number_t *clock_attrCnt);
kern_return_t clock_alarm(clock_serv_t clock_serv, alarm_type_t alarm_type, mach_timespec_t alarm_time, mach_port_t alarm_port);

/* Sleeps until, or for, a time; tells the time after. KERN_ABORTED if a signal came. */
kern_return_t clock_sleep(clock_serv_t clock_serv, sleep_type_t sleep_type, mach_timespec_t sleep_time, mach_timespec_t *wakeup_time);

/* What comes to the port of an alarm. */
#define UMACH_CLOCK_ALARM_REPLY 3125107

#ifdef __cplusplus
}
#endif

#endif

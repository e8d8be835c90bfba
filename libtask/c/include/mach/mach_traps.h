/* The calls that are traps in Mach. */
#ifndef UMACH_MACH_MACH_TRAPS_H
#define UMACH_MACH_MACH_TRAPS_H

#include <mach/clock_types.h>
#include <mach/mach_types.h>

#ifdef __cplusplus
extern "C" {
#endif

mach_port_name_t mach_reply_port(void);
mach_port_name_t thread_get_special_reply_port(void);
mach_port_name_t thread_self_trap(void);
mach_port_name_t host_self_trap(void);
mach_port_name_t task_self_trap(void);
mach_msg_return_t mach_msg_trap(mach_msg_header_t *msg, mach_msg_option_t option, mach_msg_size_t send_size,
                                mach_msg_size_t rcv_size, mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                                mach_port_name_t notify);
mach_msg_return_t mach_msg_overwrite_trap(mach_msg_header_t *msg, mach_msg_option_t option, mach_msg_size_t send_size,
                                          mach_msg_size_t rcv_size, mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                                          mach_port_name_t notify, mach_msg_header_t *rcv_msg, mach_msg_size_t rcv_limit);
kern_return_t semaphore_signal_trap(mach_port_name_t signal_name);
kern_return_t semaphore_signal_all_trap(mach_port_name_t signal_name);
kern_return_t semaphore_signal_thread_trap(mach_port_name_t signal_name, mach_port_name_t thread_name);
kern_return_t semaphore_wait_trap(mach_port_name_t wait_name);
kern_return_t semaphore_wait_signal_trap(mach_port_name_t wait_name, mach_port_name_t signal_name);
kern_return_t semaphore_timedwait_trap(mach_port_name_t wait_name, unsigned int sec, clock_res_t nsec);
kern_return_t semaphore_timedwait_signal_trap(mach_port_name_t wait_name, mach_port_name_t signal_name, unsigned int sec,
                                              clock_res_t nsec);
kern_return_t clock_sleep_trap(mach_port_name_t clock_name, sleep_type_t sleep_type, int sleep_sec, int sleep_nsec,
                               mach_timespec_t *wakeup_time);
boolean_t swtch_pri(int pri);
boolean_t swtch(void);
kern_return_t thread_switch(mach_port_name_t thread_name, int option, mach_msg_timeout_t option_time);
kern_return_t task_for_pid(mach_port_name_t target_tport, int pid, mach_port_name_t *t);
kern_return_t task_name_for_pid(mach_port_name_t target_tport, int pid, mach_port_name_t *tn);
kern_return_t pid_for_task(mach_port_name_t t, int *x);

#ifdef __cplusplus
}
#endif

#endif

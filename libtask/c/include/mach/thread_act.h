/* Threads: what Linux tells of those of the caller's own task, where their faults are told, and the registers of one whose fault is being dealt with. What would stop
 * one or look into one that runs gives KERN_NOT_SUPPORTED (docs/porting.md). */
#ifndef UMACH_MACH_THREAD_ACT_H
#define UMACH_MACH_THREAD_ACT_H

#include <mach/exception_types.h>
#include <mach/mach_types.h>
#include <mach/thread_info.h>
#include <mach/thread_policy.h>
#include <mach/thread_special_ports.h>
#include <mach/thread_status.h>

#ifdef __cplusplus
extern "C" {
#endif

kern_return_t thread_info(thread_act_t target_act, thread_flavor_t flavor, thread_info_t thread_info_out,
                          mach_msg_type_number_t *thread_info_outCnt);
/* Taken, without effect. */
kern_return_t thread_policy_set(thread_act_t thread, thread_policy_flavor_t flavor, thread_policy_t policy_info,
                                mach_msg_type_number_t policy_infoCnt);
kern_return_t thread_get_special_port(thread_act_t thr_act, int which_port, mach_port_t *special_port);

/* While a fault of the thread is being dealt with, by whoever in its own task was told; else KERN_NOT_SUPPORTED. */
kern_return_t thread_get_state(thread_act_t target_act, thread_state_flavor_t flavor, thread_state_t old_state,
                               mach_msg_type_number_t *old_stateCnt);
kern_return_t thread_set_state(thread_act_t target_act, thread_state_flavor_t flavor, thread_state_t new_state,
                               mach_msg_type_number_t new_stateCnt);

/* Of the caller's own task's threads. They are told before the task's are. */
kern_return_t thread_set_exception_ports(thread_act_t thread, exception_mask_t exception_mask, mach_port_t new_port,
                                         exception_behavior_t behavior, thread_state_flavor_t new_flavor);
kern_return_t thread_get_exception_ports(thread_act_t thread, exception_mask_t exception_mask, exception_mask_array_t masks,
                                         mach_msg_type_number_t *masksCnt, exception_handler_array_t old_handlers,
                                         exception_behavior_array_t old_behaviors, exception_flavor_array_t old_flavors);
kern_return_t thread_swap_exception_ports(thread_act_t thread, exception_mask_t exception_mask, mach_port_t new_port,
                                          exception_behavior_t behavior, thread_state_flavor_t new_flavor,
                                          exception_mask_array_t masks, mach_msg_type_number_t *masksCnt,
                                          exception_handler_array_t old_handlers, exception_behavior_array_t old_behaviors,
                                          exception_flavor_array_t old_flavors);

/* KERN_NOT_SUPPORTED. */
kern_return_t thread_set_special_port(thread_act_t thr_act, int which_port, mach_port_t special_port);
kern_return_t thread_terminate(thread_act_t target_act);
kern_return_t thread_suspend(thread_act_t target_act);
kern_return_t thread_resume(thread_act_t target_act);
kern_return_t thread_abort(thread_act_t target_act);
kern_return_t thread_abort_safely(thread_act_t target_act);
kern_return_t thread_depress_abort(thread_act_t thread);
kern_return_t thread_policy_get(thread_act_t thread, thread_policy_flavor_t flavor, thread_policy_t policy_info,
                                mach_msg_type_number_t *policy_infoCnt, boolean_t *get_default);

#ifdef __cplusplus
}
#endif

#endif

/* Threads: all of it is answered with KERN_NOT_SUPPORTED. */
#ifndef UMACH_MACH_THREAD_ACT_H
#define UMACH_MACH_THREAD_ACT_H

#include <mach/mach_types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef natural_t thread_flavor_t;
typedef integer_t *thread_info_t;
typedef natural_t thread_policy_flavor_t;
typedef integer_t *thread_policy_t;

kern_return_t thread_terminate(thread_act_t target_act);
kern_return_t thread_suspend(thread_act_t target_act);
kern_return_t thread_resume(thread_act_t target_act);
kern_return_t thread_abort(thread_act_t target_act);
kern_return_t thread_abort_safely(thread_act_t target_act);
kern_return_t thread_get_state(thread_act_t target_act, thread_state_flavor_t flavor, thread_state_t old_state,
                               mach_msg_type_number_t *old_stateCnt);
kern_return_t thread_set_state(thread_act_t target_act, thread_state_flavor_t flavor, thread_state_t new_state,
                               mach_msg_type_number_t new_stateCnt);
kern_return_t thread_info(thread_act_t target_act, thread_flavor_t flavor, thread_info_t thread_info_out,
                          mach_msg_type_number_t *thread_info_outCnt);
kern_return_t thread_policy_set(thread_act_t thread, thread_policy_flavor_t flavor, thread_policy_t policy_info,
                                mach_msg_type_number_t policy_infoCnt);

#ifdef __cplusplus
}
#endif

#endif

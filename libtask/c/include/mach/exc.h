/* Messages of exceptions with codes of four bytes: to send one on, and to answer those that come. */
#ifndef UMACH_MACH_EXC_H
#define UMACH_MACH_EXC_H

#include <mach/exception_types.h>
#include <mach/mach_types.h>
#include <mach/mig_errors.h>

#ifdef __cplusplus
extern "C" {
#endif

kern_return_t exception_raise(mach_port_t exception_port, mach_port_t thread, mach_port_t task, exception_type_t exception,
                              exception_data_t code, mach_msg_type_number_t codeCnt);
kern_return_t exception_raise_state(mach_port_t exception_port, exception_type_t exception, const exception_data_t code,
                                    mach_msg_type_number_t codeCnt, int *flavor, const thread_state_t old_state,
                                    mach_msg_type_number_t old_stateCnt, thread_state_t new_state, mach_msg_type_number_t *new_stateCnt);
kern_return_t exception_raise_state_identity(mach_port_t exception_port, mach_port_t thread, mach_port_t task,
                                             exception_type_t exception, exception_data_t code, mach_msg_type_number_t codeCnt,
                                             int *flavor, thread_state_t old_state, mach_msg_type_number_t old_stateCnt,
                                             thread_state_t new_state, mach_msg_type_number_t *new_stateCnt);

/* For mach_msg_server: calls what the program defines of the three below. What it does not define is answered with KERN_FAILURE. */
boolean_t exc_server(mach_msg_header_t *InHeadP, mach_msg_header_t *OutHeadP);

kern_return_t catch_exception_raise(mach_port_t exception_port, mach_port_t thread, mach_port_t task, exception_type_t exception,
                                    exception_data_t code, mach_msg_type_number_t codeCnt);
kern_return_t catch_exception_raise_state(mach_port_t exception_port, exception_type_t exception, const exception_data_t code,
                                          mach_msg_type_number_t codeCnt, int *flavor, const thread_state_t old_state,
                                          mach_msg_type_number_t old_stateCnt, thread_state_t new_state,
                                          mach_msg_type_number_t *new_stateCnt);
kern_return_t catch_exception_raise_state_identity(mach_port_t exception_port, mach_port_t thread, mach_port_t task,
                                                   exception_type_t exception, exception_data_t code, mach_msg_type_number_t codeCnt,
                                                   int *flavor, thread_state_t old_state, mach_msg_type_number_t old_stateCnt,
                                                   thread_state_t new_state, mach_msg_type_number_t *new_stateCnt);

#ifdef __cplusplus
}
#endif

#endif

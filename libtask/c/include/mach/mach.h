/* Mach's C interface in umach: XNU's dialect, 64-bit. What differs is in docs/porting.md. */
#ifndef UMACH_MACH_MACH_H
#define UMACH_MACH_MACH_H

#include <mach/mach_types.h>
#include <mach/mach_interface.h>
#include <mach/mach_init.h>
#include <mach/mach_error.h>
#include <mach/mach_traps.h>
#include <mach/mig_errors.h>
#include <mach/notify.h>
#include <mach/std_types.h>
#include <mach/thread_switch.h>

#ifdef __cplusplus
extern "C" {
#endif

mach_msg_return_t mach_msg_server(boolean_t (*demux)(mach_msg_header_t *, mach_msg_header_t *), mach_msg_size_t max_size,
                                  mach_port_t rcv_name, mach_msg_option_t options);
mach_msg_return_t mach_msg_server_once(boolean_t (*demux)(mach_msg_header_t *, mach_msg_header_t *), mach_msg_size_t max_size,
                                       mach_port_t rcv_name, mach_msg_option_t options);
mach_msg_return_t mach_msg_server_importance(boolean_t (*demux)(mach_msg_header_t *, mach_msg_header_t *), mach_msg_size_t max_size,
                                             mach_port_t rcv_name, mach_msg_option_t options);

#ifdef __cplusplus
}
#endif

#endif

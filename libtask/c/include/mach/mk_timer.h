/* Ports that get a message at a time. */
#ifndef UMACH_MACH_MK_TIMER_H
#define UMACH_MACH_MK_TIMER_H

#include <stdint.h>
#include <mach/mach_types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mk_timer_expire_msg {
    mach_msg_header_t header;
    uint64_t unused[3];
};
typedef struct mk_timer_expire_msg mk_timer_expire_msg_t;

mach_port_name_t mk_timer_create(void);
kern_return_t mk_timer_destroy(mach_port_name_t name);
kern_return_t mk_timer_arm(mach_port_name_t name, uint64_t expire_time);
kern_return_t mk_timer_cancel(mach_port_name_t name, uint64_t *result_time);

#ifdef __cplusplus
}
#endif

#endif

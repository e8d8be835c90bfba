/* What is there when a program starts. */
#ifndef UMACH_MACH_MACH_INIT_H
#define UMACH_MACH_MACH_INIT_H

#include <mach/mach_host.h>
#include <mach/mach_types.h>
#include <mach/vm_page_size.h>

#ifdef __cplusplus
extern "C" {
#endif

extern mach_port_t mach_task_self_;
extern mach_port_t bootstrap_port;

mach_port_t (mach_task_self)(void);
#define mach_task_self() mach_task_self_
#define current_task() mach_task_self()

mach_port_t mach_host_self(void);
mach_port_t mach_thread_self(void);
kern_return_t mach_init(void);

#define NAME_SERVER_SLOT 0
#define ENVIRONMENT_SLOT 1
#define SERVICE_SLOT 2
#define MACH_PORTS_SLOTS_USED 3

#ifdef __cplusplus
}
#endif

#endif

/* Ports that every thread has. */
#ifndef UMACH_MACH_THREAD_SPECIAL_PORTS_H
#define UMACH_MACH_THREAD_SPECIAL_PORTS_H

#define THREAD_KERNEL_PORT 1

#define thread_get_kernel_port(thread, port) (thread_get_special_port((thread), THREAD_KERNEL_PORT, (port)))
#define thread_set_kernel_port(thread, port) (thread_set_special_port((thread), THREAD_KERNEL_PORT, (port)))

#endif

/* As <mach/thread_status.h>. */
#ifndef UMACH_MACH_MACHINE_THREAD_STATUS_H
#define UMACH_MACH_MACHINE_THREAD_STATUS_H

#include <mach/thread_status.h>

#endif

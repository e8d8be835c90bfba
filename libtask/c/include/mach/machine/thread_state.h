/* As <mach/thread_status.h>. */
#ifndef UMACH_MACH_MACHINE_THREAD_STATE_H
#define UMACH_MACH_MACHINE_THREAD_STATE_H

#include <mach/thread_status.h>

#endif

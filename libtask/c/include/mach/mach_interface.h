/* The calls that are messages in Mach. */
#ifndef UMACH_MACH_MACH_INTERFACE_H
#define UMACH_MACH_MACH_INTERFACE_H

#include <mach/clock.h>
#include <mach/mach_host.h>
#include <mach/mach_port.h>
#include <mach/notify.h>
#include <mach/semaphore.h>
#include <mach/task.h>
#include <mach/thread_act.h>
#include <mach/vm_map.h>

#endif

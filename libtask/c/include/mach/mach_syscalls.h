/* As <mach/mach_traps.h>. */
#ifndef UMACH_MACH_MACH_SYSCALLS_H
#define UMACH_MACH_MACH_SYSCALLS_H

#include <mach/mach_traps.h>

#endif

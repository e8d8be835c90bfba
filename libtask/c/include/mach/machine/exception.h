/* As <mach/exception_types.h>. */
#ifndef UMACH_MACH_MACHINE_EXCEPTION_H
#define UMACH_MACH_MACHINE_EXCEPTION_H

#include <mach/exception_types.h>

#endif

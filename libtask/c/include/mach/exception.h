/* As <mach/exception_types.h>, with the calls of <mach/exc.h>. */
#ifndef UMACH_MACH_EXCEPTION_H
#define UMACH_MACH_EXCEPTION_H

#include <mach/exc.h>
#include <mach/exception_types.h>

#endif

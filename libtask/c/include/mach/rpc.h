/* As <mach/mig.h>. */
#ifndef UMACH_MACH_RPC_H
#define UMACH_MACH_RPC_H

#include <mach/mig.h>

#endif

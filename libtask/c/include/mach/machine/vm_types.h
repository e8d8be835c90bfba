/* As <mach/vm_types.h>. */
#ifndef UMACH_MACH_MACHINE_VM_TYPES_H
#define UMACH_MACH_MACHINE_VM_TYPES_H

#include <mach/vm_types.h>

#endif

/* As <mach/vm_param.h>. */
#ifndef UMACH_MACH_MACHINE_VM_PARAM_H
#define UMACH_MACH_MACHINE_VM_PARAM_H

#include <mach/vm_param.h>

#endif

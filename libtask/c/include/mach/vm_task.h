/* As <mach/vm_map.h>. */
#ifndef UMACH_MACH_VM_TASK_H
#define UMACH_MACH_VM_TASK_H

#include <mach/vm_map.h>

#endif

/* Sizes of pages and of address spaces. */
#ifndef UMACH_MACH_VM_PARAM_H
#define UMACH_MACH_VM_PARAM_H

#include <mach/vm_page_size.h>
#include <mach/vm_types.h>

#ifndef PAGE_SIZE
#define PAGE_SHIFT vm_page_shift
#define PAGE_SIZE vm_page_size
#define PAGE_MASK vm_page_mask
#endif

#define BYTE_SIZE 8

#define VM_MIN_ADDRESS ((vm_address_t)0)
#define VM_MAX_ADDRESS ((vm_address_t)0x00007fffffffffffull)
#define MACH_VM_MIN_ADDRESS ((mach_vm_address_t)0)
#define MACH_VM_MAX_ADDRESS ((mach_vm_address_t)0x00007fffffffffffull)

#endif

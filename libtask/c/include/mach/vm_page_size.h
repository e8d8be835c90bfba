/* Pages: variables, for they are Linux's. */
#ifndef UMACH_MACH_VM_PAGE_SIZE_H
#define UMACH_MACH_VM_PAGE_SIZE_H

#include <mach/vm_types.h>

#ifdef __cplusplus
extern "C" {
#endif

extern vm_size_t vm_page_size;
extern vm_size_t vm_page_mask;
extern int vm_page_shift;
/* The same: there is one size of pages. */
extern vm_size_t vm_kernel_page_size;
extern vm_size_t vm_kernel_page_mask;
extern int vm_kernel_page_shift;

#define trunc_page(x) ((x) & ~vm_page_mask)
#define round_page(x) (((x) + vm_page_mask) & ~vm_page_mask)
#define mach_vm_trunc_page(x) ((mach_vm_offset_t)(x) & ~(mach_vm_offset_t)vm_page_mask)
#define mach_vm_round_page(x) (((mach_vm_offset_t)(x) + vm_page_mask) & ~(mach_vm_offset_t)vm_page_mask)
#define trunc_page_kernel(x) ((x) & ~vm_kernel_page_mask)
#define round_page_kernel(x) (((x) + vm_kernel_page_mask) & ~vm_kernel_page_mask)

#ifdef __cplusplus
}
#endif

#endif

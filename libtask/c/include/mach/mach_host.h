/* The machine. */
#ifndef UMACH_MACH_MACH_HOST_H
#define UMACH_MACH_MACH_HOST_H

#include <mach/clock_types.h>
#include <mach/host_info.h>
#include <mach/mach_types.h>

#ifdef __cplusplus
extern "C" {
#endif

kern_return_t host_info(host_t host, host_flavor_t flavor, host_info_t host_info_out, mach_msg_type_number_t *host_info_outCnt);
kern_return_t host_kernel_version(host_t host, kernel_version_t kernel_version);
kern_return_t host_page_size(host_t host, vm_size_t *page_size);
kern_return_t host_get_clock_service(host_t host, clock_id_t clock_id, clock_serv_t *clock_serv);

#ifdef __cplusplus
}
#endif

#endif

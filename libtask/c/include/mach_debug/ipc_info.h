/* What is told of a space of names. */
#ifndef UMACH_MACH_DEBUG_IPC_INFO_H
#define UMACH_MACH_DEBUG_IPC_INFO_H

#include <mach/port.h>
#include <mach/vm_types.h>

typedef struct ipc_info_space {
    natural_t iis_genno_mask;
    natural_t iis_table_size;
    natural_t iis_table_next;
    natural_t iis_tree_size;
    natural_t iis_tree_small;
    natural_t iis_tree_hash;
} ipc_info_space_t;

typedef struct ipc_info_space_basic {
    natural_t iisb_genno_mask;
    natural_t iisb_table_size;
    natural_t iisb_table_next;
    natural_t iisb_table_inuse;
    natural_t iisb_reserved[2];
} ipc_info_space_basic_t;

typedef struct ipc_info_name {
    mach_port_name_t iin_name;
    integer_t iin_collision;
    mach_port_type_t iin_type;
    mach_port_urefs_t iin_urefs;
    natural_t iin_object;
    natural_t iin_next;
    natural_t iin_hash;
} ipc_info_name_t;

typedef ipc_info_name_t *ipc_info_name_array_t;

typedef struct ipc_info_tree_name {
    ipc_info_name_t iitn_name;
    mach_port_name_t iitn_lchild;
    mach_port_name_t iitn_rchild;
} ipc_info_tree_name_t;

typedef ipc_info_tree_name_t *ipc_info_tree_name_array_t;

/* What mach_port_kobject tells: XNU's numbers of the kinds that there are here. */
#define IKOT_NONE 0
#define IKOT_THREAD_CONTROL 1
#define IKOT_TASK_CONTROL 2
#define IKOT_HOST 3
#define IKOT_HOST_PRIV 4
#define IKOT_TASK_NAME 20
#define IKOT_SEMAPHORE 23
#define IKOT_CLOCK 25
#define IKOT_NAMED_ENTRY 28

#endif

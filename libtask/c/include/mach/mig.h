/* What stubs made by MIG are made of, and call. */
#ifndef UMACH_MACH_MIG_H
#define UMACH_MACH_MIG_H

#include <mach/message.h>
#include <mach/ndr.h>
#include <mach/port.h>
#include <mach/vm_types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*mig_stub_routine_t)(mach_msg_header_t *InHeadP, mach_msg_header_t *OutHeadP);
typedef mig_stub_routine_t mig_routine_t;
typedef mig_routine_t (*mig_server_routine_t)(mach_msg_header_t *InHeadP);
typedef kern_return_t (*mig_impl_routine_t)(void);

typedef mach_msg_type_descriptor_t routine_arg_descriptor;
typedef mach_msg_type_descriptor_t *routine_arg_descriptor_t;
typedef mach_msg_type_descriptor_t *mig_routine_arg_descriptor_t;

#define MIG_ROUTINE_ARG_DESCRIPTOR_NULL ((mig_routine_arg_descriptor_t)0)

struct routine_descriptor {
    mig_impl_routine_t impl_routine;
    mig_stub_routine_t stub_routine;
    unsigned int argc;
    unsigned int descr_count;
    routine_arg_descriptor_t arg_descr;
    unsigned int max_reply_msg;
};
typedef struct routine_descriptor *routine_descriptor_t;
typedef struct routine_descriptor mig_routine_descriptor;
typedef mig_routine_descriptor *mig_routine_descriptor_t;

typedef struct mig_subsystem {
    mig_server_routine_t server;
    mach_msg_id_t start;
    mach_msg_id_t end;
    mach_msg_size_t maxsize;
    vm_address_t reserved;
    mig_routine_descriptor routine[1];
} *mig_subsystem_t;

#define MIG_SUBSYSTEM_NULL ((mig_subsystem_t)0)

typedef struct mig_symtab {
    char *ms_routine_name;
    int ms_routine_number;
    void (*ms_routine)(void);
} mig_symtab_t;

#ifndef __MigTypeCheck
#define __MigTypeCheck 1
#endif
#ifndef __MigPackStructs
#define __MigPackStructs 1
#endif
#ifndef __DeclareSendRpc
#define __DeclareSendRpc(num, name)
#define __BeforeSendRpc(num, name)
#define __AfterSendRpc(num, name)
#define __DeclareSendSimple(num, name)
#define __BeforeSendSimple(num, name)
#define __AfterSendSimple(num, name)
#define __DeclareRcvRpc(num, name)
#define __BeforeRcvRpc(num, name)
#define __AfterRcvRpc(num, name)
#define __DeclareRcvSimple(num, name)
#define __BeforeRcvSimple(num, name)
#define __AfterRcvSimple(num, name)
#endif

mach_port_t mig_get_reply_port(void);
void mig_dealloc_reply_port(mach_port_t reply_port);
void mig_put_reply_port(mach_port_t reply_port);
mach_port_t mig_get_special_reply_port(void);
void mig_dealloc_special_reply_port(mach_port_t reply_port);
int mig_strncpy(char *dest, const char *src, int len);
int mig_strncpy_zerofill(char *dest, const char *src, int len);
void mig_allocate(vm_address_t *addr, vm_size_t size);
void mig_deallocate(vm_address_t addr, vm_size_t size);
void mig_reply_setup(mach_msg_header_t *request, mach_msg_header_t *reply);
int voucher_mach_msg_set(mach_msg_header_t *msg);
void voucher_mach_msg_clear(mach_msg_header_t *msg);

#ifdef __cplusplus
}
#endif

#endif

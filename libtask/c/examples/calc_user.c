/* The caller's side of the interface, in the shape that MIG generates. */
#include "calc.h"

#include <string.h>

/* Sends a request, and receives the answer in its place. */
static kern_return_t call(mach_msg_header_t *head, mach_msg_size_t size, mach_msg_size_t room, mach_port_t server, mach_msg_id_t id,
                          mach_msg_bits_t other)
{
    mach_port_t reply = mig_get_reply_port();
    mach_msg_return_t code;

    head->msgh_bits = other | MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    head->msgh_remote_port = server;
    head->msgh_local_port = reply;
    head->msgh_voucher_port = MACH_PORT_NULL;
    head->msgh_id = id;
    code = mach_msg(head, MACH_SEND_MSG | MACH_RCV_MSG, size, room, reply, MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
    if (code != MACH_MSG_SUCCESS) {
        mig_dealloc_reply_port(reply);
        return code;
    }
    mig_put_reply_port(reply);
    if (head->msgh_id == id + 100)
        return KERN_SUCCESS;
    code = head->msgh_id == MACH_NOTIFY_SEND_ONCE ? MIG_SERVER_DIED : MIG_REPLY_MISMATCH;
    mach_msg_destroy(head);
    return code;
}

kern_return_t calc_add(mach_port_t server, int left, int right, int *sum)
{
    union {
        Request__calc_add_t in;
        struct {
            Reply__calc_add_t reply;
            mach_msg_trailer_t trailer;
        } out;
    } message;
    kern_return_t code;

    message.in.NDR = NDR_record;
    message.in.left = left;
    message.in.right = right;
    code = call(&message.in.Head, sizeof message.in, sizeof message.out, server, CALC_SUBSYSTEM, 0);
    if (code != KERN_SUCCESS)
        return code;
    if (MACH_MSGH_BITS_IS_COMPLEX(message.out.reply.Head.msgh_bits) ||
        (message.out.reply.Head.msgh_size != sizeof(Reply__calc_add_t) &&
         (message.out.reply.Head.msgh_size != sizeof(mig_reply_error_t) || message.out.reply.RetCode == KERN_SUCCESS))) {
        mach_msg_destroy(&message.out.reply.Head);
        return MIG_TYPE_ERROR;
    }
    if (message.out.reply.RetCode == KERN_SUCCESS)
        *sum = message.out.reply.sum;
    return message.out.reply.RetCode;
}

kern_return_t calc_reverse(mach_port_t server, const char *text, mach_msg_type_number_t textCnt, char **reversed,
                           mach_msg_type_number_t *reversedCnt)
{
    union {
        Request__calc_reverse_t in;
        struct {
            Reply__calc_reverse_t reply;
            mach_msg_trailer_t trailer;
        } out;
        struct {
            mig_reply_error_t error;
            mach_msg_trailer_t trailer;
        } refused;
    } message;
    kern_return_t code;

    memset(&message, 0, sizeof message);
    message.in.msgh_body.msgh_descriptor_count = 1;
    message.in.text.address = (void *)(uintptr_t)text;
    message.in.text.size = textCnt;
    message.in.text.deallocate = FALSE;
    message.in.text.copy = MACH_MSG_VIRTUAL_COPY;
    message.in.text.type = MACH_MSG_OOL_DESCRIPTOR;
    message.in.NDR = NDR_record;
    message.in.textCnt = textCnt;
    code = call(&message.in.Head, sizeof message.in, sizeof message, server, CALC_SUBSYSTEM + 1, MACH_MSGH_BITS_COMPLEX);
    if (code != KERN_SUCCESS)
        return code;
    if (!MACH_MSGH_BITS_IS_COMPLEX(message.out.reply.Head.msgh_bits))
        return message.refused.error.Head.msgh_size == sizeof(mig_reply_error_t) && message.refused.error.RetCode != KERN_SUCCESS
                   ? message.refused.error.RetCode
                   : MIG_TYPE_ERROR;
    if (message.out.reply.msgh_body.msgh_descriptor_count != 1 || message.out.reply.reversed.type != MACH_MSG_OOL_DESCRIPTOR ||
        message.out.reply.reversed.size != message.out.reply.reversedCnt) {
        mach_msg_destroy(&message.out.reply.Head);
        return MIG_TYPE_ERROR;
    }
    *reversed = (char *)message.out.reply.reversed.address;
    *reversedCnt = message.out.reply.reversedCnt;
    return KERN_SUCCESS;
}

kern_return_t calc_stop(mach_port_t server)
{
    Request__calc_stop_t message;

    message.Head.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0);
    message.Head.msgh_remote_port = server;
    message.Head.msgh_local_port = MACH_PORT_NULL;
    message.Head.msgh_voucher_port = MACH_PORT_NULL;
    message.Head.msgh_id = CALC_SUBSYSTEM + 2;
    return mach_msg(&message.Head, MACH_SEND_MSG, sizeof message, 0, MACH_PORT_NULL, MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
}

/* The server's side in the shape that MIG generates: a demultiplexer over a table of routines, run by mach_msg_server. */
#include "calc.h"

#include <servers/bootstrap.h>
#include <stdio.h>
#include <stdlib.h>

static void refuse(mach_msg_header_t *OutHeadP, kern_return_t code)
{
    ((mig_reply_error_t *)OutHeadP)->RetCode = code;
    ((mig_reply_error_t *)OutHeadP)->NDR = NDR_record;
    OutHeadP->msgh_size = sizeof(mig_reply_error_t);
}

static void Xcalc_add(mach_msg_header_t *InHeadP, mach_msg_header_t *OutHeadP)
{
    const Request__calc_add_t *in = (const Request__calc_add_t *)InHeadP;
    Reply__calc_add_t *out = (Reply__calc_add_t *)OutHeadP;

    if (InHeadP->msgh_size != sizeof *in || MACH_MSGH_BITS_IS_COMPLEX(InHeadP->msgh_bits)) {
        refuse(OutHeadP, MIG_BAD_ARGUMENTS);
        return;
    }
    out->sum = in->left + in->right;
    out->NDR = NDR_record;
    out->RetCode = KERN_SUCCESS;
    out->Head.msgh_size = sizeof *out;
}

static void Xcalc_reverse(mach_msg_header_t *InHeadP, mach_msg_header_t *OutHeadP)
{
    Request__calc_reverse_t *in = (Request__calc_reverse_t *)InHeadP;
    Reply__calc_reverse_t *out = (Reply__calc_reverse_t *)OutHeadP;

    if (InHeadP->msgh_size != sizeof *in || !MACH_MSGH_BITS_IS_COMPLEX(InHeadP->msgh_bits) || in->msgh_body.msgh_descriptor_count != 1 ||
        in->text.type != MACH_MSG_OOL_DESCRIPTOR || in->text.size != in->textCnt) {
        refuse(OutHeadP, MIG_BAD_ARGUMENTS);
        return;
    }
    /* The memory is this task's now. It is changed where it is and goes back. */
    char *text = (char *)in->text.address;
    for (mach_msg_size_t left = 0, right = in->text.size; left + 1 < right; left++) {
        char swap = text[left];
        text[left] = text[--right];
        text[right] = swap;
    }
    out->Head.msgh_bits |= MACH_MSGH_BITS_COMPLEX;
    out->Head.msgh_size = sizeof *out;
    out->msgh_body.msgh_descriptor_count = 1;
    out->reversed = in->text;
    out->reversed.deallocate = TRUE;
    out->reversed.copy = MACH_MSG_VIRTUAL_COPY;
    out->NDR = NDR_record;
    out->reversedCnt = in->textCnt;
}

static void Xcalc_stop(mach_msg_header_t *InHeadP, mach_msg_header_t *OutHeadP)
{
    (void)InHeadP;
    (void)OutHeadP;
    printf("calc: stopped\n");
    exit(0);
}

static const mig_stub_routine_t routines[] = {Xcalc_add, Xcalc_reverse, Xcalc_stop};

static boolean_t calc_server(mach_msg_header_t *InHeadP, mach_msg_header_t *OutHeadP)
{
    mach_msg_id_t number = InHeadP->msgh_id - CALC_SUBSYSTEM;

    OutHeadP->msgh_bits = MACH_MSGH_BITS(MACH_MSGH_BITS_REMOTE(InHeadP->msgh_bits), 0);
    OutHeadP->msgh_remote_port = InHeadP->msgh_remote_port;
    OutHeadP->msgh_size = sizeof(mig_reply_error_t);
    OutHeadP->msgh_local_port = MACH_PORT_NULL;
    OutHeadP->msgh_voucher_port = MACH_PORT_NULL;
    OutHeadP->msgh_id = InHeadP->msgh_id + 100;
    if (number < 0 || number >= (mach_msg_id_t)(sizeof routines / sizeof routines[0])) {
        refuse(OutHeadP, MIG_BAD_ID);
        return FALSE;
    }
    routines[number](InHeadP, OutHeadP);
    return TRUE;
}

int main(void)
{
    mach_port_t port;
    kern_return_t code = bootstrap_check_in(bootstrap_port, CALC_NAME, &port);

    if (code == KERN_SUCCESS)
        code = mach_msg_server(calc_server, sizeof(calc_message_t), port, MACH_MSG_OPTION_NONE);
    mach_error("calc", code);
    return 1;
}

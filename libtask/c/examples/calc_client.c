/* A program that uses the interface and knows nothing of messages. */
#include "calc.h"

#include <servers/bootstrap.h>
#include <stdio.h>
#include <string.h>

static int failed(const char *what, kern_return_t code)
{
    mach_error(what, code);
    return 1;
}

int main(void)
{
    enum { BIG = 1 << 20 };
    mach_port_t server;
    kern_return_t code;
    int sum = 0;

    for (int tries = 0; (code = bootstrap_look_up(bootstrap_port, CALC_NAME, &server)) == BOOTSTRAP_UNKNOWN_SERVICE && tries < 1000; tries++)
        thread_switch(MACH_PORT_NULL, SWITCH_OPTION_WAIT, 10);
    if (code != KERN_SUCCESS)
        return failed("bootstrap_look_up", code);
    for (int n = 0; n < 1000; n++) {
        code = calc_add(server, n, 1, &sum);
        if (code != KERN_SUCCESS || sum != n + 1)
            return failed("calc_add", code);
    }

    vm_address_t text;
    code = vm_allocate(mach_task_self(), &text, BIG, VM_FLAGS_ANYWHERE);
    if (code != KERN_SUCCESS)
        return failed("vm_allocate", code);
    for (int n = 0; n < BIG; n++)
        ((char *)text)[n] = (char)(n * 31);
    for (int turn = 0; turn < 20; turn++) {
        char *reversed;
        mach_msg_type_number_t count;
        code = calc_reverse(server, (const char *)text, BIG, &reversed, &count);
        if (code != KERN_SUCCESS || count != BIG)
            return failed("calc_reverse", code);
        for (int n = 0; n < BIG; n++)
            if (reversed[n] != ((const char *)text)[BIG - 1 - n]) {
                fprintf(stderr, "calc: byte %d is wrong\n", n);
                return 1;
            }
        code = vm_deallocate(mach_task_self(), (vm_address_t)reversed, count);
        if (code != KERN_SUCCESS)
            return failed("vm_deallocate", code);
    }

    /* What the server does not know, it says. */
    struct {
        mig_reply_error_t error;
        mach_msg_trailer_t trailer;
    } answer;
    mach_port_t reply = mig_get_reply_port();
    memset(&answer, 0, sizeof answer);
    answer.error.Head.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    answer.error.Head.msgh_remote_port = server;
    answer.error.Head.msgh_local_port = reply;
    answer.error.Head.msgh_id = CALC_SUBSYSTEM + 50;
    code = mach_msg(&answer.error.Head, MACH_SEND_MSG | MACH_RCV_MSG, sizeof(mach_msg_header_t), sizeof answer, reply, MACH_MSG_TIMEOUT_NONE,
                    MACH_PORT_NULL);
    if (code != KERN_SUCCESS || answer.error.RetCode != MIG_BAD_ID)
        return failed("an unknown routine", code);

    code = calc_stop(server);
    if (code != KERN_SUCCESS)
        return failed("calc_stop", code);
    printf("calc: 1000 sums, 20 texts\n");
    return 0;
}

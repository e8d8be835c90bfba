/* A server written by hand: it takes requests from a port that others find by name, and answers each on the send-once right that came with it. */
#include "adder.h"

#include <servers/bootstrap.h>
#include <stdio.h>

static int failed(const char *what, kern_return_t code)
{
    mach_error(what, code);
    return 1;
}

int main(void)
{
    mach_port_t port;
    kern_return_t code = bootstrap_check_in(bootstrap_port, ADDER_NAME, &port);
    if (code != BOOTSTRAP_SUCCESS)
        return failed("bootstrap_check_in", code);

    for (;;) {
        struct {
            adder_request_t request;
            mach_msg_max_trailer_t trailer;
        } in;
        code = mach_msg(&in.request.header, MACH_RCV_MSG, 0, sizeof in, port, MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
        if (code != MACH_MSG_SUCCESS)
            return failed("receiving", code);
        if (in.request.header.msgh_id == ADDER_STOP)
            break;
        if (in.request.header.msgh_id != ADDER_ADD || in.request.header.msgh_size != sizeof(adder_request_t)) {
            /* Whoever waits for an answer is told that there is none. */
            mach_msg_destroy(&in.request.header);
            continue;
        }

        adder_reply_t out = {0};
        out.header.msgh_bits = MACH_MSGH_BITS(MACH_MSGH_BITS_REMOTE(in.request.header.msgh_bits), 0);
        out.header.msgh_remote_port = in.request.header.msgh_remote_port;
        out.header.msgh_id = ADDER_ADD + 100;
        out.sum = in.request.left + in.request.right;
        code = mach_msg(&out.header, MACH_SEND_MSG, sizeof out, 0, MACH_PORT_NULL, MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
        if (code != MACH_MSG_SUCCESS)
            mach_msg_destroy(&out.header);
    }
    printf("adder: stopped\n");
    return 0;
}

/* A client written by hand: it finds the adder by name, asks, and waits for the answer on a port of its own. */
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
    mach_port_t server, reply;
    kern_return_t code;

    /* The server may be a moment late. */
    for (int tries = 0;; tries++) {
        code = bootstrap_look_up(bootstrap_port, ADDER_NAME, &server);
        if (code != BOOTSTRAP_UNKNOWN_SERVICE || tries == 1000)
            break;
        thread_switch(MACH_PORT_NULL, SWITCH_OPTION_WAIT, 10);
    }
    if (code != BOOTSTRAP_SUCCESS)
        return failed("bootstrap_look_up", code);
    code = mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &reply);
    if (code != KERN_SUCCESS)
        return failed("mach_port_allocate", code);

    for (int32_t n = 0; n < 1000; n++) {
        union {
            adder_request_t request;
            struct {
                adder_reply_t reply;
                mach_msg_max_trailer_t trailer;
            } in;
        } buffer = {0};
        mach_msg_header_t *header = &buffer.request.header;
        header->msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE);
        header->msgh_remote_port = server;
        header->msgh_local_port = reply;
        header->msgh_id = ADDER_ADD;
        buffer.request.left = n;
        buffer.request.right = 2 * n;
        code = mach_msg(header, MACH_SEND_MSG | MACH_RCV_MSG | MACH_RCV_TIMEOUT, sizeof(adder_request_t), sizeof buffer, reply, 10000,
                        MACH_PORT_NULL);
        if (code != MACH_MSG_SUCCESS)
            return failed("calling the adder", code);
        if (header->msgh_id != ADDER_ADD + 100 || buffer.in.reply.sum != 3 * n) {
            fprintf(stderr, "adder: %d + %d answered by message %d with %d\n", n, 2 * n, header->msgh_id, buffer.in.reply.sum);
            return 1;
        }
    }

    mach_msg_header_t stop = {0};
    stop.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0);
    stop.msgh_remote_port = server;
    stop.msgh_id = ADDER_STOP;
    code = mach_msg(&stop, MACH_SEND_MSG, sizeof stop, 0, MACH_PORT_NULL, MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL);
    if (code != MACH_MSG_SUCCESS)
        return failed("stopping the adder", code);
    printf("adder: 1000 sums\n");
    return 0;
}

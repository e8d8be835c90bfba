/* A parent hands rights to its children. A forked child starts with an empty space, and finds what its parent registered for it: here a send right, over
   which it sends back a right of its own. A third process, started by exec, finds the same by name. */
#include <mach/mach.h>
#include <servers/bootstrap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME "org.umach.example.family"

typedef struct {
    mach_msg_base_t base;
    mach_msg_port_descriptor_t right;
    int who;
} letter_t;

static void must(const char *what, kern_return_t code)
{
    if (code == KERN_SUCCESS)
        return;
    mach_error(what, code);
    exit(1);
}

static mach_port_t new_port(void)
{
    mach_port_t port = MACH_PORT_NULL;
    must("a port", mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port));
    return port;
}

/* Sends a right to a port of one's own, and waits for word on it. */
static int child(mach_port_t parent, int who)
{
    mach_port_t port = new_port();
    letter_t letter;
    memset(&letter, 0, sizeof letter);
    letter.base.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0) | MACH_MSGH_BITS_COMPLEX;
    letter.base.header.msgh_remote_port = parent;
    letter.base.body.msgh_descriptor_count = 1;
    letter.right.name = port;
    letter.right.disposition = MACH_MSG_TYPE_MAKE_SEND;
    letter.right.type = MACH_MSG_PORT_DESCRIPTOR;
    letter.who = who;
    must("writing home", mach_msg_send((letter.base.header.msgh_size = sizeof letter, &letter.base.header)));
    mach_msg_empty_rcv_t word;
    must("word from home", mach_msg(&word.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof word, port, 10000, MACH_PORT_NULL));
    return word.header.msgh_id == 100 + who ? 0 : 1;
}

int main(int argc, char **argv)
{
    enum { CHILDREN = 3 };
    mach_port_t inbox, task = mach_task_self();

    if (argc > 1) {
        mach_port_t parent;
        must("finding the parent", bootstrap_look_up(bootstrap_port, NAME, &parent));
        return child(parent, atoi(argv[1]));
    }
    inbox = new_port();
    must("a send right", mach_port_insert_right(task, inbox, inbox, MACH_MSG_TYPE_MAKE_SEND));
    must("registering it", mach_ports_register(task, &inbox, 1));
    must("giving it a name", bootstrap_register(bootstrap_port, NAME, inbox));

    for (int who = 0; who < CHILDREN; who++) {
        pid_t pid = fork();
        if (pid < 0)
            return 1;
        if (pid > 0)
            continue;
        if (who == CHILDREN - 1) {
            char number[12];
            snprintf(number, sizeof number, "%d", who);
            execl("/proc/self/exe", argv[0], number, (char *)NULL);
            _exit(127);
        }
        /* The parent's names mean nothing here. */
        mach_port_type_t type;
        if (mach_port_type(mach_task_self(), inbox, &type) == KERN_SUCCESS && (type & MACH_PORT_TYPE_RECEIVE))
            _exit(2);
        mach_port_array_t ports;
        mach_msg_type_number_t count;
        must("what was registered", mach_ports_lookup(mach_task_self(), &ports, &count));
        _exit(count < 1 ? 3 : child(ports[0], who));
    }

    for (int n = 0; n < CHILDREN; n++) {
        struct {
            letter_t letter;
            mach_msg_audit_trailer_t trailer;
        } in;
        must("a letter", mach_msg(&in.letter.base.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT), 0,
                                  sizeof in, inbox, 10000, MACH_PORT_NULL));
        printf("family: child %d wrote\n", in.letter.who);
        mach_msg_header_t word;
        memset(&word, 0, sizeof word);
        word.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND, 0);
        word.msgh_remote_port = in.letter.right.name;
        word.msgh_id = 100 + in.letter.who;
        must("writing back", mach_msg(&word, MACH_SEND_MSG, sizeof word, 0, MACH_PORT_NULL, MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL));
    }
    for (int n = 0; n < CHILDREN; n++) {
        int status;
        if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            fprintf(stderr, "family: a child failed (%#x)\n", status);
            return 1;
        }
    }
    printf("family: all are well\n");
    return 0;
}

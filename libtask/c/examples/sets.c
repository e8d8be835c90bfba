/* Port sets and timeouts: one thread waits on many ports, and takes what comes, or goes on when nothing does. */
#include <mach/mach.h>
#include <mach/mach_time.h>
#include <pthread.h>
#include <stdio.h>

enum { PORTS = 8, EACH = 100 };

typedef struct {
    mach_msg_header_t header;
    int number;
} note_t;

static mach_port_t ports[PORTS];

static int must(const char *what, kern_return_t code)
{
    if (code != KERN_SUCCESS)
        mach_error(what, code);
    return code != KERN_SUCCESS;
}

static void *sends(void *unused)
{
    (void)unused;
    for (int n = 0; n < EACH; n++)
        for (int p = 0; p < PORTS; p++) {
            note_t note = {{MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0), sizeof note, ports[p], MACH_PORT_NULL, MACH_PORT_NULL, p}, n};
            /* A full queue is waited for. */
            if (must("sending", mach_msg(&note.header, MACH_SEND_MSG, sizeof note, 0, MACH_PORT_NULL, MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL)))
                return (void *)1;
        }
    return NULL;
}

int main(void)
{
    mach_port_t set;
    int next[PORTS] = {0}, received = 0, bad = 0;
    pthread_t thread;
    void *failed = NULL;

    bad |= must("a set", mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_PORT_SET, &set));
    for (int p = 0; p < PORTS; p++) {
        bad |= must("a port", mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &ports[p]));
        bad |= must("a member", mach_port_insert_member(mach_task_self(), ports[p], set));
    }
    pthread_create(&thread, NULL, sends, NULL);
    while (!bad && received < PORTS * EACH) {
        struct {
            note_t note;
            mach_msg_trailer_t trailer;
        } in;
        kern_return_t code = mach_msg(&in.note.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof in, set, 5000, MACH_PORT_NULL);
        if (must("receiving", code))
            return 1;
        /* Which member it came to is in the header; the messages of each come in order. */
        int port = in.note.header.msgh_id;
        bad |= in.note.header.msgh_local_port != ports[port] || in.note.number != next[port]++;
        received++;
    }
    pthread_join(thread, &failed);

    mach_msg_empty_rcv_t none;
    uint64_t start = mach_absolute_time();
    kern_return_t code = mach_msg(&none.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof none, set, 50, MACH_PORT_NULL);
    bad |= code != MACH_RCV_TIMED_OUT || mach_absolute_time() - start < 50000000;

    /* A port that leaves the set is heard no more. */
    bad |= must("taking one out", mach_port_extract_member(mach_task_self(), ports[0], set));
    mach_port_name_array_t members;
    mach_msg_type_number_t count;
    bad |= must("the members", mach_port_get_set_status(mach_task_self(), set, &members, &count));
    bad |= count != PORTS - 1;
    bad |= must("giving the list back", vm_deallocate(mach_task_self(), (vm_address_t)members, count * sizeof *members));
    if (bad || failed)
        return 1;
    printf("sets: %d messages in order\n", received);
    return 0;
}

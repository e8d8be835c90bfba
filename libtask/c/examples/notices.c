/* Notifications: who holds a right hears when the other side dies, who receives hears when nobody can send any more, and who waits for an answer hears
   that there will be none. */
#include <mach/mach.h>
#include <stdio.h>
#include <string.h>

static int failures;

static void must(const char *what, kern_return_t code)
{
    if (code != KERN_SUCCESS) {
        mach_error(what, code);
        failures++;
    }
}

static mach_port_t new_port(void)
{
    mach_port_t port = MACH_PORT_NULL;
    must("a port", mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port));
    return port;
}

static void request(mach_port_t name, mach_msg_id_t id, mach_port_mscount_t sync, mach_port_t notify)
{
    mach_port_t previous;
    must("asking for a notification",
         mach_port_request_notification(mach_task_self(), name, id, sync, notify, MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous));
}

typedef union {
    mach_msg_header_t header;
    mach_dead_name_notification_t dead;
    mach_no_senders_notification_t no_senders;
    mach_port_destroyed_notification_t destroyed;
    mach_send_once_notification_t once;
} notice_t;

static void expect(notice_t *notice, mach_port_t notify, mach_msg_id_t id)
{
    memset(notice, 0, sizeof *notice);
    must("a notification", mach_msg(&notice->header, MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_SENDER), 0,
                                    sizeof *notice, notify, 5000, MACH_PORT_NULL));
    if (notice->header.msgh_id != id) {
        fprintf(stderr, "notification %d came where %d was expected\n", notice->header.msgh_id, id);
        failures++;
    }
}

int main(void)
{
    mach_port_t self = mach_task_self(), notify = new_port(), port = new_port();
    notice_t notice;

    /* The last send right goes. */
    must("a send right", mach_port_insert_right(self, port, port, MACH_MSG_TYPE_MAKE_SEND));
    request(port, MACH_NOTIFY_NO_SENDERS, 1, notify);
    must("dropping it", mach_port_deallocate(self, port));
    expect(&notice, notify, MACH_NOTIFY_NO_SENDERS);
    failures += notice.no_senders.not_count != 1;
    /* Only the kernel's are from these. */
    failures += notice.no_senders.trailer.msgh_sender.val[0] != (unsigned)-1;

    /* The port behind a send right dies. */
    must("a send right", mach_port_insert_right(self, port, port, MACH_MSG_TYPE_MAKE_SEND));
    request(port, MACH_NOTIFY_DEAD_NAME, 0, notify);
    must("destroying the port", mach_port_mod_refs(self, port, MACH_PORT_RIGHT_RECEIVE, -1));
    expect(&notice, notify, MACH_NOTIFY_DEAD_NAME);
    failures += notice.dead.not_port != port;
    /* The dead name has a reference more, for whoever handles this. */
    mach_port_urefs_t refs;
    must("counting", mach_port_get_refs(self, port, MACH_PORT_RIGHT_DEAD_NAME, &refs));
    failures += refs != 2;
    must("dropping them", mach_port_mod_refs(self, port, MACH_PORT_RIGHT_DEAD_NAME, -2));

    /* A receive right would be destroyed, and is sent instead. */
    port = new_port();
    request(port, MACH_NOTIFY_PORT_DESTROYED, 0, notify);
    must("destroying the port", mach_port_mod_refs(self, port, MACH_PORT_RIGHT_RECEIVE, -1));
    expect(&notice, notify, MACH_NOTIFY_PORT_DESTROYED);
    must("destroying it for good", mach_port_mod_refs(self, notice.destroyed.not_port.name, MACH_PORT_RIGHT_RECEIVE, -1));

    /* A request is dropped, and with it the right to answer. */
    port = new_port();
    mach_msg_header_t question;
    memset(&question, 0, sizeof question);
    question.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    question.msgh_remote_port = port;
    question.msgh_local_port = notify;
    must("asking", mach_msg(&question, MACH_SEND_MSG, sizeof question, 0, MACH_PORT_NULL, MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL));
    must("dropping the question", mach_port_mod_refs(self, port, MACH_PORT_RIGHT_RECEIVE, -1));
    expect(&notice, notify, MACH_NOTIFY_SEND_ONCE);

    if (failures)
        return 1;
    printf("notices: four kinds\n");
    return 0;
}

/* What happens where there is no room: run with a kernel process that gives tasks 60 names, 30 ports and 16 KiB of queued messages. */
#include "check.h"

#include <mach/semaphore.h>
#include <mach/task.h>

static mach_port_t self(void)
{
    return mach_task_self();
}

/* Uses up the names; gives how many. */
static unsigned fill_space(mach_port_t *dead)
{
    unsigned count = 0;
    kern_return_t code = KERN_SUCCESS;
    while (count < 100 && code == KERN_SUCCESS) {
        code = mach_port_allocate(self(), MACH_PORT_RIGHT_DEAD_NAME, &dead[count]);
        count += code == KERN_SUCCESS;
    }
    EXPECT_CODE(code, KERN_NO_SPACE);
    return count;
}

static void empty_space(const mach_port_t *dead, unsigned count)
{
    for (unsigned n = 0; n < count; n++)
        OK(mach_port_deallocate(self(), dead[n]));
}

static void names_run_out(void)
{
    static mach_port_t dead[100];
    mach_port_t port = new_port(), name;
    mach_msg_type_name_t kind;
    unsigned count = fill_space(dead);
    EXPECT_CODE(mach_port_allocate(self(), MACH_PORT_RIGHT_RECEIVE, &name), KERN_NO_SPACE);
    EXPECT_CODE(mach_port_extract_right(self(), port, MACH_MSG_TYPE_MAKE_SEND_ONCE, &name, &kind), KERN_NO_SPACE);
    empty_space(dead, count);
    OK(mach_port_allocate(self(), MACH_PORT_RIGHT_DEAD_NAME, &name));
    OK(mach_port_deallocate(self(), name));
    drop_port(port);
}

/* s1_2_header_errors_consume_nothing */
static void queue_without_room_takes_nothing(void)
{
    static union {
        mach_msg_header_t header;
        char room[20000];
    } big;
    mach_port_t port = new_port_with_send(), reply = new_port(), once = new_send_once(reply);
    big.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND, MACH_MSG_TYPE_MOVE_SEND_ONCE);
    big.header.msgh_remote_port = port;
    big.header.msgh_local_port = once;
    EXPECT_CODE(mach_msg(&big.header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, sizeof big, 0, 0, 0, 0), MACH_SEND_NO_BUFFER);
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 1);
    EXPECT(type_of(once), MACH_PORT_TYPE_SEND_ONCE);
    OK(mach_msg(&big.header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, 4000, 0, 0, 0, 0));
    drop_port(port);
    notice(reply, MACH_NOTIFY_SEND_ONCE);
    drop_port(reply);
}

/* s1_5_handed_back_without_room_for_names */
static void failed_send_comes_back_without_some_names(void)
{
    static mach_port_t dead[100];
    mach_port_t full = new_port_with_send(), told = new_port();
    any_message m;
    set_limit(full, 0);
    unsigned count = fill_space(dead);
    carry(&m, full, told, MACH_MSG_TYPE_MAKE_SEND);
    m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    m.header.msgh_local_port = told;
    EXPECT_CODE(send_it(&m), MACH_SEND_TIMED_OUT | MACH_MSG_IPC_SPACE);
    EXPECT(m.header.msgh_remote_port, full);
    EXPECT(m.header.msgh_local_port, MACH_PORT_NULL);
    EXPECT(m.port.port.name, told);
    EXPECT(refs(told, MACH_PORT_RIGHT_SEND), 1);
    notice(told, MACH_NOTIFY_SEND_ONCE);
    empty_space(dead, count);
    OK(mach_port_destroy(self(), full));
    OK(mach_port_destroy(self(), told));
}

static void sends_rights(mach_port_t maker)
{
    struct {
        mach_msg_base_t base;
        mach_msg_port_descriptor_t known, lost, once;
        mach_msg_ool_ports_descriptor_t array;
        mach_msg_ool_descriptor_t memory;
        uint32_t text;
    } m;
    mach_port_t inbox = new_port(), told = new_port(), lost = new_port_with_send(), reply = new_port();
    OK(send_right(maker, inbox, MACH_MSG_TYPE_MAKE_SEND));
    mach_port_t right = receive_right(inbox), pair[2] = {right, lost};
    for (int with_reply = 1; with_reply >= 0; with_reply--) {
        memset(&m, 0, sizeof m);
        m.base.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, with_reply ? MACH_MSG_TYPE_MAKE_SEND_ONCE : 0) | MACH_MSGH_BITS_COMPLEX;
        m.base.header.msgh_remote_port = right;
        m.base.header.msgh_local_port = with_reply ? reply : MACH_PORT_NULL;
        m.base.header.msgh_id = with_reply;
        m.base.body.msgh_descriptor_count = 5;
        m.known.name = right;
        m.known.disposition = MACH_MSG_TYPE_COPY_SEND;
        m.lost.name = lost;
        m.lost.disposition = MACH_MSG_TYPE_COPY_SEND;
        m.once.name = told;
        m.once.disposition = MACH_MSG_TYPE_MAKE_SEND_ONCE;
        m.array.address = pair;
        m.array.count = 2;
        m.array.disposition = MACH_MSG_TYPE_COPY_SEND;
        m.array.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
        m.memory.address = (void *)(uintptr_t)"kept";
        m.memory.size = 5;
        m.memory.copy = MACH_MSG_VIRTUAL_COPY;
        m.memory.type = MACH_MSG_OOL_DESCRIPTOR;
        m.text = 77;
        OK(mach_msg(&m.base.header, MACH_SEND_MSG, sizeof m, 0, 0, 0, 0));
    }
    OK(send_empty(maker, MACH_MSG_TYPE_COPY_SEND, 1));
    notice(reply, MACH_NOTIFY_SEND_ONCE);
    notice(told, MACH_NOTIFY_SEND_ONCE);
    notice(told, MACH_NOTIFY_SEND_ONCE);
    EXPECT(srights_of(lost), 1);
}

/* s1_5_header_error_destroys_the_message s1_5_body_error_delivers_nulls */
static void messages_whose_rights_find_no_names(void)
{
    static mach_port_t dead[100];
    struct {
        mach_msg_base_t base;
        mach_msg_port_descriptor_t known, lost, once;
        mach_msg_ool_ports_descriptor_t array;
        mach_msg_ool_descriptor_t memory;
        uint32_t text;
        mach_msg_max_trailer_t trailer;
    } m;
    mach_port_t home = new_port();
    child_t child = start_child(sends_rights);
    mach_port_t inbox = receive_right(child.meeting);
    OK(send_right(inbox, home, MACH_MSG_TYPE_MAKE_SEND));
    EXPECT(next_id(child.meeting), 1);
    unsigned count = fill_space(dead);
    EXPECT_CODE(mach_msg(&m.base.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof m, home, 2000, 0), MACH_RCV_HEADER_ERROR | MACH_MSG_IPC_SPACE);
    EXPECT_CODE(mach_msg(&m.base.header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof m, home, 2000, 0), MACH_RCV_BODY_ERROR | MACH_MSG_IPC_SPACE);
    EXPECT(m.base.header.msgh_id, 0);
    EXPECT(m.known.name, home);
    EXPECT(m.lost.name, MACH_PORT_NULL);
    EXPECT(m.once.name, MACH_PORT_NULL);
    EXPECT(((mach_port_t *)m.array.address)[0], home);
    EXPECT(((mach_port_t *)m.array.address)[1], MACH_PORT_NULL);
    EXPECT(strcmp((char *)m.memory.address, "kept"), 0);
    EXPECT(m.text, 77);
    mach_msg_destroy(&m.base.header);
    empty_space(dead, count);
    end_child(&child);
    drop_port(home);
}

/* s1_12_semaphores_are_paid_for */
static void semaphores_are_paid_for(void)
{
    semaphore_t made[40];
    int count = 0;
    kern_return_t code = KERN_SUCCESS;
    while (count < 40 && code == KERN_SUCCESS) {
        code = semaphore_create(self(), &made[count], SYNC_POLICY_FIFO, 0);
        count += code == KERN_SUCCESS;
    }
    EXPECT_CODE(code, KERN_RESOURCE_SHORTAGE);
    for (int n = 0; n < count; n++)
        OK(semaphore_destroy(self(), made[n]));
    OK(semaphore_create(self(), &made[0], SYNC_POLICY_FIFO, 0));
    OK(semaphore_destroy(self(), made[0]));
}

CHECK_MAIN(CASE(names_run_out), CASE(queue_without_room_takes_nothing), CASE(failed_send_comes_back_without_some_names),
           CASE(messages_whose_rights_find_no_names), CASE(semaphores_are_paid_for))

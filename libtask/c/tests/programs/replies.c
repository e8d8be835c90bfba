/* Reply rights, which may be a slot of their caller's that the kernel does not know: rights like any, to whoever looks. */
#include "stubs.h"

#include <mach/semaphore.h>
#include <mach_debug/ipc_info.h>

enum { HELD = 3 };

/* Of calls that come over links, in the mode in which all do that can. */
static int is_direct(void)
{
    const char *mode = getenv("UMACH_DIRECT");
    return mode && strcmp(mode, "always") == 0;
}

static mach_msg_return_t call_id(mach_port_t to, int id, unsigned word, any_message *m)
{
    mach_port_t reply = mig_get_reply_port();
    start_message(m, to, MACH_MSG_TYPE_COPY_SEND, 40, id);
    m->header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    m->header.msgh_local_port = reply;
    m->plain.words[2] = word;
    return mach_msg(&m->header, MACH_SEND_MSG | MACH_RCV_MSG | MACH_RCV_TIMEOUT, 40, sizeof *m, reply, 30000, 0);
}

static void answer(any_message *m, mach_port_t reply, int id)
{
    start_message(m, reply, MACH_MSG_TYPE_MOVE_SEND_ONCE, 40, id);
    OK(send_it(m));
}

/* Answers calls of id 1 until another comes; gives where that is to be answered. */
static mach_port_t serve_until(mach_port_t port, any_message *m)
{
    for (;;) {
        mach_msg_return_t code = mach_msg(&m->header, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof *m, port, 30000, 0);
        EXPECT_CODE(code, MACH_MSG_SUCCESS);
        if (code != MACH_MSG_SUCCESS)
            exit(1);
        if (m->header.msgh_id != 1)
            return m->header.msgh_remote_port;
        answer(m, m->header.msgh_remote_port, 101);
    }
}

/* How often a name is in the lists by call and by message, with the one type that all of them say. */
static unsigned listed(mach_port_t name, mach_port_type_t type)
{
    mach_port_name_array_t names;
    mach_port_type_array_t types;
    mach_msg_type_number_t count, types_count, rows_count, tree_count;
    ipc_info_space_t info;
    ipc_info_name_array_t rows;
    ipc_info_tree_name_array_t tree;
    call_t c;
    unsigned found[4] = {0, 0, 0, 0};

    OK(mach_port_names(mach_task_self(), &names, &count, &types, &types_count));
    for (unsigned n = 0; n < count; n++)
        found[0] += names[n] == name && types[n] == type;
    vm_deallocate(mach_task_self(), (vm_address_t)names, count * sizeof *names);
    vm_deallocate(mach_task_self(), (vm_address_t)types, count * sizeof *types);

    OK(mach_port_space_info(mach_task_self(), &info, &rows, &rows_count, &tree, &tree_count));
    for (unsigned n = 0; n < rows_count; n++)
        found[1] += rows[n].iin_name == name && rows[n].iin_type == type && rows[n].iin_urefs == 1;
    vm_deallocate(mach_task_self(), (vm_address_t)rows, rows_count * sizeof *rows);

    OK(ask(&c, mach_task_self(), 3200, 0));
    for (unsigned n = 0; n < c.memory.words[0]; n++)
        found[2] += ((mach_port_t *)c.memory.memory[0].address)[n] == name && ((mach_port_type_t *)c.memory.memory[1].address)[n] == type;
    mach_msg_destroy(&c.header);
    OK(ask(&c, mach_task_self(), 3223, 0));
    rows = c.memory.memory[0].address;
    for (unsigned n = 0; n < c.memory.memory[0].size / sizeof *rows; n++)
        found[3] += rows[n].iin_name == name && rows[n].iin_type == type && rows[n].iin_urefs == 1;
    mach_msg_destroy(&c.header);

    EXPECT(found[1], found[0]);
    EXPECT(found[2], found[0]);
    EXPECT(found[3], found[0]);
    return found[0];
}

static void *calls_once(void *arg)
{
    any_message m;
    unsigned *said = (unsigned *)arg;
    /* The kernel has to be asked once about a reply port. */
    for (int n = 0; n < 3; n++)
        OK(call_id((mach_port_t)said[0], 1, 0, &m));
    OK(call_id((mach_port_t)said[0], 2, said[1], &m));
    said[2] = (unsigned)m.header.msgh_id;
    return NULL;
}

static void calls(mach_port_t maker)
{
    any_message m;
    unsigned said[HELD][3];
    pthread_t threads[HELD];
    for (int n = 0; n < 100; n++) {
        OK(call_id(maker, 1, 0, &m));
        EXPECT(m.header.msgh_id, 101);
    }
    for (unsigned n = 0; n < HELD; n++) {
        said[n][0] = maker;
        said[n][1] = n;
        pthread_create(&threads[n], NULL, calls_once, said[n]);
    }
    for (unsigned n = 0; n < HELD; n++)
        pthread_join(threads[n], NULL);
    EXPECT(said[0][2], MACH_NOTIFY_SEND_ONCE);
    EXPECT(said[1][2], 102);
    EXPECT(said[2][2], MACH_NOTIFY_SEND_ONCE);
    for (unsigned way = 0; way < 4; way++) {
        OK(call_id(maker, 3, way, &m));
        EXPECT(m.header.msgh_id, way == 3 ? 103 : MACH_NOTIFY_SEND_ONCE);
    }
}

static void expect_send_once(mach_port_t name)
{
    call_t c;
    EXPECT(type_of(name), MACH_PORT_TYPE_SEND_ONCE);
    EXPECT(refs(name, MACH_PORT_RIGHT_SEND_ONCE), 1);
    EXPECT(refs(name, MACH_PORT_RIGHT_DEAD_NAME), 0);
    EXPECT(name & 3, 3);
    EXPECT(listed(name, MACH_PORT_TYPE_SEND_ONCE), 1);
    OK(ask(&c, mach_task_self(), 3201, 1, name));
    EXPECT(c.plain.words[1], MACH_PORT_TYPE_SEND_ONCE);
    OK(ask(&c, mach_task_self(), 3207, 2, name, MACH_PORT_RIGHT_SEND_ONCE));
    EXPECT(c.plain.words[1], 1);
}

static void expect_gone(mach_port_t name)
{
    call_t c;
    EXPECT(type_of(name), MACH_PORT_TYPE_NONE);
    EXPECT(listed(name, MACH_PORT_TYPE_SEND_ONCE), 0);
    EXPECT_CODE(ask(&c, mach_task_self(), 3201, 1, name), KERN_INVALID_NAME);
}

/* s1_1_send_and_receive_share_a_name s1_8_names s1_8_introspection s1_11_names_and_references */
static void reply_rights_are_names_like_any(void)
{
    call_t c;
    any_message m;
    mach_port_t held[HELD] = {0, 0, 0};
    child_t child = start_child(calls);
    for (unsigned n = 0; n < HELD; n++) {
        mach_port_t reply = serve_until(child.meeting, &m);
        EXPECT(m.header.msgh_id, 2);
        held[m.plain.words[2]] = reply;
        if (is_direct())
            TRUE_THAT(reply > 0xf0000000u);
    }
    /* Before anything is asked about it that only the kernel could answer. */
    mach_port_status_t status;
    mach_msg_type_number_t count = MACH_PORT_RECEIVE_STATUS_COUNT;
    EXPECT(type_of(held[2]), MACH_PORT_TYPE_SEND_ONCE);
    for (unsigned n = 0; n < HELD; n++)
        expect_send_once(held[n]);
    EXPECT_CODE(mach_port_get_attributes(mach_task_self(), held[2], MACH_PORT_RECEIVE_STATUS, (mach_port_info_t)&status, &count), KERN_INVALID_RIGHT);
    /* One is given up by message, one is answered, one is destroyed. */
    OK(ask(&c, mach_task_self(), 3206, 1, held[0]));
    expect_gone(held[0]);
    expect_send_once(held[1]);
    answer(&m, held[1], 102);
    expect_gone(held[1]);
    OK(mach_port_destroy(mach_task_self(), held[2]));
    expect_gone(held[2]);
    /* Those that nobody asks about; and what is not theirs is refused. */
    for (unsigned way = 0; way < 4; way++) {
        mach_port_t reply = serve_until(child.meeting, &m);
        EXPECT(m.header.msgh_id, 3);
        EXPECT(m.plain.words[2], way);
        switch (way) {
        case 0:
            EXPECT_CODE(ask(&c, mach_task_self(), 3208, 3, reply, MACH_PORT_RIGHT_SEND, (unsigned)-1), KERN_INVALID_RIGHT);
            OK(ask(&c, mach_task_self(), 3208, 3, reply, MACH_PORT_RIGHT_SEND_ONCE, (unsigned)-1));
            break;
        case 1:
            OK(ask(&c, mach_task_self(), 3205, 1, reply));
            break;
        case 2:
            EXPECT_CODE(mach_port_set_mscount(mach_task_self(), reply, 1), KERN_INVALID_RIGHT);
            OK(mach_port_mod_refs(mach_task_self(), reply, MACH_PORT_RIGHT_SEND_ONCE, -1));
            break;
        default:
            answer(&m, reply, 103);
        }
        expect_gone(reply);
    }
    end_child(&child);
}

static void calls_and_waits(mach_port_t maker)
{
    any_message m;
    for (int n = 0; n < 100; n++)
        OK(call_id(maker, 1, 0, &m));
    call_id(maker, 2, 0, &m);
}

/* s1_8_type */
static void reply_right_dies_with_its_caller(void)
{
    any_message m;
    for (int way = 0; way < 3; way++) {
        child_t child = start_child(calls_and_waits);
        mach_port_t reply = serve_until(child.meeting, &m);
        kill_child(&child);
        for (int n = 0; n < 2000 && type_of(reply) != MACH_PORT_TYPE_DEAD_NAME; n++)
            usleep(2000);
        EXPECT(type_of(reply), MACH_PORT_TYPE_DEAD_NAME);
        EXPECT(refs(reply, MACH_PORT_RIGHT_DEAD_NAME), 1);
        EXPECT(refs(reply, MACH_PORT_RIGHT_SEND_ONCE), 0);
        if (way == 0)
            OK(mach_port_deallocate(mach_task_self(), reply));
        else if (way == 1)
            OK(mach_port_mod_refs(mach_task_self(), reply, MACH_PORT_RIGHT_DEAD_NAME, -1));
        else
            OK(mach_port_destroy(mach_task_self(), reply));
        EXPECT(type_of(reply), MACH_PORT_TYPE_NONE);
        OK(mach_port_destroy(mach_task_self(), child.control));
        OK(mach_port_destroy(mach_task_self(), child.meeting));
    }
}

static void *waits(void *semaphore)
{
    OK(semaphore_wait(*(semaphore_t *)semaphore));
    return NULL;
}

static void calls_beside_a_waiter(mach_port_t maker)
{
    any_message m;
    pthread_t thread;
    semaphore_t semaphore;
    for (int n = 0; n < 100; n++)
        OK(call_id(maker, 1, 0, &m));
    OK(semaphore_create(mach_task_self(), &semaphore, SYNC_POLICY_FIFO, 0));
    /* Beside it, a call that the kernel keeps waiting needs more lanes than there may be. */
    if (is_direct()) {
        pthread_create(&thread, NULL, waits, &semaphore);
        usleep(50000);
    }
    OK(call_id(maker, 2, 0, &m));
    EXPECT(m.header.msgh_id, 102);
    OK(semaphore_signal(semaphore));
    if (is_direct())
        pthread_join(thread, NULL);
}

/* The answer comes through the kernel, and the caller then lets go of the port that it came to: where there are few lanes (the test runs this so too), with the
   only one that is left. */
static void answer_that_moved_needs_one_lane(void)
{
    any_message m;
    call_t c;
    child_t child = start_child(calls_beside_a_waiter);
    mach_port_t reply = serve_until(child.meeting, &m);
    OK(ask(&c, mach_task_self(), 3201, 1, reply));
    answer(&m, reply, 102);
    end_child(&child);
}

static int listing;

static void *lists(void *arg)
{
    (void)arg;
    call_t c;
    while (__atomic_load_n(&listing, __ATOMIC_RELAXED)) {
        OK(ask(&c, mach_task_self(), 3200, 0));
        mach_msg_destroy(&c.header);
        usleep(300);
    }
    return NULL;
}

static void calls_often(mach_port_t maker)
{
    any_message m;
    for (int n = 0; n < 3000; n++) {
        OK(call_id(maker, 1, 0, &m));
        EXPECT(m.header.msgh_id, 101);
    }
    OK(call_id(maker, 2, 0, &m));
    EXPECT(m.header.msgh_id, 102);
}

/* Another thread makes the kernel know each reply at any moment: every call is answered once, and no name is left. */
static void replies_are_answered_while_names_are_listed(void)
{
    any_message m;
    pthread_t thread;
    child_t child = start_child(calls_often);
    ipc_info_space_basic_t before, after;
    OK(mach_port_space_basic_info(mach_task_self(), &before));
    __atomic_store_n(&listing, 1, __ATOMIC_RELAXED);
    pthread_create(&thread, NULL, lists, NULL);
    mach_port_t reply = serve_until(child.meeting, &m);
    __atomic_store_n(&listing, 0, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    answer(&m, reply, 102);
    OK(mach_port_space_basic_info(mach_task_self(), &after));
    /* The thread's own reply port may be one more. */
    TRUE_THAT(after.iisb_table_inuse <= before.iisb_table_inuse + 1);
    end_child(&child);
}

CHECK_MAIN(CASE(reply_rights_are_names_like_any), CASE(reply_right_dies_with_its_caller), CASE(answer_that_moved_needs_one_lane),
            CASE(replies_are_answered_while_names_are_listed))

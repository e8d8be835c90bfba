/* Many messages by many threads, bare and with each of the four kinds of descriptor, and nothing left: names, mappings, descriptors, memory; in this process
   and in a second one that answers over links. UMACH_LEAK_MESSAGES: how many. */
#include "check.h"

#include <dirent.h>
#include <pthread.h>
#include <servers/bootstrap.h>
#include <unistd.h>

enum { THREADS = 4, KINDS = 5 };

/* Of each round, of which two are looked at. */
static unsigned long messages = 5000;
static char data[100000];
static mach_port_t own[3];

static unsigned long names_held(void)
{
    ipc_info_space_basic_t info;
    OK(mach_port_space_basic_info(mach_task_self(), &info));
    return info.iisb_table_inuse;
}

static unsigned long mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long lines = 0;
    for (int c; (c = fgetc(maps)) != EOF;)
        lines += c == '\n';
    fclose(maps);
    return lines;
}

static unsigned long descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned long count = 0;
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static unsigned long resident(void)
{
    unsigned long size, pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (fscanf(statm, "%lu %lu", &size, &pages) != 2)
        pages = 0;
    fclose(statm);
    return pages * vm_page_size;
}

static boolean_t echo(mach_msg_header_t *in, mach_msg_header_t *out)
{
    any_message *request = (any_message *)in, *reply = (any_message *)out;
    memset(reply, 0, sizeof(mig_reply_error_t));
    reply->header.msgh_bits = MACH_MSGH_BITS(MACH_MSGH_BITS_REMOTE(in->msgh_bits), 0);
    reply->header.msgh_remote_port = in->msgh_remote_port;
    reply->header.msgh_id = in->msgh_id + 100;
    reply->header.msgh_size = sizeof(mig_reply_error_t);
    switch (in->msgh_id) {
    case 1:
        return TRUE;
    case 4:
    case 5:
        /* The array or the guarded right goes back; what came with the array's memory is given away with it. */
        memcpy(reply, request, in->msgh_size);
        reply->header.msgh_bits = MACH_MSGH_BITS(MACH_MSGH_BITS_REMOTE(in->msgh_bits), 0) | MACH_MSGH_BITS_COMPLEX;
        reply->header.msgh_local_port = MACH_PORT_NULL;
        reply->header.msgh_id = in->msgh_id + 100;
        if (in->msgh_id == 4)
            reply->ports.ports.deallocate = TRUE;
        return TRUE;
    case 2:
        /* The memory goes back as it is. */
        reply->memory = request->memory;
        reply->header.msgh_bits = MACH_MSGH_BITS(MACH_MSGH_BITS_REMOTE(in->msgh_bits), 0) | MACH_MSGH_BITS_COMPLEX;
        reply->header.msgh_remote_port = in->msgh_remote_port;
        reply->header.msgh_local_port = MACH_PORT_NULL;
        reply->header.msgh_id = in->msgh_id + 100;
        reply->header.msgh_size = sizeof reply->memory;
        reply->memory.memory.deallocate = TRUE;
        return TRUE;
    default:
        /* Not taken: mach_msg_server drops the rights and memory in it. */
        ((mig_reply_error_t *)out)->RetCode = MIG_BAD_ID;
        return FALSE;
    }
}

static void *serves(void *port)
{
    mach_msg_server(echo, 512, *(mach_port_t *)port, MACH_RCV_GUARDED_DESC);
    return NULL;
}

/* Of each kind one call after the other. */
static int make(any_message *m, mach_port_t server, unsigned long n, mach_port_t guarded)
{
    static mach_port_t none[2] = {MACH_PORT_NULL, MACH_PORT_NULL};
    int kind = (int)(n % KINDS) + 1;
    switch (kind) {
    case 1:
        start_message(m, server, MACH_MSG_TYPE_COPY_SEND, 40, 1);
        break;
    case 2:
        start_complex(m, server, MACH_MSG_TYPE_COPY_SEND, sizeof m->memory, 2);
        m->memory.memory.address = data;
        m->memory.memory.size = (mach_msg_size_t)(n * 997 % sizeof data + 1);
        m->memory.memory.copy = n & 8 ? MACH_MSG_VIRTUAL_COPY : MACH_MSG_PHYSICAL_COPY;
        m->memory.memory.type = MACH_MSG_OOL_DESCRIPTOR;
        break;
    case 3:
        carry(m, server, mach_task_self(), MACH_MSG_TYPE_COPY_SEND);
        m->header.msgh_id = 3;
        break;
    case 4: {
        start_complex(m, server, MACH_MSG_TYPE_COPY_SEND, sizeof m->ports, 4);
        m->ports.ports.address = n & 8 ? own : none;
        m->ports.ports.count = 2;
        m->ports.ports.disposition = MACH_MSG_TYPE_COPY_SEND;
        m->ports.ports.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
        break;
    }
    default:
        start_complex(m, server, MACH_MSG_TYPE_COPY_SEND, sizeof m->guarded, 5);
        m->guarded.guarded.flags = MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND;
        m->guarded.guarded.disposition = MACH_MSG_TYPE_MOVE_RECEIVE;
        m->guarded.guarded.type = MACH_MSG_GUARDED_PORT_DESCRIPTOR;
        m->guarded.guarded.name = guarded;
    }
    return kind;
}

static void *calls(void *server_port)
{
    mach_port_t server = *(mach_port_t *)server_port, reply = mig_get_reply_port(), guarded = new_port();
    unsigned long failures = 0;
    for (unsigned long n = 0; n < messages / THREADS; n++) {
        any_message m;
        int kind = make(&m, server, n, guarded);
        m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
        m.header.msgh_local_port = reply;
        mach_msg_return_t code =
            mach_msg(&m.header, MACH_SEND_MSG | MACH_RCV_MSG | MACH_RCV_GUARDED_DESC, m.header.msgh_size, sizeof m, reply, 0, 0);
        failures += code != MACH_MSG_SUCCESS || m.header.msgh_id != kind + 100;
        if (code != MACH_MSG_SUCCESS)
            continue;
        if (kind == 2)
            failures += vm_deallocate(mach_task_self(), (vm_address_t)m.memory.memory.address, m.memory.memory.size) != KERN_SUCCESS;
        if (kind == 3)
            failures += ((mig_reply_error_t *)(void *)&m)->RetCode != MIG_BAD_ID;
        if (kind == 4)
            mach_msg_destroy(&m.header);
        if (kind == 5)
            guarded = m.guarded.guarded.name;
    }
    OK(mach_port_mod_refs(mach_task_self(), guarded, MACH_PORT_RIGHT_RECEIVE, -1));
    return (void *)failures;
}

static void round_of_messages(mach_port_t server)
{
    pthread_t threads[THREADS];
    own[0] = mach_task_self();
    for (int n = 0; n < THREADS; n++)
        pthread_create(&threads[n], NULL, calls, &server);
    for (int n = 0; n < THREADS; n++) {
        void *failures;
        pthread_join(threads[n], &failures);
        EXPECT((unsigned long)failures, 0);
    }
}

typedef struct {
    unsigned long names, maps, fds, size;
    unsigned own;
} held_t;

static held_t holds(void)
{
    held_t held;
    held.own = refs(mach_task_self(), MACH_PORT_RIGHT_SEND);
    held.names = names_held();
    held.maps = mappings();
    held.fds = descriptors();
    held.size = resident();
    return held;
}

static void expect_no_more(held_t before)
{
    held_t after = holds();
    EXPECT(after.own, before.own);
    EXPECT(after.names, before.names);
    /* A thread that finds more of them waiting than ever before opens a lane, which the task keeps. */
    TRUE_THAT(after.fds <= before.fds + 2 * THREADS);
    /* Blocks that are kept for the next message (at most 64 MiB), and what the allocator keeps for its threads. */
    TRUE_THAT(after.maps < before.maps + 300);
    TRUE_THAT(after.size < before.size + (100ul << 20));
    if (getenv("UMACH_LEAK_MESSAGES"))
        printf("%lu messages: names %lu -> %lu, descriptors %lu -> %lu, mappings %lu -> %lu, resident KiB %lu -> %lu\n", 2 * messages, before.names,
               after.names, before.fds, after.fds, before.maps, after.maps, before.size >> 10, after.size >> 10);
}

static void messages_within_a_task(void)
{
    static mach_port_t server;
    pthread_t thread;
    server = new_port_with_send();
    pthread_create(&thread, NULL, serves, &server);
    /* Once, for what is made when it is first used and kept. */
    round_of_messages(server);
    held_t before = holds();
    round_of_messages(server);
    round_of_messages(server);
    expect_no_more(before);
    drop_port(server);
    pthread_join(thread, NULL);
    OK(mach_port_deallocate(mach_task_self(), server));
}

static void answers(mach_port_t maker)
{
    static mach_port_t server;
    pthread_t thread;
    server = new_port_with_send();
    OK(send_right(maker, server, MACH_MSG_TYPE_COPY_SEND));
    pthread_create(&thread, NULL, serves, &server);
    mach_port_t told = new_port();
    OK(send_right(maker, told, MACH_MSG_TYPE_MAKE_SEND));
    any_message m;
    OK(mach_msg(&m.header, MACH_RCV_MSG, 0, sizeof m, told, 0, 0));
    held_t before = holds();
    OK(send_empty(maker, MACH_MSG_TYPE_COPY_SEND, 1));
    OK(mach_msg(&m.header, MACH_RCV_MSG, 0, sizeof m, told, 0, 0));
    expect_no_more(before);
}

static void messages_between_tasks(void)
{
    child_t child = start_child(answers);
    mach_port_t server = receive_right(child.meeting), tell = receive_right(child.meeting);
    round_of_messages(server);
    OK(send_empty(tell, MACH_MSG_TYPE_COPY_SEND, 1));
    EXPECT(next_id(child.meeting), 1);
    held_t before = holds();
    round_of_messages(server);
    round_of_messages(server);
    expect_no_more(before);
    OK(send_empty(tell, MACH_MSG_TYPE_COPY_SEND, 2));
    end_child(&child);
}

static const check_t cases[] = {CASE(messages_within_a_task), CASE(messages_between_tasks)};

int main(void)
{
    if (getenv("UMACH_LEAK_MESSAGES"))
        messages = strtoul(getenv("UMACH_LEAK_MESSAGES"), NULL, 10) / 2;
    return check_all(cases, COUNT(cases));
}

/* Many messages of every kind by many threads, and nothing left: names, mappings, descriptors, memory. UMACH_LEAK_MESSAGES: how many. */
#include "check.h"

#include <dirent.h>
#include <pthread.h>
#include <servers/bootstrap.h>
#include <unistd.h>

enum { THREADS = 4 };

static unsigned long messages = 20000;
static char data[100000];

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
    mach_msg_server(echo, 512, *(mach_port_t *)port, MACH_MSG_OPTION_NONE);
    return NULL;
}

static void *calls(void *server_port)
{
    mach_port_t server = *(mach_port_t *)server_port, reply = mig_get_reply_port();
    unsigned long failures = 0;
    for (unsigned long n = 0; n < messages / THREADS; n++) {
        any_message m;
        int kind = (int)(n % 3) + 1;
        if (kind == 1) {
            start_message(&m, server, MACH_MSG_TYPE_COPY_SEND, 40, 1);
        } else if (kind == 2) {
            start_complex(&m, server, MACH_MSG_TYPE_COPY_SEND, sizeof m.memory, 2);
            m.memory.memory.address = data;
            m.memory.memory.size = (mach_msg_size_t)(n * 997 % sizeof data + 1);
            m.memory.memory.copy = MACH_MSG_VIRTUAL_COPY;
            m.memory.memory.type = MACH_MSG_OOL_DESCRIPTOR;
        } else {
            start_complex(&m, server, MACH_MSG_TYPE_COPY_SEND, sizeof m.port, 3);
            m.port.port.name = mach_task_self();
            m.port.port.disposition = MACH_MSG_TYPE_COPY_SEND;
        }
        m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
        m.header.msgh_local_port = reply;
        mach_msg_return_t code = mach_msg(&m.header, MACH_SEND_MSG | MACH_RCV_MSG, m.header.msgh_size, sizeof m, reply, 0, 0);
        failures += code != MACH_MSG_SUCCESS || m.header.msgh_id != kind + 100;
        if (code == MACH_MSG_SUCCESS && kind == 2)
            failures += vm_deallocate(mach_task_self(), (vm_address_t)m.memory.memory.address, m.memory.memory.size) != KERN_SUCCESS;
        if (code == MACH_MSG_SUCCESS && kind == 3)
            failures += ((mig_reply_error_t *)&m)->RetCode != MIG_BAD_ID;
    }
    return (void *)failures;
}

static void round_of_messages(mach_port_t server)
{
    pthread_t threads[THREADS];
    for (int n = 0; n < THREADS; n++)
        pthread_create(&threads[n], NULL, calls, &server);
    for (int n = 0; n < THREADS; n++) {
        void *failures;
        pthread_join(threads[n], &failures);
        EXPECT((unsigned long)failures, 0);
    }
}

static void nothing_is_left_after_many_messages(void)
{
    static mach_port_t server;
    pthread_t thread;
    if (getenv("UMACH_LEAK_MESSAGES"))
        messages = strtoul(getenv("UMACH_LEAK_MESSAGES"), NULL, 10);
    server = new_port_with_send();
    pthread_create(&thread, NULL, serves, &server);
    /* Once, for what is made when it is first used and kept. */
    round_of_messages(server);
    unsigned own = refs(mach_task_self(), MACH_PORT_RIGHT_SEND);
    unsigned long names = names_held(), maps = mappings(), fds = descriptors(), size = resident();
    round_of_messages(server);
    round_of_messages(server);
    EXPECT(refs(mach_task_self(), MACH_PORT_RIGHT_SEND), own);
    EXPECT(names_held(), names);
    EXPECT(descriptors(), fds);
    /* Blocks that are kept for the next message, and what the allocator keeps. */
    TRUE_THAT(mappings() < maps + 300);
    TRUE_THAT(resident() < size + (100ul << 20));
    drop_port(server);
    pthread_join(thread, NULL);
}

CHECK_MAIN(CASE(nothing_is_left_after_many_messages))

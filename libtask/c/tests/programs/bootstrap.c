/* Servers that a program declares to the name server: create_server, create_service, and what becomes of them. The program is its own server: with an argument
   it is what the name server starts. */
#include "check.h"

#include <servers/bootstrap.h>

#define WHO 77

/* What a client asks and is told. */
typedef struct {
    mach_msg_header_t header;
    int pid;
    mach_msg_max_trailer_t trailer;
} who_message;

/* The process that answers on a service's port. It is started for it if need be, and may take its time. */
static int who_serves(mach_port_t service)
{
    who_message m;
    mach_port_t reply = mig_get_special_reply_port();
    memset(&m, 0, sizeof m);
    m.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    m.header.msgh_remote_port = service;
    m.header.msgh_local_port = reply;
    m.header.msgh_id = WHO;
    kern_return_t code = mach_msg(&m.header, MACH_SEND_MSG | MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_SEND_SYNC_OVERRIDE | MACH_RCV_SYNC_WAIT, sizeof m.header, sizeof m,
                                  reply, 20000, MACH_PORT_NULL);
    if (code != KERN_SUCCESS) {
        printf("%s: a service did not answer: %#x\n", check_case, (unsigned)code);
        check_failures++;
        return 0;
    }
    /* Of a process that died with the request there is a notification. */
    return m.header.msgh_id == WHO + 100 ? m.pid : 0;
}

/* What the name server starts: serves the service that it finds in its environment until it is ended. */
static int serve(void)
{
    mach_port_t port = MACH_PORT_NULL;
    const char *name = getenv("UMACH_SERVICE");
    if (name == NULL || bootstrap_check_in(bootstrap_port, name, &port) != KERN_SUCCESS)
        return 1;
    for (;;) {
        who_message m;
        if (mach_msg(&m.header, MACH_RCV_MSG, 0, sizeof m, port, 0, MACH_PORT_NULL) != KERN_SUCCESS)
            return 1;
        m.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND_ONCE, 0);
        m.header.msgh_local_port = MACH_PORT_NULL;
        m.header.msgh_id = WHO + 100;
        m.pid = getpid();
        mach_msg(&m.header, MACH_SEND_MSG, sizeof m.header + sizeof m.pid, 0, MACH_PORT_NULL, 0, MACH_PORT_NULL);
    }
}

static const char *command(const char *argument)
{
    static char text[BOOTSTRAP_MAX_CMD_LEN];
    char self[256];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    TRUE_THAT(length > 0);
    self[length > 0 ? length : 0] = 0;
    snprintf(text, sizeof text, "\"%s\" %s", self, argument);
    return text;
}

static mach_port_t new_server(const char *argument, boolean_t on_demand)
{
    mach_port_t server = MACH_PORT_NULL;
    OK(bootstrap_create_server(bootstrap_port, command(argument), geteuid(), on_demand, &server));
    EXPECT(type_of(server), MACH_PORT_TYPE_SEND);
    return server;
}

static void let_go(mach_port_t name)
{
    OK(mach_port_deallocate(mach_task_self(), name));
}

/* Looks until a name is no more. */
static void expect_vanished(const char *name)
{
    mach_port_t found = MACH_PORT_NULL;
    for (int n = 0; n < 4000; n++) {
        kern_return_t code = bootstrap_look_up(bootstrap_port, name, &found);
        if (code != KERN_SUCCESS) {
            EXPECT_CODE(code, BOOTSTRAP_UNKNOWN_SERVICE);
            return;
        }
        let_go(found);
        usleep(5000);
    }
    printf("%s: %s does not vanish\n", check_case, name);
    check_failures++;
}

static void first_message_starts_a_declared_server(void)
{
    mach_port_t server = new_server("serve", TRUE), service = MACH_PORT_NULL, found = MACH_PORT_NULL;
    OK(bootstrap_create_service(server, "org.umach.test.declared", &service));
    EXPECT(type_of(service), MACH_PORT_TYPE_SEND);
    OK(bootstrap_look_up(bootstrap_port, "org.umach.test.declared", &found));
    EXPECT(found, service);
    int pid = who_serves(service);
    TRUE_THAT(pid > 0 && pid != getpid());
    EXPECT(who_serves(found), pid);
    let_go(found);
    let_go(service);
    let_go(server);
    /* It has its server port, and ends with its process. */
    OK(bootstrap_look_up(bootstrap_port, "org.umach.test.declared", &found));
    OK(kill(pid, SIGKILL));
    expect_vanished("org.umach.test.declared");
    let_go(found);
}

static void server_that_dies_is_started_again(void)
{
    mach_port_t server = new_server("serve", FALSE), service = MACH_PORT_NULL;
    OK(bootstrap_create_service(server, "org.umach.test.again", &service));
    int first = who_serves(service), second = first;
    OK(kill(first, SIGKILL));
    /* A request that it had received died with it. */
    for (int n = 0; n < 100 && (second == first || second == 0); n++)
        second = who_serves(service);
    TRUE_THAT(second > 0 && second != first);
    /* Undone: the name, and with it the process's port. */
    OK(bootstrap_register(server, "org.umach.test.again", MACH_PORT_NULL));
    EXPECT_CODE(bootstrap_look_up(bootstrap_port, "org.umach.test.again", &service), BOOTSTRAP_UNKNOWN_SERVICE);
    OK(kill(second, SIGKILL));
    let_go(service);
    let_go(server);
}

static void server_port_is_the_privilege(void)
{
    mach_port_t server = new_server("serve", TRUE), service = MACH_PORT_NULL, port = MACH_PORT_NULL;
    EXPECT_CODE(bootstrap_create_service(bootstrap_port, "org.umach.test.mine", &service), BOOTSTRAP_NOT_PRIVILEGED);
    OK(bootstrap_create_service(server, "org.umach.test.mine", &service));
    EXPECT_CODE(bootstrap_create_service(server, "org.umach.test.mine", &port), BOOTSTRAP_NAME_IN_USE);
    EXPECT_CODE(bootstrap_register(bootstrap_port, "org.umach.test.mine", service), BOOTSTRAP_NAME_IN_USE);
    EXPECT_CODE(bootstrap_check_in(bootstrap_port, "org.umach.test.mine", &port), BOOTSTRAP_NOT_PRIVILEGED);
    EXPECT_CODE(bootstrap_register(bootstrap_port, "org.umach.test.mine", MACH_PORT_NULL), BOOTSTRAP_NOT_PRIVILEGED);
    /* What was sent before the check-in waits. */
    any_message m;
    start_message(&m, service, MACH_MSG_TYPE_COPY_SEND, 24, 5);
    OK(bootstrap_check_in(server, "org.umach.test.mine", &port));
    EXPECT(port, service);
    EXPECT(type_of(port), MACH_PORT_TYPE_SEND_RECEIVE);
    OK(send_it(&m));
    OK(receive_it(&m, port));
    EXPECT(m.header.msgh_id, 5);
    EXPECT_CODE(bootstrap_check_in(server, "org.umach.test.mine", &port), BOOTSTRAP_SERVICE_ACTIVE);
    EXPECT_CODE(bootstrap_create_service(server, "org.umach.test.mine", &port), BOOTSTRAP_SERVICE_ACTIVE);
    let_go(server);
    drop_port(service);
    expect_vanished("org.umach.test.mine");
    OK(mach_port_mod_refs(mach_task_self(), service, MACH_PORT_RIGHT_DEAD_NAME, -1));
}

static void declaration_dies_with_its_declarer(void)
{
    int started[2];
    char byte = 0;
    mach_port_t found = MACH_PORT_NULL;
    OK(pipe(started));
    pid_t pid = fork();
    if (pid == 0) {
        mach_port_t server = MACH_PORT_NULL, service = MACH_PORT_NULL;
        if (bootstrap_create_server(bootstrap_port, command("serve"), geteuid(), TRUE, &server) == KERN_SUCCESS &&
            bootstrap_create_service(server, "org.umach.test.child", &service) == KERN_SUCCESS)
            byte = 1;
        if (write(started[1], &byte, 1) == 1)
            pause();
        _exit(1);
    }
    EXPECT(read(started[0], &byte, 1), 1);
    EXPECT(byte, 1);
    OK(bootstrap_look_up(bootstrap_port, "org.umach.test.child", &found));
    OK(kill(pid, SIGKILL));
    EXPECT(waitpid(pid, NULL, 0), pid);
    expect_vanished("org.umach.test.child");
    EXPECT(type_of(found), MACH_PORT_TYPE_DEAD_NAME);
    let_go(found);
    close(started[0]);
    close(started[1]);
}

static void subset_dies_with_its_requestor(void)
{
    mach_port_t requestor = new_port_with_send(), subset = MACH_PORT_NULL, below = MACH_PORT_NULL, server = MACH_PORT_NULL, service = MACH_PORT_NULL;
    mach_port_t found = MACH_PORT_NULL, dead = new_dead_port();
    bootstrap_status_t status = -1;
    OK(bootstrap_subset(bootstrap_port, requestor, &subset));
    EXPECT(refs(requestor, MACH_PORT_RIGHT_SEND), 1);
    OK(bootstrap_subset(subset, mach_task_self(), &below));
    OK(bootstrap_create_server(subset, command("serve"), geteuid(), TRUE, &server));
    OK(bootstrap_create_service(server, "org.umach.test.inner", &service));
    OK(bootstrap_status(below, "org.umach.test.inner", &status));
    EXPECT(status, BOOTSTRAP_STATUS_ON_DEMAND);
    EXPECT_CODE(bootstrap_status(bootstrap_port, "org.umach.test.inner", &status), BOOTSTRAP_UNKNOWN_SERVICE);
    int pid = who_serves(service);
    OK(bootstrap_status(below, "org.umach.test.inner", &status));
    EXPECT(status, BOOTSTRAP_STATUS_ACTIVE);
    /* A server port is no more than a bootstrap port to whom its server says so. */
    OK(bootstrap_unprivileged(server, &found));
    EXPECT(found, subset);
    let_go(found);
    OK(mach_port_destroy(mach_task_self(), requestor));
    for (int n = 0; n < 4000 && kill(pid, 0) == 0; n++)
        usleep(5000);
    TRUE_THAT(kill(pid, 0) != 0);
    mach_port_t all[] = {subset, below, server, service};
    for (size_t n = 0; n < COUNT(all); n++) {
        for (int tries = 0; tries < 4000 && type_of(all[n]) != MACH_PORT_TYPE_DEAD_NAME; tries++)
            usleep(5000);
        EXPECT(type_of(all[n]), MACH_PORT_TYPE_DEAD_NAME);
        let_go(all[n]);
    }
    EXPECT_CODE(bootstrap_subset(bootstrap_port, dead, &subset), KERN_INVALID_CAPABILITY);
    EXPECT_CODE(bootstrap_subset(bootstrap_port, NOTHING, &subset), KERN_INVALID_NAME);
    /* With none it lives as long as it is held. */
    OK(bootstrap_subset(bootstrap_port, MACH_PORT_NULL, &subset));
    EXPECT_CODE(bootstrap_look_up(subset, "org.umach.test.inner", &found), BOOTSTRAP_UNKNOWN_SERVICE);
    let_go(subset);
    let_go(dead);
}

static void servers_that_cannot_be_are_refused(void)
{
    mach_port_t server = MACH_PORT_NULL, many[17];
    size_t made = 0;
    char longest[BOOTSTRAP_MAX_CMD_LEN + 1];
    memset(longest, '/', sizeof longest);
    longest[sizeof longest - 1] = 0;
    EXPECT_CODE(bootstrap_create_server(bootstrap_port, "/bin/true", geteuid() + 1, TRUE, &server), BOOTSTRAP_NOT_PRIVILEGED);
    EXPECT_CODE(bootstrap_create_server(MACH_PORT_NULL, "/bin/true", geteuid(), TRUE, &server), MACH_SEND_INVALID_DEST);
    EXPECT_CODE(bootstrap_create_server(bootstrap_port, NULL, geteuid(), TRUE, &server), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(bootstrap_create_server(bootstrap_port, "/bin/true", geteuid(), TRUE, NULL), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(bootstrap_create_server(bootstrap_port, "", geteuid(), TRUE, &server), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(bootstrap_create_server(bootstrap_port, "true", geteuid(), TRUE, &server), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(bootstrap_create_server(bootstrap_port, longest, geteuid(), TRUE, &server), KERN_INVALID_ARGUMENT);
    while (made < COUNT(many)) {
        kern_return_t code = bootstrap_create_server(bootstrap_port, "/bin/true", geteuid(), TRUE, &many[made]);
        if (code != KERN_SUCCESS) {
            EXPECT_CODE(code, BOOTSTRAP_NO_MEMORY);
            break;
        }
        made++;
    }
    TRUE_THAT(made > 0 && made < COUNT(many));
    EXPECT_CODE(bootstrap_create_service(many[0], NULL, &server), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(bootstrap_create_service(many[0], "org.umach.test.x", NULL), KERN_INVALID_ARGUMENT);
    while (made > 0)
        let_go(many[--made]);
    EXPECT_CODE(bootstrap_create_service(MACH_PORT_NULL, "org.umach.test.x", &server), MACH_SEND_INVALID_DEST);
}

int main(int argc, char **argv)
{
    static const check_t cases[] = {CASE(first_message_starts_a_declared_server), CASE(server_that_dies_is_started_again),
                                    CASE(server_port_is_the_privilege), CASE(declaration_dies_with_its_declarer),
                                    CASE(subset_dies_with_its_requestor), CASE(servers_that_cannot_be_are_refused)};
    if (argc > 1 && strcmp(argv[1], "serve") == 0)
        return serve();
    return check_all(cases, COUNT(cases));
}

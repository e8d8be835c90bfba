/* A crash handler: a parent that is told of its child's faults before the signals are, and decides.
 *
 * The child inherits the parent's exception ports. It stops at a breakpoint, which the handler lets pass; it reads where nothing is, which the handler
 * mends by changing its registers; it reads there again, and the handler lets it die. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash.h"

#define CHECK(call)                                                                               \
    do {                                                                                          \
        kern_return_t result = (call);                                                            \
        if (result != KERN_SUCCESS) {                                                             \
            fprintf(stderr, "crash:%d: %s: %s\n", __LINE__, #call, mach_error_string(result));    \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

#define NOWHERE 0x10

/* One instruction of two bytes: mov eax, [rax]. */
#define LOAD(value) __asm__ volatile("movl (%%rax), %%eax" : "=a"(value) : "a"((uint64_t)NOWHERE) : "memory")

static void child(void) {
    unsigned value = 0;
    __asm__ volatile("int3");
    puts("crash: the child went on behind its breakpoint");
    LOAD(value);
    printf("crash: the child read %u from nowhere\n", value);
    fflush(stdout);
    LOAD(value);
    puts("crash: the child was not to get here");
    exit(1);
}

static void receive(mach_port_t port, raise_request_t *request, pid_t from) {
    memset(request, 0, sizeof *request);
    CHECK(mach_msg(&request->Head, MACH_RCV_MSG | MACH_RCV_TIMEOUT, 0, sizeof *request, port, 30000, MACH_PORT_NULL));
    int pid = 0;
    CHECK(pid_for_task(request->task.name, &pid));
    printf("crash: told of exception %d, codes %lld and 0x%llx, of %s\n", request->exception, (long long)request->code[0],
           (unsigned long long)request->code[1], pid == from ? "the child" : "somebody else");
}

static void answer(raise_request_t *request, raise_reply_t *reply, mach_msg_size_t size) {
    reply->Head.msgh_bits = MACH_MSGH_BITS(MACH_MSGH_BITS_REMOTE(request->Head.msgh_bits), 0);
    reply->Head.msgh_size = size;
    reply->Head.msgh_remote_port = request->Head.msgh_remote_port;
    reply->Head.msgh_id = request->Head.msgh_id + 100;
    reply->NDR = NDR_record;
    CHECK(mach_msg_send(&reply->Head));
    mach_port_deallocate(mach_task_self(), request->thread.name);
    mach_port_deallocate(mach_task_self(), request->task.name);
}

int main(void) {
    mach_port_t port;
    raise_request_t request;
    raise_reply_t reply;
    CHECK(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port));
    CHECK(mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND));
    CHECK(task_set_exception_ports(mach_task_self(), EXC_MASK_BREAKPOINT, port, (int)(EXCEPTION_DEFAULT | MACH_EXCEPTION_CODES),
                                   THREAD_STATE_NONE));
    CHECK(task_set_exception_ports(mach_task_self(), EXC_MASK_BAD_ACCESS, port,
                                   (int)(EXCEPTION_STATE_IDENTITY | MACH_EXCEPTION_CODES), x86_THREAD_STATE64));
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        child();

    receive(port, &request, pid);
    memset(&reply, 0, sizeof reply);
    answer(&request, &reply, 36);

    receive(port, &request, pid);
    memset(&reply, 0, sizeof reply);
    x86_thread_state64_t state;
    memcpy(&state, request.old_state, sizeof state);
    state.__rax = 42;
    state.__rip += 2;
    memcpy(reply.new_state, &state, sizeof state);
    reply.flavor = request.flavor;
    reply.new_stateCnt = request.old_stateCnt;
    answer(&request, &reply, (mach_msg_size_t)(44 + 4 * reply.new_stateCnt));

    receive(port, &request, pid);
    memset(&reply, 0, sizeof reply);
    reply.RetCode = KERN_FAILURE;
    answer(&request, &reply, 36);

    int status = 0;
    if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV) {
        fprintf(stderr, "crash: the child ended with %x\n", status);
        return 1;
    }
    puts("crash: the child died of its third fault");
    return 0;
}

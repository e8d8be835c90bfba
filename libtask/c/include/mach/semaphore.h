/* Semaphores: rights like others, which may be sent to other tasks. One is over when the task that made it is. */
#ifndef UMACH_MACH_SEMAPHORE_H
#define UMACH_MACH_SEMAPHORE_H

#include <mach/clock_types.h>
#include <mach/mach_types.h>
#include <mach/sync_policy.h>

#ifdef __cplusplus
extern "C" {
#endif

kern_return_t semaphore_create(task_t task, semaphore_t *semaphore, int policy, int value);
kern_return_t semaphore_destroy(task_t task, semaphore_t semaphore);
kern_return_t semaphore_signal(semaphore_t semaphore);
kern_return_t semaphore_signal_all(semaphore_t semaphore);
/* The thread is one of the caller's task; with none, one that waits. KERN_NOT_WAITING if there is none. */
kern_return_t semaphore_signal_thread(semaphore_t semaphore, thread_t thread);
kern_return_t semaphore_wait(semaphore_t semaphore);
kern_return_t semaphore_timedwait(semaphore_t semaphore, mach_timespec_t wait_time);
kern_return_t semaphore_wait_signal(semaphore_t wait_semaphore, semaphore_t signal_semaphore);
kern_return_t semaphore_timedwait_signal(semaphore_t wait_semaphore, semaphore_t signal_semaphore, mach_timespec_t wait_time);

#ifdef __cplusplus
}
#endif

#endif

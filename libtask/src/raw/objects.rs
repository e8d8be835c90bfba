//! Semaphores, exception ports, and tasks by their processes.

use std::time::Duration;

use umach_abi::control::{self, exception_flags, phase, semaphore_flags};
use umach_abi::records::ExceptionRow;
use umach_abi::{Code, Name};

use super::calls::Space;
use crate::transport::Wait;
use crate::transport::pool::Need;

/// The number that Linux gave this thread.
fn own_thread() -> u32 {
    rustix::thread::gettid().as_raw_pid() as u32
}

impl Space<'_> {
    /// `semaphore_create`: a semaphore of this task's, which is over when the task is. `policy`: 0 first come, first served; 2 the other way round.
    pub fn semaphore_create(&self, policy: u32, value: i32) -> Result<Name, Code> {
        self.ask(&control::SemaphoreCreate { task: self.target(), policy, value }, |answer, _| answer.semaphore)
    }
    /// `semaphore_destroy`: the semaphore is over if it is this task's. Uses up one reference of the name in any case.
    pub fn semaphore_destroy(&self, semaphore: Name) -> Result<(), Code> {
        self.ask(&control::SemaphoreDestroy { task: self.target(), semaphore }, |_, _| ())
    }
    /// `semaphore_signal`.
    pub fn semaphore_signal(&self, semaphore: Name) -> Result<(), Code> {
        self.signal(semaphore, 0, 0)
    }
    /// `semaphore_signal_all`: wakes all threads that wait; does not count if none does.
    pub fn semaphore_signal_all(&self, semaphore: Name) -> Result<(), Code> {
        self.signal(semaphore, semaphore_flags::ALL, 0)
    }
    /// `semaphore_signal_thread` without a thread: wakes one that waits, or fails with `KERN_NOT_WAITING`.
    pub fn semaphore_signal_waiting(&self, semaphore: Name) -> Result<(), Code> {
        self.signal(semaphore, semaphore_flags::WAITING, 0)
    }
    /// `semaphore_signal_thread` for the thread of this process that Linux has given this number: wakes it, or fails with `KERN_NOT_WAITING`.
    pub fn semaphore_signal_thread(&self, semaphore: Name, thread: u32) -> Result<(), Code> {
        self.signal(semaphore, semaphore_flags::THREAD, thread)
    }
    fn signal(&self, semaphore: Name, flags: u32, thread: u32) -> Result<(), Code> {
        self.ask(&control::SemaphoreSignal { semaphore, flags, thread }, |_, _| ())
    }
    /// `semaphore_wait` and `semaphore_timedwait`: for ever without a timeout, not at all with one of zero.
    ///
    /// # Errors
    /// `KERN_OPERATION_TIMED_OUT`; `KERN_TERMINATED` if the semaphore is over; `KERN_INVALID_NAME`, `KERN_INVALID_RIGHT`, `KERN_INVALID_CAPABILITY` if the name
    /// is none, no send right, or no semaphore's.
    pub fn semaphore_wait(&self, semaphore: Name, timeout: Option<Duration>) -> Result<(), Code> {
        self.semaphore_wait_signal(semaphore, Name::NULL, timeout, false)
    }
    /// `semaphore_wait_signal` and `semaphore_timedwait_signal`: once the thread waits, `signal` is signalled, unless it is null. `interruptible`: a
    /// signal handler that ran ends the wait with `KERN_ABORTED`.
    pub fn semaphore_wait_signal(&self, semaphore: Name, signal: Name, timeout: Option<Duration>, interruptible: bool) -> Result<(), Code> {
        let at_once = timeout == Some(Duration::ZERO);
        let call =
            control::SemaphoreWait { semaphore, signal, flags: if at_once { semaphore_flags::TRY } else { 0 }, thread: own_thread() };
        let interruptible = if interruptible { phase::RECEIVE } else { 0 };
        let (need, wait) = match at_once {
            true => (Need::Prompt, Wait::FOREVER),
            false => (Need::Blocking(timeout), Wait { timeout, timed: phase::RECEIVE, interruptible }),
        };
        match self.task.request_within(&call, need, wait, |_, _| ()) {
            Ok(answer) => answer,
            // No lane was free in time.
            Err(failed) if failed.code() == Code::MACH_SEND_TIMED_OUT => Err(Code::KERN_OPERATION_TIMED_OUT),
            Err(failed) => Err(failed.code()),
        }
    }

    /// `task_set_exception_ports`: a copy of the caller's send right `port`, or nothing for null, is told of the kinds of exception in `mask`.
    pub fn task_set_exception_ports(&self, mask: u32, port: Name, behavior: u32, flavor: u32) -> Result<(), Code> {
        self.swap_exceptions(mask, port, behavior, flavor, 0).map(drop)
    }
    /// `task_swap_exception_ports`: the same; gives what was there before, with a send right for each row that has one.
    pub fn task_swap_exception_ports(&self, mask: u32, port: Name, behavior: u32, flavor: u32) -> Result<Vec<ExceptionRow>, Code> {
        self.swap_exceptions(mask, port, behavior, flavor, exception_flags::GIVE)
    }
    fn swap_exceptions(&self, mask: u32, port: Name, behavior: u32, flavor: u32, flags: u32) -> Result<Vec<ExceptionRow>, Code> {
        let call = control::TaskSwapExceptionPorts { task: self.target(), mask, port, behavior, flavor, flags };
        self.ask(&call, |answer, _| ExceptionRow::all(answer.rows).collect())
    }
    /// `task_get_exception_ports`: one row for kinds that are treated alike, with a send right if there is one.
    pub fn task_get_exception_ports(&self, mask: u32) -> Result<Vec<ExceptionRow>, Code> {
        self.ask(&control::TaskGetExceptionPorts { task: self.target(), mask }, |answer, _| ExceptionRow::all(answer.rows).collect())
    }
    /// Who is to be told of one kind of exception (`EXC_*`), and how: port (null if nobody), behaviour and flavour. For the task's own library, when
    /// one happens.
    pub fn task_exception_port(&self, exception: u32) -> Result<(Name, u32, u32), Code> {
        let call = control::TaskExceptionPort { task: self.target(), exception };
        self.ask(&call, |answer, _| (answer.port, answer.behavior, answer.flavor))
    }

    /// `task_for_pid`: the control right of a task in that process: the caller's own, one that the caller holds anyway, or any for who holds the host's control
    /// right. `KERN_FAILURE` otherwise.
    pub fn task_for_pid(&self, pid: u32) -> Result<Name, Code> {
        self.ask(&control::TaskForPid { pid }, |answer, _| answer.control)
    }
    /// `pid_for_task`. The target may also be a name right. 0 if the task has no process yet.
    pub fn pid_for_task(&self) -> Result<u32, Code> {
        self.task_info().map(|row| row.pid)
    }
    /// `mach_port_assert_attributes`: that the port is strictly guarded with this guard.
    pub fn port_assert_guard(&self, name: Name, guard: u64) -> Result<(), Code> {
        let flavor = umach_abi::rights::flavor::GUARD_INFO;
        self.ask(&control::PortAssertAttributes { task: self.target(), name, flavor, info: &guard.to_le_bytes() }, |_, _| ())
    }
}

//! Tasks that are processes, over a real kernel process. Skipped, saying so, if `umachd` is not built.
//!
//! This program starts itself again as the child: a test that finds `UMACH_TEST_PLAY` set plays the child's part.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use libtask::{Command, Error, Message, Next, Notification, ReceiveRight, Task};

const SOON: Duration = Duration::from_secs(30);
const PLAY: &str = "UMACH_TEST_PLAY";

fn kernel_program() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?;
    let folder = beside.parent()?.parent()?;
    let found = [folder.join("umachd"), folder.join("umach")].into_iter().find(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: umachd is not built (cargo build -p umach-kernel)");
    }
    found
}

/// The first task of a kernel process of its own.
fn private() -> Option<Task> {
    kernel_program()?;
    Some(Task::private_kernel().unwrap())
}

/// This test program again, playing `part` of the test `test`.
fn actor(test: &str, part: &str) -> Command {
    let mut program = std::process::Command::new(std::env::current_exe().unwrap());
    // Its own report of the one test; what matters shows in how it ends.
    program.stdout(Stdio::null());
    Command::from(program).args([test, "--exact", "--nocapture", "--test-threads=1"]).env(PLAY, part).label(part).kill_on_drop()
}

fn part() -> Option<String> {
    std::env::var(PLAY).ok()
}

fn serving(task: &Task) -> (ReceiveRight, libtask::SendRight) {
    let port = task.new_port().unwrap();
    let send = port.make_send().unwrap();
    (port, send)
}

#[test]
fn spawned_task_calls_its_spawner_and_its_death_is_told() {
    if part().is_some() {
        let task = Task::current().unwrap();
        let to = task.bootstrap().unwrap();
        let answer = to.call_within(Message::new(1).body(&task.id()).memory(vec![9; 300_000]), SOON).unwrap();
        assert_eq!(answer.bytes(), b"welcome");
        let port = task.new_port().unwrap();
        to.send(Message::new(2).make_send(&port)).unwrap();
        // Until it is killed.
        let _ = port.receive_within(SOON);
        return;
    }
    let Some(task) = private() else { return };
    let (port, send) = serving(&task);
    let mut child = task.spawn(actor("spawned_task_calls_its_spawner_and_its_death_is_told", "child").bootstrap(&send)).unwrap();
    let mut hello = port.receive_within(SOON).unwrap();
    assert_eq!(hello.sender().pid, child.pid());
    assert_eq!(hello.body::<u64>().unwrap(), child.control().info().unwrap().task);
    assert_eq!(hello.memory(0).unwrap()[..], [9; 300_000][..]);
    hello.reply(Message::new(0).bytes(b"welcome")).unwrap();
    let theirs = port.receive_within(SOON).unwrap().take_send(0).unwrap();
    let inbox = task.new_port().unwrap();
    let _ = theirs.notify_dead(&inbox).unwrap();
    child.process.kill().unwrap();
    let notice = inbox.receive_within(SOON).unwrap();
    assert!(matches!(notice.notification(), Some(Notification::DeadName(dead)) if dead.was(&theirs)));
    child.wait().unwrap();
}

#[test]
fn caller_is_told_at_once_when_the_server_process_is_killed() {
    if part().is_some() {
        let task = Task::current().unwrap();
        let (port, send) = serving(&task);
        task.bootstrap().unwrap().send(Message::new(1).move_send(send)).unwrap();
        let request = port.receive_within(SOON).unwrap();
        std::thread::sleep(SOON);
        drop(request);
        return;
    }
    let Some(task) = private() else { return };
    let (port, send) = serving(&task);
    let mut child = task.spawn(actor("caller_is_told_at_once_when_the_server_process_is_killed", "server").bootstrap(&send)).unwrap();
    let server = port.receive_within(SOON).unwrap().take_send(0).unwrap();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| server.call_within(Message::new(1), SOON).unwrap_err());
        // Once the request was received, only the answer is missing.
        let deadline = Instant::now() + SOON;
        while child.control().info().unwrap().received == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        let error = call.join().unwrap();
        assert!(error.is_server_died(), "{error}");
    });
}

#[test]
fn no_senders_comes_when_the_only_client_process_ends() {
    if part().is_some() {
        let to = Task::current().unwrap().bootstrap().unwrap();
        assert_eq!(to.call_within(Message::new(1).body(&20u32), SOON).unwrap().body::<u32>().unwrap(), 21);
        return;
    }
    let Some(task) = private() else { return };
    let (port, send) = serving(&task);
    let mut child = task.spawn(actor("no_senders_comes_when_the_only_client_process_ends", "client").bootstrap(&send)).unwrap();
    drop(send);
    port.on_no_senders(&port).unwrap();
    let mut served = 0;
    port.serve(|request| {
        if let Some(Notification::NoSenders { .. }) = request.notification() {
            return Next::Stop;
        }
        served += 1;
        Next::Reply(Message::new(0).body(&(request.body::<u32>().unwrap() + 1)))
    })
    .unwrap();
    assert_eq!(served, 1);
    assert!(child.wait().unwrap().success());
}

#[test]
fn descriptors_do_not_survive_exec() {
    /// What a program started from here has open.
    fn inherited() -> Vec<String> {
        let listing = std::process::Command::new("ls").args(["-l", "/proc/self/fd"]).stderr(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&listing.stdout).into_owned();
        let target = |line: &str| line.split_once("-> ").map(|(_, target)| target.to_owned());
        text.lines().filter_map(target).filter(|target| target.contains("socket:") || target.contains("memfd:")).collect()
    }
    // Whoever runs the tests may have left some.
    let before = inherited();
    let Some(task) = private() else { return };
    let (port, send) = serving(&task);
    std::thread::scope(|scope| {
        // A second lane, and memory of both kinds.
        let waiting = scope.spawn(|| port.receive_within(SOON).unwrap());
        let writer = task.region_writer(4096).unwrap();
        let shared = task.shared_region(4096).unwrap();
        let new: Vec<_> = inherited().into_iter().filter(|target| !before.contains(target)).collect();
        assert!(new.is_empty(), "{new:?}");
        send.send(Message::new(1)).unwrap();
        waiting.join().unwrap();
        drop((writer, shared));
    });
}

#[test]
fn connection_ends_when_the_kernel_process_is_killed() {
    let Some(task) = private() else { return };
    let port = task.new_port().unwrap();
    let kernel = task.host().unwrap().info().unwrap().pid;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| port.receive_within(SOON).unwrap_err());
        let deadline = Instant::now() + SOON;
        while task.control().unwrap().info().unwrap().blocked_receives == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        // SIGKILL by its id: it is the child of this very process.
        let status = std::process::Command::new("kill").args(["-9", &kernel.to_string()]).status().unwrap();
        assert!(status.success());
        assert!(matches!(waiting.join().unwrap(), Error::KernelGone));
    });
    assert!(matches!(task.new_port(), Err(Error::KernelGone)));
}

#[test]
fn stop_and_continue_during_a_wait_changes_nothing() {
    if part().is_some() {
        let port = Task::current().unwrap().new_port().unwrap();
        let send = port.make_send().unwrap();
        Task::current().unwrap().bootstrap().unwrap().send(Message::new(1).move_send(send)).unwrap();
        let got = port.receive_within(SOON).unwrap();
        Task::current().unwrap().bootstrap().unwrap().send(Message::new(got.id() + 1)).unwrap();
        return;
    }
    let Some(task) = private() else { return };
    let (port, send) = serving(&task);
    let mut child = task.spawn(actor("stop_and_continue_during_a_wait_changes_nothing", "waiter").bootstrap(&send)).unwrap();
    let to = port.receive_within(SOON).unwrap().take_send(0).unwrap();
    for _ in 0..5 {
        // Linux interrupts the system call for it, without any handler.
        child.control().suspend().unwrap();
        child.control().resume().unwrap();
    }
    to.send(Message::new(40)).unwrap();
    assert_eq!(port.receive_within(SOON).unwrap().id(), 41);
    assert!(child.wait().unwrap().success());
}

#[test]
fn trace_prints_a_line_for_each_message() {
    if part().is_some() {
        let task = Task::current().unwrap();
        let mine = task.new_port().unwrap();
        let to = task.bootstrap().unwrap();
        to.call_within(Message::new(321).make_send(&mine).bytes(b"abc"), SOON).unwrap();
        return;
    }
    let Some(task) = private() else { return };
    let (port, send) = serving(&task);
    let mut command = actor("trace_prints_a_line_for_each_message", "traced").env("UMACH_TRACE", "1").bootstrap(&send);
    command.process().stderr(Stdio::piped());
    let mut child = task.spawn(command).unwrap();
    let mut request = port.receive_within(SOON).unwrap();
    request.reply(Message::new(654)).unwrap();
    let mut printed = String::new();
    child.process.stderr.take().unwrap().read_to_string(&mut printed).unwrap();
    assert!(child.wait().unwrap().success(), "{printed}");
    let line = printed.lines().find(|line| line.contains("message 321")).unwrap_or_else(|| panic!("{printed}"));
    assert!(line.contains("calls send 0x") && line.contains("make send from receive 0x") && line.contains("3 bytes"), "{line}");
    assert!(printed.lines().any(|line| line.contains("receives: message 654")), "{printed}");
}

#[test]
fn fork_is_detected_and_the_parent_goes_on() {
    if part().is_some() {
        let task = Task::current().unwrap();
        let port = task.new_port().unwrap();
        assert!(matches!(forked::in_child(|| matches!(port.make_send(), Err(Error::Forked))), Some(true)));
        assert!(matches!(forked::in_child(|| matches!(Task::current(), Err(Error::Forked))), Some(true)));
        port.make_send().unwrap().send(Message::new(1)).unwrap();
        assert_eq!(port.receive_within(SOON).unwrap().id(), 1);
        return;
    }
    let Some(task) = private() else { return };
    let mut child = task.spawn(actor("fork_is_detected_and_the_parent_goes_on", "forker")).unwrap();
    assert!(child.wait().unwrap().success());
}

/// `fork` for the test above.
#[allow(unsafe_code)]
mod forked {
    /// What `f` said in a forked child; `None` if the child did not get that far.
    pub(super) fn in_child(f: impl FnOnce() -> bool) -> Option<bool> {
        // SAFETY: the child runs `f`, which must take no lock that another thread may hold (the caller sees to that), and leaves by `_exit`.
        match unsafe { libc::fork() } {
            0 => {
                let code = if f() { 10 } else { 11 };
                // SAFETY: ends the child without running the parent's destructors.
                unsafe { libc::_exit(code) }
            }
            child => {
                let mut status = 0;
                // SAFETY: waits for the child made above; `status` is a valid place.
                unsafe { libc::waitpid(child, &mut status, 0) };
                match libc::WEXITSTATUS(status) {
                    10 => Some(true),
                    11 => Some(false),
                    _ => None,
                }
            }
        }
    }
}

#[test]
fn variable_left_over_from_elsewhere_is_not_taken_for_a_lane() {
    if part().is_some() {
        let error = Task::current().unwrap_err();
        assert!(matches!(error, Error::NoKernel { .. }), "{error}");
        return;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["variable_left_over_from_elsewhere_is_not_taken_for_a_lane", "--exact"])
        .env(PLAY, "stray")
        .env("UMACH_LANE", "0")
        .env("UMACH_LANE_INODE", "1")
        .env("UMACH_SOCKET", "/nonexistent/umach/socket")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    std::io::stdout().write_all(said.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// A kernel process that listens at a path and ends with its last task, and a first task.
fn kernel_at(program: &Path, path: &Path) -> (Child, Task) {
    let mut command = std::process::Command::new(program);
    if program.ends_with("umach") {
        command.arg("kernel");
    }
    let mut kernel = command.args(["--exit-when-idle", "--log", "warn", "--socket"]).arg(path).spawn().unwrap();
    let deadline = Instant::now() + SOON;
    let task = loop {
        match Task::connect(path) {
            Ok(task) => break task,
            Err(Error::NoKernel { .. }) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Err(e) => {
                kernel.kill().unwrap();
                panic!("{e}");
            }
        }
    };
    (kernel, task)
}

#[test]
fn lane_that_is_used_up_is_no_obstacle_where_a_socket_is_named() {
    if part().is_some() {
        let task = Task::current().unwrap();
        let kernel = task.host().unwrap().info().unwrap().pid;
        assert_eq!(kernel.to_string(), std::env::var("TEST_KERNEL_PID").unwrap());
        return;
    }
    let Some(program) = kernel_program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k/socket");
    // This task also keeps the kernel process alive.
    let (mut kernel, task) = kernel_at(&program, &path);
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let (lane, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    drop(far);
    // A duplicate without close-on-exec, which other tests' children may get too: it leads nowhere.
    let lane = rustix::io::dup(&lane).unwrap();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["lane_that_is_used_up_is_no_obstacle_where_a_socket_is_named", "--exact"])
        .env(PLAY, "second")
        .env("UMACH_LANE", lane.as_raw_fd().to_string())
        .env("UMACH_LANE_INODE", rustix::fs::fstat(&lane).unwrap().st_ino.to_string())
        .env("UMACH_SOCKET", &path)
        .env("TEST_KERNEL_PID", kernel.id().to_string())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    drop(task);
    assert!(kernel.wait().unwrap().success());
    assert!(status.success());
}

#[test]
fn kernel_is_found_by_its_socket_and_a_directory_of_others_is_refused() {
    let Some(program) = kernel_program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k/socket");
    let (mut kernel, task) = kernel_at(&program, &path);
    assert_eq!(task.host().unwrap().info().unwrap().pid, kernel.id());
    let directory = folder.path().join("k");
    let mut open = std::fs::metadata(&directory).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut open, 0o777);
    std::fs::set_permissions(&directory, open).unwrap();
    let error = Task::connect(&path).unwrap_err();
    assert!(error.to_string().contains("others can write"), "{error}");
    drop(task);
    assert!(kernel.wait().unwrap().success());
}

#[test]
fn signal_handler_interrupts_only_who_asked_for_it() {
    use libtask::raw::{ConstructFlags, MsgBuffer, Options};
    use libtask::{Code, Disposition, Name};

    let Some(task) = private() else { return };
    interrupt::install();
    let space = task.raw();
    let port = space.port_construct(ConstructFlags::QLIMIT | ConstructFlags::INSERT_SEND_RIGHT, 1, 0).unwrap();
    std::thread::scope(|scope| {
        // A receive that asked for it is told; one that did not goes on.
        let (asked, other) = (space, space);
        let interrupted = interrupt::until_done(scope, move || {
            let mut buffer = MsgBuffer::default();
            asked.mach_msg(&mut buffer, Options::RCV | Options::RCV_INTERRUPT, 1000, port, 0, Name::NULL)
        });
        assert_eq!(interrupted, Code::MACH_RCV_INTERRUPTED);
        let goes_on = interrupt::some_times(scope, move || {
            let mut buffer = MsgBuffer::default();
            let options = Options::RCV | Options::RCV_TIMEOUT;
            other.mach_msg(&mut buffer, options, 1000, port, 300, Name::NULL)
        });
        assert_eq!(goes_on, Code::MACH_RCV_TIMED_OUT);
        // A send on a full queue: the message is handed back.
        let mut first = MsgBuffer::new(1).remote(port, Disposition::CopySend);
        assert_eq!(space.send(&mut first), Code::SUCCESS);
        let interrupted = interrupt::until_done(scope, move || {
            let mut second = MsgBuffer::new(2).remote(port, Disposition::CopySend);
            space.mach_msg(&mut second, Options::SEND | Options::SEND_INTERRUPT, 0, Name::NULL, 0, Name::NULL)
        });
        assert_eq!(interrupted, Code::MACH_SEND_INTERRUPTED);
    });
    assert_eq!(space.port_get_receive_status(port).unwrap().queued, 1);
}

/// Signals for the test above.
#[allow(unsafe_code)]
mod interrupt {
    use std::thread::Scope;
    use std::time::{Duration, Instant};

    /// Handles SIGUSR2 by doing nothing.
    pub(super) fn install() {
        extern "C" fn nothing(_: libc::c_int) {}
        // SAFETY: a zeroed sigaction is a valid one; the handler does nothing, hence is async-signal-safe.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
            assert_eq!(libc::sigaction(libc::SIGUSR2, &action, std::ptr::null_mut()), 0);
        }
    }

    /// Runs `f` in a thread and signals it again and again until it returns: a signal before it blocks is lost.
    pub(super) fn until_done<'s, T: Send + 's>(scope: &'s Scope<'s, '_>, f: impl FnOnce() -> T + Send + 's) -> T {
        signal(scope, f, usize::MAX)
    }

    /// The same with a few signals only.
    pub(super) fn some_times<'s, T: Send + 's>(scope: &'s Scope<'s, '_>, f: impl FnOnce() -> T + Send + 's) -> T {
        signal(scope, f, 10)
    }

    fn signal<'s, T: Send + 's>(scope: &'s Scope<'s, '_>, f: impl FnOnce() -> T + Send + 's, times: usize) -> T {
        let (tell, told) = std::sync::mpsc::channel();
        let thread = scope.spawn(move || {
            // SAFETY: asks for the calling thread's own id.
            tell.send(unsafe { libc::pthread_self() }).unwrap();
            f()
        });
        let id = told.recv().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        for _ in 0..times {
            if thread.is_finished() {
                break;
            }
            assert!(Instant::now() < deadline, "signals change nothing");
            // SAFETY: the thread is not joined yet, so its id is valid, also if it has ended.
            unsafe { libc::pthread_kill(id, libc::SIGUSR2) };
            std::thread::sleep(Duration::from_millis(5));
        }
        thread.join().unwrap()
    }
}

#[test]
fn example_adder_runs_to_its_end() {
    let Some(program) = kernel_program() else { return };
    let Some(example) = program.parent().map(|folder| folder.join("examples/adder")).filter(|path| path.is_file()) else {
        eprintln!("SKIPPED: examples/adder is not built");
        return;
    };
    let mut command = std::process::Command::new(example);
    // A place where no kernel process is, so that a private one is started.
    let nowhere = tempfile::tempdir().unwrap();
    command.env("XDG_RUNTIME_DIR", nowhere.path()).env_remove("UMACH_SOCKET").env("UMACHD", &program);
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("2 + 3 = 5") && out.contains("no clients left"), "{out}{err}");
    assert!(err.contains("started a private one"), "{err}");
}

/// Threads that sleep on memory that they share with other tasks look by themselves only twice a minute.
#[test]
fn kernel_process_that_is_killed_is_noticed_by_all_who_sleep() {
    const LONG: Duration = Duration::from_secs(60);
    let Some(program) = kernel_program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (mut kernel, server) = kernel_at(&program, &folder.path().join("k/socket"));
    let port = server.new_port().unwrap();
    server.set_bootstrap(&port.make_send().unwrap()).unwrap();
    let (client, _control) = server.spawn_local("client").unwrap();
    let right = client.bootstrap().unwrap();
    for n in 0..100 {
        right.send(Message::new(n)).unwrap();
        port.receive_within(SOON).unwrap();
    }
    let other = server.new_port().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let threads = [0, 1, 2].map(|n| {
        let (tell, right, port, other) = (tell.clone(), right.duplicate(), &port, &other);
        (n, tell, right, port, other)
    });
    std::thread::scope(|scope| {
        for (n, tell, right, port, other) in threads {
            scope.spawn(move || {
                let ended = match n {
                    0 => right.call_within(Message::new(1000), LONG).map(drop),
                    1 => other.receive_within(LONG).map(drop),
                    // The call is not answered.
                    _ => port.receive_within(LONG).and_then(|_call| port.receive_within(LONG).map(drop)),
                };
                tell.send((n, ended)).unwrap();
            });
        }
        // They are asleep by then, and if not they notice all the same.
        std::thread::sleep(Duration::from_millis(300));
        kernel.kill().unwrap();
        for _ in 0..3 {
            let (n, ended) = told.recv_timeout(Duration::from_secs(20)).expect("who sleeps is woken");
            assert!(matches!(ended, Err(Error::KernelGone)), "{n}: {ended:?}");
        }
    });
    kernel.wait().unwrap();
}

#[test]
fn full_table_of_descriptors_loses_the_memory_and_nothing_else() {
    if part().is_some() {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let task = Task::current().unwrap();
        let to = task.bootstrap().unwrap();
        let port = task.new_port().unwrap();
        // Opens the second lane too, which a wait needs.
        to.call_within(Message::new(1).make_send(&port), SOON).unwrap();
        let before = getrlimit(Resource::Nofile);
        // Nothing more fits from here on.
        setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..before }).unwrap();
        let mut got = port.receive_within(SOON).unwrap();
        assert_eq!((got.id(), got.bytes()), (2, &b"body"[..]));
        let error = got.memory(0).unwrap_err();
        assert!(error.to_string().contains("table is full"), "{error}");
        let error = task.region(b"more").unwrap_err();
        assert!(error.to_string().contains("making a region"), "{error}");
        setrlimit(Resource::Nofile, before).unwrap();
        assert_eq!(task.region(b"more").unwrap().map().unwrap()[..], *b"more");
        got.take_send(1).unwrap().send(Message::new(3)).unwrap();
        return;
    }
    let Some(task) = private() else { return };
    let (port, send) = serving(&task);
    let mut child = task.spawn(actor("full_table_of_descriptors_loses_the_memory_and_nothing_else", "full").bootstrap(&send)).unwrap();
    let mut hello = port.receive_within(SOON).unwrap();
    let to = hello.take_send(0).unwrap();
    hello.reply(Message::new(0)).unwrap();
    let answer = task.new_port().unwrap();
    to.send(Message::new(2).bytes(b"body").memory(vec![1; 200_000]).make_send(&answer)).unwrap();
    assert_eq!(answer.receive_within(SOON).unwrap().id(), 3);
    assert!(child.wait().unwrap().success());
}

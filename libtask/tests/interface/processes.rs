//! The same between processes, over a kernel process of their own. Skipped, saying so, if `umachd` is not built.
//!
//! This program starts itself again as the client: a test that finds `UMACH_TEST_PLAY` set plays that part.

use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::Instant;

use libtask::{CallError, Command, Task};

use crate::SOON;
use crate::streams::{Feed, Server};

const PLAY: &str = "UMACH_TEST_PLAY";

fn client(test: &str, part: &str) -> Command {
    let mut program = std::process::Command::new(std::env::current_exe().unwrap());
    // Its own report of the one test; what matters shows in how it ends.
    program.stdout(Stdio::null());
    Command::from(program).args([test, "--exact", "--nocapture", "--test-threads=1"]).env(PLAY, part).label(part).kill_on_drop()
}

fn kernel() -> Option<Task> {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?.parent()?;
    if !["umachd", "umach"].iter().any(|name| folder.join(name).is_file()) {
        eprintln!("SKIPPED: umachd is not built (cargo build -p umach-kernel)");
        return None;
    }
    Some(Task::private_kernel().unwrap())
}

#[test]
fn client_in_another_process_calls_and_its_death_is_told() {
    if std::env::var_os(PLAY).is_some() {
        let feed = Task::current().unwrap().bootstrap().unwrap().typed::<dyn Feed>().client();
        for round in 0..200 {
            let (count, stream) = feed.words("one two three").unwrap();
            assert_eq!((count, stream.map(Result::unwrap).collect::<Vec<_>>().len()), (3, 3), "round {round}");
        }
        assert!(matches!(feed.words(""), Err(CallError::Refused(why)) if why == "no words"));
        let items: Vec<u32> = feed.count(500).unwrap().map(Result::unwrap).collect();
        assert_eq!(items, (0..500).collect::<Vec<_>>());
        // Both are on their way when it is killed.
        let _stream = feed.by_hand().unwrap();
        let _ = feed.begin().long().finish();
        return;
    }
    let Some(task) = kernel() else { return };
    let port = task.new_port_of::<dyn Feed>().unwrap();
    let right = port.make_send().unwrap();
    let ((sinks, sink), (answers, answer)) = (channel(), channel());
    let serving = std::thread::spawn(move || port.serve(Server { sinks, answers }));
    let mut child =
        task.spawn(client("processes::client_in_another_process_calls_and_its_death_is_told", "client").bootstrap(&right)).unwrap();
    let sink = sink.recv_timeout(SOON).expect("the client comes as far as that");
    let answer = answer.recv_timeout(SOON).unwrap();
    assert!(!answer.is_cancelled() && !sink.is_closed());
    child.kill().unwrap();
    child.wait().unwrap();
    let start = Instant::now();
    while !(answer.is_cancelled() && sink.is_closed()) {
        assert!(start.elapsed() < SOON, "cancelled: {}, closed: {}", answer.is_cancelled(), sink.is_closed());
        std::thread::yield_now();
    }
    assert!(sink.send(1).unwrap_err().error.is_dead());
    let _ = answer.answer(1);
    assert!(!serving.is_finished());
}

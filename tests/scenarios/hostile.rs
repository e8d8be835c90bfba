//! A pair of tasks exchanges numbered messages, with rights and memory now and then, and checks each. Beside it live evil tasks, all at
//! once and one after the other. The pair goes on talking and misses nothing, and more of the same makes the kernel process no larger.

use libtask::{Child, Code, Disposition, Message, PortOptions, ReceiveRight, SendRight, Task};
use umach_tests::kernel::Limit;
use umach_tests::scenario::{FINISH, NUMBER, PROGRESS, Report, SOON};
use umach_tests::{World, eventually};

use crate::stage::{Stage, ended, is_stopped, succeeded};

/// Small enough that each can be reached within the play.
pub(crate) const LIMITS: &[Limit] =
    &[("task-ports", 26_000), ("task-names", 40_000), ("task-queued-bytes", 4 << 20), ("task-regions", 200)];

/// Each kind, and whether it ends by itself and content; the others kill themselves.
const EVIL: &[(&str, bool)] = &[
    ("flood", true),
    ("park", false),
    ("unread", true),
    ("garbage", true),
    ("quota", false),
    ("chains", false),
    ("stop", false),
    ("bomb", false),
    ("pages", true),
    ("hoard", false),
];

/// Descriptors of a link and two attention pages, should the pair's first one have come up late.
const LINK_DESCRIPTORS: usize = 3;
/// KiB that the kernel process may have more after more of the same.
const SLACK: u64 = 4 << 10;

pub(crate) fn play(world: &World) {
    let stage = Stage::new(world);
    let (listener, to_listener) = stage.cast_with_inbox(&["listener"], None);
    let (talker, to_talker) = stage.cast_with_inbox(&["talker"], Some(&to_listener));
    drop(to_listener);
    // A task of its own, since what is queued at its ports is taken from its budget: the flood must not keep reports away from the director.
    let service = world.task("service");
    let pair = Pair {
        world,
        stage: &stage,
        service: &service,
        socket: world.kernel().socket().expect("a socket").display().to_string(),
        to_talker,
    };
    // Until it has all the lanes and links that it needs.
    for _ in 0..5 {
        pair.still_talks();
    }
    let kernel = world.kernel();
    let descriptors = kernel.descriptors().expect("a kernel process");
    pair.suffer(EVIL);
    pair.alone();
    // What the kernel process keeps for the next time, it has now: none of them alone needs more than all together.
    let memory = kernel.memory().expect("a kernel process");
    for &kind in EVIL {
        pair.suffer(&[kind]);
        pair.alone();
    }
    pair.still_talks();
    // What is left of the pair is what it had; a link more among the three of them may have come up meanwhile.
    eventually("the descriptors are what they were", || kernel.descriptors().is_some_and(|now| now <= descriptors + LINK_DESCRIPTORS));
    let grown = kernel.memory().expect("a kernel process").saturating_sub(memory);
    assert!(grown < SLACK, "the kernel process has grown by {grown} KiB");
    pair.to_talker.send_within(Message::new(FINISH), SOON).expect("end the talker");
    succeeded("the talker", talker);
    succeeded("the listener", listener);
}

/// The way to the pair that talks.
struct Pair<'s> {
    world: &'s World,
    stage: &'s Stage,
    /// What is flooded.
    service: &'s Task,
    socket: String,
    to_talker: SendRight,
}

/// One evil task.
struct Evil {
    kind: &'static str,
    content: bool,
    child: Child,
    inbox: Option<SendRight>,
}

impl Pair<'_> {
    fn progress(&self) -> u32 {
        let answer = self.to_talker.call_within(Message::new(PROGRESS), SOON).expect("the talker answers");
        answer.body().expect("a number")
    }

    fn still_talks(&self) {
        let before = self.progress();
        eventually("the pair goes on", || self.progress() >= before + 20);
    }

    /// Waits until only the observer, the director, the service and the pair are left. The pair's own ports and regions come and go.
    fn alone(&self) {
        eventually("only the pair is left", || {
            let host = self.world.host();
            host.tasks == 5 && host.work == 0 && host.ports < 50 && host.regions <= 1 && host.messages < 10
        });
    }

    /// Lets these loose until all are gone.
    fn suffer(&self, kinds: &[(&'static str, bool)]) {
        let target = self.service.new_port_with(PortOptions { queue_limit: Some(1024), ..PortOptions::default() }).expect("make a port");
        let to_target = self.world.pass(self.service, target.name(), Disposition::MakeSend, &self.stage.task);
        let to_target = SendRight::from_raw(&self.stage.task, to_target);
        let mut evil: Vec<Evil> = vec![];
        for &(kind, content) in kinds {
            let arguments = ["evil", kind, &self.socket];
            let inbox = (kind == "flood").then_some(());
            let (child, inbox) = match inbox {
                Some(()) => {
                    let (child, inbox) = self.stage.cast_with_inbox(&arguments, Some(&to_target));
                    (child, Some(inbox))
                }
                None => (self.stage.cast(&arguments, None), None),
            };
            evil.push(Evil { kind, content, child, inbox });
        }
        for report in kinds.iter().filter(|(kind, _)| ["flood", "stop"].contains(kind)).map(|_| self.stage.hear().0) {
            match report {
                Report::Flooded(sent, code) => self.flooded(&target, &to_target, sent, Code(code)),
                // The stopped one will do so after it has said so; see below.
                Report::Ready(0) => {}
                other => panic!("{other:?}"),
            }
        }
        self.still_talks();
        for Evil { kind, content, mut child, inbox } in evil {
            if let Some(inbox) = inbox {
                inbox.send_within(Message::new(FINISH), SOON).expect("end a flood");
            }
            if kind == "stop" {
                eventually("the evil task stops", || is_stopped(child.pid()));
                self.still_talks();
                child.process.kill().expect("kill a stopped task");
            }
            let status = ended(&mut child);
            let by_signal = std::os::unix::process::ExitStatusExt::signal(&status);
            let expected = if content { status.success() } else { by_signal == Some(9) };
            assert!(expected, "{kind}: {status}");
        }
    }

    /// The flood was stopped by the budget for bytes, and left a share to others.
    fn flooded(&self, target: &ReceiveRight, to_target: &SendRight, sent: u32, code: Code) {
        assert_eq!(code.plain(), Code::MACH_SEND_NO_BUFFER, "after {sent} messages");
        assert!((10..1024).contains(&sent), "{sent} messages got through");
        succeeded("a polite client", self.stage.cast(&["polite"], Some(to_target)));
        let (mut heard, mut polite) = (0, 0);
        while let Some(message) = target.try_receive().expect("receive") {
            assert_eq!(message.id(), NUMBER);
            match message.bytes().len() {
                4096 => polite += 1,
                _ => heard += 1,
            }
            // The flood goes on in the room that this makes.
            if polite == 1 && heard >= sent {
                break;
            }
        }
        assert_eq!(polite, 1, "a polite client's message is lost");
        assert!(heard >= sent, "{heard} of {sent} heard");
    }
}

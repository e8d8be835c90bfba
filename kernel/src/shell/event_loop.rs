//! The loop: what comes in, one event at a time.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketType, recv, sockopt};
use umach_abi::Features;
use umach_abi::control::{Malformed, Request};
use umach_abi::limits::PACKET_MAX;

use super::checker::Checker;
use super::conn::{Conn, Sockets, Stage};
use super::listen::{Arrival, Listener};
use super::lobby::Lobby;
use super::log::Throttle;
use super::looking::{Look, Looker};
use super::poll::{Poller, Ready, Token};
use super::reaper::{Reaper, Region};
use super::signals::Signals;
use super::table::Table;
use super::{ShellConfig, ShellError, identity, limits, sys};
use crate::core::{Config, Core, Effects, LaneId, LinkId, Peer, RegionId, TaskId};
use crate::plane::{Plane, Will};

/// Events of one turn. More wait for the next; epoll hands them out in rotation.
const BATCH: usize = 128;
/// Connections taken in one turn.
const ACCEPT_BATCH: usize = 16;
/// Pieces of teardown in one turn, and as many more for each event: few enough that a turn stays about as short as a request (a piece takes
/// some 200 ns), and enough that teardown keeps pace with requests that make what is to be torn down.
const WORK_BUDGET: usize = 32;
const WORK_PER_EVENT: usize = 4;
/// Until something that Linux was short of is tried again.
const RETRY: Duration = Duration::from_millis(10);
/// Until connections are taken again after Linux was short of something.
const REST: Duration = Duration::from_millis(100);

/// The process of a task.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) peer: Peer,
    pub(super) pidfd: OwnedFd,
}

/// The kernel process.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) core: Core,
    pub(super) lanes: Table<LaneId, Conn>,
    pub(super) tasks: Table<TaskId, Process>,
    pub(super) regions: Table<RegionId, Rc<Region>>,
    pub(super) plane: Plane,
    pub(super) reaper: Rc<Reaper>,
    pub(super) poller: Poller,
    pub(super) sockets: Sockets,
    /// What the core wants done; empty between events.
    pub(super) effects: Effects,
    /// What comes of doing it; kept only so that its room is reused.
    pub(super) later: Effects,
    /// Regions that the effects of one round drop; empty between them.
    pub(super) dropped: Vec<RegionId>,
    /// Links, likewise.
    pub(super) dropped_links: Vec<LinkId>,
    /// Lanes whose answer waits for Linux to have memory again, and when to try.
    pub(super) short: Vec<LaneId>,
    pub(super) retry_at: Option<Instant>,
    /// When the core wants to be told that an alarm is due.
    pub(super) alarm_at: Option<Instant>,
    /// A task has ended in this turn.
    pub(super) task_gone: bool,
    /// The lane that was answered last.
    pub(super) answered: Option<LaneId>,
    pub(super) looker: Looker,
    lobby: Lobby,
    listener: Option<Listener>,
    /// The listener is not watched until then.
    rest_until: Option<Instant>,
    signals: Signals,
    pub(super) packet: Vec<u8>,
    more_work: bool,
    exit_when_idle: bool,
    checker: Checker,
    complaints: Throttle,
}

impl Shell {
    /// Makes everything ready, and says so.
    pub(super) fn start(config: ShellConfig) -> Result<Shell, ShellError> {
        let system = |what: &'static str| move |source| ShellError::System { what, source };
        let signals = Signals::new().map_err(system("receive signals through a descriptor"))?;
        let descriptors = limits::raise_descriptors();
        let poller = Poller::new(BATCH).map_err(system("make an epoll descriptor"))?;
        let sockets = Sockets::detect().map_err(system("make a socket pair"))?;
        let mut features = Features::PROCESSES | Features::PIDFD_DEATH;
        features.set(Features::REFUSES_DESCRIPTORS, sockets.refuse_descriptors);
        if !sockets.refuse_descriptors {
            tracing::warn!(
                "this Linux (before 6.16) cannot refuse descriptors that tasks send up: a hostile task can delay the kernel process with one"
            );
        }
        let core = Core::new(Config {
            pid: std::process::id(),
            features,
            limits: config.limits,
            direct: config.direct,
            machine: crate::machine::here(),
        });
        let listener = config.socket.as_deref().map(|path| Listener::open(path, &sockets)).transpose()?;
        let will =
            Will::make().inspect_err(|why| tracing::warn!(%why, "tasks that sleep would learn late that this process was killed")).ok();
        let mut shell = Shell {
            core,
            lanes: Table::default(),
            tasks: Table::default(),
            regions: Table::default(),
            plane: Plane::with_will(will),
            reaper: Rc::default(),
            poller,
            sockets,
            effects: Effects::new(),
            later: Effects::new(),
            dropped: Vec::new(),
            dropped_links: Vec::new(),
            short: Vec::new(),
            retry_at: None,
            alarm_at: None,
            task_gone: false,
            answered: None,
            looker: Looker::default(),
            lobby: Lobby::new(config.hello_within),
            listener,
            rest_until: None,
            signals,
            packet: vec![0; PACKET_MAX],
            more_work: false,
            exit_when_idle: config.exit_when_idle,
            checker: Checker::from_environment(),
            complaints: Throttle::new(),
        };
        shell.poller.add(&shell.signals, Token::Signals, Ready::IN).map_err(system("watch for signals"))?;
        if let Some(listener) = &shell.listener {
            shell.poller.add(listener, Token::Listener, Ready::IN).map_err(system("watch the listening socket"))?;
        }
        if let Some(lane) = config.lane {
            shell.adopt_first_lane(lane)?;
        }
        let path = shell.listener.as_ref().map(|listener| listener.path().display().to_string());
        tracing::info!(
            pid = std::process::id(),
            label = config.label.as_deref().unwrap_or("-"),
            socket = path.as_deref().unwrap_or("none"),
            ?features,
            direct = %config.direct,
            descriptors,
            "kernel ready"
        );
        if let Some(ready) = config.ready {
            // Whoever asked may have gone; that is no reason to end.
            let _ = rustix::io::write(ready, b"ready\n");
        }
        Ok(shell)
    }

    /// The first lane of a private kernel. Whoever made the pair is the first task, unless the first packet says otherwise.
    fn adopt_first_lane(&mut self, socket: OwnedFd) -> Result<(), ShellError> {
        let number = socket.as_raw_fd();
        let refuse = |why: &dyn fmt::Display| ShellError::Lane { number, why: why.to_string() };
        if sockopt::socket_type(&socket).map_err(|why| refuse(&why))? != SocketType::SEQPACKET {
            return Err(refuse(&"it is not a SOCK_SEQPACKET socket"));
        }
        self.sockets.prepare_ours(&socket).map_err(|why| refuse(&why))?;
        identity::ask_with_packets(&socket, true).map_err(|why| refuse(&why))?;
        let (peer, pidfd) = identity::of_socket(&socket).map_err(|why| refuse(&why))?;
        self.admit(socket, peer, pidfd, true, |_, _| Stage::Unidentified).map_err(|why| refuse(&why))
    }

    /// Runs until the end.
    pub(super) fn run(mut self) -> Result<(), ShellError> {
        let result = self.turns();
        tracing::info!(tasks = self.core.tasks(), "kernel ends");
        // Nobody new, and the files are gone before the lanes.
        self.listener = None;
        // The process is about to end, and freeing every right one by one would only delay that.
        std::mem::forget(self.core);
        result
    }

    fn turns(&mut self) -> Result<(), ShellError> {
        let mut failures = 0;
        loop {
            let look = self.look();
            let timeout = match look {
                Look::Nothing => self.timeout(),
                Look::Memory | Look::Sockets => Some(Duration::ZERO),
            };
            let polled = if look == Look::Memory { Ok(0) } else { self.poller.wait(timeout) };
            let count = match polled {
                Ok(count) => count,
                Err(source) if failures < 100 => {
                    failures += 1;
                    tracing::error!(%source, "epoll");
                    std::thread::sleep(RETRY);
                    continue;
                }
                Err(source) => return Err(ShellError::System { what: "wait for events", source }),
            };
            failures = 0;
            if look != Look::Memory {
                self.looker.polled(count);
            }
            for n in 0..count {
                let (token, ready) = self.poller.event(n);
                match token {
                    Token::Lane(lane) => self.lane_ready(lane, ready),
                    Token::Task(task) => self.process_died(task),
                    Token::Listener => self.take_connections(),
                    Token::Signals => {
                        if let Some(signal) = self.signals.take() {
                            tracing::info!(%signal, "asked to end");
                            return Ok(());
                        }
                    }
                }
            }
            self.serve_memories();
            if self.next_deadline().is_some() {
                self.keep_deadlines(Instant::now());
            }
            self.more_work = self.core.work(WORK_BUDGET + count * WORK_PER_EVENT, &mut self.effects);
            self.execute();
            if std::mem::take(&mut self.task_gone) && self.exit_when_idle && self.core.tasks() == 0 {
                return Ok(());
            }
        }
    }

    pub(super) fn more_work(&self) -> bool {
        self.more_work
    }

    fn next_deadline(&self) -> Option<Instant> {
        [self.lobby.next_deadline(), self.retry_at, self.rest_until, self.alarm_at].into_iter().flatten().min()
    }

    fn timeout(&self) -> Option<Duration> {
        if self.more_work {
            return Some(Duration::ZERO);
        }
        self.next_deadline().map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn keep_deadlines(&mut self, now: Instant) {
        while let Some(lane) = self.lobby.overdue(now) {
            tracing::debug!(?lane, "no Hello in time");
            self.hang_up(lane);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            for lane in std::mem::take(&mut self.short) {
                self.send_owed(lane);
                self.execute();
                self.serve_memory(lane);
            }
        }
        if self.alarm_at.is_some_and(|at| at <= now) {
            self.alarm_at = None;
            self.core.alarm_due(&mut self.effects);
            self.execute();
        }
        if self.rest_until.is_some_and(|until| until <= now) {
            self.rest_until = None;
            self.watch_listener(Ready::IN);
        }
    }

    // Newcomers.

    fn take_connections(&mut self) {
        for _ in 0..ACCEPT_BATCH {
            let Some(listener) = &mut self.listener else { return };
            match listener.accept() {
                Arrival::Came(socket) => self.welcome(socket),
                Arrival::Nobody => return,
                Arrival::Refused => self.complain(&"a connection was refused: out of descriptors (raise the limit, ulimit -n)"),
                Arrival::Starved(why) => {
                    self.complain(&format_args!("no connections for {REST:?}: {why}"));
                    self.watch_listener(Ready::empty());
                    self.rest_until = Some(Instant::now() + REST);
                    return;
                }
            }
        }
    }

    fn watch_listener(&self, ready: Ready) {
        if let Some(listener) = &self.listener
            && let Err(why) = self.poller.change(listener, Token::Listener, ready)
        {
            tracing::error!(%why, "cannot watch the listening socket");
        }
    }

    /// A connection at the listening socket becomes a task.
    fn welcome(&mut self, socket: OwnedFd) {
        let admitted =
            self.sockets.prepare_ours(&socket).and_then(|()| identity::of_socket(&socket)).map_err(|why| why.to_string()).and_then(
                |(peer, pidfd)| {
                    let trusted = peer.uid == 0 || peer.uid == rustix::process::geteuid().as_raw();
                    while let Some(oldest) = self.lobby.crowded_out(peer.uid) {
                        self.hang_up(oldest);
                    }
                    self.admit(socket, peer, pidfd, trusted, |shell, lane| Stage::Lobby(shell.lobby.enter(lane, peer.uid, Instant::now())))
                },
            );
        if let Err(why) = admitted {
            self.complain(&format_args!("a connection was refused: {why}"));
        }
    }

    /// A new task and its first lane. `stage` is asked once nothing can fail any more.
    fn admit(
        &mut self,
        socket: OwnedFd,
        peer: Peer,
        pidfd: OwnedFd,
        trusted: bool,
        stage: impl FnOnce(&mut Shell, LaneId) -> Stage,
    ) -> Result<(), String> {
        let lane = self.core.connect(peer, trusted).map_err(|code| format!("{code} (process {}, user {})", peer.pid, peer.uid))?;
        let task = self.core.task_of(lane);
        let watched = self.poller.add(&socket, Token::Lane(lane), Ready::IN).and_then(|()| match task {
            Some(task) => self.watch_process(task, peer, pidfd),
            None => Err(io::Error::other("a lane without a task")),
        });
        if let Err(why) = watched {
            drop(socket);
            self.core.hang_up(lane, &mut self.effects);
            self.execute();
            return Err(why.to_string());
        }
        let stage = stage(self, lane);
        self.lanes.insert(lane, Conn::new(socket, stage));
        Ok(())
    }

    fn watch_process(&mut self, task: TaskId, peer: Peer, pidfd: OwnedFd) -> io::Result<()> {
        self.poller.add(&pidfd, Token::Task(task), Ready::IN)?;
        self.tasks.insert(task, Process { peer, pidfd });
        Ok(())
    }

    // Events of lanes and processes.

    fn lane_ready(&mut self, lane: LaneId, ready: Ready) {
        let Some(conn) = self.lanes.get(lane) else { return }; // ended earlier in this turn
        if conn.owed.is_some() {
            if ready.contains(Ready::OUT) {
                self.send_owed(lane);
                self.execute();
                self.serve_memory(lane);
            } else if ready.intersects(Ready::HUP | Ready::ERR) {
                self.hang_up(lane);
            }
            return;
        }
        let received = if conn.stage == Stage::Unidentified {
            self.receive_first(lane)
        } else {
            recv(&conn.socket, &mut self.packet[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC).map(|(_, len)| len)
        };
        match received {
            // A packet of length zero looks the same as the end, and is not one of the protocol's.
            Ok(0) => self.hang_up(lane),
            Ok(len) if len > PACKET_MAX => self.end_offender(lane, &Malformed::Long { have: len }, PACKET_MAX),
            Ok(len) => self.serve(lane, len),
            Err(Errno::AGAIN | Errno::INTR | Errno::NOMEM | Errno::NOBUFS) if !ready.intersects(Ready::HUP | Ready::ERR) => {}
            Err(_) => self.hang_up(lane),
        }
    }

    /// One request, in `self.packet`. This and `execute` are the fast path.
    pub(super) fn serve(&mut self, lane: LaneId, len: usize) {
        self.release_first(lane);
        self.answered = None;
        match Request::decode(&self.packet[..len]) {
            Ok((head, request)) => match self.core.request(lane, head, &request, &mut self.effects) {
                Ok(()) if matches!(request, Request::LaneBell(_)) => return self.bell(lane, len),
                Ok(()) => {}
                Err(violation) => return self.end_offender(lane, &violation, len),
            },
            Err(malformed) => return self.end_offender(lane, &malformed, len),
        }
        self.execute();
        self.checker.look(&self.core);
        let Some(conn) = self.lanes.get_mut(lane) else { return };
        if let Stage::Lobby(place) = conn.stage {
            conn.stage = Stage::Open;
            self.lobby.leave(place);
        }
        if let Some(memory) = conn.memory.as_deref_mut() {
            if memory.is_open() {
                // Its answer is kept back, or has gone with something attached.
                memory.answer_elsewhere();
            } else if self.answered == Some(lane) && conn.owed.is_none() {
                self.warm(lane);
            }
        }
    }

    /// A task says that it has put something into a lane's memory.
    #[cold]
    fn bell(&mut self, lane: LaneId, len: usize) {
        match self.lanes.get(lane) {
            Some(conn) if conn.memory.is_none() => self.end_offender(lane, &"a bell for memory that the lane does not have", len),
            _ => self.serve_memory(lane),
        }
    }

    /// The first packet on a lane that somebody was given: tells the core who it is.
    #[cold]
    fn receive_first(&mut self, lane: LaneId) -> Result<usize, Errno> {
        let Some(conn) = self.lanes.get_mut(lane) else { return Ok(0) };
        let mut packet = sys::recv_identified(std::os::fd::AsFd::as_fd(&conn.socket), &mut self.packet)
            .map_err(|why| Errno::from_io_error(&why).unwrap_or(Errno::IO))?;
        if packet.len == 0 {
            return Ok(0);
        }
        conn.stage = Stage::Open;
        let _ = identity::ask_with_packets(&conn.socket, false); // costs speed only
        let Some(task) = self.core.task_of(lane) else { return Ok(packet.len) };
        match identity::of_packet(&mut packet) {
            Some((peer, pidfd)) => {
                if let Err(why) = self.watch_process(task, peer, pidfd) {
                    self.complain(&format_args!("process {} cannot be watched: {why}", peer.pid));
                    return Ok(0);
                }
                self.core.identify(lane, peer);
            }
            // Whoever made the pair of a private kernel's first lane has been identified by it already.
            None if self.tasks.get(task).is_some() => {}
            None => return Ok(0),
        }
        Ok(packet.len)
    }

    fn process_died(&mut self, task: TaskId) {
        // Forgotten now: the core may take a while to clean up, and a dead process stays readable.
        if self.tasks.remove(task).is_some() {
            self.core.end_task(task, &mut self.effects);
            self.execute();
        }
    }

    /// The far end of a lane is closed, or is treated as such.
    pub(super) fn hang_up(&mut self, lane: LaneId) {
        self.release_first(lane);
        self.forget_lane(lane);
        self.core.hang_up(lane, &mut self.effects);
        self.execute();
    }

    /// Closes our end. Epoll forgets it by itself.
    pub(super) fn forget_lane(&mut self, lane: LaneId) {
        self.looker.forget(lane);
        if let Some(Conn { stage: Stage::Lobby(place), .. }) = self.lanes.remove(lane) {
            self.lobby.leave(place);
        }
    }

    /// Ends the task on whose lane something came that no well-behaved task sends; `len` bytes of it are in `self.packet`.
    #[cold]
    pub(super) fn end_offender(&mut self, lane: LaneId, why: &dyn fmt::Display, len: usize) {
        let task = self.core.task_of(lane);
        let peer = task.and_then(|task| self.tasks.get(task)).map_or(Peer::default(), |process| process.peer);
        if let Some(held) = self.complaints.pass(Instant::now()) {
            let evidence = Hex(&self.packet[..len.min(48)]);
            tracing::warn!(pid = peer.pid, uid = peer.uid, ?lane, ?task, %why, len, %evidence, held_back = held, "protocol error ends a task");
        }
        match task {
            Some(task) => self.core.end_task(task, &mut self.effects),
            None => self.core.hang_up(lane, &mut self.effects),
        }
        self.execute();
        self.forget_lane(lane);
    }

    /// A line for the log about something that may happen often.
    #[cold]
    pub(super) fn complain(&mut self, what: &dyn fmt::Display) {
        if let Some(held_back) = self.complaints.pass(Instant::now()) {
            tracing::warn!(held_back, "{what}");
        }
    }

    /// Tries again soon.
    pub(super) fn retry_soon(&mut self, lane: LaneId) {
        self.short.push(lane);
        self.retry_at.get_or_insert_with(|| Instant::now() + RETRY);
    }
}

/// Bytes for the log.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

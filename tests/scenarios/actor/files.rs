//! A name server, a file server, and clients that outlive the file server.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use libtask::{Message, Notification, ReceiveRight};
use nix::sys::signal::{SigSet, Signal};
use umach_file_api::protocol::Access;
use umach_file_api::{Dir, File, FileError, OpenOptions};
use umach_name_api::{Names, SERVICE_VARIABLE};
use umach_tests::scenario::{GIFT, ROUNDS, Report, SOON, contents, file_name};

use crate::Actor;

/// Where the client that gets a present waits for it.
const DOORSTEP: &str = "org.example.doorstep";

pub(crate) fn names(actor: &Actor) -> Result<()> {
    let signals: SigSet = [Signal::SIGTERM].into_iter().collect();
    signals.thread_block()?;
    let config = umach_name_server::Config::load(actor.text(0)?.as_ref())?;
    let server = umach_name_server::Server::new(&actor.task, config)?;
    let stop = server.stopper()?;
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            stop.stop();
        }
    });
    server.announce();
    Ok(server.run()?)
}

pub(crate) fn files(actor: &Actor) -> Result<()> {
    let config = umach_file_server::Config::new(actor.text(0)?);
    let server = umach_file_server::Server::named(&actor.task, &config, &std::env::var(SERVICE_VARIABLE)?)?;
    actor.report(&Report::Ready(std::process::id()))?;
    Ok(server.run()?)
}

/// A client and what it holds.
struct Client<'a> {
    actor: &'a Actor,
    names: Names,
    number: u32,
    dir: Dir,
    notify: ReceiveRight,
}

/// Number 0 gives number 1 an open file; number 2 only reads.
pub(crate) fn client(actor: &Actor) -> Result<()> {
    let number = actor.number(0)?;
    let names = Names::from_bootstrap(&actor.task)?;
    let (dir, notify) = (connect(&names, number)?, actor.task.new_port()?);
    let mut client = Client { actor, names, number, dir, notify };
    client.watch()?;
    for round in 0..ROUNDS / 2 {
        client.round(round)?;
    }
    let present = client.present()?;
    actor.report(&Report::Half(number))?;
    let deadline = Instant::now() + SOON;
    for again in 0.. {
        ensure!(Instant::now() < deadline, "the server's death was never told");
        match client.round(ROUNDS / 2 + again % (ROUNDS / 2)) {
            Ok(()) => {}
            Err(error) if is_gone(&error) => break,
            Err(error) => return Err(error),
        }
    }
    ensure!(client.dir.right().is_dead()?, "the server is gone, its directory is not");
    if let Some(file) = present {
        ensure!(matches!(file.read_range(0, 1), Err(FileError::Gone { .. })), "the server is gone, its open file is not");
    }
    actor.report(&Report::Gone(number, client.told()?))?;
    client.dir = reconnect(&client.names, number)?;
    for round in ROUNDS / 2..ROUNDS {
        client.round(round)?;
    }
    Ok(())
}

fn is_gone(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(FileError::Gone { .. }))
}

fn connect(names: &Names, number: u32) -> Result<Dir> {
    let root = Dir::from_right(names.look_up("files")?);
    let dir = root.subdir(format!("client-{number}"))?;
    Ok(if number == 2 { dir.read_only()? } else { dir })
}

/// The server that is about to die may still take the first request, and the rest is the next one's.
fn reconnect(names: &Names, number: u32) -> Result<Dir> {
    let deadline = Instant::now() + SOON;
    loop {
        match connect(names, number) {
            Err(error) if is_gone(&error) && Instant::now() < deadline => {}
            other => return other,
        }
    }
}

impl Client<'_> {
    fn watch(&self) -> Result<()> {
        let _ = self.dir.right().notify_dead(&self.notify)?;
        Ok(())
    }

    /// Leads to the same tree however often it is done, also if it was broken off in the middle.
    fn round(&self, round: u32) -> Result<()> {
        let (name, wanted) = (file_name(round), contents(self.number, round));
        if self.number == 2 {
            return self.look(&name, &wanted);
        }
        let file = self.dir.create("new")?;
        file.write_all_at(0, &wanted)?;
        ensure!(file.read_all()? == wanted, "round {round}: what was written is not what is read");
        self.dir.rename("new", &self.dir, &name)?;
        ensure!(self.dir.stat(&name)?.size == wanted.len() as u64);
        Ok(())
    }

    fn look(&self, name: &str, wanted: &[u8]) -> Result<()> {
        let file = self.dir.open_read(name)?;
        ensure!(file.read_all()? == wanted, "{name} is not what it was");
        let refused = [
            file.write_at(0, b"x").map(drop),
            self.dir.create("new").map(drop),
            self.dir.open(name, OpenOptions::new().write(true)).map(drop),
            self.dir.open(name, OpenOptions::new().append(true)).map(drop),
            self.dir.rename(name, &self.dir, "other"),
            self.dir.remove(name),
            self.dir.mkdir("new"),
            self.dir.narrow(Access::READ | Access::WRITE).and_then(|wide| wide.remove(name)),
        ];
        for (at, refused) in refused.into_iter().enumerate() {
            match refused {
                Ok(()) => bail!("a client that may only read has done write {at}"),
                Err(gone @ FileError::Gone { .. }) => return Err(gone.into()),
                Err(error) => ensure!(error.fault().is_some(), "write {at} was not refused but failed: {error}"),
            }
        }
        Ok(())
    }

    /// Gives or takes the present: a file that was opened by one and is written by the other.
    fn present(&self) -> Result<Option<File>> {
        let wanted = contents(9, 0);
        match self.number {
            0 => {
                let file = self.dir.create("present")?;
                let door = self.names.look_up_within(DOORSTEP, SOON)?;
                let answer = door.call_within(Message::new(GIFT).copy_send(file.right()), SOON)?;
                ensure!(answer.id() == GIFT);
                ensure!(file.read_all()? == wanted, "the present does not hold what the other client wrote");
                Ok(Some(file))
            }
            1 => {
                let port = self.actor.task.new_port()?;
                self.names.register(DOORSTEP, port.make_send()?)?;
                let mut request = port.receive_within(SOON)?;
                let file = File::from_right(request.take_send(0)?);
                file.write_all_at(0, &wanted)?;
                request.reply(Message::new(GIFT))?;
                Ok(Some(file))
            }
            _ => Ok(None),
        }
    }

    /// How often the death of the directory was notified.
    fn told(&self) -> Result<u32> {
        let mut first = self.notify.receive_within(SOON)?;
        let mut count = 0;
        loop {
            match first.take_notification() {
                Some(Notification::DeadName(dead)) if dead.was(self.dir.right()) => count += 1,
                other => bail!("{other:?} was not asked for"),
            }
            first = match self.notify.try_receive().context("looking for a second notification")? {
                Some(next) => next,
                None => return Ok(count),
            };
        }
    }
}

//! What the direct plane needs from outside the core, for the daemon and the in-process kernel alike: the memory of links, attention pages, and
//! what is kept for a task until it asks for it.
//!
//! The kernel process never maps a link. It maps attention pages, which only it can write: they are sealed against other writers before
//! anybody gets one.

mod inbox;
mod sys;
mod will;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use hashbrown::HashMap;
use rustix::fs::{MemfdFlags, SealFlags};
use umach_abi::{link, records::violation};

use crate::core::{Attach, Effect, LinkId, TaskId};
use inbox::Inboxes;
use sys::Page;
pub(crate) use will::Will;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Plane {
    links: HashMap<LinkId, Files>,
    pages: HashMap<TaskId, (OwnedFd, Page)>,
    inboxes: Inboxes,
    /// For those who sleep when this process is killed.
    will: Option<Will>,
}

/// What there is for one link.
#[derive(Debug, Default)]
struct Files {
    memory: Option<OwnedFd>,
    /// Side, number, and memory.
    arenas: Vec<(u8, u32, OwnedFd)>,
}

/// A memfd of a size that stays.
fn memory(name: &str, size: u64, seals: SealFlags) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&fd, size)?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | seals)?;
    Ok(fd)
}

/// The page, and a descriptor through which nobody can write it.
fn page(will: Option<Will>) -> io::Result<(OwnedFd, Page)> {
    let fd = rustix::fs::memfd_create("umach-attention", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&fd, link::attention::SIZE as u64)?;
    let page = Page::map(fd.as_fd(), will)?;
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL)?;
    Ok((fd, page))
}

pub(super) fn missing() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "it is not kept any more")
}

impl Plane {
    /// Of a process whose tasks live on if it is killed; `will` is this thread's, which keeps the plane.
    pub(crate) fn with_will(will: Option<Will>) -> Plane {
        let mut plane = Plane::default();
        plane.will = will;
        plane
    }

    /// A descriptor to send along. Only for the kinds of attachment that the direct plane has.
    pub(crate) fn attach(&mut self, what: Attach) -> io::Result<OwnedFd> {
        match what {
            Attach::Link(id) => {
                let files = self.links.entry(id).or_default();
                match &files.memory {
                    Some(memory) => memory.try_clone(),
                    None => {
                        let made = memory("umach-link", link::SIZE as u64, SealFlags::SEAL)?;
                        let copy = made.try_clone()?;
                        files.memory = Some(made);
                        Ok(copy)
                    }
                }
            }
            Attach::Attention { task, control, mail } => {
                let (fd, words) = match self.pages.entry(task) {
                    hashbrown::hash_map::Entry::Occupied(there) => there.into_mut(),
                    hashbrown::hash_map::Entry::Vacant(none) => none.insert(page(self.will)?),
                };
                words.set(control, mail);
                fd.try_clone()
            }
            Attach::FileInbox(task) => self.inboxes.open(task),
            Attach::NewFileLane { lane, to } => self.inboxes.new_lane(lane, to),
            Attach::NewArena { link, side, number, size } => {
                // Its maker seals it against other writers.
                let made = memory("umach-arena", size, SealFlags::empty())?;
                let copy = made.try_clone()?;
                self.links.entry(link).or_default().arenas.push((side, number, made));
                Ok(copy)
            }
            Attach::Arena { link, side, number } => {
                let files = self.links.get_mut(&link).ok_or_else(missing)?;
                let at = files.arenas.iter().position(|kept| (kept.0, kept.1) == (side, number)).ok_or_else(missing)?;
                Ok(files.arenas.swap_remove(at).2)
            }
            Attach::Region(_) | Attach::NewRegion { .. } | Attach::NewLane(_) | Attach::LaneMemory(_) => Err(missing()),
        }
    }

    /// Changes the words of a task's page and wakes who sleeps on those that change.
    pub(crate) fn ring(&self, task: TaskId, control: u32, mail: u32) {
        if let Some((_, page)) = self.pages.get(&task) {
            page.set(control, mail);
        }
    }

    /// The link is no more. Its memory is given back, because freeing it can take long.
    pub(crate) fn drop_link(&mut self, link: LinkId) -> Vec<OwnedFd> {
        let Some(files) = self.links.remove(&link) else { return Vec::new() };
        let arenas = files.arenas.into_iter().map(|(_, _, fd)| fd);
        arenas.chain(files.memory).collect()
    }

    /// The task is no more.
    pub(crate) fn drop_task(&mut self, task: TaskId) {
        self.pages.remove(&task);
        self.inboxes.close(task);
    }

    /// Links whose memory is held.
    pub(crate) fn links(&self) -> usize {
        self.links.values().filter(|files| files.memory.is_some()).count()
    }
}

/// The kernel ends: whoever sleeps on a page asks again, and learns it.
impl Drop for Plane {
    fn drop(&mut self) {
        for (_, page) in self.pages.values() {
            page.change();
        }
    }
}

/// Says in the log that a task broke a rule of a link, if the effect says so.
pub(crate) fn log_broken(effect: &Effect) {
    if let Effect::LinkBroken { link, accuser, accused, why, found, expected } = *effect {
        tracing::warn!(
            ?link,
            accuser = ?accuser.0,
            accuser_pid = accuser.1.pid,
            accused = ?accused.0,
            accused_pid = accused.1.pid,
            accused_uid = accused.1.uid,
            rule = violation::name(why),
            found,
            expected,
            "a task says that its peer broke a rule of their link; the link ends"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: u64 = 1 << 32;

    #[test]
    fn page_cannot_be_written_by_who_gets_it_and_shows_what_is_rung() {
        let mut plane = Plane::default();
        let task = TaskId::from_raw(TASK);
        let fd = plane.attach(Attach::Attention { task, control: 3, mail: 4 }).unwrap();
        assert!(rustix::io::pwrite(&fd, &[1], 0).is_err());
        assert!(rustix::fs::ftruncate(&fd, 0).is_err());
        let words = || {
            let mut bytes = [0; link::attention::MAIL + 4];
            rustix::io::pread(&fd, &mut bytes, 0).unwrap();
            let at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            (at(link::attention::CONTROL), at(link::attention::MAIL))
        };
        assert_eq!(words(), (3, 4));
        plane.ring(task, 5, 4);
        assert_eq!(words(), (5, 4));
        drop(plane);
        assert_eq!(words(), (6, 5), "who sleeps is not left alone");
    }

    #[test]
    fn link_is_the_same_memory_for_both_and_keeps_its_size() {
        let mut plane = Plane::default();
        let id = LinkId::from_raw(TASK);
        let (one, other) = (plane.attach(Attach::Link(id)).unwrap(), plane.attach(Attach::Link(id)).unwrap());
        rustix::io::pwrite(&one, b"x", 9).unwrap();
        let mut byte = [0];
        rustix::io::pread(&other, &mut byte, 9).unwrap();
        assert_eq!((&byte, rustix::fs::fstat(&one).unwrap().st_size), (b"x", link::SIZE as i64));
        assert!(rustix::fs::ftruncate(&one, 1).is_err() && rustix::fs::ftruncate(&one, 1 << 30).is_err());
        assert_eq!((plane.links(), plane.drop_link(id).len(), plane.links()), (1, 1, 0));
    }

    #[test]
    fn arena_kept_for_the_peer_is_given_once() {
        let mut plane = Plane::default();
        let id = LinkId::from_raw(TASK);
        let size = 1 << 20;
        plane.attach(Attach::NewArena { link: id, side: 0, number: 2, size }).unwrap();
        let arena = plane.attach(Attach::Arena { link: id, side: 0, number: 2 }).unwrap();
        assert_eq!(rustix::fs::fstat(&arena).unwrap().st_size as u64, size);
        assert!(plane.attach(Attach::Arena { link: id, side: 0, number: 2 }).is_err());
    }
}

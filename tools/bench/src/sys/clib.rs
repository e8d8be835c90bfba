//! libumach as a C program has it: loaded at run time, its functions found by name.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_int, c_void};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};

type MachMsg = unsafe extern "C" fn(*mut u32, c_int, u32, u32, u32, u32, u32) -> c_int;
type Demux = unsafe extern "C" fn(*const u32, *mut u32) -> c_int;

/// What answers a request: both messages as words, and the answer's room.
pub(crate) type Answer = fn(&[u32], &mut [u32]);

/// What [`demux`] calls, and how many words an answer may have.
static SERVED: OnceLock<(Answer, usize)> = OnceLock::new();

/// What `mach_msg_server` calls.
unsafe extern "C" fn demux(request: *const u32, reply: *mut u32) -> c_int {
    let Some(&(answer, room)) = SERVED.get() else { return 0 };
    // SAFETY: the library passes a whole message, whose second word is its size, and room for as much of an answer as it was told.
    let (request, reply) = unsafe {
        let size = request.add(1).read() as usize;
        (std::slice::from_raw_parts(request, size / 4), std::slice::from_raw_parts_mut(reply, room))
    };
    answer(request, reply);
    1
}

/// The library. It stays loaded.
#[derive(Clone, Copy)]
pub(crate) struct Library {
    mach_msg: MachMsg,
    server: unsafe extern "C" fn(Demux, u32, u32, c_int) -> c_int,
    reply_port: unsafe extern "C" fn() -> u32,
    allocate: unsafe extern "C" fn(u32, u32, *mut u32) -> c_int,
    set_attributes: unsafe extern "C" fn(u32, u32, c_int, *const u32, u32) -> c_int,
    deallocate: unsafe extern "C" fn(u32, usize, usize) -> c_int,
    task: u32,
    bootstrap: u32,
}

/// Whether the library is there. Its user would only see that the other end does not start.
pub(crate) fn is_there() -> Result<()> {
    find().map(drop)
}

/// Where the library is: beside this program, as cargo leaves it, or where it is installed. The newest: cargo leaves an old one in the first place when only
/// this program is built.
fn find() -> Result<PathBuf> {
    let program = std::env::current_exe().context("where this program is")?;
    let folder = program.parent().context("a program is in a folder")?;
    let places = ["", "deps", "../lib"].map(|place| folder.join(place).join("libumach.so"));
    let made = |path: &PathBuf| path.metadata().and_then(|file| file.modified()).ok();
    match places.into_iter().filter(|path| path.is_file()).max_by_key(made) {
        Some(path) => Ok(path),
        None => bail!("libumach.so is not beside {}; build it with cargo build --release --workspace", program.display()),
    }
}

impl Library {
    /// Loads it. Its task, which is another one than this process's Rust tasks, is the one behind the lane.
    pub(crate) fn load(lane: OwnedFd) -> Result<Library> {
        let lane = lane.into_raw_fd();
        let path = find()?;
        // SAFETY: processes of the bench look at these variables here and nowhere else, on the thread that sets them.
        unsafe { std::env::set_var(libtask::spawn::LANE_VARIABLE, lane.to_string()) };
        let loaded = open(&path);
        // SAFETY: as above. The library has looked at it by now.
        unsafe { std::env::remove_var(libtask::spawn::LANE_VARIABLE) };
        let library = loaded?;
        // SAFETY: each is what the library's headers say of that name.
        let made = unsafe {
            Library {
                mach_msg: std::mem::transmute::<*mut c_void, MachMsg>(symbol(library, c"mach_msg")?),
                server: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(Demux, u32, u32, c_int) -> c_int>(symbol(
                    library,
                    c"mach_msg_server",
                )?),
                reply_port: std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> u32>(symbol(library, c"mig_get_reply_port")?),
                allocate: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(u32, u32, *mut u32) -> c_int>(symbol(
                    library,
                    c"mach_port_allocate",
                )?),
                set_attributes: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(u32, u32, c_int, *const u32, u32) -> c_int>(
                    symbol(library, c"mach_port_set_attributes")?,
                ),
                deallocate: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(u32, usize, usize) -> c_int>(symbol(
                    library,
                    c"vm_deallocate",
                )?),
                task: symbol(library, c"mach_task_self_")?.cast::<u32>().read(),
                bootstrap: symbol(library, c"bootstrap_port")?.cast::<u32>().read(),
            }
        };
        ensure!(made.task != 0, "libumach found no kernel process");
        Ok(made)
    }

    /// The right that this task was given.
    pub(crate) fn bootstrap(&self) -> u32 {
        self.bootstrap
    }
    /// `mach_msg`, with one buffer for both directions.
    #[inline]
    pub(crate) fn mach_msg(&self, buffer: &mut [u32], options: u32, send_size: usize, port: u32) -> Result<()> {
        let room = 4 * buffer.len();
        assert!(send_size <= room, "a message in a buffer");
        // SAFETY: the library reads `send_size` bytes of the buffer and writes at most all of it.
        let code = unsafe { (self.mach_msg)(buffer.as_mut_ptr(), options as c_int, send_size as u32, room as u32, port, 0, 0) };
        ensure!(code == 0, "mach_msg: {code:#x}");
        Ok(())
    }
    /// `mach_msg_server` for messages of at most so many words; comes back if it fails. Once in a process.
    pub(crate) fn serve(&self, answer: Answer, words: usize, port: u32) -> Result<()> {
        ensure!(SERVED.set((answer, words)).is_ok(), "a process serves one port");
        // SAFETY: `demux` keeps to the sizes that it is told.
        let code = unsafe { (self.server)(demux, 4 * words as u32, port, 0) };
        bail!("mach_msg_server: {code:#x}")
    }
    pub(crate) fn reply_port(&self) -> u32 {
        // SAFETY: a function without arguments.
        unsafe { (self.reply_port)() }
    }
    /// A port with so long a queue.
    pub(crate) fn port(&self, limit: u32) -> Result<u32> {
        let mut name = 0;
        // SAFETY: `name` has room for a name, `limit` is one integer.
        let code = unsafe { (self.allocate)(self.task, 1, &raw mut name) | (self.set_attributes)(self.task, name, 1, &raw const limit, 1) };
        ensure!(code == 0, "making a port: {code:#x}");
        Ok(name)
    }
    /// The words of memory that came with a message, at both ends; then the memory goes back.
    pub(crate) fn take_memory(&self, at: u64, len: usize) -> Result<(u64, u64)> {
        assert!(len >= 16, "two words");
        let start = at as usize as *const u64;
        // SAFETY: the message said that so many bytes are there.
        let ends = unsafe { (start.read_unaligned(), start.byte_add(len - 8).read_unaligned()) };
        // SAFETY: the memory is this task's, and not used any more.
        let code = unsafe { (self.deallocate)(self.task, at as usize, len) };
        ensure!(code == 0, "vm_deallocate: {code:#x}");
        Ok(ends)
    }
}

fn open(path: &Path) -> Result<*mut c_void> {
    let name = CString::new(path.as_os_str().as_encoded_bytes()).context("a path without a zero")?;
    // SAFETY: loading runs the library's start, which finds its task; nothing else is loaded.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    ensure!(!library.is_null(), "{} cannot be loaded", path.display());
    Ok(library)
}

fn symbol(library: *mut c_void, name: &CStr) -> Result<*mut c_void> {
    // SAFETY: the library stays loaded; the name is a string.
    let found = unsafe { libc::dlsym(library, name.as_ptr()) };
    ensure!(!found.is_null(), "libumach has no {}", name.to_string_lossy());
    Ok(found)
}

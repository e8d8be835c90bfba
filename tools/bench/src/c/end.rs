//! The two ends of the C measurements.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use anyhow::{Result, ensure};
use umach_abi::limits::QLIMIT_MAX;
use umach_abi::message::{COMPLEX, Options, TRAILER_MAX};

use crate::child::{ECHO, FLUSH, TAKE};
use crate::process::input;
use crate::sys::clib::Library;

/// Asks for the memory that the message brings.
const ECHO_MEMORY: i32 = 103;
/// Asks for nothing but an answer.
const NULL: i32 = 104;

const SEND: u32 = Options::SEND.bits();
const RCV: u32 = Options::RCV.bits();

const COPY_SEND: u32 = 19;
const MAKE_SEND: u32 = 20;
const MAKE_SEND_ONCE: u32 = 21;
const MIG_NO_REPLY: u32 = -305i32 as u32;

/// Words of a header, and of what MIG puts behind it.
const HEADER: usize = 6;
const NDR: [u32; 2] = [0, 1];
/// Words of what MIG makes of a routine with 32 bytes in and out: a request is a header, the NDR record, arguments; an answer has a code before its results.
const ARGUMENTS: usize = 8;
const REQUEST: usize = HEADER + 2 + ARGUMENTS;
const ANSWER: usize = HEADER + 3 + ARGUMENTS;
/// The same of a routine without arguments, whose request is a header alone.
const NULL_REQUEST: usize = HEADER;
const NULL_ANSWER: usize = HEADER + 3;
/// Words of a message with memory: header, count, a descriptor.
const MEMORY: usize = HEADER + 1 + 4;
const TRAILER: usize = TRAILER_MAX / 4;

fn header(bits: u32, words: usize, remote: u32, local: u32, id: i32) -> [u32; HEADER] {
    [bits, 4 * words as u32, remote, local, 0, id as u32]
}

/// The end that calls.
pub(super) struct Client {
    library: Library,
    reply: u32,
    count: u32,
    data: Vec<u64>,
}

impl Client {
    pub(super) fn new(lane: OwnedFd) -> Result<Client> {
        let library = Library::load(lane)?;
        Ok(Client { library, reply: library.reply_port(), count: 0, data: Vec::new() })
    }

    /// A call of a routine without arguments, in the shape that MIG generates.
    #[inline]
    pub(super) fn null(&mut self) -> Result<()> {
        let mut buffer = [0u32; NULL_ANSWER + TRAILER];
        self.exchange(&mut buffer, NULL_REQUEST, NULL)?;
        ensure!(buffer[1] as usize == 4 * NULL_ANSWER && buffer[NULL_ANSWER - 1] == 0, "another answer than was asked for");
        Ok(())
    }

    /// The same with 32 bytes there and back.
    #[inline]
    pub(super) fn call(&mut self) -> Result<()> {
        self.request(ECHO)
    }

    #[inline]
    fn request(&mut self, id: i32) -> Result<()> {
        self.count = self.count.wrapping_add(1);
        let mut buffer = [0u32; ANSWER + TRAILER];
        buffer[HEADER..HEADER + 2].copy_from_slice(&NDR);
        buffer[REQUEST - 1] = self.count;
        self.exchange(&mut buffer, REQUEST, id)?;
        ensure!(buffer[ANSWER - 1] == self.count, "another answer than was asked for");
        Ok(())
    }

    #[inline]
    fn exchange(&mut self, buffer: &mut [u32], words: usize, id: i32) -> Result<()> {
        let bits = COPY_SEND | MAKE_SEND_ONCE << 8;
        buffer[..HEADER].copy_from_slice(&header(bits, words, self.library.bootstrap(), self.reply, id));
        self.library.mach_msg(buffer, SEND | RCV, 4 * words, self.reply)?;
        ensure!(buffer[5] == (id + 100) as u32, "an answer to something else");
        Ok(())
    }

    /// So many messages, and then waits until all have been received.
    pub(super) fn flood(&mut self, count: usize) -> Result<()> {
        let mut buffer = [0u32; REQUEST];
        buffer[..HEADER].copy_from_slice(&header(COPY_SEND, REQUEST, self.library.bootstrap(), 0, TAKE));
        (0..count).try_for_each(|_| self.library.mach_msg(&mut buffer, SEND, 4 * REQUEST, 0))?;
        self.request(FLUSH)
    }

    /// Memory there and back.
    pub(super) fn memory(&mut self, len: usize) -> Result<()> {
        self.count = self.count.wrapping_add(1);
        let count = u64::from(self.count);
        self.data.resize(len / 8, 0);
        self.data[0] = count;
        self.data[len / 8 - 1] = !count;
        let mut buffer = [0u32; MEMORY + TRAILER];
        let bits = COPY_SEND | MAKE_SEND_ONCE << 8 | COMPLEX;
        buffer[..HEADER].copy_from_slice(&header(bits, MEMORY, self.library.bootstrap(), self.reply, ECHO_MEMORY));
        let at = self.data.as_ptr() as u64;
        let kind = u32::from_le_bytes([0, 1, 0, 1]); // kept, copied virtually, memory
        buffer[HEADER..MEMORY].copy_from_slice(&[1, at as u32, (at >> 32) as u32, kind, len as u32]);
        self.library.mach_msg(&mut buffer, SEND | RCV, 4 * MEMORY, self.reply)?;
        ensure!(buffer[5] == (ECHO_MEMORY + 100) as u32 && buffer[MEMORY - 1] as usize == len, "another answer than was asked for");
        let back = u64::from(buffer[HEADER + 1]) | u64::from(buffer[HEADER + 2]) << 32;
        ensure!(self.library.take_memory(back, len)? == (count, !count), "other bytes than were sent");
        Ok(())
    }
}

/// The end that answers: a C task, under `mach_msg_server`.
pub(crate) fn serve() -> Result<()> {
    // Standard input is no place to be adopted from.
    let lane = rustix::io::fcntl_dupfd_cloexec(input()?, 3)?;
    let library = Library::load(lane)?;
    let port = library.port(QLIMIT_MAX)?;
    let mut hello = [0u32; HEADER + 4];
    hello[..HEADER].copy_from_slice(&header(COPY_SEND | COMPLEX, HEADER + 4, library.bootstrap(), 0, TAKE));
    hello[HEADER..].copy_from_slice(&[1, port, 0, MAKE_SEND << 16]);
    library.mach_msg(&mut hello, SEND, 4 * (HEADER + 4), 0)?;
    library.serve(answer, ANSWER, port)
}

/// As MIG makes it: by the request's id.
fn answer(request: &[u32], reply: &mut [u32]) {
    let (bits, remote, id) = (request[0], request[2], request[5] as i32);
    match id {
        NULL if request.len() == NULL_REQUEST => succeed(bits, NULL_ANSWER, remote, id, reply),
        ECHO | FLUSH if request.len() == REQUEST => {
            succeed(bits, ANSWER, remote, id, reply);
            reply[HEADER + 3..ANSWER].copy_from_slice(&request[HEADER + 2..]);
        }
        ECHO_MEMORY if request.len() == MEMORY => {
            reply[..HEADER].copy_from_slice(&header(bits & 0x1f | COMPLEX, MEMORY, remote, 0, id + 100));
            reply[HEADER..MEMORY].copy_from_slice(&request[HEADER..]);
            reply[HEADER + 3] = u32::from_le_bytes([1, 1, 0, 1]); // given away
        }
        _ => {
            reply[0] = 0;
            reply[HEADER + 2] = MIG_NO_REPLY;
        }
    }
}

fn succeed(bits: u32, words: usize, remote: u32, id: i32, reply: &mut [u32]) {
    reply[..HEADER].copy_from_slice(&header(bits & 0x1f, words, remote, 0, id + 100));
    reply[HEADER..HEADER + 2].copy_from_slice(&NDR);
    reply[HEADER + 2] = 0;
}

/// A process that sends back what it reads, so many bytes at a time.
pub(crate) fn stream_echo(len: usize) -> Result<()> {
    let mut stream = UnixStream::from(input()?);
    let mut bytes = vec![0; len];
    loop {
        stream.read_exact(&mut bytes)?;
        stream.write_all(&bytes)?;
    }
}

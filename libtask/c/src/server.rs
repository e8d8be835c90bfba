//! The loops around `mach_msg` in which servers run: `mach_msg_server` and its relatives, for demultiplexers as MIG makes them.

use libtask::Code;
use libtask::raw::Options;
use umach_abi::limits::MESSAGE_MAX;
use umach_abi::message::{COMPLEX, TRAILER_MAX, round4};

use crate::message::{MsgHeader, mach_msg_destroy};

unsafe extern "C" {
    safe fn mach_msg(msg: *mut MsgHeader, option: i32, send_size: u32, rcv_size: u32, rcv_name: u32, timeout: u32, notify: u32) -> i32;
}

/// What answers a request: it gets the request and room for the answer.
type Demux = unsafe extern "C" fn(*mut MsgHeader, *mut MsgHeader) -> i32;

/// Where `mig_reply_error_t` has its code.
const RET_CODE: usize = 32;

const MOVE_SEND_ONCE: u32 = 18;

/// A message's memory, aligned as C expects.
struct Buffer(Vec<u64>);

impl Buffer {
    fn new(len: usize) -> Buffer {
        Buffer(vec![0; len.div_ceil(8)])
    }
    fn head(&mut self) -> &mut MsgHeader {
        // SAFETY: at least a header long (`serve`), aligned to eight, and any bytes are a header.
        unsafe { &mut *self.0.as_mut_ptr().cast::<MsgHeader>() }
    }
    fn at(&mut self) -> *mut MsgHeader {
        self.0.as_mut_ptr().cast()
    }
    fn ret_code(&self) -> i32 {
        self.0.get(RET_CODE / 8).map_or(0, |word| *word as i32)
    }
}

/// One buffer's answer is sent from it while the next request comes into it: after each turn the two change places.
fn serve(demux: Demux, max_size: u32, port: u32, options: i32, once: bool) -> i32 {
    let send_bits = (Options::SEND | Options::RCV | Options::RCV_VOUCHER).bits() as i32;
    let options = options & !send_bits;
    let (send, rcv) = (Options::SEND.bits() as i32, Options::RCV.bits() as i32);
    // No message is larger, whatever the program says.
    let room = (round4((max_size as usize).min(MESSAGE_MAX)) + TRAILER_MAX).max(RET_CODE + 8 + TRAILER_MAX);
    let (mut request, mut reply) = (Buffer::new(room), Buffer::new(room));
    let mut room = room as u32;
    let large = options & Options::RCV_LARGE.bits() as i32 != 0;
    let mut code = mach_msg(request.at(), rcv | options, 0, room, port, 0, 0);
    loop {
        while code as u32 == Code::MACH_RCV_TOO_LARGE.0 && large {
            room = round4(request.head().size as usize + TRAILER_MAX) as u32;
            (request, reply) = (Buffer::new(room as usize), Buffer::new(room as usize));
            code = mach_msg(request.at(), rcv | options, 0, room, port, 0, 0);
        }
        if code != 0 {
            return code;
        }
        // SAFETY: the program's function, with a message and as much room for its answer, as it asked for.
        unsafe { demux(request.at(), reply.at()) };
        if reply.head().bits & COMPLEX == 0 {
            match Code(reply.ret_code() as u32) {
                Code::MIG_NO_REPLY => reply.head().remote = 0,
                Code::SUCCESS => {}
                _ if request.head().bits & COMPLEX != 0 => {
                    // It was not taken apart. Its reply right is the answer's now.
                    request.head().remote = 0;
                    // SAFETY: the whole message that was received.
                    unsafe { mach_msg_destroy(request.at()) };
                }
                _ => {}
            }
        }
        if reply.head().remote == 0 {
            if reply.head().bits & COMPLEX != 0 {
                // SAFETY: the whole message that the demultiplexer made.
                unsafe { mach_msg_destroy(reply.at()) };
            }
            if once {
                return 0;
            }
            code = mach_msg(request.at(), rcv | options, 0, room, port, 0, 0);
            continue;
        }
        // An answer to a send-once right never waits; one to a send right must not make the server wait.
        let patient = reply.head().bits & 0x1f == MOVE_SEND_ONCE;
        let timeout = if patient { 0 } else { Options::SEND_TIMEOUT.bits() as i32 };
        let size = reply.head().size;
        std::mem::swap(&mut request, &mut reply);
        code = if once {
            mach_msg(request.at(), send | timeout | options, size, 0, 0, 0, 0)
        } else {
            mach_msg(request.at(), send | rcv | timeout | options, size, room, port, 0, 0)
        };
        match Code(code as u32).plain() {
            Code::MACH_SEND_INVALID_DEST | Code::MACH_SEND_TIMED_OUT => {
                // Nobody waits for it any more.
                // SAFETY: the answer as it was, or as it came back.
                unsafe { mach_msg_destroy(request.at()) };
                if once {
                    return 0;
                }
                code = mach_msg(request.at(), rcv | options, 0, room, port, 0, 0);
            }
            _ if once => return code,
            _ => {}
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn mach_msg_server(demux: Demux, max_size: u32, rcv_name: u32, options: i32) -> i32 {
    serve(demux, max_size, rcv_name, options, false)
}

#[unsafe(no_mangle)]
extern "C" fn mach_msg_server_once(demux: Demux, max_size: u32, rcv_name: u32, options: i32) -> i32 {
    serve(demux, max_size, rcv_name, options, true)
}

/// There is no importance to pass on.
#[unsafe(no_mangle)]
extern "C" fn mach_msg_server_importance(demux: Demux, max_size: u32, rcv_name: u32, options: i32) -> i32 {
    serve(demux, max_size, rcv_name, options, false)
}

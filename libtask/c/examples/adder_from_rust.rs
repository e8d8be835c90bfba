//! A Rust task that calls the C server of `adder_server.c`: what C calls a `mach_msg_header_t` and two integers is a message with eight bytes of body.

use std::time::Duration;

use libtask::Task;
use libtask::raw::{MsgBuffer, Options};
use libtask::{Disposition, Name, RightKind};
use umach_name_api::Names;

const NAME: &str = "org.umach.example.adder";
const ADD: i32 = 500;
const STOP: i32 = 501;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let task = Task::current()?;
    let adder = Names::from_bootstrap(&task)?.look_up_within(NAME, Duration::from_secs(10))?;
    let space = task.raw();
    let reply = space.port_allocate(RightKind::Receive)?;
    for n in 0..1000i32 {
        let body = [n.to_le_bytes(), (2 * n).to_le_bytes()].concat();
        let to = |id| MsgBuffer::new(id).remote(adder.name(), Disposition::CopySend);
        let mut message = to(ADD).local(reply, Disposition::MakeSendOnce).body(&body);
        let options = Options::SEND | Options::RCV | Options::RCV_TIMEOUT;
        space.mach_msg(&mut message, options, 1024, reply, 10_000, Name::NULL).ok()?;
        assert_eq!((message.header().id, message.body_bytes()), (ADD + 100, &(3 * n).to_le_bytes()[..]));
    }
    space.send(&mut MsgBuffer::new(STOP).remote(adder.name(), Disposition::CopySend)).ok()?;
    println!("adder: 1000 sums from Rust");
    Ok(())
}

//! A trait with `async fn`: the same messages and the same description, and a server with a loop of its own that needs no runtime.

use futures_util::FutureExt;
use libtask::interface::{self, FAILURE, Interface};
use libtask::{Caller, Code, LocalKernel, Message, Next, ReceiveRight, SendRight, Sink};

use crate::{SOON, within};

#[libtask::data]
#[derive(Debug, PartialEq)]
pub struct Full {
    pub most: u32,
}

mod plain {
    use super::*;

    /// Keeps texts.
    #[libtask::interface(name = "test.Texts", base = 9000, version = 3)]
    pub trait Texts {
        /// Puts one.
        #[id(1)]
        #[deadline = "2s"]
        fn put(&self, key: &str, bytes: &[u8], caller: &Caller) -> Result<u32, Full>;
        #[id(2)]
        #[oneway]
        fn forget(&self, key: String);
        #[id(3)]
        #[queue = 9]
        fn all(&self, from: Option<u32>, items: Sink<String>);
        #[id(4)]
        #[pod]
        fn swap(&self, #[pod] pair: &[u8; 4]) -> [u8; 4];
        #[id(5)]
        fn pass(&self, right: SendRight, numbers: &[u16]) -> (SendRight, u16);
    }
}

mod soon {
    use super::*;

    /// Keeps texts.
    #[libtask::interface(name = "test.Texts", base = 9000, version = 3)]
    pub trait Texts {
        /// Puts one.
        #[id(1)]
        #[deadline = "2s"]
        async fn put(&self, key: &str, bytes: &[u8], caller: &Caller) -> Result<u32, Full>;
        #[id(2)]
        #[oneway]
        async fn forget(&self, key: String);
        #[id(3)]
        #[queue = 9]
        async fn all(&self, from: Option<u32>, items: Sink<String>);
        #[id(4)]
        #[pod]
        async fn swap(&self, #[pod] pair: &[u8; 4]) -> [u8; 4];
        #[id(5)]
        async fn pass(&self, right: SendRight, numbers: &[u16]) -> (SendRight, u16);
    }
}

struct Server;

impl soon::Texts for Server {
    async fn put(&self, key: &str, bytes: &[u8], caller: &Caller) -> Result<u32, Full> {
        assert!(!caller.is_cancelled());
        std::future::ready(()).await;
        if key.is_empty() { Err(Full { most: 7 }) } else { Ok((key.len() + bytes.len()) as u32) }
    }
    async fn forget(&self, _: String) {}
    async fn all(&self, from: Option<u32>, items: Sink<String>) {
        for number in from.unwrap_or(0)..3 {
            items.try_send(number.to_string()).expect("there is room");
        }
    }
    async fn swap(&self, pair: &[u8; 4]) -> [u8; 4] {
        [pair[3], pair[2], pair[1], pair[0]]
    }
    async fn pass(&self, right: SendRight, numbers: &[u16]) -> (SendRight, u16) {
        (right, numbers.iter().sum())
    }
}

/// Answers so many messages in this thread: none of the methods waits.
fn serve(port: &ReceiveRight<dyn soon::Texts>, count: u32) {
    for _ in 0..count {
        let mut request = port.receive_within(SOON).expect("a request");
        let next = interface::answer_async::<dyn soon::Texts, _>(&Server, &mut request).now_or_never().expect("it does not wait");
        match next {
            Next::Reply(answer) => request.reply(answer).expect("answer"),
            next => assert!(matches!(next, Next::Continue), "{next:?}"),
        }
    }
}

#[test]
fn description_is_that_of_the_same_trait_without_async() {
    assert_eq!(<dyn plain::Texts as Interface>::DESCRIPTION, <dyn soon::Texts as Interface>::DESCRIPTION);
}

#[test]
fn client_of_the_trait_without_async_calls_a_server_of_the_one_with() {
    let kernel = LocalKernel::start();
    let server = kernel.task("server").unwrap();
    let port = server.new_port_of::<dyn soon::Texts>().unwrap();
    server.set_bootstrap(&port.make_send().unwrap()).unwrap();
    let (client, _control) = server.spawn_local("client").unwrap();
    let texts = client.bootstrap().unwrap().typed::<dyn plain::Texts>().client();
    let serving = std::thread::spawn(move || serve(&port, 9));

    assert_eq!(texts.put("key", b"bytes").unwrap(), 8);
    assert!(matches!(texts.put("", b""), Err(libtask::CallError::Refused(Full { most: 7 }))));
    texts.forget("key".into()).unwrap();
    let items = texts.all(Some(1)).unwrap();
    assert_eq!(within(SOON, move || items.map(Result::unwrap).collect::<Vec<_>>()), ["1", "2"]);
    assert_eq!(texts.swap(&[1, 2, 3, 4]).unwrap(), [4, 3, 2, 1]);
    let port = client.new_port().unwrap();
    let own = port.make_send().unwrap();
    let (back, sum) = texts.pass(own.duplicate(), &[1, 2, 300]).unwrap();
    assert_eq!((back == own, sum), (true, 303));

    // What is no call of a method is answered as ever.
    let raw = texts.right().duplicate().untyped();
    for (message, code) in [(Message::new(9050), Code::MIG_BAD_ID), (Message::new(9001).bytes(b"\xff"), Code::MIG_TYPE_ERROR)] {
        let answer = raw.call(message).unwrap();
        let (found, reason): (u32, String) = answer.body().unwrap();
        assert_eq!((answer.id(), Code(found)), (FAILURE, code), "{reason}");
    }
    assert_eq!(texts.right().describe().unwrap().name, "test.Texts");
    serving.join().unwrap();
}

#[test]
fn failed_beginning_is_told_when_it_is_finished() {
    let kernel = LocalKernel::start();
    let task = kernel.task("client").unwrap();
    let port = task.new_port_of::<dyn plain::Texts>().unwrap();
    let texts = port.make_send().unwrap().client();
    drop(port);
    let (call, sent, stream) = (texts.begin().put("key", b""), texts.begin().forget("key".into()), texts.begin().all(None));
    assert!(!sent.is_sent());
    assert!(call.finish().unwrap_err().code().is_some_and(|code| code.plain() == Code::MACH_SEND_INVALID_DEST));
    assert!(sent.finish().unwrap_err().is_dead());
    // As futures they need nobody to wake them.
    assert!(stream.now_or_never().expect("it does not wait").unwrap_err().is_dead());
    assert!(texts.begin().forget("key".into()).now_or_never().expect("it does not wait").unwrap_err().is_dead());
}

//! Servers that receive themselves: many ports in a set, an object and an interface for each.

use std::time::Instant;

use libtask::interface::{self, Interface};
use libtask::{CallError, Caller, Lease, LocalKernel, Message, Next, PortOptions, ReceiveRight, SendRight, Task};

use crate::{SOON, within};

#[libtask::interface(name = "test.Shelf", base = 6000)]
pub trait Shelf {
    #[id(0)]
    fn book(&self, number: u64) -> Result<SendRight<dyn Book>, u16>;
    #[id(1)]
    fn stop(&self, caller: &Caller) -> Result<(), u16>;
}

#[libtask::interface(name = "test.Book", base = 6300)]
pub trait Book {
    #[id(0)]
    fn text(&self, caller: &Caller) -> Result<(String, u64), u16>;
    /// The text so many times, in a region.
    #[id(1)]
    fn print(&self, times: u32) -> Result<Lease, u16>;
    /// Is answered when the next one comes.
    #[id(2)]
    fn wait(&self, number: u32) -> Result<u32, u16>;
}

const TEXTS: [&str; 2] = ["one", "two"];
/// What a book says that is called as a shelf.
const NO_SHELF: u16 = 77;
/// What the loop says without calling anybody.
const TOO_MANY_PARTS: u16 = 78;

/// What a port stands for: the shelf (0), or a book.
struct Object<'s> {
    task: &'s Task,
    books: &'s [ReceiveRight<dyn Book>],
    number: u64,
}

impl Shelf for Object<'_> {
    fn book(&self, number: u64) -> Result<SendRight<dyn Book>, u16> {
        if self.number != 0 {
            return Err(NO_SHELF);
        }
        let book = self.books.get(number as usize - 1).ok_or(1u16)?;
        book.make_send().map_err(|_| 2)
    }
    fn stop(&self, caller: &Caller) -> Result<(), u16> {
        caller.stop_serving();
        Ok(())
    }
}

impl Book for Object<'_> {
    fn text(&self, caller: &Caller) -> Result<(String, u64), u16> {
        Ok((TEXTS[self.number as usize - 1].to_owned(), caller.badge()))
    }
    fn print(&self, times: u32) -> Result<Lease, u16> {
        let text = TEXTS[self.number as usize - 1].repeat(times as usize);
        self.task.region(text.as_bytes()).map(Lease::from).map_err(|_| 1)
    }
    fn wait(&self, number: u32) -> Result<u32, u16> {
        Ok(number)
    }
}

fn serve(task: &Task, shelf: ReceiveRight<dyn Shelf>) -> libtask::Result<()> {
    let set = task.new_set()?;
    set.insert(&shelf)?;
    let books: Vec<ReceiveRight<dyn Book>> = (1..=2)
        .map(|context| task.new_port_with(PortOptions { context, ..PortOptions::default() }).map(ReceiveRight::typed))
        .collect::<Result<_, _>>()?;
    books.iter().try_for_each(|book| set.insert(book))?;
    let mut waiting = None;
    set.serve(|request| {
        if request.parts() > 1 {
            return interface::refuse(request, &TOO_MANY_PARTS);
        }
        let mut object = Object { task, books: &books, number: request.context() };
        if request.id() == <dyn Book>::BASE + 2 {
            let (number, earlier) = (request.context(), waiting.replace(request.take_message()));
            assert!(!request.wants_reply() && request.bytes().is_empty(), "nothing is left of what was taken");
            if let Some(mut earlier) = earlier {
                let mut object = Object { number, ..object };
                let Next::Reply(answer) = interface::answer::<dyn Book, _>(&mut object, &mut earlier) else { panic!("no answer") };
                earlier.reply(answer).unwrap();
            }
            return Next::Continue;
        }
        if <dyn Shelf>::is_call(request.id()) {
            interface::answer::<dyn Shelf, _>(&mut object, request)
        } else {
            interface::answer::<dyn Book, _>(&mut object, request)
        }
    })
}

#[test]
fn one_loop_serves_many_ports_of_two_interfaces() {
    let kernel = LocalKernel::start();
    let task = kernel.task("library").unwrap();
    let port = task.new_port_of::<dyn Shelf>().unwrap();
    task.set_bootstrap(&port.make_send().unwrap()).unwrap();
    let (client, _control) = task.spawn_local("reader").unwrap();
    let server = std::thread::spawn(move || serve(&task, port));
    let shelf = client.bootstrap().unwrap().typed::<dyn Shelf>().client();

    let books = [1, 2].map(|number| shelf.book(number).unwrap().client());
    assert_eq!(books[0].text().unwrap(), ("one".into(), 1));
    assert_eq!(books[1].text().unwrap(), ("two".into(), 2));
    assert_eq!(books[1].right().describe().unwrap().name, "test.Book");
    // The message says which interface, the port which object.
    let wrong = books[0].right().duplicate().untyped().typed::<dyn Shelf>().client();
    assert!(matches!(wrong.book(1), Err(CallError::Refused(NO_SHELF))));

    // Lent in a region, which the server does not keep until the next request comes.
    let pages = books[1].print(100_000).unwrap();
    assert!(pages.own_bytes().is_some_and(|bytes| bytes == "two".repeat(100_000).as_bytes()));
    drop(pages);
    let start = Instant::now();
    while kernel.regions() > 0 {
        assert!(start.elapsed() < SOON, "the server still has what it lent");
        std::thread::yield_now();
    }

    // Put aside whole, and answered later.
    let first = books[0].begin().wait(5);
    let second = books[0].begin().wait(6);
    assert_eq!(first.finish_within(SOON).unwrap(), 5);
    drop(second);

    let request = Message::new(<dyn Book>::BASE).memory(vec![1]).memory(vec![2]);
    let answer = books[0].right().call_within(request, SOON).unwrap();
    assert_eq!(answer.body::<Result<(), u16>>().unwrap(), Err(TOO_MANY_PARTS));
    shelf.stop().unwrap();
    within(SOON, move || server.join().unwrap().unwrap());
}

#[test]
fn region_that_is_to_be_lent_is_read_like_any_lease() {
    let kernel = LocalKernel::start();
    let task = kernel.task("owner").unwrap();
    let bytes: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
    let lease = Lease::from(task.region(&bytes).unwrap());
    assert_eq!((lease.len(), lease.is_in_place()), (bytes.len(), false));
    assert!(lease.to_vec() == bytes);
    let mut some = [0; 3];
    lease.read_at(&mut some, 1000);
    assert_eq!(some, bytes[1000..1003]);
    let (mut all, mut seen) = (vec![9], Vec::new());
    lease.append_to(&mut all);
    lease.blocks(|block| seen.extend_from_slice(block));
    assert!(all[1..] == bytes && seen == bytes);
}

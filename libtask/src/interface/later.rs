//! Answers that are given after their method has returned.

use std::fmt;
use std::marker::PhantomData;

use postcard_schema::Schema;
use serde::Serialize;
use umach_describe::fixed::has_parts;

use super::runtime;
use crate::error::SendError;
use crate::loan::Loan;
use crate::message::Message;
use crate::received::{Received, Sender};

/// The right to answer a call. As the last parameter of a method that returns nothing it lets the server answer when it likes, from any thread; the client's method
/// returns `R` as if the trait's did.
///
/// Dropping it unanswered tells the caller ([`crate::Error::is_server_died`]).
///
/// ```
/// # use libtask::interface::Later;
/// /// A door.
/// #[libtask::interface]
/// pub trait Door {
///     /// Gives who came, when somebody does.
///     #[id(1)]
///     fn wait(&mut self, answer: Later<String>);
/// }
/// # fn client(door: &DoorClient) -> libtask::Result<()> {
/// let who: String = door.wait()?;
/// # Ok(()) }
/// ```
#[must_use = "dropping it tells the caller that there is no answer"]
pub struct Later<R> {
    request: Received,
    id: i32,
    method: &'static str,
    result: PhantomData<fn(R)>,
}

impl<R> Later<R> {
    pub(super) fn new(request: &mut Received, id: i32, method: &'static str) -> Later<R> {
        Later { request: request.take_reply(), id, method, result: PhantomData }
    }
    /// Answers that the call cannot be carried out.
    #[doc(hidden)]
    pub fn refuse(mut self, refusal: Option<Message>) -> Option<Message> {
        if let Some(refusal) = refusal
            && let Err(error) = self.request.reply(refusal)
        {
            tracing::debug!(method = self.method, %error, "a refusal found nobody");
        }
        None
    }
    /// Who waits.
    pub fn sender(&self) -> Sender {
        self.request.sender()
    }
    /// Whether nobody waits any more: see [`super::Caller::is_cancelled`].
    pub fn is_cancelled(&self) -> bool {
        self.request.is_given_up()
    }
    /// Memory for the answer: see [`crate::SendRight::loan`].
    pub fn loan(&self, len: usize) -> Loan {
        self.request.loan(len)
    }
}

impl<R: Serialize + Schema> Later<R> {
    /// Answers. Fails if the answer cannot be sent; that its caller has gone is no failure where nobody would know.
    pub fn answer(mut self, result: R) -> Result<(), SendError> {
        let message = runtime::answer_message(self.id, const { has_parts(R::SCHEMA) }, &result, self.method);
        drop(result);
        self.request.reply(message)
    }
}

impl<R> fmt::Debug for Later<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an answer of {} that is owed", self.method)
    }
}

//! What a call of a method that can refuse comes to.

use std::fmt;

use umach_abi::{Code, Explanation};

use crate::error::{Error, SendError};

/// Why a method gave no result.
#[derive(Debug)]
pub enum CallError<E> {
    /// The method's own error: the server got the call, and this is its answer.
    Refused(E),
    /// The call did not come to an answer, or the server could not make sense of it.
    Call(Error),
}

impl<E> CallError<E> {
    /// The method's own error, if it is that.
    pub fn refused(self) -> Result<E, Error> {
        match self {
            CallError::Refused(error) => Ok(error),
            CallError::Call(error) => Err(error),
        }
    }
    /// The same with the method's own error made another.
    pub fn map<F>(self, f: impl FnOnce(E) -> F) -> CallError<F> {
        match self {
            CallError::Refused(error) => CallError::Refused(f(error)),
            CallError::Call(error) => CallError::Call(error),
        }
    }
    /// All that is known about it (`umach explain`), if the call failed. Of the method's own error only its program knows anything.
    pub fn explanation(&self) -> Option<&'static Explanation> {
        match self {
            CallError::Refused(_) => None,
            CallError::Call(error) => error.explanation(),
        }
    }
    /// Mach's code, if the call failed.
    pub fn code(&self) -> Option<Code> {
        match self {
            CallError::Refused(_) => None,
            CallError::Call(error) => Some(error.code()),
        }
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Refused(error) => error.fmt(f),
            CallError::Call(error) => error.fmt(f),
        }
    }
}

/// What the call failed with stands in its own place, so the source is that error's.
impl<E: fmt::Debug + fmt::Display> std::error::Error for CallError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CallError::Refused(_) => None,
            CallError::Call(error) => error.source(),
        }
    }
}

impl<E> From<Error> for CallError<E> {
    fn from(error: Error) -> CallError<E> {
        CallError::Call(error)
    }
}

impl<E> From<SendError> for CallError<E> {
    fn from(failed: SendError) -> CallError<E> {
        CallError::Call(failed.error)
    }
}

//! How tasks, ports and sets are written for people: `T3`, or `T3.2` for the second task that used slot 3; ports likewise with `P`, sets with `S`,
//! links with `L`, routes with `R`, file lanes with `F`.
//!
//! JSON has the plain number, which is never used again while the kernel lives.

use std::fmt;
use std::str::FromStr;

use umach_abi::records::Written;

/// A task's id, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskNumber(pub(crate) u64);

/// A port's id, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortNumber(pub(crate) u64);

/// A port set's id, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SetNumber(pub(crate) u64);

/// A link's id, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkNumber(pub(crate) u64);

/// A file lane's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileLaneNumber(pub(crate) u64);

/// A route's id, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RouteNumber(pub(crate) u64);

macro_rules! written {
    ($($Number:ident $letter:literal),*) => {$(
        impl fmt::Display for $Number {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&Written($letter, self.0), f)
            }
        }
    )*};
}
written!(TaskNumber 'T', PortNumber 'P', SetNumber 'S', LinkNumber 'L', RouteNumber 'R', FileLaneNumber 'F');

/// A task as named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// `T3`, `T3.2`.
    Task(u64),
    /// `1234`.
    Pid(u32),
}

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Who, String> {
        let wrong = || format!("`{text}` is neither a task (T3, T3.2; see umach ps) nor a process id");
        let Some(task) = text.strip_prefix(['T', 't']) else {
            return text.parse().ok().filter(|pid| *pid != 0).map(Who::Pid).ok_or_else(wrong);
        };
        let (index, generation) = task.split_once('.').unwrap_or((task, "1"));
        let number = |part: &str| part.parse::<u32>().map_err(|_| wrong());
        Ok(Who::Task(u64::from(number(generation)?) << 32 | u64::from(number(index)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_written_is_read_back() {
        for raw in [1 << 32, (1 << 32) | 7, (9 << 32) | 7] {
            assert_eq!(TaskNumber(raw).to_string().parse(), Ok(Who::Task(raw)));
        }
        assert_eq!(TaskNumber((1 << 32) | 7).to_string(), "T7");
        assert_eq!(PortNumber(0).to_string(), "-");
    }

    #[test]
    fn who_refuses_what_is_neither() {
        for text in ["", "T", "0", "-3", "x", "T1.x", "99999999999"] {
            assert!(text.parse::<Who>().is_err(), "{text}");
        }
        assert_eq!("12".parse(), Ok(Who::Pid(12)));
    }
}

//! A description: an interface and its methods.

use serde::{Deserialize, Serialize};

use crate::types::{Shape, Type};

/// A message's answer has its id plus this (MIG's rule).
pub const ANSWER: i32 = 100;
/// An item of a stream has the id of the request for it plus this.
pub const ITEM: i32 = 200;
/// The highest number of a method.
pub const NUMBER_MAX: u8 = 99;
/// Bases that are made from names are multiples of this.
pub const BASE_STEP: i32 = 512;
/// Asks any server for its description. The answer's body is [`Description::read`]'s.
pub const DESCRIBE: i32 = 0x7544_0000;
/// An answer that says that there is none, and why: a code of Mach's as `u32`, and a `String`.
pub const FAILURE: i32 = 0x7546_0000;

/// The base of an interface that does not choose one: made from its name.
pub const fn base_of(name: &str) -> i32 {
    // FNV-1a, folded.
    let bytes = name.as_bytes();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x100_0000_01b3);
        at += 1;
    }
    let hash = (hash ^ (hash >> 32)) as u32;
    0x1000_0000 + (hash & 0x1f_ffff) as i32 * BASE_STEP
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// What it is called.
    pub name: String,
    /// What its author counts as a version.
    pub version: u32,
    /// The id of a method's request is this plus the method's number.
    pub base: i32,
    /// What its author wrote about it.
    pub docs: String,
    /// In the order of their numbers.
    pub methods: Vec<Method>,
}

/// A method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Method {
    /// Its number in the interface, at most [`NUMBER_MAX`].
    pub number: u8,
    /// What it is called.
    pub name: String,
    /// What its author wrote about it.
    pub docs: String,
    /// It has no answer.
    pub one_way: bool,
    /// How long its callers wait, in milliseconds, if its author says that.
    pub deadline_ms: Option<u64>,
    /// In order.
    pub arguments: Vec<Argument>,
    /// What a success gives.
    pub result: Type,
    /// What a refusal gives. If there is one, an answer is a `Result`: a byte 0 and the result, or 1 and this.
    pub error: Option<Type>,
    /// The items that come after the call, if some do. Then the request's body starts with the index of a send right for them.
    pub stream: Option<Stream>,
}

/// What comes after a call, at the port that was sent along with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// One of them.
    pub item: Type,
    /// How many may wait at the caller.
    pub queue: u32,
}

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: Type,
}

/// What a message is in the life of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Asks for it.
    Request,
    /// Answers it.
    Answer,
    /// One of a stream's.
    Item,
}

impl Description {
    /// Which method a message with this id belongs to, and how.
    pub fn which(&self, id: i32) -> Option<(Role, &Method)> {
        let number = id.checked_sub(self.base)?;
        let (role, number) = match number {
            0..ANSWER => (Role::Request, number),
            ANSWER..ITEM => (Role::Answer, number - ANSWER),
            ITEM..300 => (Role::Item, number - ITEM),
            _ => return None,
        };
        let method = self.methods.iter().find(|method| i32::from(method.number) == number)?;
        Some((role, method))
    }
    /// The method of this name.
    pub fn method(&self, name: &str) -> Option<&Method> {
        self.methods.iter().find(|method| method.name == name)
    }
    /// The id of a method's request.
    pub fn request_id(&self, method: &Method) -> i32 {
        self.base.wrapping_add(method.number.into())
    }
    /// The id of its answer.
    pub fn answer_id(&self, method: &Method) -> i32 {
        self.request_id(method).wrapping_add(ANSWER)
    }
}

impl Method {
    /// Whether its result is nothing.
    pub fn gives_nothing(&self) -> bool {
        self.result.shape == Shape::Unit
    }
}

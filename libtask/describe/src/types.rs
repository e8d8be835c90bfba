//! Types as they stand in bodies.
//!
//! A body is postcard's encoding: integers of more than a byte are variable in length, sequences and strings have their length in front, structs and tuples are their fields one
//! after the other with nothing between. A right (or memory, or an open file) is the index of a part of the message.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A type: what it is called, and what it consists of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Type {
    /// Its name in the program: of structs and enums the one that its author gave it.
    pub name: String,
    /// What it consists of.
    pub shape: Shape,
}

/// What a type consists of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the numbers
pub enum Shape {
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    Isize,
    U8,
    U16,
    U32,
    U64,
    U128,
    Usize,
    F32,
    F64,
    Char,
    /// Text in UTF-8.
    String,
    /// Bytes with their length.
    Bytes,
    /// Nothing.
    Unit,
    /// One or none.
    Option(Box<Type>),
    /// A struct around one value, which it is encoded as.
    Newtype(Box<Type>),
    /// Any number of one type.
    Seq(Box<Type>),
    /// Some in order.
    Tuple(Vec<Type>),
    /// Pairs.
    Map(Box<Type>, Box<Type>),
    /// Named ones in order.
    Struct(Vec<Field>),
    /// One of several.
    Enum(Vec<Variant>),
    /// The index of a part of the message.
    Right {
        /// What the part is.
        kind: Right,
        /// The interface that its port serves; empty if that is not said.
        interface: String,
    },
    /// Plain old data: so many bytes in place, as they lie in memory.
    Pod {
        /// Bytes.
        size: u64,
    },
    /// Another type's schema.
    Schema,
}

/// A field of a struct.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: Type,
}

/// One of the values of an enum; its number is its place among them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// What it holds: [`Shape::Unit`], [`Shape::Newtype`], [`Shape::Tuple`] or [`Shape::Struct`].
    pub holds: Shape,
}

/// What a part of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Right {
    /// A send right.
    Send,
    /// A send-once right.
    SendOnce,
    /// A receive right.
    Receive,
    /// A sealed region, by its right.
    Region,
    /// A shared region, by its right.
    SharedRegion,
    /// An open file.
    File,
    /// Memory.
    Memory,
}

impl Right {
    pub(crate) const ALL: [Right; 7] =
        [Right::Send, Right::SendOnce, Right::Receive, Right::Region, Right::SharedRegion, Right::File, Right::Memory];

    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Right::Send => "send",
            Right::SendOnce => "send-once",
            Right::Receive => "receive",
            Right::Region => "region",
            Right::SharedRegion => "shared region",
            Right::File => "open file",
            Right::Memory => "memory",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Type {
    /// How many options stand at its end, which a body may end before. (In a struct that is last, too.)
    pub fn may_be_missing(&self) -> usize {
        flattened_options([self])
    }
    /// Whether it is or holds parts of the message.
    pub fn has_parts(&self) -> bool {
        self.shape.has_parts()
    }
}

/// How many options stand at the end of these, one after the other.
pub fn may_be_missing<'t>(types: impl IntoIterator<Item = &'t Type>) -> usize {
    flattened_options(types)
}

fn flattened_options<'t>(types: impl IntoIterator<Item = &'t Type>) -> usize {
    flat(types).iter().rev().take_while(|ty| matches!(ty.shape, Shape::Option(_))).count()
}

/// What structs and tuples come to in a body, where nothing shows where one begins or ends.
pub fn flat<'t>(types: impl IntoIterator<Item = &'t Type>) -> Vec<&'t Type> {
    let mut all = Vec::new();
    types.into_iter().for_each(|ty| flatten(ty, &mut all));
    all
}

fn flatten<'t>(ty: &'t Type, all: &mut Vec<&'t Type>) {
    match &ty.shape {
        Shape::Unit => {}
        Shape::Newtype(inner) => flatten(inner, all),
        Shape::Tuple(inner) => inner.iter().for_each(|ty| flatten(ty, all)),
        Shape::Struct(fields) => fields.iter().for_each(|field| flatten(&field.ty, all)),
        _ => all.push(ty),
    }
}

impl Shape {
    fn has_parts(&self) -> bool {
        match self {
            Shape::Right { .. } => true,
            Shape::Option(inner) | Shape::Newtype(inner) | Shape::Seq(inner) => inner.has_parts(),
            Shape::Tuple(inner) => inner.iter().any(Type::has_parts),
            Shape::Map(key, value) => key.has_parts() || value.has_parts(),
            Shape::Struct(fields) => fields.iter().any(|field| field.ty.has_parts()),
            Shape::Enum(variants) => variants.iter().any(|variant| variant.holds.has_parts()),
            _ => false,
        }
    }
}

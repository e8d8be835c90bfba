//! Reads an encoded description. What it says is an allegation.

use std::collections::HashSet;

use crate::format::{VERSION, flag, tag};
use crate::interface::{Argument, Description, Method, NUMBER_MAX, Stream};
use crate::types::{Field, Right, Shape, Type, Variant};

/// Types deeper inside each other than this are refused.
const DEPTH_MAX: u32 = 100;

/// Why bytes are not a description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// They end too early.
    #[error("the description ends in the middle")]
    Short,
    /// A form of another version of this library.
    #[error("the description has form {0}, and this program reads form {VERSION} only")]
    Version(u8),
    /// Not text.
    #[error("a name in the description is not UTF-8")]
    Text,
    /// No name: it would end a line, or a comment, of what is made of it.
    #[error("{0:?} in the description is no name")]
    Name(String),
    /// What stands there means nothing.
    #[error("the description has an unknown mark {0} in it")]
    Unknown(u8),
    /// Too deep.
    #[error("types in the description are nested deeper than {DEPTH_MAX}")]
    Deep,
    /// A number that cannot be one.
    #[error("a number in the description is out of range")]
    Number,
    /// Two methods with one number, or one name: who asks for it could be told of either.
    #[error("two methods in the description have one number or name: {0:?} is the second")]
    Twice(String),
    /// More bytes than it has.
    #[error("{0} bytes follow the description")]
    Long(usize),
    /// The bytes in the file are not those that were written.
    #[error("the description is damaged: its checksum is another")]
    Sum,
}

impl Description {
    /// Reads an encoded description: what a server answers to [`crate::interface::DESCRIBE`].
    pub fn read(bytes: &[u8]) -> Result<Description, Broken> {
        let mut reader = Reader { rest: bytes };
        let description = reader.description()?;
        if reader.rest.is_empty() { Ok(description) } else { Err(Broken::Long(reader.rest.len())) }
    }
}

struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    fn byte(&mut self) -> Result<u8, Broken> {
        let (&first, rest) = self.rest.split_first().ok_or(Broken::Short)?;
        self.rest = rest;
        Ok(first)
    }
    fn number(&mut self) -> Result<u64, Broken> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Broken::Number);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Broken::Number)
    }
    fn word(&mut self) -> Result<u32, Broken> {
        self.number()?.try_into().map_err(|_| Broken::Number)
    }
    fn text(&mut self) -> Result<String, Broken> {
        let len = self.number()?.try_into().map_err(|_| Broken::Short)?;
        let (text, rest) = self.rest.split_at_checked(len).ok_or(Broken::Short)?;
        self.rest = rest;
        str::from_utf8(text).map(str::to_owned).map_err(|_| Broken::Text)
    }
    /// Of an interface, a method, an argument, a type.
    fn name(&mut self) -> Result<String, Broken> {
        let name = self.text()?;
        let breaks = name.contains(|c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
        if breaks || name.contains("*/") { Err(Broken::Name(name)) } else { Ok(name) }
    }
    /// So many of them as the next number says. Each takes a byte at least, so the end of the bytes ends this.
    fn some<T>(&mut self, mut read: impl FnMut(&mut Reader<'b>) -> Result<T, Broken>) -> Result<Vec<T>, Broken> {
        let count = self.number()?;
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(read(self)?);
        }
        Ok(all)
    }

    fn description(&mut self) -> Result<Description, Broken> {
        match self.byte()? {
            VERSION => {}
            other => return Err(Broken::Version(other)),
        }
        let (name, version, base, docs) = (self.name()?, self.word()?, self.word()? as i32, self.text()?);
        let (mut numbers, mut names) = (HashSet::new(), HashSet::new());
        let methods = self.some(|reader| {
            let method = reader.method()?;
            let is_new = numbers.insert(method.number) & names.insert(method.name.clone());
            if is_new { Ok(method) } else { Err(Broken::Twice(method.name)) }
        })?;
        Ok(Description { name, version, base, docs, methods })
    }
    fn method(&mut self) -> Result<Method, Broken> {
        let number = self.byte()?;
        if number > NUMBER_MAX {
            return Err(Broken::Number);
        }
        let (name, docs, flags) = (self.name()?, self.text()?, self.byte()?);
        let known = flag::ONE_WAY | flag::DEADLINE | flag::STREAM | flag::ERROR;
        if flags & !known != 0 {
            return Err(Broken::Unknown(flags));
        }
        let has = |flag: u8| flags & flag != 0;
        let deadline_ms = if has(flag::DEADLINE) { Some(self.number()?) } else { None };
        let arguments = self.some(|reader| Ok(Argument { name: reader.name()?, ty: reader.ty(0)? }))?;
        let result = self.ty(0)?;
        let error = if has(flag::ERROR) { Some(self.ty(0)?) } else { None };
        let stream = if has(flag::STREAM) { Some(Stream { item: self.ty(0)?, queue: self.word()? }) } else { None };
        Ok(Method { number, name, docs, one_way: has(flag::ONE_WAY), deadline_ms, arguments, result, error, stream })
    }
    fn ty(&mut self, depth: u32) -> Result<Type, Broken> {
        let name = self.name()?;
        Ok(Type { name, shape: self.shape(depth)? })
    }
    fn boxed(&mut self, depth: u32) -> Result<Box<Type>, Broken> {
        self.ty(depth).map(Box::new)
    }
    fn fields(&mut self, depth: u32) -> Result<Vec<Field>, Broken> {
        self.some(|reader| Ok(Field { name: reader.name()?, ty: reader.ty(depth)? }))
    }
    fn shape(&mut self, depth: u32) -> Result<Shape, Broken> {
        if depth > DEPTH_MAX {
            return Err(Broken::Deep);
        }
        let deeper = depth + 1;
        Ok(match self.byte()? {
            tag::BOOL => Shape::Bool,
            tag::I8 => Shape::I8,
            tag::I16 => Shape::I16,
            tag::I32 => Shape::I32,
            tag::I64 => Shape::I64,
            tag::I128 => Shape::I128,
            tag::ISIZE => Shape::Isize,
            tag::U8 => Shape::U8,
            tag::U16 => Shape::U16,
            tag::U32 => Shape::U32,
            tag::U64 => Shape::U64,
            tag::U128 => Shape::U128,
            tag::USIZE => Shape::Usize,
            tag::F32 => Shape::F32,
            tag::F64 => Shape::F64,
            tag::CHAR => Shape::Char,
            tag::STRING => Shape::String,
            tag::BYTES => Shape::Bytes,
            tag::UNIT => Shape::Unit,
            tag::OPTION => Shape::Option(self.boxed(deeper)?),
            tag::NEWTYPE => Shape::Newtype(self.boxed(deeper)?),
            tag::SEQ => Shape::Seq(self.boxed(deeper)?),
            tag::TUPLE => Shape::Tuple(self.some(|reader| reader.ty(deeper))?),
            tag::MAP => Shape::Map(self.boxed(deeper)?, self.boxed(deeper)?),
            tag::STRUCT => Shape::Struct(self.fields(deeper)?),
            tag::ENUM => Shape::Enum(self.some(|reader| Ok(Variant { name: reader.name()?, holds: reader.holds(deeper)? }))?),
            tag::RIGHT => {
                let kind = self.byte()?;
                let kind = Right::ALL.get(usize::from(kind)).copied().ok_or(Broken::Unknown(kind))?;
                Shape::Right { kind, interface: self.name()? }
            }
            tag::POD => Shape::Pod { size: self.number()? },
            tag::SCHEMA => Shape::Schema,
            unknown => return Err(Broken::Unknown(unknown)),
        })
    }
    /// What a variant holds.
    fn holds(&mut self, depth: u32) -> Result<Shape, Broken> {
        match self.shape(depth)? {
            holds @ (Shape::Unit | Shape::Newtype(_) | Shape::Tuple(_) | Shape::Struct(_)) => Ok(holds),
            _ => Err(Broken::Unknown(tag::ENUM)),
        }
    }
}

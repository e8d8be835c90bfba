//! Bodies as JSON, and JSON as bodies: for programs that know an interface from its description only.
//!
//! | type | JSON |
//! |---|---|
//! | numbers | a number; beyond 64 bits, and what JSON has no number for, text |
//! | bytes | `{"text": …}` or `{"hex": …}`; text and arrays of numbers are taken too |
//! | options | `null` or the value; `{"some": …}` around what may be `null` itself |
//! | structs, maps with text for keys | an object |
//! | other maps | an array of pairs |
//! | enums | the variant's name, or `{name: what it holds}` |
//! | rights, memory, open files | `{"part": index, "is": "send", "interface": …}`; to send one, whatever the caller of this can make a part of ([`Body::parts`]) |
//! | plain old data | `{"hex": …}` |
//!
//! What is read is an allegation: it takes time and memory in proportion to its bytes, and never panics.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::interface::{Description, Method, Role};
use crate::types::{Field, Right, Shape, Type, Variant};

/// More values than this in one body are refused.
const VALUES_MAX: usize = 1 << 20;

/// What is wrong with a body, or with the JSON for one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {why}")]
pub struct Wrong {
    /// Where: `size.bytes`, `names[3]`.
    pub at: String,
    /// Why.
    pub why: String,
}

/// A body to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The parts that must go with it, in order: what each is to be, and what was given for it.
    pub parts: Vec<Part>,
}

/// A part of a message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is to be.
    pub kind: Right,
    /// Of which interface, if that is said.
    pub interface: String,
    /// What was given for it.
    pub given: Value,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// A request's arguments: an object.
    Arguments(Value),
    /// The result.
    Result(Value),
    /// The method's own error.
    Error(Value),
    /// One of a stream's.
    Item(Value),
}

impl Said {
    /// The value.
    pub fn value(&self) -> &Value {
        match self {
            Said::Arguments(value) | Said::Result(value) | Said::Error(value) | Said::Item(value) => value,
        }
    }
}

impl Description {
    /// What the body of a message with this id says, and of which method it is; `None` if it is none of the interface's.
    pub fn read_message(&self, id: i32, body: &[u8]) -> Option<(Role, &Method, Result<Said, Wrong>)> {
        let (role, method) = self.which(id)?;
        let said = match role {
            Role::Request => method.read_request(body).map(Said::Arguments),
            Role::Answer => method.read_answer(body),
            Role::Item => method.read_item(body).map(Said::Item),
        };
        Some((role, method, said))
    }
}

impl Method {
    /// The arguments in a request's body, by name. (A stream's right is not among them.)
    pub fn read_request(&self, body: &[u8]) -> Result<Value, Wrong> {
        let mut reader = Reader::new(body);
        if self.stream.is_some() {
            reader.at.push("the stream".into());
            reader.number()?;
            reader.at.pop();
        }
        let mut arguments = Map::new();
        for argument in &self.arguments {
            let value = reader.named(&argument.name, |reader| reader.value(&argument.ty, true))?;
            arguments.insert(argument.name.clone(), value);
        }
        Ok(Value::Object(arguments))
    }
    /// The result or the error in an answer's body.
    pub fn read_answer(&self, body: &[u8]) -> Result<Said, Wrong> {
        let mut reader = Reader::new(body);
        let Some(error) = &self.error else {
            return reader.named("the result", |reader| reader.value(&self.result, true)).map(Said::Result);
        };
        match reader.named("the result", Reader::byte)? {
            0 => reader.named("the result", |reader| reader.value(&self.result, true)).map(Said::Result),
            1 => reader.named("the error", |reader| reader.value(error, true)).map(Said::Error),
            other => Err(reader.wrong(format!("{other} is neither a result's mark (0) nor an error's (1)"))),
        }
    }
    /// One of its stream's.
    pub fn read_item(&self, body: &[u8]) -> Result<Value, Wrong> {
        let mut reader = Reader::new(body);
        match &self.stream {
            Some(stream) => reader.named("the item", |reader| reader.value(&stream.item, true)),
            None => Err(reader.wrong("the method has no stream".into())),
        }
    }
    /// A request's body. `arguments` is an object by name, or an array in order; what is left away of options at the end, or by name of any option, is none.
    /// If the method has a stream, the body starts with `part` 0, which is not among [`Body::parts`]: the right to the port for its items comes first.
    pub fn write_request(&self, arguments: &Value) -> Result<Body, Wrong> {
        let mut writer = Writer::default();
        if self.stream.is_some() {
            writer.body.bytes.push(0);
            writer.first = 1;
        }
        let none = Value::Null;
        match arguments {
            Value::Object(given) => {
                if let Some(unknown) = given.keys().find(|name| !self.arguments.iter().any(|argument| argument.name == **name)) {
                    let known: Vec<_> = self.arguments.iter().map(|argument| argument.name.as_str()).collect();
                    return Err(writer.wrong(format!("there is no argument {unknown:?}; there are: {}", known.join(", "))));
                }
                for argument in &self.arguments {
                    let value = given.get(&argument.name);
                    writer.named(&argument.name, |writer| writer.given(&argument.ty, value))?;
                }
            }
            Value::Array(given) => {
                if given.len() > self.arguments.len() {
                    return Err(writer.wrong(format!("{} arguments are given, and there are {}", given.len(), self.arguments.len())));
                }
                for (n, argument) in self.arguments.iter().enumerate() {
                    writer.named(&argument.name, |writer| writer.given(&argument.ty, given.get(n)))?;
                }
            }
            other => {
                // One argument, as it is; or none.
                let [argument] = self.arguments.as_slice() else {
                    if self.arguments.is_empty() && *other == none {
                        return Ok(writer.body);
                    }
                    return Err(writer.wrong("arguments are an object by name, or an array in order".into()));
                };
                writer.named(&argument.name, |writer| writer.value(&argument.ty, other))?;
            }
        }
        Ok(writer.body)
    }
}

impl Type {
    /// The value in a body that is nothing but it.
    pub fn read(&self, body: &[u8]) -> Result<Value, Wrong> {
        Reader::new(body).value(self, true)
    }
    /// A body that is nothing but this value.
    pub fn write(&self, value: &Value) -> Result<Body, Wrong> {
        let mut writer = Writer::default();
        writer.value(self, value)?;
        Ok(writer.body)
    }
    /// What a person wrote on a command line for a value of this type: JSON, or text as it is where the type is text.
    pub fn parse(&self, text: &str) -> Value {
        let takes_text = match &self.shape {
            Shape::String | Shape::Char | Shape::Bytes | Shape::Right { .. } => true,
            Shape::Seq(item) => item.shape == Shape::U8,
            Shape::Newtype(inner) | Shape::Option(inner) if text != "null" => return inner.parse(text),
            Shape::Enum(_) => !text.starts_with(['{', '"']),
            _ => false,
        };
        let quoted = text.starts_with('"');
        match serde_json::from_str(text) {
            Ok(value) if !takes_text || quoted || matches!(value, Value::Object(_) | Value::Array(_)) => value,
            _ => Value::String(text.to_owned()),
        }
    }
}

// Reading.

struct Reader<'b> {
    rest: &'b [u8],
    at: Vec<String>,
    values: usize,
}

impl<'b> Reader<'b> {
    fn new(body: &'b [u8]) -> Reader<'b> {
        Reader { rest: body, at: Vec::new(), values: 0 }
    }
    fn wrong(&self, why: String) -> Wrong {
        Wrong { at: place(&self.at), why }
    }
    fn named<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Result<T, Wrong>) -> Result<T, Wrong> {
        self.at.push(name.to_owned());
        let value = read(self)?;
        self.at.pop();
        Ok(value)
    }
    fn bytes(&mut self, count: usize) -> Result<&'b [u8], Wrong> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| self.wrong(format!("the body ends {} bytes too early", count - self.rest.len())))?;
        self.rest = rest;
        Ok(taken)
    }
    fn byte(&mut self) -> Result<u8, Wrong> {
        Ok(self.bytes(1)?[0])
    }
    fn wide(&mut self, bits: u32) -> Result<u128, Wrong> {
        let mut number = 0u128;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            let part = u128::from(byte & 0x7f);
            if shift >= bits || part << shift >> shift != part || bits < 128 && (part << shift) >> bits != 0 {
                return Err(self.wrong(format!("the number has more than {bits} bits")));
            }
            number |= part << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
        }
    }
    fn number(&mut self) -> Result<u64, Wrong> {
        self.wide(64).map(|number| number as u64)
    }
    fn signed(&mut self, bits: u32) -> Result<i128, Wrong> {
        let wide = self.wide(bits)?;
        Ok((wide >> 1) as i128 ^ -((wide & 1) as i128))
    }
    fn length(&mut self) -> Result<usize, Wrong> {
        let length = self.number()?;
        usize::try_from(length).map_err(|_| self.wrong(format!("a length of {length}")))
    }
    fn text(&mut self) -> Result<&'b str, Wrong> {
        let length = self.length()?;
        let bytes = self.bytes(length)?;
        str::from_utf8(bytes).map_err(|_| self.wrong("the text is not UTF-8".into()))
    }
    fn all(&mut self, types: &[Type], tail: bool) -> Result<Value, Wrong> {
        let mut all = Vec::new();
        for (n, ty) in types.iter().enumerate() {
            all.push(self.named(&n.to_string(), |reader| reader.value(ty, tail))?);
        }
        Ok(Value::Array(all))
    }
    fn fields(&mut self, fields: &[Field], tail: bool) -> Result<Value, Wrong> {
        let mut all = Map::new();
        for field in fields {
            all.insert(field.name.clone(), self.named(&field.name, |reader| reader.value(&field.ty, tail))?);
        }
        Ok(Value::Object(all))
    }
    /// `tail`: where the body may end before an option.
    fn value(&mut self, ty: &Type, tail: bool) -> Result<Value, Wrong> {
        self.shape(&ty.shape, tail)
    }
    fn shape(&mut self, shape: &Shape, tail: bool) -> Result<Value, Wrong> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(self.wrong(format!("more than {VALUES_MAX} values in one body")));
        }
        Ok(match shape {
            Shape::Bool => match self.byte()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(self.wrong(format!("{other} is neither false (0) nor true (1)"))),
            },
            Shape::U8 => json!(self.byte()?),
            Shape::I8 => json!(self.byte()? as i8),
            Shape::U16 => json!(self.wide(16)? as u64),
            Shape::U32 => json!(self.wide(32)? as u64),
            Shape::U64 | Shape::Usize => json!(self.number()?),
            Shape::U128 => {
                let wide = self.wide(128)?;
                u64::try_from(wide).map_or_else(|_| json!(wide.to_string()), |number| json!(number))
            }
            Shape::I16 => json!(self.signed(16)? as i64),
            Shape::I32 => json!(self.signed(32)? as i64),
            Shape::I64 | Shape::Isize => json!(self.signed(64)? as i64),
            Shape::I128 => {
                let wide = self.signed(128)?;
                i64::try_from(wide).map_or_else(|_| json!(wide.to_string()), |number| json!(number))
            }
            Shape::F32 => {
                let bytes = self.bytes(4)?;
                float(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).into())
            }
            Shape::F64 => {
                let bytes = self.bytes(8)?;
                float(f64::from_le_bytes(bytes.try_into().expect("eight")))
            }
            Shape::Char => {
                let text = self.text()?;
                if text.chars().count() != 1 {
                    return Err(self.wrong(format!("{text:?} is not one character")));
                }
                json!(text)
            }
            Shape::String => json!(self.text()?),
            Shape::Bytes => {
                let length = self.length()?;
                bytes_value(self.bytes(length)?)
            }
            Shape::Seq(item) if item.shape == Shape::U8 => {
                let length = self.length()?;
                bytes_value(self.bytes(length)?)
            }
            Shape::Unit => Value::Null,
            Shape::Option(_) if tail && self.rest.is_empty() => Value::Null,
            Shape::Option(inner) => match self.byte()? {
                0 => Value::Null,
                1 => {
                    let value = self.value(inner, false)?;
                    if may_be_null(inner) { json!({ "some": value }) } else { value }
                }
                other => return Err(self.wrong(format!("{other} is neither none (0) nor some (1)"))),
            },
            Shape::Newtype(inner) => self.value(inner, tail)?,
            Shape::Seq(item) => {
                let length = self.length()?;
                let mut all = Vec::new();
                for n in 0..length {
                    all.push(self.named(&format!("[{n}]"), |reader| reader.value(item, false))?);
                }
                Value::Array(all)
            }
            Shape::Tuple(types) => self.all(types, tail)?,
            Shape::Struct(fields) => self.fields(fields, tail)?,
            Shape::Map(key, value) => {
                let length = self.length()?;
                let (mut object, mut pairs) = (Map::new(), Vec::new());
                for n in 0..length {
                    let pair = self.named(&format!("[{n}]"), |reader| Ok((reader.value(key, false)?, reader.value(value, false)?)))?;
                    match pair {
                        (Value::String(name), value) if key.shape == Shape::String => drop(object.insert(name, value)),
                        (key, value) => pairs.push(json!([key, value])),
                    }
                }
                if key.shape == Shape::String { Value::Object(object) } else { Value::Array(pairs) }
            }
            Shape::Enum(variants) => {
                let number = self.number()?;
                let variant = usize::try_from(number).ok().and_then(|number| variants.get(number));
                let Some(Variant { name, holds }) = variant else {
                    return Err(self.wrong(format!("there is no variant {number}; there are {}", variants.len())));
                };
                match holds {
                    Shape::Unit => json!(name),
                    holds => {
                        let value = self.named(name, |reader| reader.shape(holds, false))?;
                        json!({ name: value })
                    }
                }
            }
            Shape::Right { kind, interface } => {
                let index = self.wide(32)? as u64;
                let mut part = Map::from_iter([("part".to_owned(), json!(index)), ("is".to_owned(), json!(kind))]);
                if !interface.is_empty() {
                    part.insert("interface".into(), json!(interface));
                }
                Value::Object(part)
            }
            Shape::Pod { size } => {
                let size = usize::try_from(*size).map_err(|_| self.wrong("more bytes than there can be".into()))?;
                json!({ "hex": hex(self.bytes(size)?) })
            }
            Shape::Schema => return Err(self.wrong("the schema of a type is not shown".into())),
        })
    }
}

fn place(at: &[String]) -> String {
    if at.is_empty() {
        return "the message".into();
    }
    at.iter().enumerate().fold(
        String::new(),
        |text, (n, part)| {
            if n == 0 || part.starts_with('[') { text + part } else { text + "." + part }
        },
    )
}

fn may_be_null(ty: &Type) -> bool {
    match &ty.shape {
        Shape::Option(_) | Shape::Unit => true,
        Shape::Newtype(inner) => may_be_null(inner),
        _ => false,
    }
}

fn float(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| json!(value.to_string()), Value::Number)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_value(bytes: &[u8]) -> Value {
    match str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|c| c.is_control() && !c.is_whitespace()) => json!({ "text": text }),
        _ => json!({ "hex": hex(bytes) }),
    }
}

// Writing.

#[derive(Default)]
struct Writer {
    body: Body,
    /// The index of the first of the parts.
    first: u64,
    at: Vec<String>,
}

impl Writer {
    fn wrong(&self, why: String) -> Wrong {
        Wrong { at: place(&self.at), why }
    }
    fn named<T>(&mut self, name: &str, write: impl FnOnce(&mut Self) -> Result<T, Wrong>) -> Result<T, Wrong> {
        self.at.push(name.to_owned());
        let done = write(self)?;
        self.at.pop();
        Ok(done)
    }
    fn number(&mut self, mut number: u128) {
        while number >= 0x80 {
            self.body.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.body.bytes.push(number as u8);
    }
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u128);
        self.body.bytes.extend_from_slice(bytes);
    }
    /// A value that may not have been given.
    fn given(&mut self, ty: &Type, value: Option<&Value>) -> Result<(), Wrong> {
        match (value, &ty.shape) {
            (Some(value), _) => self.value(ty, value),
            (None, Shape::Option(_) | Shape::Unit) => self.value(ty, &Value::Null),
            (None, _) => Err(self.wrong("it is missing".into())),
        }
    }
    fn unsigned(&mut self, value: &Value, bits: u32) -> Result<u128, Wrong> {
        let number = match value {
            Value::Number(number) => number.as_u64().map(u128::from),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let max = u128::MAX >> (128 - bits);
        number.filter(|&number| number <= max).ok_or_else(|| self.wrong(format!("{value} is no whole number from 0 to {max}")))
    }
    fn signed(&mut self, value: &Value, bits: u32) -> Result<i128, Wrong> {
        let number = match value {
            Value::Number(number) => number.as_i64().map(i128::from).or(number.as_u64().map(i128::from)),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let (min, max) = (i128::MIN >> (128 - bits), i128::MAX >> (128 - bits));
        number
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| self.wrong(format!("{value} is no whole number from {min} to {max}")))
    }
    fn zigzag(&mut self, value: &Value, bits: u32) -> Result<(), Wrong> {
        let number = self.signed(value, bits)?;
        self.number(((number << 1) ^ (number >> 127)) as u128);
        Ok(())
    }
    fn float(&mut self, value: &Value) -> Result<f64, Wrong> {
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.wrong(format!("{value} is no number")))
    }
    fn text<'v>(&mut self, value: &'v Value) -> Result<&'v str, Wrong> {
        value.as_str().ok_or_else(|| self.wrong(format!("{value} is no text")))
    }
    fn raw(&mut self, value: &Value) -> Result<Vec<u8>, Wrong> {
        match value {
            Value::String(text) => return Ok(text.clone().into_bytes()),
            Value::Array(numbers) => {
                let bytes: Option<Vec<u8>> = numbers.iter().map(|number| number.as_u64()?.try_into().ok()).collect();
                if let Some(bytes) = bytes {
                    return Ok(bytes);
                }
            }
            Value::Object(object) => match (object.get("text").and_then(Value::as_str), object.get("hex").and_then(Value::as_str)) {
                (Some(text), _) => return Ok(text.as_bytes().to_vec()),
                (None, Some(hex)) => {
                    if let Some(bytes) = from_hex(hex) {
                        return Ok(bytes);
                    }
                }
                _ => {}
            },
            _ => {}
        }
        Err(self.wrong(format!("{value} is no bytes: give text, {{\"text\": …}}, {{\"hex\": …}} or an array of numbers up to 255")))
    }
    fn all(&mut self, types: &[Type], value: &Value) -> Result<(), Wrong> {
        let Value::Array(values) = value else { return Err(self.wrong(format!("{value} is no array of {}", types.len()))) };
        if values.len() > types.len() {
            return Err(self.wrong(format!("an array of {} values, and there are {}", values.len(), types.len())));
        }
        for (n, ty) in types.iter().enumerate() {
            self.named(&n.to_string(), |writer| writer.given(ty, values.get(n)))?;
        }
        Ok(())
    }
    fn fields(&mut self, fields: &[Field], value: &Value) -> Result<(), Wrong> {
        let Value::Object(values) = value else { return Err(self.wrong(format!("{value} is no object"))) };
        if let Some(unknown) = values.keys().find(|name| !fields.iter().any(|field| field.name == **name)) {
            let known: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
            return Err(self.wrong(format!("there is no field {unknown:?}; there are: {}", known.join(", "))));
        }
        for field in fields {
            self.named(&field.name, |writer| writer.given(&field.ty, values.get(&field.name)))?;
        }
        Ok(())
    }
    fn value(&mut self, ty: &Type, value: &Value) -> Result<(), Wrong> {
        self.shape(&ty.shape, value)
    }
    fn shape(&mut self, shape: &Shape, value: &Value) -> Result<(), Wrong> {
        match shape {
            Shape::Bool => {
                let value = value.as_bool().ok_or_else(|| self.wrong(format!("{value} is neither true nor false")))?;
                self.body.bytes.push(value.into());
            }
            Shape::U8 => {
                let number = self.unsigned(value, 8)?;
                self.body.bytes.push(number as u8);
            }
            Shape::I8 => {
                let number = self.signed(value, 8)?;
                self.body.bytes.push(number as u8);
            }
            Shape::U16 => self.unsigned(value, 16).map(|number| self.number(number))?,
            Shape::U32 => self.unsigned(value, 32).map(|number| self.number(number))?,
            Shape::U64 | Shape::Usize => self.unsigned(value, 64).map(|number| self.number(number))?,
            Shape::U128 => self.unsigned(value, 128).map(|number| self.number(number))?,
            Shape::I16 => self.zigzag(value, 16)?,
            Shape::I32 => self.zigzag(value, 32)?,
            Shape::I64 | Shape::Isize => self.zigzag(value, 64)?,
            Shape::I128 => self.zigzag(value, 128)?,
            Shape::F32 => {
                let number = self.float(value)? as f32;
                self.body.bytes.extend_from_slice(&number.to_le_bytes());
            }
            Shape::F64 => {
                let number = self.float(value)?;
                self.body.bytes.extend_from_slice(&number.to_le_bytes());
            }
            Shape::Char => {
                let text = self.text(value)?;
                if text.chars().count() != 1 {
                    return Err(self.wrong(format!("{text:?} is not one character")));
                }
                self.bytes(text.as_bytes());
            }
            Shape::String => self.text(value).map(|text| self.bytes(text.as_bytes()))?,
            Shape::Bytes => self.raw(value).map(|bytes| self.bytes(&bytes))?,
            Shape::Seq(item) if item.shape == Shape::U8 => self.raw(value).map(|bytes| self.bytes(&bytes))?,
            Shape::Unit => {
                if *value != Value::Null {
                    return Err(self.wrong(format!("there is nothing to say (null), and {value} is given")));
                }
            }
            Shape::Option(_) if *value == Value::Null => self.body.bytes.push(0),
            Shape::Option(inner) => {
                self.body.bytes.push(1);
                let value = if may_be_null(inner) { value.get("some").unwrap_or(value) } else { value };
                self.value(inner, value)?;
            }
            Shape::Newtype(inner) => self.value(inner, value)?,
            Shape::Seq(item) => {
                let Value::Array(values) = value else { return Err(self.wrong(format!("{value} is no array"))) };
                self.number(values.len() as u128);
                for (n, value) in values.iter().enumerate() {
                    self.named(&format!("[{n}]"), |writer| writer.value(item, value))?;
                }
            }
            Shape::Tuple(types) => self.all(types, value)?,
            Shape::Struct(fields) => self.fields(fields, value)?,
            Shape::Map(key, item) => match value {
                Value::Object(object) if key.shape == Shape::String => {
                    self.number(object.len() as u128);
                    for (name, value) in object {
                        self.bytes(name.as_bytes());
                        self.named(name, |writer| writer.value(item, value))?;
                    }
                }
                Value::Array(pairs) => {
                    self.number(pairs.len() as u128);
                    for (n, pair) in pairs.iter().enumerate() {
                        let (name, value) = match pair.as_array().map(Vec::as_slice) {
                            Some([name, value]) => (name, value),
                            _ => return Err(self.wrong(format!("{pair} is no pair"))),
                        };
                        self.named(&format!("[{n}]"), |writer| {
                            writer.value(key, name)?;
                            writer.value(item, value)
                        })?;
                    }
                }
                other => return Err(self.wrong(format!("{other} is no map"))),
            },
            Shape::Enum(variants) => {
                let none = Value::Null;
                let (name, value) = match value {
                    Value::String(name) => (name, &none),
                    Value::Object(object) if object.len() == 1 => object.iter().next().expect("it has one"),
                    other => return Err(self.wrong(format!("{other} is neither a variant's name nor an object with one"))),
                };
                let Some(number) = variants.iter().position(|variant| variant.name == *name) else {
                    let known: Vec<_> = variants.iter().map(|variant| variant.name.as_str()).collect();
                    return Err(self.wrong(format!("there is no variant {name:?}; there are: {}", known.join(", "))));
                };
                self.number(number as u128);
                self.named(name, |writer| writer.shape(&variants[number].holds, value))?;
            }
            Shape::Right { kind, interface } => {
                let index = self.first + self.body.parts.len() as u64;
                self.number(index.into());
                self.body.parts.push(Part { kind: *kind, interface: interface.clone(), given: value.clone() });
            }
            Shape::Pod { size } => {
                let bytes = self.raw(value)?;
                if bytes.len() as u64 != *size {
                    return Err(self.wrong(format!("{} bytes are given, and there are {size}", bytes.len())));
                }
                self.body.bytes.extend_from_slice(&bytes);
            }
            Shape::Schema => return Err(self.wrong("the schema of a type cannot be given".into())),
        }
        Ok(())
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

//! The form of a description that `#[libtask::interface]` makes, and its encoding while the program is compiled.

use postcard_schema::schema::{DataModelType, DataModelVariant, NamedType, NamedValue};

use crate::format::{HEAD, MARK, VERSION, checksum, flag, tag};

/// [`crate::Description`].
#[allow(missing_docs)]
#[derive(Debug, Clone, Copy)]
pub struct Interface {
    pub name: &'static str,
    pub version: u32,
    pub base: i32,
    pub docs: &'static str,
    pub methods: &'static [Method],
}

/// [`crate::Method`].
#[allow(missing_docs)]
#[derive(Debug, Clone, Copy)]
pub struct Method {
    pub number: u8,
    pub name: &'static str,
    pub docs: &'static str,
    pub one_way: bool,
    pub deadline_ms: Option<u64>,
    pub arguments: &'static [(&'static str, Value)],
    pub result: Value,
    pub error: Option<&'static NamedType>,
    /// The item's type, and the queue.
    pub stream: Option<(&'static NamedType, u32)>,
}

/// An argument's or a result's type.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// In postcard.
    Body(&'static NamedType),
    /// Plain old data: the type's name, and its bytes.
    Pod(&'static str, usize),
}

/// The schemas of parts of messages are newtypes with such names, around an index whose name is that of the interface.
pub mod part {
    /// A send right.
    pub const SEND: &str = "umach:0";
    /// A send-once right.
    pub const SEND_ONCE: &str = "umach:1";
    /// A receive right.
    pub const RECEIVE: &str = "umach:2";
    /// A sealed region.
    pub const REGION: &str = "umach:3";
    /// A shared region.
    pub const SHARED_REGION: &str = "umach:4";
    /// An open file.
    pub const FILE: &str = "umach:5";
    /// Memory.
    pub const MEMORY: &str = "umach:6";
}

/// Which of [`crate::Right::ALL`] this is the schema of.
const fn right_of(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [b'u', b'm', b'a', b'c', b'h', b':', n @ b'0'..=b'6'] => Some(*n - b'0'),
        _ => None,
    }
}

/// Whether values of this type are or hold parts of the message.
pub const fn has_parts(ty: &NamedType) -> bool {
    match ty.ty {
        DataModelType::NewtypeStruct(inner) => right_of(ty.name).is_some() || has_parts(inner),
        DataModelType::Option(inner) | DataModelType::Seq(inner) => has_parts(inner),
        DataModelType::Tuple(inner) | DataModelType::TupleStruct(inner) => any_has_parts(inner),
        DataModelType::Map { key, val } => has_parts(key) || has_parts(val),
        DataModelType::Struct(fields) => fields_have_parts(fields),
        DataModelType::Enum(variants) => {
            let mut at = 0;
            while at < variants.len() {
                let has = match variants[at].ty {
                    DataModelVariant::UnitVariant => false,
                    DataModelVariant::NewtypeVariant(inner) => has_parts(inner),
                    DataModelVariant::TupleVariant(inner) => any_has_parts(inner),
                    DataModelVariant::StructVariant(fields) => fields_have_parts(fields),
                };
                if has {
                    return true;
                }
                at += 1;
            }
            false
        }
        _ => false,
    }
}

/// The same of several.
pub const fn any_has_parts(types: &[&NamedType]) -> bool {
    let mut at = 0;
    while at < types.len() {
        if has_parts(types[at]) {
            return true;
        }
        at += 1;
    }
    false
}

const fn fields_have_parts(fields: &[&NamedValue]) -> bool {
    let mut at = 0;
    while at < fields.len() {
        if has_parts(fields[at].ty) {
            return true;
        }
        at += 1;
    }
    false
}

/// How long [`marked`] is.
pub const fn length(interface: &Interface) -> usize {
    let mut writer = Writer::<0> { bytes: [], at: HEAD };
    writer.interface(interface);
    writer.at
}

/// The description with its mark, as it stands in the binary. `N` is its [`length`].
pub const fn marked<const N: usize>(interface: &Interface) -> [u8; N] {
    let mut writer = Writer::<N> { bytes: [0; N], at: HEAD };
    writer.interface(interface);
    assert!(writer.at == N, "N is the description's length");
    let mut at = 0;
    while at < MARK.len() {
        writer.bytes[at] = MARK[at];
        at += 1;
    }
    let length = ((N - HEAD) as u32).to_le_bytes();
    let sum = checksum(&writer.bytes, HEAD).to_le_bytes();
    let mut at = 0;
    while at < 4 {
        writer.bytes[16 + at] = length[at];
        writer.bytes[20 + at] = sum[at];
        at += 1;
    }
    writer.bytes
}

/// The description without its mark.
pub const fn unmarked(marked: &'static [u8]) -> &'static [u8] {
    marked.split_at(HEAD).1
}

/// Counts, and writes as far as there is room.
struct Writer<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    const fn byte(&mut self, byte: u8) {
        if self.at < N {
            self.bytes[self.at] = byte;
        }
        self.at += 1;
    }
    const fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }
    const fn text(&mut self, text: &str) {
        let bytes = text.as_bytes();
        self.number(bytes.len() as u64);
        let mut at = 0;
        while at < bytes.len() {
            self.byte(bytes[at]);
            at += 1;
        }
    }
    const fn interface(&mut self, interface: &Interface) {
        self.byte(VERSION);
        self.text(interface.name);
        self.number(interface.version as u64);
        self.number(interface.base as u32 as u64);
        self.text(interface.docs);
        self.number(interface.methods.len() as u64);
        let mut at = 0;
        while at < interface.methods.len() {
            self.method(&interface.methods[at]);
            at += 1;
        }
    }
    const fn method(&mut self, method: &Method) {
        self.byte(method.number);
        self.text(method.name);
        self.text(method.docs);
        let mut flags = 0;
        if method.one_way {
            flags |= flag::ONE_WAY;
        }
        if method.deadline_ms.is_some() {
            flags |= flag::DEADLINE;
        }
        if method.stream.is_some() {
            flags |= flag::STREAM;
        }
        if method.error.is_some() {
            flags |= flag::ERROR;
        }
        self.byte(flags);
        if let Some(deadline) = method.deadline_ms {
            self.number(deadline);
        }
        self.number(method.arguments.len() as u64);
        let mut at = 0;
        while at < method.arguments.len() {
            self.text(method.arguments[at].0);
            self.value(&method.arguments[at].1);
            at += 1;
        }
        self.value(&method.result);
        if let Some(error) = method.error {
            self.ty(error);
        }
        if let Some((item, queue)) = method.stream {
            self.ty(item);
            self.number(queue as u64);
        }
    }
    const fn value(&mut self, value: &Value) {
        match value {
            Value::Body(ty) => self.ty(ty),
            Value::Pod(name, size) => {
                self.text(name);
                self.byte(tag::POD);
                self.number(*size as u64);
            }
        }
    }
    const fn ty(&mut self, ty: &NamedType) {
        self.text(ty.name);
        match ty.ty {
            DataModelType::Bool => self.byte(tag::BOOL),
            DataModelType::I8 => self.byte(tag::I8),
            DataModelType::I16 => self.byte(tag::I16),
            DataModelType::I32 => self.byte(tag::I32),
            DataModelType::I64 => self.byte(tag::I64),
            DataModelType::I128 => self.byte(tag::I128),
            DataModelType::Isize => self.byte(tag::ISIZE),
            DataModelType::U8 => self.byte(tag::U8),
            DataModelType::U16 => self.byte(tag::U16),
            DataModelType::U32 => self.byte(tag::U32),
            DataModelType::U64 => self.byte(tag::U64),
            DataModelType::U128 => self.byte(tag::U128),
            DataModelType::Usize => self.byte(tag::USIZE),
            DataModelType::F32 => self.byte(tag::F32),
            DataModelType::F64 => self.byte(tag::F64),
            DataModelType::Char => self.byte(tag::CHAR),
            DataModelType::String => self.byte(tag::STRING),
            DataModelType::ByteArray => self.byte(tag::BYTES),
            DataModelType::Unit | DataModelType::UnitStruct => self.byte(tag::UNIT),
            DataModelType::Option(inner) => {
                self.byte(tag::OPTION);
                self.ty(inner);
            }
            DataModelType::NewtypeStruct(inner) => match right_of(ty.name) {
                Some(kind) => {
                    self.byte(tag::RIGHT);
                    self.byte(kind);
                    self.text(inner.name);
                }
                None => {
                    self.byte(tag::NEWTYPE);
                    self.ty(inner);
                }
            },
            DataModelType::Seq(inner) => {
                self.byte(tag::SEQ);
                self.ty(inner);
            }
            DataModelType::Tuple(inner) | DataModelType::TupleStruct(inner) => {
                self.byte(tag::TUPLE);
                self.types(inner);
            }
            DataModelType::Map { key, val } => {
                self.byte(tag::MAP);
                self.ty(key);
                self.ty(val);
            }
            DataModelType::Struct(fields) => {
                self.byte(tag::STRUCT);
                self.fields(fields);
            }
            DataModelType::Enum(variants) => {
                self.byte(tag::ENUM);
                self.number(variants.len() as u64);
                let mut at = 0;
                while at < variants.len() {
                    self.text(variants[at].name);
                    match variants[at].ty {
                        DataModelVariant::UnitVariant => self.byte(tag::UNIT),
                        DataModelVariant::NewtypeVariant(inner) => {
                            self.byte(tag::NEWTYPE);
                            self.ty(inner);
                        }
                        DataModelVariant::TupleVariant(inner) => {
                            self.byte(tag::TUPLE);
                            self.types(inner);
                        }
                        DataModelVariant::StructVariant(fields) => {
                            self.byte(tag::STRUCT);
                            self.fields(fields);
                        }
                    }
                    at += 1;
                }
            }
            DataModelType::Schema => self.byte(tag::SCHEMA),
        }
    }
    const fn types(&mut self, types: &[&NamedType]) {
        self.number(types.len() as u64);
        let mut at = 0;
        while at < types.len() {
            self.ty(types[at]);
            at += 1;
        }
    }
    const fn fields(&mut self, fields: &[&NamedValue]) {
        self.number(fields.len() as u64);
        let mut at = 0;
        while at < fields.len() {
            self.text(fields[at].name);
            self.ty(fields[at].ty);
            at += 1;
        }
    }
}

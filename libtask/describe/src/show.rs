//! Descriptions for people and compilers: as a trait, as a C header. (JSON is serde's.)

use std::fmt::Write;

use crate::interface::{Description, Method};
use crate::types::{Field, Right, Shape, Type};

impl Description {
    /// As a trait, with the types that it uses.
    pub fn to_rust(&self) -> String {
        let mut text = String::new();
        comment(&mut text, "", "///", &self.docs);
        let _ = writeln!(text, "#[interface(name = {:?}, version = {}, base = {})]", self.name, self.version, self.base);
        let _ = writeln!(text, "trait {} {{", self.name.rsplit('.').next().unwrap_or(&self.name));
        for (n, method) in self.methods.iter().enumerate() {
            if n > 0 {
                text.push('\n');
            }
            comment(&mut text, "    ", "///", &method.docs);
            let _ = writeln!(text, "    {}", attributes(method));
            let _ = writeln!(text, "    {};", signature(method));
        }
        text.push_str("}\n");
        for ty in self.named_types() {
            text.push('\n');
            text.push_str(&definition(ty));
        }
        text
    }

    /// As a C header: message ids, and how each body is laid out.
    pub fn to_c(&self) -> String {
        let prefix: String = self.name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        let mut text = String::new();
        let _ = writeln!(text, "/* {}, version {}. Made by `umach describe --c`.", self.name, self.version);
        for line in self.docs.lines() {
            let _ = writeln!(text, " * {}", line.replace("*/", "* /"));
        }
        text.push_str(C_NOTE);
        let _ = writeln!(text, "#ifndef {prefix}_H\n#define {prefix}_H\n");
        let _ = writeln!(text, "#define {prefix}_VERSION {}\n#define {prefix}_BASE {}", self.version, self.base);
        text.push_str("/* In place of an answer: a code (u32) and a reason (string). */\n");
        let _ = writeln!(text, "#define {prefix}_FAILURE {}", crate::interface::FAILURE);
        for method in &self.methods {
            let name = format!("{prefix}_{}", method.name.to_ascii_uppercase());
            text.push_str("\n/*");
            for line in method.docs.lines() {
                let _ = writeln!(text, " {}\n *", line.replace("*/", "* /"));
            }
            let _ = writeln!(text, " {}", signature(method));
            if method.stream.is_some() {
                text.push_str(" * request: u32 index of a send right for the items, then:\n");
            }
            for argument in &method.arguments {
                let _ = writeln!(text, " * request: {} {}", layout(&argument.ty), argument.name);
            }
            if !method.one_way {
                let result = if method.gives_nothing() { "nothing".to_owned() } else { layout(&method.result) };
                let _ = match &method.error {
                    None => writeln!(text, " * answer: {result}"),
                    Some(error) => writeln!(text, " * answer: u8 0, then {result}\n * answer: or u8 1, then {}", layout(error)),
                };
            }
            if let Some(stream) = &method.stream {
                let _ = writeln!(text, " * item: {}", layout(&stream.item));
            }
            text.push_str(" */\n");
            let _ = writeln!(text, "#define {name} {}", self.request_id(method));
            if !method.one_way {
                let _ = writeln!(text, "#define {name}_ANSWER {}", self.answer_id(method));
            }
            if method.stream.is_some() {
                let _ = writeln!(text, "#define {name}_ITEM {}", self.request_id(method) + crate::interface::ITEM);
            }
        }
        let enums = self.named_types().into_iter().filter_map(|ty| match &ty.shape {
            Shape::Enum(variants) => Some((&ty.name, variants)),
            _ => None,
        });
        for (name, variants) in enums {
            let _ = writeln!(text, "\nenum {}_{name} {{", prefix.to_ascii_lowercase());
            for (n, variant) in variants.iter().enumerate() {
                let holds =
                    if variant.holds == Shape::Unit { String::new() } else { format!(" /* then {} */", shape_layout(&variant.holds)) };
                let _ = writeln!(text, "    {prefix}_{}_{} = {n},{holds}", name.to_ascii_uppercase(), variant.name.to_ascii_uppercase());
            }
            text.push_str("};\n");
        }
        let _ = writeln!(text, "\n#endif");
        text
    }

    /// The structs and enums that have names of their own, each once, in the order of their use.
    fn named_types(&self) -> Vec<&Type> {
        let mut all = Vec::new();
        for method in &self.methods {
            method.arguments.iter().for_each(|argument| collect(&argument.ty, &mut all));
            collect(&method.result, &mut all);
            method.error.iter().for_each(|error| collect(error, &mut all));
            method.stream.iter().for_each(|stream| collect(&stream.item, &mut all));
        }
        all
    }
}

const C_NOTE: &str = " *
 * A body is its length as a uint32_t, and then its values one after the other: u8, i8 and bool are a byte; other whole numbers are seven bits a byte, the lowest first, with
 * the highest bit set in all but the last, and signed ones are first folded (0, -1, 1, -2 are 0, 1, 2, 3); f32 and f64 are their bytes, little-endian; strings and
 * sequences have the number of their bytes or items in front; an option is 0, or 1 and the value; an enum is its number and what that holds. Options at the end of a
 * body may be left away. A right, memory or an open file is a descriptor of the message, and in the body its index.
 */
";

fn comment(text: &mut String, indent: &str, mark: &str, docs: &str) {
    for line in docs.lines() {
        let _ = writeln!(text, "{}", format!("{indent}{mark} {line}").trim_end());
    }
}

fn attributes(method: &Method) -> String {
    let mut text = format!("#[id({})]", method.number);
    if method.one_way {
        text.push_str(" #[oneway]");
    }
    if let Some(deadline) = method.deadline_ms {
        let _ = write!(text, " #[deadline = \"{deadline}ms\"]");
    }
    if let Some(stream) = &method.stream {
        let _ = write!(text, " #[queue = {}]", stream.queue);
    }
    if matches!(method.result.shape, Shape::Pod { .. }) {
        text.push_str(" #[pod]");
    }
    text
}

/// A method in one line, as a trait would have it: `fn add(a: u64, b: u64) -> u64`.
pub fn signature(method: &Method) -> String {
    let mut arguments: Vec<String> = method
        .arguments
        .iter()
        .map(|argument| {
            let pod = if matches!(argument.ty.shape, Shape::Pod { .. }) { "#[pod] " } else { "" };
            format!("{pod}{}: {}", argument.name, type_text(&argument.ty))
        })
        .collect();
    arguments.extend(method.stream.iter().map(|stream| format!("sink: Sink<{}>", type_text(&stream.item))));
    let result = match (&method.error, method.gives_nothing()) {
        (Some(error), _) => format!(" -> Result<{}, {}>", type_text(&method.result), type_text(error)),
        (None, true) => String::new(),
        (None, false) => format!(" -> {}", type_text(&method.result)),
    };
    format!("fn {}({}){result}", method.name, arguments.join(", "))
}

/// A type as Rust would write it.
pub fn type_text(ty: &Type) -> String {
    match &ty.shape {
        Shape::Struct(_) | Shape::Enum(_) | Shape::Newtype(_) | Shape::Pod { .. } => ty.name.clone(),
        Shape::Unit if !matches!(ty.name.as_str(), "" | "()") => ty.name.clone(),
        Shape::Tuple(_) if is_named_tuple(ty) => ty.name.clone(),
        shape => shape_text(shape),
    }
}

fn is_named_tuple(ty: &Type) -> bool {
    ty.name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

fn shape_text(shape: &Shape) -> String {
    let plain = match shape {
        Shape::Bool => "bool",
        Shape::I8 => "i8",
        Shape::I16 => "i16",
        Shape::I32 => "i32",
        Shape::I64 => "i64",
        Shape::I128 => "i128",
        Shape::Isize => "isize",
        Shape::U8 => "u8",
        Shape::U16 => "u16",
        Shape::U32 => "u32",
        Shape::U64 => "u64",
        Shape::U128 => "u128",
        Shape::Usize => "usize",
        Shape::F32 => "f32",
        Shape::F64 => "f64",
        Shape::Char => "char",
        Shape::String => "String",
        Shape::Bytes => "Vec<u8>",
        Shape::Unit => "()",
        Shape::Schema => "Schema",
        Shape::Option(inner) => return format!("Option<{}>", type_text(inner)),
        Shape::Newtype(inner) => return type_text(inner),
        Shape::Seq(inner) => return format!("Vec<{}>", type_text(inner)),
        Shape::Map(key, value) => return format!("Map<{}, {}>", type_text(key), type_text(value)),
        Shape::Tuple(types) => {
            let types: Vec<_> = types.iter().map(type_text).collect();
            return if types.len() == 1 { format!("({},)", types[0]) } else { format!("({})", types.join(", ")) };
        }
        Shape::Right { kind, interface } => return right_text(*kind, interface),
        Shape::Struct(fields) => return format!("{{ {} }}", fields_text(fields)),
        Shape::Enum(_) => "enum",
        Shape::Pod { size } => return format!("[u8; {size}]"),
    };
    plain.to_owned()
}

fn right_text(kind: Right, interface: &str) -> String {
    let name = match kind {
        Right::Send => "SendRight",
        Right::SendOnce => "SendOnceRight",
        Right::Receive => "ReceiveRight",
        Right::Region => "Region",
        Right::SharedRegion => "SharedRegion",
        Right::File => "OpenFile",
        Right::Memory => "Memory",
    };
    if interface.is_empty() { name.to_owned() } else { format!("{name}<dyn {interface}>") }
}

fn fields_text(fields: &[Field]) -> String {
    fields.iter().map(|field| format!("{}: {}", field.name, type_text(&field.ty))).collect::<Vec<_>>().join(", ")
}

fn definition(ty: &Type) -> String {
    let name = &ty.name;
    match &ty.shape {
        Shape::Struct(fields) => {
            let fields: String = fields.iter().map(|field| format!("    {}: {},\n", field.name, type_text(&field.ty))).collect();
            format!("struct {name} {{\n{fields}}}\n")
        }
        Shape::Newtype(inner) => format!("struct {name}({});\n", type_text(inner)),
        Shape::Tuple(types) => format!("struct {name}({});\n", types.iter().map(type_text).collect::<Vec<_>>().join(", ")),
        Shape::Enum(variants) => {
            let variants: String = variants
                .iter()
                .map(|variant| {
                    let holds = match &variant.holds {
                        Shape::Unit => String::new(),
                        Shape::Newtype(inner) => format!("({})", type_text(inner)),
                        Shape::Struct(fields) => format!(" {{ {} }}", fields_text(fields)),
                        other => shape_text(other),
                    };
                    format!("    {}{holds},\n", variant.name)
                })
                .collect();
            format!("enum {name} {{\n{variants}}}\n")
        }
        Shape::Pod { size } => format!("/// Plain old data of {size} bytes.\nstruct {name};\n"),
        _ => String::new(),
    }
}

fn collect<'t>(ty: &'t Type, all: &mut Vec<&'t Type>) {
    collect_inside(&ty.shape, all);
    let named = match &ty.shape {
        Shape::Struct(_) | Shape::Enum(_) | Shape::Newtype(_) | Shape::Pod { .. } => true,
        Shape::Tuple(_) => is_named_tuple(ty),
        _ => false,
    };
    if named && !all.contains(&ty) {
        all.push(ty);
    }
}

fn collect_inside<'t>(shape: &'t Shape, all: &mut Vec<&'t Type>) {
    match shape {
        Shape::Option(inner) | Shape::Newtype(inner) | Shape::Seq(inner) => collect(inner, all),
        Shape::Tuple(types) => types.iter().for_each(|ty| collect(ty, all)),
        Shape::Map(key, value) => {
            collect(key, all);
            collect(value, all);
        }
        Shape::Struct(fields) => fields.iter().for_each(|field| collect(&field.ty, all)),
        Shape::Enum(variants) => variants.iter().for_each(|variant| collect_inside(&variant.holds, all)),
        _ => {}
    }
}

/// How a type lies in a body, in one line.
fn layout(ty: &Type) -> String {
    match &ty.shape {
        Shape::Enum(_) => format!("enum {}", ty.name),
        shape => shape_layout(shape),
    }
}

fn shape_layout(shape: &Shape) -> String {
    match shape {
        Shape::String => "string".into(),
        Shape::Bytes => "bytes".into(),
        Shape::Seq(item) if item.shape == Shape::U8 => "bytes".into(),
        Shape::Option(inner) => format!("option of {}", layout(inner)),
        Shape::Newtype(inner) => layout(inner),
        Shape::Seq(inner) => format!("sequence of {}", layout(inner)),
        Shape::Map(key, value) => format!("sequence of ({}, {})", layout(key), layout(value)),
        Shape::Tuple(types) => format!("({})", types.iter().map(layout).collect::<Vec<_>>().join(", ")),
        Shape::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|field| format!("{} {}", layout(&field.ty), field.name)).collect();
            format!("({})", fields.join(", "))
        }
        Shape::Right { kind, interface } if interface.is_empty() => format!("u32 index of: {kind}"),
        Shape::Right { kind, interface } => format!("u32 index of: {kind} right of {interface}"),
        Shape::Pod { size } => format!("{size} bytes, as they lie in memory"),
        other => shape_text(other),
    }
}

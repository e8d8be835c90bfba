//! What stands on the command line for the arguments of a method: words, JSON, files, names of services.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use libtask::{Message, SendRight, Task};
use serde_json::{Value, json};
use umach_describe::value::{Body, Part};
use umach_describe::{Method, Right, Shape, Type, signature};
use umach_name_api::Names;

use super::Usage;

/// The body of a request, and what must go with it. All that can be wrong with the words is a [`Usage`].
pub(super) fn request(method: &Method, words: &[String]) -> Result<Body> {
    let mut files = Files::default();
    let wrong = |error: anyhow::Error| error.context(Usage(format!("the arguments of {}", signature(method))));
    let mut given = Vec::new();
    if let ([one], true) = (words, method.arguments.len() != 1) {
        // What the first argument takes as its own bytes or text is not looked into.
        let first = method.arguments.first().map(|argument| takes(&argument.ty));
        let file = match (one.strip_prefix('@'), first) {
            (Some(path), Some(Takes::Json)) => Some(files.json(path)?),
            _ => None,
        };
        // One object of all arguments by name.
        if let Some(all @ Value::Object(_)) = file.clone().or_else(|| serde_json::from_str(one).ok()) {
            return method.write_request(&all).map_err(|error| wrong(error.into()));
        }
        given.extend(file);
    }
    if words.len() > method.arguments.len() {
        return Err(wrong(anyhow::anyhow!("{} are given, and it takes {}", words.len(), method.arguments.len())));
    }
    for (word, argument) in words.iter().zip(&method.arguments).skip(given.len()) {
        given.push(files.value(word, &argument.ty).with_context(|| argument.name.clone())?);
    }
    let all = Value::Array(given);
    let written = method.write_request(&all);
    // The one argument may have been named too.
    if let (Err(_), [argument], Some(Value::Object(named))) = (&written, &method.arguments[..], all.get(0))
        && named.len() == 1
        && named.contains_key(&argument.name)
        && let Ok(body) = method.write_request(&all[0])
    {
        return Ok(body);
    }
    written.map_err(|error| wrong(error.into()))
}

/// Reads files that are named in place of values. Standard input is one of them, once.
#[derive(Default)]
struct Files {
    input_is_read: bool,
}

impl Files {
    fn bytes(&mut self, path: &str) -> Result<Vec<u8>> {
        if path != "-" {
            return std::fs::read(path).with_context(|| format!("read {path}"));
        }
        ensure!(!self.input_is_read, "standard input (@-) can be given once only");
        self.input_is_read = true;
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).context("read standard input")?;
        Ok(bytes)
    }
    fn json(&mut self, path: &str) -> Result<Value> {
        let text = String::from_utf8(self.bytes(path)?).with_context(|| format!("{path} is no text"))?;
        serde_json::from_str(&text).with_context(|| format!("what is in {path} is no JSON"))
    }
    /// A value of this type: words as they are, JSON, or `@FILE`: bytes where the type is bytes, else JSON.
    fn value(&mut self, word: &str, ty: &Type) -> Result<Value> {
        match (word.strip_prefix('@'), takes(ty)) {
            (Some(rest), Takes::Bytes) if rest.starts_with('@') => Ok(json!({ "text": rest })),
            (Some(path), Takes::Bytes) => Ok(json!({ "hex": hex(&self.bytes(path)?) })),
            (Some(path), Takes::Json) => self.json(path),
            _ => Ok(ty.parse(word)),
        }
    }
}

/// What a file in place of a value is.
enum Takes {
    Bytes,
    Json,
    /// The word itself is the value, or is looked at when the message is made.
    Word,
}

fn takes(ty: &Type) -> Takes {
    match &ty.shape {
        Shape::Newtype(inner) | Shape::Option(inner) => takes(inner),
        Shape::Bytes | Shape::Pod { .. } => Takes::Bytes,
        Shape::Seq(item) if item.shape == Shape::U8 => Takes::Bytes,
        Shape::String | Shape::Char | Shape::Right { .. } => Takes::Word,
        _ => Takes::Json,
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The message with what was given for its rights, files and memory.
pub(super) fn add_parts(mut message: Message, parts: &[Part], task: &Task, names: &Names) -> Result<Message> {
    let mut files = Files::default();
    for part in parts {
        let Value::String(given) = &part.given else { bail!("for {} give a word, not {}", part.kind, part.given) };
        message = match part.kind {
            Right::Send => message.move_send(service(names, given, &part.interface)?),
            Right::File => message.file(File::open(given).with_context(|| format!("open {given}"))?),
            Right::Memory => message.memory(content(&mut files, given)?),
            Right::Region => message.region(&task.region(&content(&mut files, given)?)?),
            other => bail!("a {other} right cannot be given on a command line"),
        };
    }
    Ok(message)
}

/// The right behind a name, if it serves what is wanted.
fn service(names: &Names, name: &str, interface: &str) -> Result<SendRight> {
    let right: SendRight = names.look_up(name).with_context(|| format!("look up {name}, to hand on the right"))?;
    // Who does not describe itself may still be one.
    if !interface.is_empty()
        && let Ok(description) = right.describe()
    {
        ensure!(description.name == interface, "{name} serves {}, and a right to {interface} is wanted", description.name);
    }
    Ok(right)
}

/// Text, or what is in a file.
fn content(files: &mut Files, given: &str) -> Result<Vec<u8>> {
    match given.strip_prefix('@') {
        Some(text) if text.starts_with('@') => Ok(text.as_bytes().to_vec()),
        Some(path) => files.bytes(path),
        None => Ok(given.as_bytes().to_vec()),
    }
}

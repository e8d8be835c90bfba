//! What of a changed interface breaks programs that were built with the old one.
//!
//! Two programs of which one has the old description and one the new must understand each other, whichever calls. So only these are no changes: methods that were added; options
//! that were added at the end of the arguments, of the result, of the error, of an item, or of a struct that stands last in these; deadlines, queues, documentation.
//!
//! In a body nothing shows where a struct begins or ends, so what is compared is the fields of all of them in a row.

use std::fmt;

use crate::interface::{Description, Method};
use crate::show::type_text;
use crate::types::{Field, Shape, Type, Variant};

/// A change that breaks somebody.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// Of what: `put, argument size.bytes`.
    pub at: String,
    /// What it was and what it is.
    pub what: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

impl Description {
    /// The changes since `old` that break programs built with it. None: the two go together.
    pub fn changes_since(&self, old: &Description) -> Vec<Change> {
        let mut changes = Changes::default();
        if old.name != self.name {
            changes.add(&self.name, format!("the interface was called {:?}", old.name));
        }
        if old.base != self.base {
            changes.add(&self.name, format!("the base was {} and is {}: no method is found any more", old.base, self.base));
        }
        for before in &old.methods {
            match self.methods.iter().find(|method| method.number == before.number) {
                Some(now) => changes.method(before, now),
                None => changes.add(&before.name, format!("method {} is gone; keep it, and let it refuse", before.number)),
            }
        }
        changes.0
    }
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, at: &str, what: String) {
        self.0.push(Change { at: at.to_owned(), what });
    }
    fn method(&mut self, old: &Method, new: &Method) {
        let at = &old.name;
        if old.name != new.name {
            self.add(at, format!("number {} is now that of {:?}; a number is not used again", old.number, new.name));
        }
        if old.one_way != new.one_way {
            let text = |one_way| if one_way { "one-way" } else { "answered" };
            self.add(at, format!("it was {} and is {}", text(old.one_way), text(new.one_way)));
        }
        let named = |method: &Method| {
            let mut all = Vec::new();
            method.arguments.iter().for_each(|argument| flatten(&argument.name, &argument.ty, &mut all));
            owned(all)
        };
        self.row(&format!("{at}, argument"), &named(old), &named(new));
        self.tail(&format!("{at}, result"), &old.result, &new.result);
        match (&old.error, &new.error) {
            (Some(old), Some(new)) => self.tail(&format!("{at}, error"), old, new),
            (None, None) => {}
            (Some(_), None) => self.add(at, "it could refuse and cannot any more: its answer has another form".into()),
            (None, Some(_)) => self.add(at, "it could not refuse and can now: its answer has another form".into()),
        }
        match (&old.stream, &new.stream) {
            (Some(old), Some(new)) => self.tail(&format!("{at}, item"), &old.item, &new.item),
            (None, None) => {}
            (Some(_), None) => self.add(at, "its stream is gone".into()),
            (None, Some(_)) => self.add(at, "it has a stream now, for which old callers send no right".into()),
        }
    }
    fn tail(&mut self, at: &str, old: &Type, new: &Type) {
        let named = |ty| {
            let mut all = Vec::new();
            flatten("", ty, &mut all);
            owned(all)
        };
        self.row(at, &named(old), &named(new));
    }
    /// Fields in a row, at the end of which options may come.
    fn row(&mut self, at: &str, old: &[(String, Type)], new: &[(String, Type)]) {
        let at = |name: &str| if name.is_empty() { at.to_owned() } else { format!("{at} {name}") };
        for (n, (name, before)) in old.iter().enumerate() {
            match new.get(n) {
                None => self.add(&at(name), "it is gone".into()),
                Some((now_name, now)) => {
                    if name != now_name {
                        self.add(&at(name), format!("in its place is {now_name:?} now"));
                    }
                    self.whole(&at(name), before, now);
                }
            }
        }
        for (name, now) in new.iter().skip(old.len()) {
            if !matches!(now.shape, Shape::Option(_)) {
                self.add(&at(name), "it was added and is no option: who does not know it does not send it".into());
            }
        }
    }
    /// What must be the same.
    fn whole(&mut self, at: &str, old: &Type, new: &Type) {
        self.shapes(at, (&old.shape, &new.shape), || format!("it was {} and is {}", type_text(old), type_text(new)));
    }
    fn shapes(&mut self, at: &str, (old, new): (&Shape, &Shape), differ: impl Fn() -> String) {
        match (old, new) {
            (Shape::Newtype(old), _) => self.shapes(at, (&old.shape, new), differ),
            (_, Shape::Newtype(new)) => self.shapes(at, (old, &new.shape), differ),
            (Shape::Option(old), Shape::Option(new)) | (Shape::Seq(old), Shape::Seq(new)) => self.whole(at, old, new),
            (Shape::Bytes, Shape::Seq(item)) | (Shape::Seq(item), Shape::Bytes) if item.shape == Shape::U8 => {}
            (Shape::Map(old_key, old), Shape::Map(new_key, new)) => {
                self.whole(&format!("{at}, key"), old_key, new_key);
                self.whole(at, old, new);
            }
            (Shape::Tuple(old), Shape::Tuple(new)) if old.len() == new.len() => {
                for (n, (old, new)) in old.iter().zip(new).enumerate() {
                    self.whole(&format!("{at}.{n}"), old, new);
                }
            }
            (Shape::Struct(old), Shape::Struct(new)) => self.fields(at, old, new),
            (Shape::Enum(old), Shape::Enum(new)) => self.variants(at, old, new),
            (old, new) if old == new => {}
            _ => self.add(at, differ()),
        }
    }
    /// Of a struct with something behind it.
    fn fields(&mut self, at: &str, old: &[Field], new: &[Field]) {
        for (n, before) in old.iter().enumerate() {
            let at = format!("{at}.{}", before.name);
            match new.get(n) {
                None => self.add(&at, "it is gone".into()),
                Some(now) => {
                    if before.name != now.name {
                        self.add(&at, format!("in its place is {:?} now", now.name));
                    }
                    self.whole(&at, &before.ty, &now.ty);
                }
            }
        }
        for now in new.iter().skip(old.len()) {
            self.add(&format!("{at}.{}", now.name), "it was added where the message does not end".into());
        }
    }
    fn variants(&mut self, at: &str, old: &[Variant], new: &[Variant]) {
        for (n, before) in old.iter().enumerate() {
            let at = format!("{at}::{}", before.name);
            match new.get(n) {
                None => self.add(&at, "it is gone".into()),
                Some(now) if before.name != now.name => self.add(&at, format!("in its place is {:?} now", now.name)),
                Some(now) => {
                    let differ = || "it holds something else".to_owned();
                    match (&before.holds, &now.holds) {
                        (Shape::Newtype(old), Shape::Newtype(new)) => self.whole(&at, old, new),
                        (old, new) => self.shapes(&at, (old, new), differ),
                    }
                }
            }
        }
        for now in new.iter().skip(old.len()) {
            self.add(&format!("{at}::{}", now.name), "it was added: who does not know it cannot read the message".into());
        }
    }
}

fn owned(all: Vec<(String, &Type)>) -> Vec<(String, Type)> {
    all.into_iter().map(|(name, ty)| (name, ty.clone())).collect()
}

/// The fields of structs and tuples in a row, with their paths.
fn flatten<'t>(name: &str, ty: &'t Type, all: &mut Vec<(String, &'t Type)>) {
    let inside = |field: &str| if name.is_empty() { field.to_owned() } else { format!("{name}.{field}") };
    match &ty.shape {
        Shape::Unit => {}
        Shape::Newtype(inner) => flatten(name, inner, all),
        Shape::Tuple(types) => types.iter().enumerate().for_each(|(n, ty)| flatten(&inside(&n.to_string()), ty, all)),
        Shape::Struct(fields) => fields.iter().for_each(|field| flatten(&inside(&field.name), &field.ty, all)),
        _ => all.push((name.to_owned(), ty)),
    }
}

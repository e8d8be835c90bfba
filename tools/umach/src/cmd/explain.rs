//! `umach explain`: what a code means, how it comes about here, and what to try.
//!
//! The texts stand beside the codes, in the crates that have them; here they are only found and printed.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use umach_abi::control::Malformed;
use umach_abi::error::KNOWN;
use umach_abi::records::{down, violation};
use umach_abi::{Code, Explanation};
use umach_file_api::FileError;
use umach_file_api::error::Fault;
use umach_kernel::core::Violation;

use crate::exit::{EXITS, Exit, complain};
use crate::text::{self, Paint, Table};

/// Explains an error: what it means, how it comes about, what to try.
#[derive(Args)]
#[command(after_help = "\
CODE is a name as errors print it, also without its first words (SEND_INVALID_DEST, invalid-dest), or a number, decimal or hexadecimal. A \
number can mean several things: kern_return_t, an exit code of umach, why a link ended; all of them are shown.
FAMILY: mach (codes of Mach, MIG and the bootstrap interface), libtask (errors without one), link (why a link between two tasks was \
ended), lane (why the kernel process ended a task), names and files (what those servers' clients see), exit (exit codes of umach).
Exit code 1 if there is no such code; the nearest names are printed.
JSON: an array of {name, number, family, meaning, cause, advice}; number is null for those that have none.

Examples:
  umach explain MACH_SEND_INVALID_DEST
  umach explain 0x10000003
  umach explain --list
  umach explain --list --json | jq -r '.[] | select(.family == \"files\") | .name'")]
pub(crate) struct Explain {
    /// A name or a number.
    #[arg(value_name = "CODE", required_unless_present = "list", conflicts_with = "list", allow_negative_numbers = true)]
    code: Option<String>,
    /// Lists every code.
    #[arg(long)]
    list: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// An explanation, and where it is from.
#[derive(Debug, Clone, Copy, Serialize)]
struct Entry {
    name: &'static str,
    number: Option<u32>,
    family: &'static str,
    meaning: &'static str,
    cause: &'static str,
    advice: &'static str,
}

impl Entry {
    fn of(family: &'static str) -> impl Fn(&'static Explanation) -> Entry {
        move |known| {
            let Explanation { name, number, meaning, cause, advice } = *known;
            Entry { name, number, family, meaning, cause, advice }
        }
    }
    /// The number as programs print it.
    fn number(&self) -> String {
        match self.number {
            None => "-".to_owned(),
            Some(number) if number >= 0xffff_0000 => format!("{:#x} ({})", number, number as i32),
            Some(number) if number > 0xffff => format!("{number:#x} ({number})"),
            Some(number) => number.to_string(),
        }
    }
    fn render(&self, paint: Paint) -> String {
        let mut out = paint.bold(self.name);
        if self.number.is_some() {
            let _ = write!(out, "  {}", self.number());
        }
        out.push('\n');
        for (label, content) in [("means", self.meaning), ("causes", self.cause), ("try", self.advice)] {
            let _ = writeln!(out, "  {} {}", paint.dim(&format!("{label:<7}")), text::wrapped(content, 96, 10));
        }
        out
    }
}

/// Everything that can be explained.
fn entries() -> Vec<Entry> {
    let mach = KNOWN.iter().map(|(_, known)| known).map(Entry::of("mach"));
    let libtask = libtask::Error::EXPLANATIONS.iter().map(Entry::of("libtask"));
    let links = down::EXPLANATIONS.iter().chain(violation::EXPLANATIONS).map(Entry::of("link"));
    let lanes = Violation::EXPLANATIONS.iter().chain(Malformed::EXPLANATIONS).map(Entry::of("lane"));
    let names = umach_name_api::Error::EXPLANATIONS.iter().map(Entry::of("names"));
    let faults = Fault::ALL.iter().map(|fault| fault.explanation());
    let files = faults.chain(FileError::OTHERS).map(Entry::of("files"));
    mach.chain(libtask).chain(links).chain(lanes).chain(names).chain(files).chain(EXITS.iter().map(Entry::of("exit"))).collect()
}

/// `mach_send-invalid dest` as names are written.
fn normal(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' }).collect()
}

/// A number in one of the ways in which programs print it.
fn parse_number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok().or_else(|| text.parse::<i32>().ok().map(|number| number as u32)),
    }
}

/// What the code means: everything with this number, or of this name, or whose name ends in it.
fn find(all: &[Entry], code: &str) -> Vec<Entry> {
    if let Some(number) = parse_number(code) {
        let plain = Code(number).plain().0;
        return all.iter().filter(|entry| entry.number == Some(number) || entry.number == Some(plain)).copied().collect();
    }
    let wanted = normal(code);
    match all.iter().find(|entry| entry.name == wanted) {
        Some(exact) => vec![*exact],
        None => all.iter().filter(|entry| entry.name.strip_suffix(&wanted).is_some_and(|rest| rest.ends_with('_'))).copied().collect(),
    }
}

/// The names most like it, the nearest first.
fn nearest(all: &[Entry], code: &str) -> Vec<&'static str> {
    const ENOUGH: f64 = 0.5;
    let wanted = normal(code);
    // The first word is often left out.
    let likeness = |name: &str| {
        let rest = name.split_once('_').map_or(name, |(_, rest)| rest);
        strsim::normalized_damerau_levenshtein(name, &wanted).max(strsim::normalized_damerau_levenshtein(rest, &wanted))
    };
    let mut found: Vec<(f64, &'static str)> = all.iter().map(|entry| (likeness(entry.name), entry.name)).collect();
    found.retain(|(likeness, _)| *likeness >= ENOUGH);
    found.sort_by(|one, other| other.0.total_cmp(&one.0));
    found.into_iter().take(3).map(|(_, name)| name).collect()
}

/// The bits that may be OR-ed into a receive error.
fn bits_of(code: &str) -> Vec<&'static str> {
    let number = parse_number(code).filter(|number| Code(*number).plain().0 != *number).unwrap_or(0);
    [
        (Code::IPC_SPACE, "0x2000 MACH_MSG_IPC_SPACE: a name could not be made"),
        (Code::VM_SPACE, "0x1000 MACH_MSG_VM_SPACE: memory could not be mapped"),
        (Code::IPC_KERNEL, "0x800 MACH_MSG_IPC_KERNEL: the kernel was short of rights"),
        (Code::VM_KERNEL, "0x400 MACH_MSG_VM_KERNEL: the kernel was short of memory"),
    ]
    .into_iter()
    .filter_map(|(bit, text)| (number & bit != 0).then_some(text))
    .collect()
}

impl Explain {
    pub(crate) fn run(self) -> Result<Exit> {
        let all = entries();
        let Some(code) = &self.code else {
            return self.list(&all);
        };
        let found = find(&all, code);
        if found.is_empty() {
            let near = nearest(&all, code);
            let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) };
            complain(&format!("nothing is known about `{code}`{hint} (umach explain --list has all)"));
            return Ok(Exit::FAILED);
        }
        if self.json {
            text::print_json(&found)?;
            return Ok(Exit::DONE);
        }
        let paint = Paint::stdout();
        let mut out: Vec<String> = found.iter().map(|entry| entry.render(paint)).collect();
        out.extend(bits_of(code).into_iter().map(|bit| format!("with {bit}\n")));
        text::print(&out.join("\n"))?;
        Ok(Exit::DONE)
    }

    fn list(&self, all: &[Entry]) -> Result<Exit> {
        if self.json {
            text::print_json(&all)?;
            return Ok(Exit::DONE);
        }
        let mut table = Table::new(&["NAME", "NUMBER", "FAMILY", "MEANING"]);
        for entry in all {
            table.row(vec![entry.name.to_owned(), entry.number(), entry.family.to_owned(), entry.meaning.to_owned()]);
        }
        table.print()?;
        Ok(Exit::DONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_complete_explanation_under_a_name_of_its_own() {
        let all = entries();
        for (at, entry) in all.iter().enumerate() {
            let Entry { name, number, meaning, cause, advice, .. } = *entry;
            assert!(Explanation { name, number, meaning, cause, advice }.is_complete(), "{entry:?}");
            assert!(all[at + 1..].iter().all(|other| other.name != name), "{name} twice");
            assert_eq!(find(&all, name).len(), 1, "{name}");
            if let Some(number) = number {
                assert!(find(&all, &number.to_string()).iter().any(|found| found.name == name), "{number} {name}");
            }
        }
        // Every code, rule of a link and reason of its end that the protocol has.
        assert!(KNOWN.iter().all(|(code, known)| find(&all, &format!("{:#x}", code.0)).iter().any(|found| found.name == known.name)));
        let rules = (1..).take_while(|rule| violation::name(*rule) != "unknown rule");
        for rule in rules {
            let name = violation::EXPLANATIONS.iter().find(|known| known.number == Some(rule)).map(|known| known.name).unwrap();
            assert!(find(&all, violation::name(rule)).iter().any(|found| found.name == name), "{rule} {name}");
        }
    }

    #[test]
    fn code_is_found_however_it_is_written() {
        let all = entries();
        for code in ["MACH_SEND_INVALID_DEST", "mach_send_invalid_dest", "SEND_INVALID_DEST", "invalid-dest", "0x10000003", "268435459"] {
            let names: Vec<&str> = find(&all, code).iter().map(|entry| entry.name).collect();
            assert_eq!(names, ["MACH_SEND_INVALID_DEST"], "{code}");
        }
        assert_eq!(find(&all, "-308")[0].name, "MIG_SERVER_DIED");
        // With bits in it.
        assert_eq!(find(&all, "0x1000600c")[0].name, "MACH_RCV_BODY_ERROR");
        assert_eq!(bits_of("0x1000600c").len(), 1);
        let three: Vec<&str> = find(&all, "3").iter().map(|entry| entry.family).collect();
        assert!(three.contains(&"mach") && three.contains(&"exit") && three.contains(&"link"), "{three:?}");
    }

    #[test]
    fn near_miss_is_named_and_nonsense_is_not() {
        let all = entries();
        assert_eq!(nearest(&all, "MACH_SEND_INVALID_DST").first(), Some(&"MACH_SEND_INVALID_DEST"));
        assert_eq!(nearest(&all, "server_ded").first(), Some(&"MIG_SERVER_DIED"));
        assert!(nearest(&all, "xyzzyxyzzyxyzzy").is_empty());
    }
}

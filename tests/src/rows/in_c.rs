//! The same rows, and every code, through the C interface: the table behind docs/conformance-c.md.
//!
//! The C programs are in `libtask/c/tests/programs`. The comment before a case (a function that `CHECK_MAIN` lists) names the rows that it holds by the names of
//! their Rust tests; the codes that a case provokes are those that its `EXPECT_CODE`s expect. So the table is read off the programs, and what no
//! program holds needs a reason here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::{Row, SECTIONS, Status, rows};

/// A case of a C program.
#[derive(Debug, Clone)]
pub struct Case {
    /// `program: case`.
    pub name: String,
    /// The Rust tests whose rows it holds.
    pub holds: BTreeSet<String>,
    /// The codes that it expects of a call.
    pub codes: BTreeSet<String>,
}

/// Where the programs are, from the workspace's root.
const PROGRAMS: &str = "libtask/c/tests/programs";

/// Headers whose macros are codes.
const HEADERS: [&str; 4] = ["mach/kern_return.h", "mach/message.h", "mach/mig_errors.h", "servers/bootstrap.h"];

/// Rows that no test of the conformance binary holds, or that are not to be held, and the cases that hold them here.
const OTHERS: &[(&str, &[&str])] = &[
    (
        "SEND_INTERRUPT and RCV_INTERRUPT: report a signal instead of going on",
        &[
            "interrupts: handler_does_not_end_a_send_that_did_not",
            "interrupts: handler_ends_a_send_that_asked_for_it",
            "interrupts: nothing_is_lost_or_sent_twice_in_a_storm_of_signals",
            "messages: signal_interrupts_a_send",
            "messages: signal_interrupts_who_asked_for_it",
        ],
    ),
    ("clock 1002: an alarm is a message at its time", &["kernel: alarms_by_message"]),
    ("RCV_INVALID_DATA, SEND_INVALID_DATA: the caller's buffer is bad", &["messages: buffers_that_are_none_are_refused"]),
    (
        "X: 64-bit options of mach_msg2 (vectors, kernel object calls)",
        &["messages: second_form_takes_its_header_from_arguments", "messages: vectors_describe_messages"],
    ),
    ("allocate_qos, allocate_full", &["ports: allocate_under_a_chosen_name"]),
    ("assert_attributes", &["ports: guards_hold"]),
    ("Bootstrap: register, check in, look up, and their errors 1100 to 1106", &["traps: names_are_found"]),
    (
        "Bootstrap: servers declared at run time, started on demand or again at once, with services of theirs",
        &[
            "bootstrap: first_message_starts_a_declared_server",
            "bootstrap: server_that_dies_is_started_again",
            "bootstrap: server_port_is_the_privilege",
            "bootstrap: declaration_dies_with_its_declarer",
            "bootstrap: servers_that_cannot_be_are_refused",
        ],
    ),
    ("Bootstrap: a subset and all that is in it die with its requestor", &["bootstrap: subset_dies_with_its_requestor"]),
    (
        "mach_reply_port, thread_get_special_reply_port as calls of their own",
        &["traps: self_traps_give_references", "traps: special_reply_ports_belong_to_their_threads"],
    ),
    ("X: a forked child has none of its parent's rights", &["traps: forked_child_is_a_task_of_its_own"]),
    ("thread_self, host_self give a new reference each call", &["traps: self_traps_give_references"]),
];

/// Codes that no program can provoke, and why.
const NOT_PROVOKED: &[(&str, &str)] = &[
    ("KERN_NOT_RECEIVER", "XNU gives it no longer"),
    ("KERN_UREFS_OVERFLOW", "XNU gives it no longer"),
    ("KERN_MEMORY_FAILURE", "of pagers outside of the kernel, which there are none here"),
    ("KERN_MEMORY_ERROR", "of pagers outside of the kernel, which there are none here"),
    ("KERN_MEMORY_PRESENT", "of pagers outside of the kernel, which there are none here"),
    ("KERN_MEMORY_DATA_MOVED", "of pagers outside of the kernel, which there are none here"),
    ("KERN_MEMORY_RESTART_COPY", "of pagers outside of the kernel, which there are none here"),
    ("KERN_INVALID_MEMORY_CONTROL", "of pagers outside of the kernel, which there are none here"),
    ("KERN_INVALID_PROCESSOR_SET", "of processor sets and scheduling, which are Linux's"),
    ("KERN_POLICY_LIMIT", "of processor sets and scheduling, which are Linux's"),
    ("KERN_INVALID_POLICY", "of processor sets and scheduling, which are Linux's"),
    ("KERN_DEFAULT_SET", "of processor sets and scheduling, which are Linux's"),
    ("KERN_NOT_DEPRESSED", "of processor sets and scheduling, which are Linux's"),
    ("KERN_POLICY_STATIC", "of processor sets and scheduling, which are Linux's"),
    ("KERN_ALREADY_WAITING", "of lock sets, which XNU has removed; semaphores say KERN_TERMINATED"),
    ("KERN_LOCK_SET_DESTROYED", "of lock sets, which XNU has removed; semaphores say KERN_TERMINATED"),
    ("KERN_LOCK_UNSTABLE", "of lock sets, which XNU has removed; semaphores say KERN_TERMINATED"),
    ("KERN_LOCK_OWNED", "of lock sets, which XNU has removed; semaphores say KERN_TERMINATED"),
    ("KERN_LOCK_OWNED_SELF", "of lock sets, which XNU has removed; semaphores say KERN_TERMINATED"),
    ("KERN_SEMAPHORE_DESTROYED", "of lock sets, which XNU has removed; semaphores say KERN_TERMINATED"),
    ("KERN_EXCEPTION_PROTECTED", "of parts of Mach that XNU does not have"),
    ("KERN_INVALID_LEDGER", "of parts of Mach that XNU does not have"),
    ("KERN_INVALID_SECURITY", "of parts of Mach that XNU does not have"),
    ("KERN_RPC_SERVER_TERMINATED", "of parts of Mach that XNU does not have"),
    ("KERN_RPC_TERMINATE_ORPHAN", "of parts of Mach that XNU does not have"),
    ("KERN_RPC_CONTINUE_ORPHAN", "of parts of Mach that XNU does not have"),
    ("KERN_NODE_DOWN", "of parts of Mach that XNU does not have"),
    ("KERN_CODESIGN_ERROR", "of Darwin's security, kernel collections and vouchers"),
    ("KERN_MISSING_KC", "of Darwin's security, kernel collections and vouchers"),
    ("KERN_INVALID_KC", "of Darwin's security, kernel collections and vouchers"),
    ("KERN_DENIED", "of Darwin's security, kernel collections and vouchers"),
    ("KERN_NOT_FOUND", "of Darwin's security, kernel collections and vouchers"),
    ("KERN_INSUFFICIENT_BUFFER_SIZE", "of Darwin's security, kernel collections and vouchers"),
    ("MACH_SEND_IN_PROGRESS", "inside XNU's kernel only"),
    ("MACH_RCV_IN_PROGRESS", "inside XNU's kernel only"),
    ("MACH_RCV_IN_PROGRESS_TIMED", "inside XNU's kernel only"),
    ("MACH_SEND_INVALID_NOTIFY", "another dialect's; XNU gives it no longer"),
    ("MACH_RCV_PORT_DIED", "another dialect's; XNU gives it no longer"),
    ("MACH_RCV_IN_SET", "another dialect's; XNU gives it no longer"),
    ("MACH_RCV_INVALID_TYPE", "another dialect's; XNU gives it no longer"),
    ("MACH_RCV_SCATTER_SMALL", "another dialect's; XNU gives it no longer"),
    ("MACH_SEND_INVALID_TRAILER", "of filters, reply ports' semantics, real-time ports and auxiliary data, which serve Darwin"),
    ("MACH_SEND_INVALID_CONTEXT", "of filters, reply ports' semantics, real-time ports and auxiliary data, which serve Darwin"),
    ("MACH_SEND_INVALID_RT_OOL_SIZE", "of filters, reply ports' semantics, real-time ports and auxiliary data, which serve Darwin"),
    ("MACH_SEND_NO_GRANT_DEST", "of filters, reply ports' semantics, real-time ports and auxiliary data, which serve Darwin"),
    ("MACH_SEND_MSG_FILTERED", "of filters, reply ports' semantics, real-time ports and auxiliary data, which serve Darwin"),
    ("MACH_RCV_INVALID_REPLY", "of filters, reply ports' semantics, real-time ports and auxiliary data, which serve Darwin"),
    ("MIG_REMOTE_ERROR", "servers' own words, which the library passes on and never says"),
    ("MIG_EXCEPTION", "servers' own words, which the library passes on and never says"),
    ("MIG_TRAILER_ERROR", "servers' own words, which the library passes on and never says"),
    ("MIG_NO_REPLY", "a demultiplexer's word for no answer (`servers: server_answers_once`), never a result"),
    ("BOOTSTRAP_BAD_COUNT", "of calls of launchd's that are not in the headers"),
    ("BOOTSTRAP_NO_CHILDREN", "of calls of launchd's that are not in the headers"),
];

/// All cases of all programs, by program.
///
/// # Errors
/// The programs cannot be read.
pub fn cases(root: &Path) -> io::Result<Vec<Case>> {
    let mut files: Vec<_> =
        std::fs::read_dir(root.join(PROGRAMS))?.collect::<io::Result<Vec<_>>>()?.iter().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let program = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        all.extend(cases_of(&program, &std::fs::read_to_string(&file)?));
    }
    Ok(all)
}

fn cases_of(program: &str, text: &str) -> Vec<Case> {
    let listed: BTreeSet<&str> = text.split("CASE(").skip(1).filter_map(|rest| rest.split_once(')')).map(|(name, _)| name).collect();
    let mut found = Vec::new();
    // A function begins at the start of a line and ends with a brace there.
    for part in text.split_inclusive("\n}\n") {
        let Some((head, body)) = part.split_once("(void)\n{\n") else { continue };
        let name = head.rsplit(' ').next().unwrap_or_default();
        if !listed.contains(name) {
            continue;
        }
        // Nothing between the comment and the function.
        let comment = head.rsplit_once("/*").and_then(|(_, rest)| rest.split_once("*/"));
        let comment = comment.filter(|(_, rest)| rest.trim_start() == format!("static void {name}")).map_or("", |(comment, _)| comment);
        found.push(Case { name: format!("{program}: {name}"), holds: words(comment, "s1_"), codes: expected(body) });
    }
    found
}

/// The words of a comment that begin so.
fn words(comment: &str, start: &str) -> BTreeSet<String> {
    let words = comment.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with(start)).map(str::to_owned).collect()
}

/// The names in the last arguments of all `EXPECT_CODE`s, and in tables of cases' own.
fn expected(body: &str) -> BTreeSet<String> {
    // A table of arguments and codes in a case is gone through with `EXPECT_CODE`; else only what stands in the macro counts.
    let from_table = body.contains("].code)");
    let text: String =
        if from_table { body.to_owned() } else { body.split("EXPECT_CODE(").skip(1).map(last_argument).collect::<Vec<_>>().join(" ") };
    ["KERN_", "MACH_SEND_", "MACH_RCV_", "MIG_", "BOOTSTRAP_", "MACH_MSG_"].iter().flat_map(|start| words(&text, start)).collect()
}

/// Of a call whose opening bracket has just been read.
fn last_argument(call: &str) -> &str {
    let (mut depth, mut start) = (0, 0);
    for (at, c) in call.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return &call[start..at],
            ')' => depth -= 1,
            ',' if depth == 0 => start = at + 1,
            _ => {}
        }
    }
    ""
}

/// Every code that the headers name, with its value as written.
///
/// # Errors
/// The headers cannot be read.
pub fn codes(root: &Path) -> io::Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for header in HEADERS {
        let text = std::fs::read_to_string(root.join("libtask/c/include").join(header))?;
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some("#define"), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else { continue };
            let number = value.trim_matches(|c| c == '(' || c == ')');
            let is_number = number.starts_with("0x1000") && number.len() == 10 || number.parse::<i32>().is_ok();
            let is_code = match header {
                "mach/message.h" => number.starts_with("0x1000") && (name.starts_with("MACH_SEND_") || name.starts_with("MACH_RCV_")),
                "servers/bootstrap.h" => matches!(number.parse(), Ok(1100..1200)),
                _ => name.starts_with("KERN_") || name.starts_with("MIG_"),
            };
            if is_code && is_number {
                all.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    Ok(all)
}

/// The cases that hold a row.
fn holders<'c>(row: &Row, cases: &'c [Case]) -> Vec<&'c str> {
    let others = OTHERS.iter().find(|(text, _)| *text == row.text).map_or(&[][..], |(_, names)| names);
    let holds = |case: &&Case| row.tests.iter().any(|test| case.holds.contains(*test)) || others.contains(&case.name.as_str());
    cases.iter().filter(holds).map(|case| case.name.as_str()).collect()
}

/// What is wrong with the table: rows and codes without a case or a reason, and names that mean nothing.
///
/// # Errors
/// Programs or headers cannot be read.
pub fn gaps(root: &Path) -> io::Result<Vec<String>> {
    let (cases, codes) = (cases(root)?, codes(root)?);
    let mut gaps = Vec::new();
    let needs_case = |row: &Row| matches!(row.status, Status::Held | Status::Different(_) | Status::Elsewhere(_)) && !row.tests.is_empty();
    for (_, row) in rows().filter(|(_, row)| needs_case(row) || OTHERS.iter().any(|(text, _)| *text == row.text)) {
        if holders(row, &cases).is_empty() {
            gaps.push(format!("row {:?} ({:?}) is held by no case", row.text, row.tests));
        }
    }
    let tests: BTreeSet<&str> = rows().flat_map(|(_, row)| row.tests).copied().collect();
    for case in &cases {
        gaps.extend(
            case.holds
                .iter()
                .filter(|name| !tests.contains(name.as_str()))
                .map(|name| format!("{} holds {name}, which is none", case.name)),
        );
    }
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    for (text, held) in OTHERS {
        gaps.extend(held.iter().filter(|name| !names.contains(*name)).map(|name| format!("{text:?} is held by {name}, which is none")));
        if !rows().any(|(_, row)| row.text == *text) {
            gaps.push(format!("{text:?} is no row"));
        }
    }
    let provoked: BTreeSet<&str> = cases.iter().flat_map(|case| &case.codes).map(String::as_str).collect();
    let reasons: BTreeMap<&str, &str> = NOT_PROVOKED.iter().copied().collect();
    for (code, _) in &codes {
        match (provoked.contains(code.as_str()), reasons.contains_key(code.as_str())) {
            (false, false) => gaps.push(format!("code {code} is provoked by no case")),
            (true, true) => gaps.push(format!("code {code} is provoked after all")),
            _ => {}
        }
    }
    gaps.extend(reasons.keys().filter(|name| !codes.iter().any(|(code, _)| code == *name)).map(|name| format!("{name} is no code")));
    Ok(gaps)
}

/// docs/conformance-c.md.
///
/// # Errors
/// Programs or headers cannot be read.
pub fn table(root: &Path) -> io::Result<String> {
    let (cases, codes) = (cases(root)?, codes(root)?);
    let list = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let mut out = format!(
        "# Conformance through the C interface\n\nThe rows of `conformance.md`, each with the cases that hold it through `<mach/mach.h>`; and every code, with the case that \
         provokes it or the reason why none can. `program: case` is a function in `{PROGRAMS}/program.c`; the test `conformance` of `umach-c` runs each \
         program once per mode of the direct plane. What is not held here says why in `conformance.md`.\n\n{} cases in {} programs.\n",
        cases.len(),
        cases.iter().filter_map(|case| case.name.split_once(':')).map(|(program, _)| program).collect::<BTreeSet<_>>().len(),
    );
    for section in SECTIONS {
        let (major, minor) = section.number;
        out.push_str(&format!("\n## {major}.{minor} {}\n\n| fact | cases |\n|---|---|\n", section.title));
        for row in section.rows {
            let held = holders(row, &cases);
            if !held.is_empty() {
                out.push_str(&format!("| {} | {} |\n", row.text.replace('|', "\\|"), list(&held)));
            }
        }
    }
    out.push_str("\n## Codes\n\n| code | number | provoked by |\n|---|---|---|\n");
    for (code, value) in &codes {
        let held: Vec<&str> = cases.iter().filter(|case| case.codes.contains(code)).map(|case| case.name.as_str()).collect();
        let reason = NOT_PROVOKED.iter().find(|(name, _)| name == code).map_or("", |(_, why)| why);
        // A few are enough.
        let by = if held.is_empty() { format!("not: {reason}") } else { list(&held[..held.len().min(3)]) };
        out.push_str(&format!("| {code} | {value} | {by} |\n"));
    }
    Ok(out)
}

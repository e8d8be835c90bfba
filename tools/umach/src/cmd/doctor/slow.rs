//! What mode runs, and why messages are slow: which checks sent them the slow way, in words.

use libtask::HostControl;
use umach_abi::Features;
use umach_kernel::core::Direct;

use super::{Finding, State};
use crate::foreign::line;
use crate::ids::{LinkNumber, TaskNumber};
use crate::plane::{Counts, Plane, mode_of};
use crate::system::At;
use crate::text::{grouped, plural};

/// Whether tasks reach each other without the kernel process, and if they do, what makes messages slow all the same.
pub(super) fn checks(at: &At) -> Vec<Finding> {
    const CHECK: &str = "direct plane";
    let off = |found: String| {
        let means = "every message goes through the kernel process: some ten times slower than over a link, or more";
        Finding::noted(CHECK, State::Warn, found, means, "start the kernel process with `--direct auto`, or with UMACH_DIRECT=auto")
    };
    let asked = || {
        let task = at.connect()?;
        let host = task.host()?.info()?;
        anyhow::Ok((task, host))
    };
    let Ok((task, host)) = asked() else {
        return vec![match Direct::from_environment() {
            Ok(Direct::Off) => off("off for kernels that are started from here".to_owned()),
            Ok(mode) => Finding::ok(CHECK, format!("{mode} for kernels that are started from here")),
            Err(why) => {
                Finding::noted(CHECK, State::Fail, why, "no kernel process starts with this", "set it to off, auto or always, or unset it")
            }
        }];
    };
    if !task.features().contains(Features::DIRECT_PLANE) {
        return vec![off(format!("off in the kernel process {}", host.pid))];
    }
    let mode = match mode_of(host.pid) {
        Ok(mode) => mode.to_string(),
        Err(why) => format!("on; when it is used cannot be seen ({why})"),
    };
    // Another user's tasks are not for us to see.
    let looked = task.host_control().map_err(anyhow::Error::from).and_then(|control| Ok((Plane::look(&control)?, control)));
    let Ok((plane, control)) = looked else {
        return vec![Finding::ok(CHECK, mode)];
    };
    let total = plane.total();
    let (links, routes) = (plural(plane.links.len() as u64, "link"), plural(plane.routes.len() as u64, "route"));
    let found = format!("{mode}: {links}, {routes}, {} over links", plural(total.messages, "message"));
    vec![Finding::ok(CHECK, found), slow_ways(&total, worst(&plane, |id| label(&control, id)).as_deref())]
}

fn label(host: &HostControl, task: u64) -> String {
    let label = host.task(task).and_then(|control| control.label()).unwrap_or_default();
    format!("{} {}", TaskNumber(task), line(&label)).trim_end().to_owned()
}

/// The side of a link that sent most messages the slow way: `T3 client to T1 server (link L2)`.
fn worst(plane: &Plane, name: impl Fn(u64) -> String) -> Option<String> {
    let slow = |counts: Counts| counts.by_ticket + counts.no_credit + counts.no_space + counts.kernel_plane;
    let sides = plane.links.iter().flat_map(|link| [0, 1].map(|half| (link, half)));
    let counted = sides.filter_map(|(link, half)| Some((slow(Counts::new(link.side(half)?)), link, half)));
    let (_, link, half) = counted.filter(|(count, ..)| *count > 0).max_by_key(|(count, ..)| *count)?;
    let [from, to] = [link.tasks()[half], link.tasks()[1 - half]].map(name);
    Some(format!("{from} to {to} (link {})", LinkNumber(link.row.link)))
}

/// What held messages up on the links that there are.
fn slow_ways(total: &Counts, worst: Option<&str>) -> Finding {
    const CHECK: &str = "slow messages";
    let found = format!(
        "{} by ticket (with rights, or long), {} waited for their receiver, {} for room in a ring, {} went through the kernel process",
        grouped(total.by_ticket),
        grouped(total.no_credit),
        grouped(total.no_space),
        grouped(total.kernel_plane)
    );
    // One in so many is of no account.
    const FEW: u64 = 8;
    let many = |count: u64| count > total.messages / FEW && count > FEW;
    let reasons = [
        (
            total.no_credit,
            "receivers do not keep up with their senders, who wait",
            "`umach ports --routes` shows where: receive in more threads, or give the port a longer queue",
        ),
        (
            total.no_space,
            "rings are full: senders wait until receivers have emptied them",
            "receive sooner, or send large bodies as regions",
        ),
        (
            total.kernel_plane,
            "messages that could go over a link go through the kernel process",
            "`umach ps --links` shows whose: more than 64 calls at once between two tasks, say",
        ),
        (
            total.by_ticket,
            "messages with rights in them, or bodies above 4 KiB, go through the kernel process, which alone can move rights",
            "hand rights over once and use them often; `umach ps --links` shows who does not",
        ),
    ];
    match reasons.into_iter().filter(|(count, ..)| many(*count)).max_by_key(|(count, ..)| *count) {
        Some((_, means, fix)) => {
            let means = worst.map_or(means.to_owned(), |worst| format!("{means}; most of them from {worst}"));
            Finding::noted(CHECK, State::Warn, found, &means, fix)
        }
        None => Finding::ok(CHECK, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slows_most_messages_is_named() {
        let usual = Counts { messages: 1000, by_ticket: 9, no_credit: 100, ..Counts::default() };
        assert_eq!(slow_ways(&usual, None).state, State::Ok);
        let slow = slow_ways(&Counts { no_credit: 300, no_space: 200, ..usual }, Some("T3 to T1"));
        assert!(
            slow.state == State::Warn && slow.means.as_ref().is_some_and(|means| means.contains("keep up") && means.contains("T3 to T1")),
            "{slow:?}"
        );
        let rights = slow_ways(&Counts { by_ticket: 990, ..usual }, None);
        assert!(rights.means.is_some_and(|means| means.contains("alone can move rights")));
    }
}

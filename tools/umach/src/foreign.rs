//! Text that others chose (labels, names, what servers say) as a terminal may have it.
//!
//! A label may hold escape sequences that move the cursor or set the title, line ends that make a row of their own, and marks that turn the order of what
//! follows. So whatever is shown to people goes through [`line`] or [`lines`], where it meets our own text; JSON keeps it exactly, in JSON's escapes.

use std::borrow::Cow;

/// Whether a terminal would do something else with it than show it.
pub(crate) fn steers(letter: char) -> bool {
    // The marks of direction: embeddings, overrides, isolates, and the invisible ones.
    letter.is_control() || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// As a part of a line: what steers a terminal is escaped as in Rust (`\n`, `\u{1b}`).
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    shown(text, |_| false)
}

/// The same for text of several lines: line ends and tabs stay.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    shown(text, |letter| matches!(letter, '\n' | '\t'))
}

fn shown(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let escape = |letter: char| steers(letter) && !stays(letter);
    if !text.contains(escape) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if escape(letter) { out.extend(letter.escape_default()) } else { out.push(letter) }
    }
    Cow::Owned(out)
}

/// A JSON document with what steers a terminal in JSON's own escapes, which serde leaves away where JSON does not ask for them. Such characters are in strings only,
/// line ends between values aside.
pub(crate) fn json(document: String) -> String {
    let escape = |letter: char| steers(letter) && letter != '\n';
    if !document.contains(escape) {
        return document;
    }
    let mut out = String::with_capacity(document.len() + 16);
    for letter in document.chars() {
        // All of them have four digits.
        if escape(letter) { out.push_str(&format!("\\u{:04x}", u32::from(letter))) } else { out.push(letter) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\x1b]0;title\x07\n\u{9b}2J\u{202e}b\t\\";

    #[test]
    fn nothing_that_steers_a_terminal_is_left_in_a_line() {
        assert_eq!(line(HOSTILE), r"a\u{1b}]0;title\u{7}\n\u{9b}2J\u{202e}b\t\");
        assert!(matches!(line("näme 漢字 ✓"), Cow::Borrowed("näme 漢字 ✓")));
        assert_eq!(lines("a\n\tb\x1bc\r\n"), "a\n\tb\\u{1b}c\\r\n");
    }

    #[test]
    fn json_says_exactly_what_was_there() {
        let document = json(serde_json::to_string_pretty(&[HOSTILE]).unwrap());
        assert!(!document.contains(|letter| steers(letter) && letter != '\n'), "{document:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&document).unwrap(), [HOSTILE]);
    }
}

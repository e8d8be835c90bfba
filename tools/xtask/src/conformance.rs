//! `docs/conformance.md`: which test holds which row of Mach's semantics.
//!
//! The rows are claimed where they are tested, by a comment line that starts with a section of `docs/semantics.md`:
//!
//! ```text
//! /// §1.2 COPY_SEND of a live send right: a new right in flight, urefs unchanged
//! #[test]
//! fn copy_send_of_live_right_keeps_urefs() { ... }
//!
//! // §1.5 Unknown header bits: deliberately different: they are refused, since nobody depends on them
//! ```
//!
//! A line above a function belongs to it, and several lines may. A line with `deliberately different:` or `out of scope:` stands alone;
//! what follows is the reason. A claim with neither a function below nor a reason is an error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where tests are.
const FOLDERS: &[&str] = &["tests", "kernel/tests", "libtask/tests", "servers"];
/// What introduces a reason.
const REASONS: &[&str] = &["deliberately different:", "out of scope:"];

/// One row that a comment claims.
#[derive(Debug, PartialEq, Eq)]
struct Claim {
    section: (u32, u32),
    fact: String,
    held: Held,
}

#[derive(Debug, PartialEq, Eq)]
enum Held {
    By(String),
    Not(String),
}

/// The document.
pub(crate) fn document(root: &Path) -> Result<String> {
    let mut sections: BTreeMap<(u32, u32), BTreeMap<String, Vec<Held>>> = BTreeMap::new();
    for file in sources(root)? {
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let place = file.strip_prefix(root).unwrap_or(&file).with_extension("").display().to_string();
        for claim in claims(&text, &place)? {
            sections.entry(claim.section).or_default().entry(claim.fact).or_default().push(claim.held);
        }
    }
    let rows = |wanted: fn(&Held) -> bool| sections.values().flatten().filter(|(_, held)| held.iter().any(wanted)).count();
    let mut out = format!(
        "# Conformance\n\nWhat Mach promises (sections of `docs/semantics.md`) and the test that holds it here: {} rows held by tests, {} deliberately \
         different or out of scope, with the reason.\n",
        rows(|held| matches!(held, Held::By(_))),
        rows(|held| matches!(held, Held::Not(_))),
    );
    for ((major, minor), facts) in sections {
        out.push_str(&format!("\n## §{major}.{minor}\n\n| row | held by |\n|---|---|\n"));
        for (fact, held) in facts {
            let held = held.into_iter().map(|held| match held {
                Held::By(test) => format!("`{test}`"),
                Held::Not(reason) => reason,
            });
            out.push_str(&format!("| {} | {} |\n", fact.replace('|', "\\|"), held.collect::<Vec<_>>().join(", ").replace('|', "\\|")));
        }
    }
    Ok(out)
}

/// All Rust files of the test folders, sorted, so that the document does not depend on the file system's order.
fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder)).filter(|folder| folder.is_dir()).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The claims of one file; `place` names it.
fn claims(text: &str, place: &str) -> Result<Vec<Claim>> {
    let mut found = Vec::new();
    let mut waiting: Vec<((u32, u32), String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some((section, fact)) = comment(line).and_then(section) {
            match REASONS.iter().find_map(|word| fact.split_once(word).map(|parts| (parts, word))) {
                Some(((fact, reason), word)) => {
                    let fact = fact.trim().trim_end_matches([':', ';', ',']).to_owned();
                    found.push(Claim { section, fact, held: Held::Not(format!("{word}{reason}")) });
                }
                None => waiting.push((section, fact.trim_end_matches('.').to_owned())),
            }
        } else if let Some(function) = function_name(line) {
            let held = || Held::By(format!("{place}::{function}"));
            found.extend(waiting.drain(..).map(|(section, fact)| Claim { section, fact, held: held() }));
        } else if line.is_empty() && !waiting.is_empty() {
            anyhow::bail!("{place}, line {}: the row claimed above has no test below it and no reason", number + 1);
        }
    }
    anyhow::ensure!(waiting.is_empty(), "{place}: a row claimed at the end has no test below it");
    Ok(found)
}

/// The text of a comment line.
fn comment(line: &str) -> Option<&str> {
    let text = line.strip_prefix("//")?;
    Some(text.strip_prefix(['/', '!']).unwrap_or(text).trim())
}

/// `§1.2 fact` as section and fact.
fn section(text: &str) -> Option<((u32, u32), &str)> {
    let (number, fact) = text.strip_prefix('§')?.split_once(' ')?;
    let (major, minor) = number.trim_end_matches(':').split_once('.')?;
    Some(((major.parse().ok()?, minor.parse().ok()?), fact.trim()))
}

fn function_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("fn ")?;
    rest.split(['(', '<']).next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_above_function_names_it() {
        let text = "/// §1.2 a fact.\n/// §1.3: another\n#[test]\nfn it_holds() {\n}\n";
        let found = claims(text, "tests/x").unwrap();
        let by = || Held::By("tests/x::it_holds".into());
        assert_eq!(found[0], Claim { section: (1, 2), fact: "a fact".into(), held: by() });
        assert_eq!(found[1], Claim { section: (1, 3), fact: "another".into(), held: by() });
    }

    #[test]
    fn claim_with_reason_stands_alone() {
        let found = claims("// §1.5 bits: out of scope: no vouchers\n\n", "x").unwrap();
        assert_eq!(found, [Claim { section: (1, 5), fact: "bits".into(), held: Held::Not("out of scope: no vouchers".into()) }]);
    }

    #[test]
    fn claim_without_test_is_refused() {
        assert!(claims("/// §1.2 a fact\n\nfn helper() {}\n", "x").is_err());
        assert!(claims("/// §1.2 a fact", "x").is_err());
    }
}

//! Each header compiles alone, as C99, C11 and C++, without a warning.

mod common;

use std::fs;
use std::path::PathBuf;

use common::{check, compilers, cpp_compilers, root};

/// All headers as programs include them.
fn headers() -> Vec<String> {
    let include = root().join("include");
    let (mut found, mut folders) = (Vec::new(), vec![include.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("list headers") {
            let path = entry.expect("a header").path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(&include).expect("below it").to_string_lossy().into_owned()),
            }
        }
    }
    assert!(found.len() > 30, "{found:?}");
    found.sort();
    found
}

#[test]
fn header_alone_compiles_in_each_language() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    for header in headers() {
        let name = header.replace('/', "_").replace(".h", "");
        // Twice, for its guard; and something, for there is no empty program.
        let text = format!("#include <{header}>\n#include <{header}>\nint umach_{name};\n");
        let c = write(&format!("{name}.c"), text.clone());
        let cpp = write(&format!("{name}.cc"), text);
        compilers().iter().for_each(|compiler| ["-std=c99", "-std=c11"].iter().for_each(|std| check(compiler, &[std], &c)));
        cpp_compilers().iter().for_each(|compiler| check(compiler, &["-std=c++11"], &cpp));
    }
}

//! A kernel, a name server, a file server that is started when it is needed, and three clients at once. The file server is killed in the
//! middle of their work: all see it, the next one is started by their look-ups, and what is on the disk at the end is what they meant.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use umach_name_api::Kind;
use umach_tests::scenario::{ROUNDS, Report, contents, file_name};
use umach_tests::{World, eventually};

use crate::stage::{ACTOR, Stage, signal, succeeded};

const CLIENTS: u32 = 3;

type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// What is on the disk beneath a folder: files with their bytes, folders without.
fn tree(root: &Path, at: &Path, all: &mut Tree) {
    for entry in fs::read_dir(at).expect("list a folder") {
        let path = entry.expect("an entry").path();
        let name = path.strip_prefix(root).expect("it is beneath the root").to_owned();
        if path.is_dir() {
            all.insert(name, None);
            tree(root, &path, all);
        } else {
            all.insert(name, Some(fs::read(&path).expect("read a file")));
        }
    }
}

/// What the clients mean to leave there.
fn meant() -> Tree {
    let mut all = Tree::new();
    for client in 0..CLIENTS {
        let folder = PathBuf::from(format!("client-{client}"));
        for round in 0..ROUNDS {
            all.insert(folder.join(file_name(round)), Some(contents(client, round)));
        }
        all.insert(folder, None);
    }
    all.insert("client-0/present".into(), Some(contents(9, 0)));
    all
}

pub(crate) fn play(world: &World) {
    let folder = tempfile::tempdir().expect("make a folder");
    let root = folder.path().join("tree");
    for client in 0..CLIENTS {
        fs::create_dir_all(root.join(format!("client-{client}"))).expect("make a folder");
    }
    for round in 0..ROUNDS {
        fs::write(root.join("client-2").join(file_name(round)), contents(2, round)).expect("write a file");
    }

    let stage = Stage::new(world);
    let config = format!(
        "[services.files]\ncommand = [{ACTOR:?}, \"files\", {root:?}]\nqueue = 16\nbackoff = {{ first = \"1ms\", max = \"5ms\" }}\n"
    );
    let (server, names) = stage.cast_names(folder.path(), &config);
    let clients: Vec<_> = (0..CLIENTS).map(|n| stage.cast(&["client", &n.to_string()], None)).collect();

    let (mut servers, mut half, mut killed, mut gone) = (vec![], 0, false, 0);
    while gone < CLIENTS || servers.len() < 2 {
        match stage.hear().0 {
            Report::Ready(pid) => servers.push(pid),
            Report::Half(_) => half += 1,
            Report::Gone(client, times) => {
                assert!(killed, "client {client} was told before the server was killed");
                assert_eq!(times, 1, "client {client} was notified of one death");
                gone += 1;
            }
            other => panic!("{other:?}"),
        }
        // Order between senders is not promised: the server's report may come after those of its clients.
        if half == CLIENTS
            && !killed
            && let Some(&pid) = servers.first()
        {
            signal(pid, Signal::KILL);
            killed = true;
        }
    }
    assert_ne!(servers[0], servers[1]);
    clients.into_iter().for_each(|client| succeeded("a client", client));
    assert!(stage.overhear().is_none(), "the server was started more often than it was killed");

    let mut found = Tree::new();
    tree(&root, &root, &mut found);
    let (found, meant) = (found, meant());
    assert_eq!(found.keys().collect::<Vec<_>>(), meant.keys().collect::<Vec<_>>());
    for (path, bytes) in &found {
        assert!(bytes == &meant[path], "{} is not what was meant", path.display());
    }

    let listed = || names.list().expect("list names").into_iter().map(|entry| (entry.name, entry.kind)).collect::<Vec<_>>();
    eventually("names vanish with their owners", || listed() == [("files".to_owned(), Kind::Active)]);
    signal(server.pid(), Signal::TERM);
    succeeded("the name server", server);
}

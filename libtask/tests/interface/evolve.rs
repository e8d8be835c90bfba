//! Two versions of one interface: what may be added.

use crate::Pair;

mod old {
    #[libtask::interface(name = "test.Store", version = 1)]
    pub trait Store {
        #[id(1)]
        fn put(&self, key: String, size: Size) -> Stored;
        #[id(2)]
        fn get(&self, key: String) -> Result<Stored, String>;
    }

    #[libtask::data]
    #[derive(Debug, PartialEq)]
    pub struct Size {
        pub bytes: u32,
    }

    #[libtask::data]
    #[derive(Debug, PartialEq)]
    pub struct Stored {
        pub key: String,
        pub bytes: u32,
    }

    pub struct Server;

    impl Store for Server {
        fn put(&self, key: String, size: Size) -> Stored {
            Stored { key, bytes: size.bytes }
        }
        fn get(&self, key: String) -> Result<Stored, String> {
            if key.is_empty() { Err("empty".into()) } else { Ok(Stored { key, bytes: 1 }) }
        }
    }
}

mod new {
    #[libtask::interface(name = "test.Store", version = 2)]
    pub trait Store {
        #[id(1)]
        fn put(&self, key: String, size: Size, tag: Option<String>, ttl: Option<u64>) -> Stored;
        #[id(2)]
        fn get(&self, key: String) -> Result<Stored, String>;
        #[id(3)]
        fn list(&self) -> Vec<String>;
    }

    #[libtask::data]
    #[derive(Debug, PartialEq)]
    pub struct Size {
        pub bytes: u32,
    }

    #[libtask::data]
    #[derive(Debug, PartialEq)]
    pub struct Stored {
        pub key: String,
        pub bytes: u32,
        pub tag: Option<String>,
    }

    pub struct Server;

    impl Store for Server {
        fn put(&self, key: String, size: Size, tag: Option<String>, ttl: Option<u64>) -> Stored {
            Stored { key, bytes: size.bytes, tag: tag.map(|tag| format!("{tag} {ttl:?}")) }
        }
        fn get(&self, key: String) -> Result<Stored, String> {
            if key.is_empty() { Err("empty".into()) } else { Ok(Stored { key, bytes: 1, tag: Some("t".into()) }) }
        }
        fn list(&self) -> Vec<String> {
            vec!["a".into()]
        }
    }
}

#[test]
fn old_client_works_with_a_new_server() {
    let (pair, right) = Pair::start::<dyn new::Store, _>(|_| new::Server);
    let client = right.untyped().typed::<dyn old::Store>().client();
    let stored = client.put("k".into(), old::Size { bytes: 3 }).unwrap();
    assert_eq!(stored, old::Stored { key: "k".into(), bytes: 3 });
    assert_eq!(client.get("k".into()).unwrap(), old::Stored { key: "k".into(), bytes: 1 });
    assert!(client.get(String::new()).is_err());
    drop(client);
    pair.join();
}

#[test]
fn new_client_works_with_an_old_server() {
    let (pair, right) = Pair::start::<dyn old::Store, _>(|_| old::Server);
    let client = right.untyped().typed::<dyn new::Store>().client();
    // What the server does not know it does not see; what it does not give is not there.
    let stored = client.put("k".into(), new::Size { bytes: 3 }, Some("tag".into()), None).unwrap();
    assert_eq!(stored, new::Stored { key: "k".into(), bytes: 3, tag: None });
    assert_eq!(client.get("k".into()).unwrap(), new::Stored { key: "k".into(), bytes: 1, tag: None });
    assert!(client.list().unwrap_err().is_unknown_method());
    drop(client);
    pair.join();
}

#[test]
fn both_new_use_what_was_added() {
    let (pair, right) = Pair::start::<dyn new::Store, _>(|_| new::Server);
    let client = right.client();
    let stored = client.put("k".into(), new::Size { bytes: 3 }, Some("tag".into()), Some(9)).unwrap();
    assert_eq!(stored.tag.as_deref(), Some("tag Some(9)"));
    assert_eq!(client.list().unwrap(), ["a"]);
    drop(client);
    pair.join();
}

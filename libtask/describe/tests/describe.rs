//! Descriptions: written while this program was compiled, found in bytes, compared; and values by them.

use std::collections::BTreeMap;

use postcard_schema::Schema;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use umach_describe::fixed::{self, Value};
use umach_describe::value::Said;
use umach_describe::{Broken, Description, Right, Role, Shape, scan};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Schema)]
struct Size {
    bytes: u32,
    note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Schema)]
enum Kind {
    Plain,
    Sized(Size),
    Pair(i8, char),
    Named { a: i64, b: f32 },
}

/// As a right stands in a schema.
struct ARight;
impl Schema for ARight {
    const SCHEMA: &'static postcard_schema::schema::NamedType = &postcard_schema::schema::NamedType {
        name: fixed::part::SEND,
        ty: &postcard_schema::schema::DataModelType::NewtypeStruct(&postcard_schema::schema::NamedType {
            name: "test.Other",
            ty: &postcard_schema::schema::DataModelType::U32,
        }),
    };
}

const METHODS: &[fixed::Method] = &[
    fixed::Method {
        number: 1,
        name: "put",
        docs: "Puts.\nSecond line.",
        one_way: false,
        deadline_ms: Some(1500),
        arguments: &[
            ("key", Value::Body(String::SCHEMA)),
            ("kinds", Value::Body(<Vec<Kind>>::SCHEMA)),
            ("data", Value::Body(<Vec<u8>>::SCHEMA)),
            ("size", Value::Body(Size::SCHEMA)),
        ],
        result: Value::Body(<BTreeMap<String, u16>>::SCHEMA),
        error: Some(Kind::SCHEMA),
        stream: None,
    },
    fixed::Method {
        number: 2,
        name: "watch",
        docs: "",
        one_way: false,
        deadline_ms: None,
        arguments: &[("right", Value::Body(<Option<ARight>>::SCHEMA))],
        result: Value::Body(<()>::SCHEMA),
        error: None,
        stream: Some((Kind::SCHEMA, 16)),
    },
    fixed::Method {
        number: 3,
        name: "tell",
        docs: "",
        one_way: true,
        deadline_ms: None,
        arguments: &[("sample", Value::Pod("Sample", 4))],
        result: Value::Body(<()>::SCHEMA),
        error: None,
        stream: None,
    },
];
const FIXED: fixed::Interface = fixed::Interface { name: "test.Store", version: 2, base: 4096, docs: "Stores.", methods: METHODS };
static MARKED: [u8; fixed::length(&FIXED)] = fixed::marked(&FIXED);

fn store() -> Description {
    Description::read(fixed::unmarked(&MARKED)).unwrap()
}

fn sized() -> Kind {
    Kind::Sized(Size { bytes: 70_000, note: Some("n".into()) })
}

#[test]
fn description_survives_encoding_and_json() {
    let store = store();
    assert_eq!((store.name.as_str(), store.version, store.base, store.docs.as_str()), ("test.Store", 2, 4096, "Stores."));
    let put = store.method("put").unwrap();
    assert_eq!((put.number, put.deadline_ms, put.one_way), (1, Some(1500), false));
    assert_eq!(put.docs, "Puts.\nSecond line.");
    assert!(matches!(&put.error.as_ref().unwrap().shape, Shape::Enum(variants) if variants.len() == 4));
    let watch = store.method("watch").unwrap();
    assert_eq!(watch.stream.as_ref().unwrap().queue, 16);
    let Shape::Option(right) = &watch.arguments[0].ty.shape else { panic!("{watch:?}") };
    assert_eq!(right.shape, Shape::Right { kind: Right::Send, interface: "test.Other".into() });
    assert!(watch.arguments[0].ty.has_parts() && !put.result.has_parts());
    assert_eq!(store.method("tell").unwrap().arguments[0].ty.shape, Shape::Pod { size: 4 });
    let json = serde_json::to_string(&store).unwrap();
    assert_eq!(serde_json::from_str::<Description>(&json).unwrap(), store);
}

#[test]
fn ids_tell_method_and_role() {
    let store = store();
    let which = |id| store.which(id).map(|(role, method)| (role, method.name.as_str()));
    assert_eq!(which(4097), Some((Role::Request, "put")));
    assert_eq!(which(4197), Some((Role::Answer, "put")));
    assert_eq!(which(4298), Some((Role::Item, "watch")));
    for id in [4096, 4100, 4199 + 100, 4396, 5000, 0, i32::MIN, i32::MAX] {
        assert!(which(id).is_none_or(|(_, name)| name == "tell" && id == 4299), "{id}");
    }
}

#[test]
fn descriptions_are_found_wherever_they_stand() {
    let mut file = vec![0x7f; 100];
    file.extend_from_slice(&MARKED);
    file.extend_from_slice(&[0; 7]);
    file.extend_from_slice(&MARKED);
    file.extend_from_slice(&MARKED[..10]);
    let found = scan(&file);
    assert_eq!(found.len(), 1, "each once: {found:?}");
    assert_eq!((found[0].at, found[0].description.as_ref()), (100, Ok(&store())));
    // This very program.
    let found = scan(&std::fs::read(std::env::current_exe().unwrap()).unwrap());
    assert_eq!(found.iter().filter(|found| found.description == Ok(store())).count(), 1, "{found:?}");
}

#[test]
fn damaged_description_is_an_error() {
    for at in 24..MARKED.len() {
        let mut bytes = MARKED;
        bytes[at] ^= 1;
        assert_eq!(scan(&bytes)[0].description, Err(Broken::Sum));
    }
    for len in 16..MARKED.len() {
        assert_eq!(scan(&MARKED[..len])[0].description, Err(Broken::Short));
    }
}

#[test]
fn marks_that_all_claim_the_rest_of_a_file_are_soon_looked_at() {
    let mut file = vec![0; 8 << 20];
    let size = file.len();
    for (n, place) in file.chunks_exact_mut(24).enumerate() {
        place[..16].copy_from_slice(&MARKED[..16]);
        place[16..20].copy_from_slice(&((size - 24 * n - 24) as u32).to_le_bytes());
    }
    file[..MARKED.len()].copy_from_slice(&MARKED);
    // Else this takes an hour.
    let found = scan(&file);
    assert_eq!(found[0].description, Ok(store()));
    assert_eq!(found[1].description, Err(Broken::Sum));
}

#[test]
fn deep_type_is_refused_and_not_followed() {
    // Options inside each other, half a million of them.
    let mut bytes = vec![1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
    bytes.extend(std::iter::repeat_n([0, 19], 500_000).flatten());
    assert_eq!(Description::read(&bytes), Err(Broken::Deep));
}

#[test]
fn two_methods_of_one_number_or_name_are_refused() {
    /// The mark of `()`.
    const UNIT: u8 = 18;
    // Without documents, arguments and result.
    let method = |number, name| [number, 1, name, 0, 0, 0, 0, UNIT];
    let head = [1, 0, 0, 0, 0, 2];
    let read = |second: [u8; 8]| Description::read(&[&head[..], &method(3, b'a'), &second].concat());
    assert_eq!(read(method(4, b'b')).unwrap().methods.len(), 2);
    assert_eq!(read(method(3, b'b')), Err(Broken::Twice("b".into())));
    assert_eq!(read(method(4, b'a')), Err(Broken::Twice("a".into())));
}

#[test]
fn name_that_would_end_a_comment_or_a_line_is_refused() {
    for name in ["a\nb", "a*/b", "\x1b[2J", "\u{202e}"] {
        let mut bytes = vec![1, name.len() as u8];
        bytes.extend(name.as_bytes());
        bytes.extend([1, 0, 0, 0]);
        assert_eq!(Description::read(&bytes), Err(Broken::Name(name.into())), "{name:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), change in any::<[(u16, u8); 4]>()) {
        let _ = Description::read(&bytes);
        let mut near = fixed::unmarked(&MARKED).to_vec();
        for (at, value) in change {
            let at = usize::from(at) % near.len();
            near[at] = value;
        }
        if let Ok(description) = Description::read(&near) {
            let _ = (description.to_rust(), description.to_c(), description.changes_since(&store()), store().changes_since(&description));
            for method in &description.methods {
                let _ = (method.read_request(&bytes), method.read_answer(&bytes), method.read_item(&bytes));
            }
        }
    }

    #[test]
    fn any_body_is_read_without_panic_and_what_was_read_is_written_again(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let store = store();
        let put = store.method("put").unwrap();
        if let Ok(arguments) = put.read_request(&body) {
            let again = put.write_request(&arguments).unwrap();
            prop_assert_eq!(put.read_request(&again.bytes).unwrap(), arguments);
        }
    }
}

#[test]
fn values_by_description_are_those_of_the_program() {
    let store = store();
    let put = store.method("put").unwrap();
    let kinds = vec![Kind::Plain, sized(), Kind::Pair(-7, 'ß'), Kind::Named { a: i64::MIN, b: 0.5 }];
    let size = Size { bytes: 1, note: None };
    let body = postcard::to_stdvec(&("key", &kinds, vec![0u8, 255], &size)).unwrap();
    let arguments = put.read_request(&body).unwrap();
    assert_eq!(
        arguments,
        json!({
            "key": "key",
            "kinds": ["Plain", { "Sized": { "bytes": 70_000, "note": "n" } }, { "Pair": [-7, "ß"] }, { "Named": { "a": i64::MIN, "b": 0.5 } }],
            "data": { "hex": "00ff" },
            "size": { "bytes": 1, "note": null },
        })
    );
    assert_eq!(put.write_request(&arguments).unwrap().bytes, body);
    assert_eq!(put.read_request(&body[..body.len() - 1]).unwrap(), arguments, "an option at the end may be missing");
    let wrong = put.read_request(&body[..body.len() - 2]).unwrap_err();
    assert_eq!(wrong.at, "size.bytes");

    let answer = postcard::to_stdvec(&Ok::<_, Kind>(BTreeMap::from([("a".to_owned(), 7u16)]))).unwrap();
    assert_eq!(put.read_answer(&answer), Ok(Said::Result(json!({ "a": 7 }))));
    let answer = postcard::to_stdvec(&Err::<BTreeMap<String, u16>, _>(Kind::Plain)).unwrap();
    assert_eq!(put.read_answer(&answer), Ok(Said::Error(json!("Plain"))));

    let watch = store.method("watch").unwrap();
    assert_eq!(watch.read_request(&[0, 1, 1]).unwrap(), json!({ "right": { "part": 1, "is": "send", "interface": "test.Other" } }));
    let body = watch.write_request(&json!(["some.service"])).unwrap();
    assert_eq!(body.bytes, [0, 1, 1]);
    assert_eq!((body.parts[0].kind, body.parts[0].given.clone()), (Right::Send, json!("some.service")));
    let item = postcard::to_stdvec(&sized()).unwrap();
    assert_eq!(watch.read_item(&item).unwrap(), json!({ "Sized": { "bytes": 70_000, "note": "n" } }));
    let (role, method, said) = store.read_message(4298, &item).unwrap();
    assert_eq!((role, method.name.as_str(), said.is_ok()), (Role::Item, "watch", true));
}

#[test]
fn wrong_json_is_refused_with_its_place() {
    let store = store();
    let put = store.method("put").unwrap();
    for (arguments, at, why) in [
        (json!({ "kind": 1 }), "the message", "there is no argument \"kind\"; there are: key, kinds, data, size"),
        (json!(["k", [], ""]), "size", "missing"),
        (json!(["k", ["Plain", "Odd"], "", {}]), "kinds[1]", "there is no variant \"Odd\""),
        (json!(["k", [], "", { "bytes": 1u64 << 32 }]), "size.bytes", "no whole number from 0 to 4294967295"),
        (json!(["k", [{ "Pair": [128, "a"] }], "", { "bytes": 1 }]), "kinds[0].Pair.0", "from -128 to 127"),
        (json!([1, [], "", { "bytes": 1 }]), "key", "no text"),
        (json!(["k", [], { "hex": "0" }, { "bytes": 1 }]), "data", "no bytes"),
        (json!(["k", [], "", { "bytes": 1 }, 5]), "the message", "5 arguments"),
    ] {
        let wrong = put.write_request(&arguments).unwrap_err();
        assert_eq!(wrong.at, at, "{wrong}");
        assert!(wrong.why.contains(why), "{wrong}");
    }
}

#[test]
fn text_of_a_command_line_is_taken_by_the_type() {
    let store = store();
    let put = store.method("put").unwrap();
    let parse = |n: usize, text| put.arguments[n].ty.parse(text);
    assert_eq!(parse(0, "12"), json!("12"));
    assert_eq!(parse(0, "\"12\""), json!("12"));
    assert_eq!(parse(1, "[\"Plain\"]"), json!(["Plain"]));
    assert_eq!(parse(2, "abc"), json!("abc"));
    assert_eq!(parse(3, "{\"bytes\": 3}"), json!({ "bytes": 3 }));
}

/// The store with some of it changed.
fn changed(change: impl FnOnce(&mut Description)) -> Vec<String> {
    let mut new = store();
    change(&mut new);
    new.changes_since(&store()).iter().map(ToString::to_string).collect()
}

fn option_of(ty: &umach_describe::Type) -> umach_describe::Type {
    umach_describe::Type { name: "Option<T>".into(), shape: Shape::Option(Box::new(ty.clone())) }
}

#[test]
fn additions_are_compatible() {
    let none: [String; 0] = [];
    assert_eq!(changed(|_| ()), none);
    assert_eq!(
        changed(|new| {
            let mut more = new.methods[2].clone();
            more.number = 9;
            more.name = "more".into();
            new.methods.push(more);
            new.version = 3;
            new.docs = "Other words.".into();
            new.methods[0].deadline_ms = None;
            new.methods[1].stream.as_mut().unwrap().queue = 1;
        }),
        none
    );
    assert_eq!(
        changed(|new| {
            // Behind the arguments, and in the struct that is last.
            let key = option_of(&new.methods[0].arguments[0].ty);
            let Shape::Struct(fields) = &mut new.methods[0].arguments[3].ty.shape else { panic!() };
            fields.push(umach_describe::Field { name: "added".into(), ty: key.clone() });
            new.methods[0].arguments.push(umach_describe::Argument { name: "tag".into(), ty: key });
        }),
        none
    );
}

#[test]
fn every_other_change_is_named() {
    for (change, text) in [
        (Box::new(|new: &mut Description| drop(new.methods.remove(0))) as Box<dyn Fn(&mut Description)>, "put: method 1 is gone"),
        (Box::new(|new| new.base = 8192), "base was 4096 and is 8192"),
        (Box::new(|new| new.methods[0].name = "set".into()), "put: number 1 is now that of \"set\""),
        (Box::new(|new| new.methods[2].one_way = false), "tell: it was one-way and is answered"),
        (Box::new(|new| new.methods[0].error = None), "put: it could refuse and cannot any more"),
        (Box::new(|new| new.methods[1].stream = None), "watch: its stream is gone"),
        (Box::new(|new| new.methods[0].arguments[0].ty.shape = Shape::U8), "put, argument key: it was String and is u8"),
        (Box::new(|new| new.methods[0].arguments.swap(0, 2)), "put, argument key: in its place is \"data\" now"),
        (Box::new(|new| new.methods[0].arguments.truncate(3)), "put, argument size.bytes: it is gone"),
        (
            Box::new(|new| {
                let key = new.methods[0].arguments[0].clone();
                new.methods[0].arguments.push(umach_describe::Argument { name: "tag".into(), ty: key.ty });
            }),
            "put, argument tag: it was added and is no option",
        ),
        (
            Box::new(|new| {
                let Some(error) = &mut new.methods[0].error else { panic!() };
                let Shape::Enum(variants) = &mut error.shape else { panic!() };
                variants.push(umach_describe::Variant { name: "Odd".into(), holds: Shape::Unit });
            }),
            "put, error::Odd: it was added",
        ),
        (
            Box::new(|new| {
                let Some(error) = &mut new.methods[0].error else { panic!() };
                let Shape::Enum(variants) = &mut error.shape else { panic!() };
                variants.swap(0, 2);
            }),
            "put, error::Plain: in its place is \"Pair\" now",
        ),
        (
            Box::new(|new| {
                let Shape::Enum(variants) = &mut new.methods[1].stream.as_mut().unwrap().item.shape else { panic!() };
                variants.pop();
            }),
            "watch, item::Named: it is gone",
        ),
        (
            Box::new(|new| {
                // A number of another method's.
                new.methods[1].number = 1;
                new.methods[0].number = 2;
            }),
            "put: number 1 is now that of \"watch\"",
        ),
        (Box::new(|new| new.methods[0].one_way = true), "put: it was answered and is one-way"),
        (Box::new(|new| new.methods[1].error = Some(new.methods[1].result.clone())), "watch: it could not refuse and can now"),
        (Box::new(|new| new.methods[0].stream = new.methods[1].stream.clone()), "put: it has a stream now"),
        (Box::new(|new| new.name = "test.Shop".into()), "the interface was called \"test.Store\""),
        (Box::new(|new| new.methods[0].result.shape = Shape::Unit), "put, result: it is gone"),
        (
            Box::new(|new| {
                let Shape::Option(right) = &mut new.methods[1].arguments[0].ty.shape else { panic!() };
                right.shape = Shape::Right { kind: Right::SendOnce, interface: String::new() };
            }),
            "watch, argument right: it was SendRight<dyn test.Other> and is SendOnceRight",
        ),
        (Box::new(|new| new.methods[2].arguments[0].ty.shape = Shape::Pod { size: 8 }), "tell, argument sample: it was"),
        (
            Box::new(|new| {
                // A struct inside of a sequence's items is not at the end.
                let Shape::Seq(kind) = &mut new.methods[0].arguments[1].ty.shape else { panic!() };
                let Shape::Enum(variants) = &mut kind.shape else { panic!() };
                let Shape::Newtype(size) = &mut variants[1].holds else { panic!() };
                let Shape::Struct(fields) = &mut size.shape else { panic!() };
                let ty = option_of(&fields[0].ty);
                fields.push(umach_describe::Field { name: "added".into(), ty });
            }),
            "put, argument kinds::Sized.added: it was added where the message does not end",
        ),
    ] {
        let changes = changed(change);
        assert!(changes.iter().any(|found| found.contains(text)), "{text:?} is not in {changes:?}");
    }
}

#[test]
fn description_is_shown_as_a_trait_and_as_a_header() {
    let rust = store().to_rust();
    for line in [
        "/// Stores.",
        "#[interface(name = \"test.Store\", version = 2, base = 4096)]",
        "trait Store {",
        "    #[id(1)] #[deadline = \"1500ms\"]",
        "    fn put(key: String, kinds: Vec<Kind>, data: Vec<u8>, size: Size) -> Result<Map<String, u16>, Kind>;",
        "    fn watch(right: Option<SendRight<dyn test.Other>>, sink: Sink<Kind>);",
        "    #[id(3)] #[oneway]",
        "    fn tell(#[pod] sample: Sample);",
        "    Named { a: i64, b: f32 },",
    ] {
        assert!(rust.lines().any(|found| found == line), "{line:?} is not in\n{rust}");
    }
    let c = store().to_c();
    for line in [
        "#define TEST_STORE_PUT 4097",
        "#define TEST_STORE_PUT_ANSWER 4197",
        "#define TEST_STORE_WATCH_ITEM 4298",
        "#define TEST_STORE_TELL 4099",
    ] {
        assert!(c.lines().any(|found| found == line), "{line:?} is not in\n{c}");
    }
    let header = tempfile::Builder::new().suffix(".h").tempfile().unwrap();
    std::fs::write(header.path(), &c).unwrap();
    // A compiler's word, where there is one.
    if let Ok(done) =
        std::process::Command::new("cc").args(["-std=c11", "-Wall", "-Werror", "-fsyntax-only", "-x", "c"]).arg(header.path()).output()
    {
        assert!(done.status.success(), "{}\n{c}", String::from_utf8_lossy(&done.stderr));
    }
}

//! A description of an interface, as a file or a server may have it, and bodies of its methods: what a tool does with them ends, in time and memory that are in
//! proportion to the bytes, and what was read is written again.

use umach_describe::value::Said;
use umach_describe::{Description, Method, scan, signature, type_text};

use super::Input;

/// Two descriptions, each behind two bytes that say how long it is, and a body: what is left.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let [first, second] = std::array::from_fn(|_| {
        let len = usize::from(input.byte()) | usize::from(input.byte()) << 8;
        input.bytes(len)
    });
    let body = input.0;
    for found in scan(data) {
        let _ = Description::read(data.get(found.at..).unwrap_or(&[]));
    }
    let Ok(description) = Description::read(first) else { return };
    let _ = (description.to_rust(), description.to_c());
    if let Ok(other) = Description::read(second) {
        let _ = (description.changes_since(&other), other.changes_since(&description));
    }
    assert_eq!(description.changes_since(&description), [], "a description differs from itself");
    for method in &description.methods {
        let _ = signature(method);
        method.arguments.iter().for_each(|argument| drop(type_text(&argument.ty)));
        let _ = (method.read_answer(body), method.read_item(body));
        requests(method, body);
        for id in [description.request_id(method), description.answer_id(method)] {
            if let Some((_, _, Ok(said))) = description.read_message(id, body) {
                let _ = matches!(said, Said::Error(_));
                let _ = said.value().to_string();
            }
        }
    }
}

/// What is read from a body can be written, and is the same when it is read again.
fn requests(method: &Method, body: &[u8]) {
    let Ok(arguments) = method.read_request(body) else { return };
    // Two fields with one name, say, are one in JSON.
    let Ok(again) = method.write_request(&arguments) else { return };
    // Which part a body meant is counted anew.
    if method.arguments.iter().all(|argument| !argument.ty.has_parts())
        && let Ok(arguments_again) = method.read_request(&again.bytes)
    {
        assert_eq!(arguments_again, arguments, "{} is not written as it was read", method.name);
    }
}

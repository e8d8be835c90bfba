//! The client: a struct with the trait's methods, which call; and one whose methods only begin.

use proc_macro2::TokenStream;
use quote::format_ident;
use syn::{Ident, Type};

use crate::describe::{answer_parts, request_parts};
use crate::parse::{How, Interface, Kind, Method, Output};

pub(crate) fn name(interface: &Interface) -> Ident {
    format_ident!("{}Client", interface.item.ident)
}

pub(crate) fn generate(interface: &Interface) -> TokenStream {
    let item = &interface.item;
    let (vis, ident) = (&item.vis, &item.ident);
    let client = name(interface);
    let begin = format_ident!("{}Begin", ident);
    let about = format!("Calls [`{ident}`] in another task: from a `SendRight<dyn {ident}>`.");
    let about_begin = format!("Starts calls of [`{ident}`] without waiting for their answers: what [`{client}::begin`] gives.");
    let calling = interface.methods.iter().map(|method| calling(interface, method));
    let beginning = interface.methods.iter().map(|method| beginning(interface, method));
    local! {
        #[doc = #about]
        #[derive(::core::fmt::Debug)]
        #vis struct #client {
            right: ::libtask::SendRight<dyn #ident>,
            deadline: ::core::option::Option<::core::time::Duration>,
        }

        #[doc = #about_begin]
        #[derive(::core::fmt::Debug)]
        #vis struct #begin<'c> {
            client: &'c #client,
        }

        #[allow(dead_code, clippy::too_many_arguments, clippy::type_complexity, clippy::needless_pass_by_value, deprecated)]
        impl #client {
            /// Calls over this right.
            #vis fn new(right: ::libtask::SendRight<dyn #ident>) -> #client {
                ::libtask::interface::runtime::keep(<dyn #ident as ::libtask::interface::Interface>::DESCRIPTION);
                #client { right, deadline: ::core::option::Option::None }
            }
            /// The right.
            #vis fn right(&self) -> &::libtask::SendRight<dyn #ident> {
                &self.right
            }
            /// Only the right.
            #vis fn into_right(self) -> ::libtask::SendRight<dyn #ident> {
                self.right
            }
            /// The same, waiting at most so long for each answer, whatever the methods say.
            #[must_use]
            #vis fn with_deadline(mut self, deadline: ::core::time::Duration) -> #client {
                self.deadline = ::core::option::Option::Some(deadline);
                self
            }
            /// The same methods, which do not wait for the answer.
            #vis fn begin(&self) -> #begin<'_> {
                #begin { client: self }
            }
            #(#calling)*
        }

        #[allow(dead_code, clippy::too_many_arguments, clippy::type_complexity, clippy::needless_pass_by_value, deprecated)]
        impl #begin<'_> {
            #(#beginning)*
        }

        impl ::core::clone::Clone for #client {
            fn clone(&self) -> #client {
                #client { right: self.right.duplicate(), deadline: self.deadline }
            }
        }

        impl ::core::convert::From<::libtask::SendRight<dyn #ident>> for #client {
            fn from(right: ::libtask::SendRight<dyn #ident>) -> #client {
                #client::new(right)
            }
        }
    }
}

/// What is common to calling and beginning.
struct Parts {
    /// `a: u64, b: &str`
    parameters: TokenStream,
    /// Makes the port of the stream, if there is one: a `Result`. `right` is in scope.
    open: Option<TokenStream>,
    /// The message; `right` is in scope, and the port as `stream`.
    message: TokenStream,
    /// What the caller gets.
    gives: TokenStream,
    deadline: TokenStream,
    /// `Adder.add`
    label: String,
    /// From `answer` (and `stream`), what the caller gets.
    read: TokenStream,
}

fn parts(interface: &Interface, method: &Method) -> Parts {
    let ident = &interface.item.ident;
    let number = i32::from(method.number);
    let id = local!(const { <dyn #ident as ::libtask::interface::Interface>::BASE + #number });
    let names = method.values().map(|(parameter, _)| &parameter.ident);
    let types = method.values().map(|(parameter, _)| &parameter.ty);
    let deadline = match method.deadline_ms {
        Some(deadline) => local!(::core::time::Duration::from_millis(#deadline)),
        None => local!(::libtask::CALL_TIMEOUT),
    };
    let label = format!("{}.{}", ident, method.ident);
    let open = method.sink().map(|(_, queue)| local!(::libtask::interface::runtime::open_stream(right, #queue)));
    let write = match method.pod() {
        Some((parameter, how)) => {
            let name = &parameter.ident;
            let value = if matches!(how, How::Pod) { local!(&#name) } else { local!(#name) };
            local!(::libtask::interface::runtime::request_pod(#id, #value))
        }
        None => {
            let end = method.sink().map(|_| local!(::libtask::interface::runtime::stream_end(&stream)));
            let values = method.values().map(|(parameter, how)| {
                let name = &parameter.ident;
                match how {
                    How::Slice => local!(::libtask::interface::runtime::Bytes(#name)),
                    How::Bytes => local!(::libtask::interface::runtime::Bytes(&#name)),
                    _ => local!(#name),
                }
            });
            let values = end.into_iter().chain(values);
            let parts = request_parts(method);
            // In a block: what moves is not held here any more when it is sent.
            local!({
                let arguments = (#(#values,)*);
                ::libtask::interface::runtime::request(#id, #parts, &arguments)
            })
        }
    };
    Parts {
        parameters: local!(#(#names: #types),*),
        open,
        message: write,
        gives: gives(method),
        deadline,
        read: read(method, &id, &label),
        label,
    }
}

/// What the client's method gives.
fn gives(method: &Method) -> TokenStream {
    let Output { value, error, .. } = &method.result;
    let value = match method.sink() {
        None => local!(#value),
        Some((item, _)) if method.result.is_unit() => local!(::libtask::interface::Stream<#item>),
        Some((item, _)) => local!((#value, ::libtask::interface::Stream<#item>)),
    };
    match error {
        Some(error) => local!(::core::result::Result<#value, ::libtask::interface::CallError<#error>>),
        None => local!(::libtask::Result<#value>),
    }
}

/// Reads `answer`.
fn read(method: &Method, id: &TokenStream, label: &str) -> TokenStream {
    let Output { value, error, pod, bytes } = &method.result;
    let parts = answer_parts(method);
    let read_one = |ty: &Type| local!(|reader| reader.read::<#ty>());
    let read_value = if *bytes { local!(|reader| reader.read_bytes()) } else { read_one(value) };
    let result = match error {
        _ if *pod => local!(::libtask::interface::runtime::pod_value::<#value>(answer)),
        None => local!(::libtask::interface::runtime::value(#parts, answer, #read_value)),
        Some(error) => {
            let read_error = read_one(error);
            local!(::libtask::interface::runtime::outcome(#parts, answer, #read_value, #read_error))
        }
    };
    match method.sink() {
        None => result,
        Some((item, _)) => {
            let stream = local!(::libtask::interface::runtime::stream_of::<#item>(stream, #id, #label));
            if method.result.is_unit() { local!(#result.map(|()| #stream)) } else { local!(#result.map(|value| (value, #stream))) }
        }
    }
}

fn calling(interface: &Interface, method: &Method) -> TokenStream {
    let (vis, ident, attributes) = (&interface.item.vis, &method.ident, &method.attributes);
    let Parts { parameters, open, message, gives, deadline, label, read } = parts(interface, method);
    let open = open.map(|open| local!(let stream = #open?;));
    let body = if method.one_way {
        local!(::libtask::interface::runtime::send(right, message, self.deadline.unwrap_or(#deadline)))
    } else {
        local! {
            let answer = ::libtask::interface::runtime::call(right, message, self.deadline.unwrap_or(#deadline), #label)?;
            #read
        }
    };
    let note = if method.one_way { "\n\nSends it, waiting for room in the queue; there is no answer." } else { "" };
    let note = (!note.is_empty()).then(|| local!(#[doc = #note]));
    local! {
        #(#attributes)*
        #note
        #vis fn #ident(&self, #parameters) -> #gives {
            let right = &self.right;
            #open
            let message = #message;
            #body
        }
    }
}

fn beginning(interface: &Interface, method: &Method) -> TokenStream {
    let (vis, ident, attributes) = (&interface.item.vis, &method.ident, &method.attributes);
    let Parts { parameters, open, message, gives, deadline, label, read } = parts(interface, method);
    let deadline = local!(self.client.deadline.unwrap_or(#deadline));
    if method.one_way {
        return local! {
            #(#attributes)*
            #vis fn #ident(&self, #parameters) -> ::libtask::interface::PendingSend {
                let right = &self.client.right;
                let message = #message;
                ::libtask::interface::runtime::begin_send(right, message, #deadline)
            }
        };
    }
    let (message, taken) = match open {
        Some(open) => (
            local! {
                let (message, stream) = match #open {
                    ::core::result::Result::Ok(stream) => (::core::result::Result::Ok(#message), ::core::option::Option::Some(stream)),
                    ::core::result::Result::Err(why) => (::core::result::Result::Err(why), ::core::option::Option::None),
                };
            },
            local!(let stream = stream.expect("it was given along");),
        ),
        None => (local!(let (message, stream) = (::core::result::Result::Ok(#message), ::core::option::Option::None);), local!()),
    };
    local! {
        #(#attributes)*
        #vis fn #ident(&self, #parameters) -> ::libtask::interface::Pending<#gives> {
            let right = &self.client.right;
            #message
            ::libtask::interface::runtime::begin(right, message, #deadline, #label, stream, |answer, stream| -> #gives {
                let answer = answer?;
                #taken
                let _ = &stream;
                #read
            })
        }
    }
}

/// Which parameters of the trait's method there are, for forwarding.
pub(crate) fn passes(method: &Method) -> impl Iterator<Item = &Ident> {
    method.parameters.iter().map(|parameter| match parameter.kind {
        Kind::Caller | Kind::Sink { .. } | Kind::Later | Kind::Value(_) => &parameter.ident,
    })
}

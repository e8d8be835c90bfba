//! The server's side: from a message to the method, and from its result to the answer.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;

use crate::describe::{answer_parts, request_parts};
use crate::parse::{How, Interface, Kind, Method};

pub(crate) fn generate(interface: &Interface) -> TokenStream {
    let dispatch = if interface.has_async() { at_once(interface) } else { in_turn(interface) };
    let forwards = forwards(interface);
    local! {
        #dispatch
        #forwards
    }
}

/// From a message's number to the method.
fn matching(interface: &Interface) -> TokenStream {
    let ident = &interface.item.ident;
    let arms = interface.methods.iter().map(|method| arm(interface, method));
    local! {
        const BASE: i32 = <dyn #ident as ::libtask::interface::Interface>::BASE;
        match ::libtask::interface::runtime::number(caller, BASE) {
            #(#arms)*
            _ => ::libtask::interface::runtime::other::<dyn #ident>(caller),
        }
    }
}

/// Without an `async fn`: one call after the other.
fn in_turn(interface: &Interface) -> TokenStream {
    let ident = &interface.item.ident;
    let matching = matching(interface);
    local! {
        #[allow(deprecated)]
        impl<S: #ident + ?::core::marker::Sized> ::libtask::interface::Serve<S> for dyn #ident {
            #[allow(unused_variables, clippy::too_many_lines)]
            fn dispatch(server: &mut S, caller: &mut ::libtask::interface::Caller) -> ::core::option::Option<::libtask::Message> {
                #matching
            }
        }
        #[allow(deprecated)]
        impl<'d, S: #ident> ::libtask::interface::ServeAsync<S> for dyn #ident + 'd {
            fn serve_async(
                port: ::libtask::interface::runtime::Port<'_>,
                mut server: S,
                _: usize,
            ) -> impl ::core::future::Future<Output = ::libtask::Result<()>> {
                ::libtask::interface::runtime::serve_in_turn(port, move |caller| {
                    <dyn #ident as ::libtask::interface::Serve<S>>::dispatch(&mut server, caller)
                })
            }
        }
    }
}

/// With one: many calls at once. (For any lifetime of the object: else the compiler does not see that the future that serves may go from thread to thread.)
fn at_once(interface: &Interface) -> TokenStream {
    let ident = &interface.item.ident;
    let matching = matching(interface);
    local! {
        #[allow(deprecated)]
        impl<S: #ident + ::libtask::interface::runtime::NeedsNoFuture> ::libtask::interface::Serve<S> for dyn #ident {
            fn dispatch(server: &mut S, _: &mut ::libtask::interface::Caller) -> ::core::option::Option<::libtask::Message> {
                ::libtask::interface::runtime::NeedsNoFuture::none(server)
            }
        }
        #[allow(deprecated)]
        impl<'d, S: #ident + ::core::marker::Sync> ::libtask::interface::ServeAsync<S> for dyn #ident + 'd {
            fn serve_async(
                port: ::libtask::interface::runtime::Port<'_>,
                server: S,
                at_once: usize,
            ) -> impl ::core::future::Future<Output = ::libtask::Result<()>> {
                ::libtask::interface::runtime::serve_at_once::<Self, S>(port, server, at_once)
            }
        }
        #[allow(deprecated)]
        impl<'d, S: #ident + ::core::marker::Sync> ::libtask::interface::ServeAtOnce<S> for dyn #ident + 'd {
            #[allow(unused_variables, clippy::too_many_lines)]
            async fn dispatch(
                server: &S,
                caller: &mut ::libtask::interface::Caller,
                course: &::libtask::interface::runtime::Course,
            ) -> ::core::option::Option<::libtask::Message> {
                #matching
            }
        }
    }
}

fn arm(interface: &Interface, method: &Method) -> TokenStream {
    let trait_ident = &interface.item.ident;
    let number = i32::from(method.number);
    let label = format!("{}.{}", trait_ident, method.ident);
    let ident = &method.ident;
    let id = local!(const { BASE + #number });
    let none = local!(::core::option::Option::None);
    let wanted = (!method.one_way).then(|| local!(if !::libtask::interface::runtime::wants_answer(caller) { return #none; }));
    let first = method.is_answered_first();
    let later = if first {
        Some(local!(let later: ::libtask::Later<()> = ::libtask::interface::runtime::later(caller, #id, #label);))
    } else {
        method.later().then(|| local!(let later = ::libtask::interface::runtime::later(caller, #id, #label);))
    };
    // Who is to answer later has the right to answer, for a refusal too; and a one-way call has no answer.
    let refuse = |refusal: TokenStream| match (method.one_way, method.later() || first) {
        (true, _) => local!({ let _ = #refusal; return #none; }),
        (_, true) => local!(return later.refuse(#refusal)),
        _ => local!(return #refusal),
    };
    let parts = request_parts(method);
    let sink = method.parameters.iter().find(|parameter| matches!(parameter.kind, Kind::Sink { .. })).map(|parameter| &parameter.ident);
    let read_sink = method.sink().map(|(item, _)| {
        let refuse = refuse(local!(::libtask::interface::runtime::bad(caller, incoming.as_ref(), #label, "the stream", &why)));
        local! {
            let #sink = match ::libtask::interface::runtime::read_sink::<#item>(&mut reader, #id) {
                ::core::result::Result::Ok(value) => value,
                ::core::result::Result::Err(why) => #refuse,
            };
        }
    });
    let reads = method.values().map(|(parameter, how)| {
        let (name, ty) = (&parameter.ident, &parameter.ty);
        let text = name.to_string();
        let bad_pod =
            |ty: &syn::Type| refuse(local!(::libtask::interface::runtime::bad_pod(caller, #label, #text, ::core::mem::size_of::<#ty>())));
        let read = match how {
            How::Plain | How::Slice => quote_spanned!(ty.span().resolved_at(Span::mixed_site())=> reader.read::<#ty>()),
            How::Bytes => local!(reader.read_bytes()),
            How::Ref(inner) => quote_spanned!(ty.span().resolved_at(Span::mixed_site())=> reader.read::<#inner>()),
            How::Pod => {
                let refuse = bad_pod(ty);
                return local! {
                    let #name: #ty = match ::libtask::interface::runtime::pod_read(caller) {
                        ::core::option::Option::Some(value) => value,
                        ::core::option::Option::None => #refuse,
                    };
                };
            }
            How::PodRef(inner) => {
                let refuse = bad_pod(inner);
                return local! {
                    let #name: &#inner = match ::libtask::interface::runtime::pod_ref(caller) {
                        ::core::option::Option::Some(value) => value,
                        ::core::option::Option::None => #refuse,
                    };
                };
            }
        };
        let refuse = refuse(local!(::libtask::interface::runtime::bad(caller, incoming.as_ref(), #label, #text, &why)));
        local! {
            let #name = match #read {
                ::core::result::Result::Ok(value) => value,
                ::core::result::Result::Err(why) => #refuse,
            };
        }
    });
    let passed = method.parameters.iter().map(|parameter| {
        let name = &parameter.ident;
        match &parameter.kind {
            Kind::Caller => local!(&*caller),
            Kind::Later => local!(later),
            Kind::Value(How::Ref(_)) => local!(&#name),
            Kind::Sink { .. } | Kind::Value(_) => local!(#name),
        }
    });
    let wait = method.is_async.then(|| local!(.await));
    let call = local!(<S as #trait_ident>::#ident(server, #(#passed),*) #wait);
    let answer = if first {
        local!({ let last = course.answer_first(later, &#sink); #call; ::libtask::interface::runtime::answer_last(last) })
    } else if method.one_way || method.later() {
        local!({ #call; #none })
    } else if method.result.pod {
        local!(::libtask::interface::runtime::answer_pod(#id, &#call))
    } else {
        let parts = answer_parts(method);
        let shown = match (method.result.bytes, &method.result.error) {
            (false, _) => local!(&result),
            (true, None) => local!(&::libtask::interface::runtime::Bytes(&result)),
            (true, Some(_)) => local!(&::libtask::interface::runtime::bytes_result(&result)),
        };
        local!({ let result = #call; ::libtask::interface::runtime::answer(#id, #parts, #shown, #label) })
    };
    local! {
        #number => {
            #wanted
            let incoming = ::libtask::interface::runtime::incoming(#parts, caller);
            #later
            let mut reader = ::libtask::interface::runtime::reader(caller);
            #read_sink
            #(#reads)*
            ::core::mem::drop(incoming);
            #answer
        }
    }
}

/// The trait for references to servers.
fn forwards(interface: &Interface) -> TokenStream {
    if !interface.item.supertraits.is_empty() {
        return TokenStream::new();
    }
    let ident = &interface.item.ident;
    let by_ref = interface.methods.iter().all(|method| method.by_ref);
    // A method that is async is none of an object's.
    let bounds = if interface.has_async() { local!(+ ::core::marker::Sync) } else { local!(+ ?::core::marker::Sized) };
    let signatures: Vec<_> = interface
        .item
        .items
        .iter()
        .filter_map(|item| match item {
            syn::TraitItem::Fn(function) => Some(&function.sig),
            _ => None,
        })
        .collect();
    let forward = |place: TokenStream| {
        let methods = signatures.iter().map(|sig| {
            let method = interface.methods.iter().find(|method| method.ident == sig.ident);
            let passed = method.into_iter().flat_map(crate::client::passes);
            let name = &sig.ident;
            quote!(#sig { (**self).#name(#(#passed),*) })
        });
        local! {
            #[allow(deprecated)]
            impl<T: #ident #bounds> #ident for #place {
                #(#methods)*
            }
        }
    };
    let mut all = forward(local!(&mut T));
    all.extend(forward(local!(::std::boxed::Box<T>)));
    if by_ref {
        all.extend(forward(local!(&T)));
        all.extend(forward(local!(::std::sync::Arc<T>)));
    }
    all
}

//! The attributes of `libtask`: `#[libtask::interface]` and `#[libtask::data]`. What they are for is said there; this crate is not to be used alone.
//!
//! In reading order: [`parse`] (what a trait says, and every mistake that can be seen in it), then what is made of it: [`client`], [`server`], [`describe`].
#![forbid(unsafe_code)]

/// `quote!` whose variables are none that a user's parameter could be.
macro_rules! local {
    ($($tokens:tt)*) => {
        quote::quote_spanned!(proc_macro2::Span::mixed_site()=> $($tokens)*)
    };
}

mod client;
mod data;
mod describe;
mod parse;
mod server;

use proc_macro::TokenStream;
use quote::quote;

/// Makes an interface of a trait: a client, the dispatch of a server, and a description. See `libtask::interface`.
///
/// On the trait: `#[interface(name = "org.example.Adder", version = 2, base = 4000)]`, each of them optional. The name is the trait's if there is none; the base is made from
/// the name.
///
/// On a method: `#[id(N)]`, its number, from 0 to 99 and never used again for another; `#[oneway]`, there is no answer; `#[deadline = "500ms"]` (`ms`, `s`, `min`);
/// `#[queue = 100]`, how many items of its stream may wait; `#[pod]`, its result's bytes are sent as they are. On a parameter: `#[pod]`.
#[proc_macro_attribute]
pub fn interface(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let interface = match parse::interface(arguments.into(), item.into()) {
        Ok(interface) => interface,
        Err((error, item)) => {
            // The trait stays, so that what uses it does not fail as well.
            let error = error.to_compile_error();
            return quote!(#item #error).into();
        }
    };
    let item = &interface.item;
    let client = client::generate(&interface);
    let server = server::generate(&interface);
    let description = describe::generate(&interface);
    quote! {
        #item
        #client
        const _: () = {
            #server
            #description
        };
    }
    .into()
}

/// Makes a struct or an enum one that can stand in a message: derives serde's `Serialize` and `Deserialize`, and its schema.
#[proc_macro_attribute]
pub fn data(arguments: TokenStream, item: TokenStream) -> TokenStream {
    data::generate(arguments.into(), item.into()).into()
}

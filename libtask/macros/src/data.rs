//! `#[data]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;

pub(crate) fn generate(arguments: TokenStream, item: TokenStream) -> TokenStream {
    if !arguments.is_empty() {
        return quote_spanned!(arguments.span()=> ::core::compile_error!("`#[data]` takes no arguments"); #item);
    }
    match syn::parse2::<syn::Item>(item.clone()) {
        Ok(syn::Item::Struct(_) | syn::Item::Enum(_)) => {}
        _ => return quote!(::core::compile_error!("`#[data]` is for structs and enums"); #item),
    }
    quote! {
        #[derive(
            ::libtask::interface::runtime::serde::Serialize,
            ::libtask::interface::runtime::serde::Deserialize,
            ::libtask::interface::runtime::postcard_schema::Schema,
        )]
        #[serde(crate = "::libtask::interface::runtime::serde")]
        #[postcard(crate = ::libtask::interface::runtime::postcard_schema)]
        #item
    }
}

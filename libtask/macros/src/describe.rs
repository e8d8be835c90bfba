//! The description.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::Type;
use syn::spanned::Spanned;

use crate::parse::{How, Interface, Method};

/// The schema of a type; if it has none, the error is at the type.
pub(crate) fn schema(ty: &Type) -> TokenStream {
    quote_spanned!(ty.span()=> <#ty as ::libtask::interface::runtime::Data>::SCHEMA)
}

/// Of an argument, the type that stands in the message.
pub(crate) fn argument_schema(ty: &Type, how: &How) -> Option<TokenStream> {
    match how {
        How::Pod | How::PodRef(_) => None,
        How::Ref(inner) => Some(schema(inner)),
        How::Plain | How::Slice | How::Bytes => Some(schema(ty)),
    }
}

/// Whether the request may have parts.
pub(crate) fn request_parts(method: &Method) -> TokenStream {
    if method.sink().is_some() {
        return quote!(true);
    }
    let schemas = method.values().filter_map(|(parameter, how)| argument_schema(&parameter.ty, how));
    quote!(const { ::libtask::interface::runtime::any_has_parts(&[#(#schemas),*]) })
}

/// Whether the answer may have parts.
pub(crate) fn answer_parts(method: &Method) -> TokenStream {
    if method.result.pod {
        return quote!(false);
    }
    let schemas = std::iter::once(&method.result.value).chain(&method.result.error).map(schema);
    quote!(const { ::libtask::interface::runtime::any_has_parts(&[#(#schemas),*]) })
}

pub(crate) fn generate(interface: &Interface) -> TokenStream {
    let Interface { name, version, docs, item, .. } = interface;
    let ident = &item.ident;
    let client = crate::client::name(interface);
    let base = match interface.base {
        Some(base) => quote!(#base),
        None => quote!(::libtask::interface::base_of(#name)),
    };
    let methods = interface.methods.iter().map(method);
    quote! {
        const FIXED: ::libtask::interface::runtime::fixed::Interface = ::libtask::interface::runtime::fixed::Interface {
            name: #name,
            version: #version,
            base: <dyn #ident as ::libtask::interface::Interface>::BASE,
            docs: #docs,
            methods: &[#(#methods),*],
        };
        #[used]
        static MARKED: [u8; ::libtask::interface::runtime::fixed::length(&FIXED)] = ::libtask::interface::runtime::fixed::marked(&FIXED);

        impl ::libtask::interface::Target for dyn #ident {
            const NAME: &'static str = #name;
        }
        impl ::libtask::interface::Interface for dyn #ident {
            const BASE: i32 = #base;
            const DESCRIPTION: &'static [u8] = ::libtask::interface::runtime::fixed::unmarked(&MARKED);
            type Client = #client;
        }
    }
}

fn method(method: &Method) -> TokenStream {
    let Method { number, docs, one_way, .. } = method;
    let name = method.ident.to_string();
    let deadline = match method.deadline_ms {
        Some(deadline) => quote!(::core::option::Option::Some(#deadline)),
        None => quote!(::core::option::Option::None),
    };
    let arguments = method.values().map(|(parameter, how)| {
        let name = parameter.ident.to_string();
        let value = match how {
            How::Pod => pod(&parameter.ty),
            How::PodRef(inner) => pod(inner),
            how => {
                let schema = argument_schema(&parameter.ty, how);
                quote!(::libtask::interface::runtime::fixed::Value::Body(#schema))
            }
        };
        quote!((#name, #value))
    });
    let result = if method.result.pod {
        pod(&method.result.value)
    } else {
        let schema = schema(&method.result.value);
        quote!(::libtask::interface::runtime::fixed::Value::Body(#schema))
    };
    let error = match method.result.error.as_ref().map(schema) {
        Some(schema) => quote!(::core::option::Option::Some(#schema)),
        None => quote!(::core::option::Option::None),
    };
    let stream = match method.sink() {
        Some((item, queue)) => {
            let schema = schema(item);
            quote!(::core::option::Option::Some((#schema, #queue)))
        }
        None => quote!(::core::option::Option::None),
    };
    quote! {
        ::libtask::interface::runtime::fixed::Method {
            number: #number,
            name: #name,
            docs: #docs,
            one_way: #one_way,
            deadline_ms: #deadline,
            arguments: &[#(#arguments),*],
            result: #result,
            error: #error,
            stream: #stream,
        }
    }
}

fn pod(ty: &Type) -> TokenStream {
    let name = quote!(#ty).to_string();
    let size = quote_spanned!(ty.span()=> ::libtask::interface::runtime::pod_size::<#ty>());
    quote!(::libtask::interface::runtime::fixed::Value::Pod(#name, #size))
}

//! What a trait says, checked.

use std::collections::HashMap;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, GenericArgument, Ident, ItemTrait, Lit, LitInt, LitStr, Meta, Pat, PathArguments, ReceiverKind,
    Result, ReturnType, Safety, TraitItem, TraitItemFn, Type, parse_quote, parse_quote_spanned,
};

/// The highest number of a method.
const NUMBER_MAX: u8 = 99;
/// Items of a stream that may wait if the method does not say.
const QUEUE: u32 = 64;
/// The most that a port's queue holds.
const QUEUE_MAX: u32 = 1024;
/// What serde can have in a tuple.
const VALUES_MAX: usize = 15;
/// What the generated client has of its own.
const CLIENT_METHODS: [&str; 6] = ["new", "right", "into_right", "with_deadline", "begin", "from"];

/// An interface.
pub(crate) struct Interface {
    /// The trait without this crate's attributes.
    pub(crate) item: ItemTrait,
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) base: Option<i32>,
    pub(crate) docs: String,
    pub(crate) methods: Vec<Method>,
}

pub(crate) struct Method {
    pub(crate) ident: Ident,
    pub(crate) number: u8,
    pub(crate) docs: String,
    /// Its `#[doc]` and `#[deprecated]`, for the client's methods.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) by_ref: bool,
    pub(crate) is_async: bool,
    pub(crate) one_way: bool,
    pub(crate) deadline_ms: Option<u64>,
    /// In the order of the trait.
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) result: Output,
}

pub(crate) struct Parameter {
    pub(crate) ident: Ident,
    /// As the trait has it.
    pub(crate) ty: Type,
    pub(crate) kind: Kind,
}

/// What a parameter is.
pub(crate) enum Kind {
    Caller,
    Sink { item: Type, queue: u32 },
    Later,
    Value(How),
}

/// How a value is written and read.
#[derive(Clone)]
pub(crate) enum How {
    /// As it is; and if it borrows, from the message.
    Plain,
    /// `&[u8]`.
    Slice,
    /// `Vec<u8>`.
    Bytes,
    /// A reference to this, which the server reads whole and lends to the method.
    Ref(Type),
    /// Plain old data, copied out.
    Pod,
    /// A reference to this plain old data, in place.
    PodRef(Type),
}

/// What a method gives.
pub(crate) struct Output {
    pub(crate) value: Type,
    pub(crate) error: Option<Type>,
    pub(crate) pod: bool,
    /// It is a `Vec<u8>`.
    pub(crate) bytes: bool,
}

impl Interface {
    /// Whether some method is an `async fn`, so that many calls are in progress at once.
    pub(crate) fn has_async(&self) -> bool {
        self.methods.iter().any(|method| method.is_async)
    }
}

impl Output {
    pub(crate) fn is_unit(&self) -> bool {
        matches!(&self.value, Type::Tuple(tuple) if tuple.elems.is_empty())
    }
}

impl Method {
    pub(crate) fn values(&self) -> impl Iterator<Item = (&Parameter, &How)> {
        self.parameters.iter().filter_map(|parameter| match &parameter.kind {
            Kind::Value(how) => Some((parameter, how)),
            _ => None,
        })
    }
    pub(crate) fn sink(&self) -> Option<(&Type, u32)> {
        self.parameters.iter().find_map(|parameter| match &parameter.kind {
            Kind::Sink { item, queue } => Some((item, *queue)),
            _ => None,
        })
    }
    /// Whether it is answered before it runs: it sends items as long as it likes, and then has nothing to say.
    pub(crate) fn is_answered_first(&self) -> bool {
        self.is_async && self.sink().is_some() && self.result.is_unit() && self.result.error.is_none() && !self.result.pod
    }
    pub(crate) fn later(&self) -> bool {
        self.parameters.iter().any(|parameter| matches!(parameter.kind, Kind::Later))
    }
    /// The one argument that is plain old data, if that is the body.
    pub(crate) fn pod(&self) -> Option<(&Parameter, &How)> {
        self.values().find(|(_, how)| matches!(how, How::Pod | How::PodRef(_)))
    }
}

/// Mistakes, all that are found.
#[derive(Default)]
struct Mistakes(Option<Error>);

impl Mistakes {
    fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            None => self.0 = Some(error),
        }
    }
    fn at(&mut self, at: impl ToTokens, text: &str) {
        self.add(Error::new_spanned(at, text));
    }
    fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }
}

/// Reads the attribute's arguments and the trait. With a mistake comes what is to stand in the program in place of the interface.
pub(crate) fn interface(arguments: TokenStream, item: TokenStream) -> std::result::Result<Interface, (Error, TokenStream)> {
    let mut item = match syn::parse2::<ItemTrait>(item.clone()) {
        Ok(item) => item,
        Err(error) => {
            let text = format!("`#[interface]` is for traits ({error})");
            return Err((Error::new(error.span(), text), item));
        }
    };
    let mut mistakes = Mistakes::default();
    let mut interface = Interface {
        name: item.ident.to_string(),
        version: 1,
        base: None,
        docs: docs(&item.attrs),
        methods: Vec::new(),
        item: item.clone(),
    };
    if let Err(error) = options(&mut interface, arguments) {
        mistakes.add(error);
    }
    if !item.generics.params.is_empty() || item.generics.where_clause.is_some() {
        mistakes.at(&item.generics, "an interface cannot be generic: each method has one form in messages");
    }
    if let Some(token) = &item.unsafety {
        mistakes.at(token, "an interface cannot be an unsafe trait: nobody vouches for who is behind a right");
    }
    let mut numbers: HashMap<u8, Ident> = HashMap::new();
    for one in &mut item.items {
        match one {
            TraitItem::Fn(function) => {
                let Some(method) = method(function, &mut mistakes) else { continue };
                if let Some(first) = numbers.insert(method.number, method.ident.clone()) {
                    let text = format!("the number {} is that of `{first}` already: each method has its own", method.number);
                    mistakes.at(&method.ident, &text);
                }
                interface.methods.push(method);
            }
            other => mistakes.at(other, "an interface has methods only"),
        }
    }
    if let Some(method) = interface.methods.iter().find(|method| method.is_async) {
        for changes in &item.items {
            if let TraitItem::Fn(TraitItemFn { sig, .. }) = changes
                && let Some(FnArg::Receiver(receiver)) = sig.inputs.first()
                && matches!(receiver.kind, ReceiverKind::Reference(_, None, Some(_)))
            {
                let text = format!(
                    "`{}` is an `async fn`, so many calls are in progress at once and share the server: take `&self`, and keep what changes in a `Mutex`",
                    method.ident
                );
                mistakes.at(receiver, &text);
            }
        }
    }
    interface.methods.sort_by_key(|method| method.number);
    interface.item = item;
    match mistakes.0 {
        None => Ok(interface),
        Some(error) => {
            let item = interface.item;
            Err((error, quote::quote!(#item)))
        }
    }
}

/// `name = "…", version = N, base = N`.
fn options(interface: &mut Interface, arguments: TokenStream) -> Result<()> {
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("name") {
            let name: LitStr = meta.value()?.parse()?;
            interface.name = name.value();
            if interface.name.is_empty() || interface.name.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return Err(Error::new(name.span(), "a name has at least one character and no white space"));
            }
            Ok(())
        } else if meta.path.is_ident("version") {
            interface.version = meta.value()?.parse::<LitInt>()?.base10_parse()?;
            Ok(())
        } else if meta.path.is_ident("base") {
            let base: LitInt = meta.value()?.parse()?;
            let number: i32 = base.base10_parse()?;
            if !(100..i32::MAX - 299).contains(&number) {
                return Err(Error::new(
                    base.span(),
                    "a base is at least 100 (the kernel's notifications are below) and leaves room for 300 ids",
                ));
            }
            interface.base = Some(number);
            Ok(())
        } else {
            Err(meta.error("there are `name = \"…\"`, `version = N` and `base = N`"))
        }
    });
    parser.parse2(arguments)
}

/// The text of documentation comments.
fn docs(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
                let text = text.value();
                Some(text.strip_prefix(' ').unwrap_or(&text).trim_end().to_owned())
            }
            _ => None,
        },
        _ => None,
    };
    attributes.iter().filter_map(line).collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// Takes an attribute of this crate's away from its item.
fn take(attributes: &mut Vec<Attribute>, name: &str) -> Option<Attribute> {
    let at = attributes.iter().position(|attribute| attribute.path().is_ident(name))?;
    Some(attributes.remove(at))
}

/// What stands behind `#[name = …]`.
fn literal(attribute: &Attribute) -> Option<&Lit> {
    match &attribute.meta {
        Meta::NameValue(pair) => match &pair.value {
            Expr::Lit(literal) => Some(&literal.lit),
            _ => None,
        },
        _ => None,
    }
}

fn number(attribute: &Attribute) -> Result<u8> {
    let text = "a method's number is written `#[id(3)]`, from 0 to 99";
    let number: LitInt = match &attribute.meta {
        Meta::List(_) => attribute.parse_args().map_err(|error| Error::new(error.span(), text))?,
        other => return Err(Error::new_spanned(other, text)),
    };
    match number.base10_parse::<u8>() {
        Ok(value) if value <= NUMBER_MAX => Ok(value),
        _ => Err(Error::new(number.span(), format!("`{number}` is out of range: a method's number is from 0 to 99"))),
    }
}

fn deadline(attribute: &Attribute) -> Result<u64> {
    let wrong = || Error::new_spanned(attribute, "a deadline is written `#[deadline = \"500ms\"]`, in `ms`, `s` or `min`");
    let Some(Lit::Str(text)) = literal(attribute) else { return Err(wrong()) };
    let text = text.value();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        _ => return Err(wrong()),
    };
    count.parse::<u64>().ok().and_then(|count| count.checked_mul(unit)).filter(|&time| time > 0).ok_or_else(wrong)
}

fn queue(attribute: &Attribute) -> Result<u32> {
    let value = match literal(attribute) {
        Some(Lit::Int(value)) => value.base10_parse().ok(),
        _ => None,
    };
    value
        .filter(|value| (1..=QUEUE_MAX).contains(value))
        .ok_or_else(|| Error::new_spanned(attribute, "a stream's queue is written `#[queue = 100]`, from 1 to 1024"))
}

fn method(function: &mut TraitItemFn, mistakes: &mut Mistakes) -> Option<Method> {
    let TraitItemFn { attrs, sig, .. } = function;
    let ident = sig.ident.clone();
    let id = take(attrs, "id");
    let number = match &id {
        Some(attribute) => mistakes.keep(number(attribute)),
        None => {
            let text =
                format!("`{ident}` has no number: write `#[id(N)]`, with a number from 0 to 99 that no other method here has or had");
            mistakes.at(&ident, &text);
            None
        }
    };
    let one_way = take(attrs, "oneway");
    let deadline = take(attrs, "deadline").and_then(|attribute| mistakes.keep(deadline(&attribute)));
    let queue_attribute = take(attrs, "queue");
    let pod_result = take(attrs, "pod");
    if let Some(twice) = ["id", "oneway", "deadline", "queue", "pod"].iter().find_map(|name| take(attrs, name)) {
        mistakes.at(&twice, "once is enough");
    }
    if let Some(cfg) = attrs.iter().find(|attribute| attribute.path().is_ident("cfg")) {
        mistakes.at(cfg, "a method that is there in some builds only makes two interfaces of one name; let the method refuse instead");
    }
    if CLIENT_METHODS.contains(&ident.to_string().as_str()) {
        let text = format!("`{ident}` is what the client has of its own; give the method another name");
        mistakes.at(&ident, &text);
    }
    for (token, what) in [
        (sig.constness.as_ref().map(Spanned::span), "a method of an interface cannot be const: it is carried out elsewhere"),
        (sig.abi.as_ref().map(Spanned::span), "a method of an interface has no ABI"),
    ] {
        if let Some(span) = token {
            mistakes.add(Error::new(span, what));
        }
    }
    if !matches!(sig.safety, Safety::Default) {
        mistakes.at(sig.fn_token, "a method of an interface cannot be unsafe: who calls it is somebody else");
    }
    if let Some(parameter) = sig.generics.params.first() {
        let text = match parameter {
            syn::GenericParam::Lifetime(_) => "leave the lifetime away: what is borrowed is borrowed from the message",
            _ => "a method of an interface cannot be generic: it has one form in messages",
        };
        mistakes.at(parameter, text);
    } else if let Some(clause) = &sig.generics.where_clause {
        mistakes.at(clause, "a method of an interface has no `where`: it has one form in messages");
    }
    let by_ref = receiver(sig, mistakes);
    let mut parameters = Vec::new();
    for argument in &mut sig.inputs {
        let FnArg::Typed(argument) = argument else { continue };
        let pod = take(&mut argument.attrs, "pod");
        let Pat::Ident(name) = &*argument.pat else {
            mistakes.at(&argument.pat, "a parameter has a name here, which the description shows");
            continue;
        };
        if let Some(kind) = mistakes.keep(kind(&argument.ty, pod.as_ref())) {
            parameters.push(Parameter { ident: name.ident.clone(), ty: (*argument.ty).clone(), kind });
        }
    }
    let result = match &sig.output {
        ReturnType::Default => output(&syn::parse_quote!(())),
        ReturnType::Type(_, ty) => output(ty),
    };
    let mut result = mistakes.keep(result)?;
    check_parameters(&mut parameters, &mut result, queue_attribute.as_ref(), sig.output.span(), mistakes);
    if one_way.is_some() {
        if !result.is_unit() || result.error.is_some() {
            mistakes.at(&sig.output, "a one-way method has no answer, so it gives nothing");
        }
        if let Some(parameter) = parameters.iter().find(|parameter| matches!(parameter.kind, Kind::Sink { .. } | Kind::Later)) {
            mistakes.at(&parameter.ty, "a one-way method has no answer, so nothing can come after it");
        }
    }
    if let Some(attribute) = &pod_result {
        result.pod = true;
        result.bytes = false;
        if result.is_unit() || result.error.is_some() {
            mistakes
                .at(attribute, "`#[pod]` on a method is about its result, which is then one value of plain old data, and not a `Result`");
        }
    }
    let is_async = sig.asyncness.is_some();
    if is_async {
        if let Some(parameter) = parameters.iter().find(|parameter| matches!(parameter.kind, Kind::Later)) {
            mistakes.at(
                &parameter.ty,
                "an `async fn` may take as long as it likes and returns its result: `Later` is for a method that is none",
            );
        }
        give_future(function);
    }
    let TraitItemFn { attrs, .. } = function;
    Some(Method {
        docs: docs(attrs),
        attributes: attrs.iter().filter(|one| one.path().is_ident("doc") || one.path().is_ident("deprecated")).cloned().collect(),
        ident,
        number: number?,
        by_ref,
        is_async,
        one_way: one_way.is_some(),
        deadline_ms: deadline,
        parameters,
        result,
    })
}

/// Makes an `async fn` one that gives a future that may go from thread to thread; whoever implements it may write `async fn`.
fn give_future(function: &mut TraitItemFn) {
    let TraitItemFn { attrs, sig, default, .. } = function;
    let asyncness = sig.asyncness.take().map_or_else(Span::call_site, |token| token.span);
    let output = match &sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, ty) => quote!(#ty),
    };
    sig.output = parse_quote_spanned!(asyncness=> -> impl ::core::future::Future<Output = #output> + ::core::marker::Send);
    // Without this, `dyn Trait` would be no type.
    sig.generics.make_where_clause().predicates.push(parse_quote!(Self: ::core::marker::Sized));
    if let Some(block) = default {
        sig.generics.make_where_clause().predicates.push(parse_quote!(Self: ::core::marker::Sync));
        attrs.push(parse_quote!(#[allow(clippy::manual_async_fn)]));
        *block = parse_quote!({ async move #block });
    }
}

/// Whether it is `&self`.
fn receiver(sig: &syn::Signature, mistakes: &mut Mistakes) -> bool {
    match sig.inputs.first() {
        Some(FnArg::Receiver(receiver)) => match &receiver.kind {
            ReceiverKind::Reference(_, None, mutability) => return mutability.is_none(),
            ReceiverKind::Reference(_, Some(lifetime), _) => {
                mistakes.at(lifetime, "leave the lifetime away: what is borrowed is borrowed from the message");
            }
            _ => mistakes.at(receiver, "a method of an interface takes `&self` or `&mut self`: the server goes on after it"),
        },
        _ => mistakes.at(&sig.ident, "a method of an interface takes `&self` or `&mut self` first"),
    }
    true
}

fn check_parameters(
    parameters: &mut [Parameter],
    result: &mut Output,
    queue_attribute: Option<&Attribute>,
    output_span: Span,
    mistakes: &mut Mistakes,
) {
    let count = parameters.len();
    let (mut callers, mut special, mut values) = (0, 0, 0);
    let mut later = None;
    let pods = parameters.iter().filter(|parameter| matches!(parameter.kind, Kind::Value(How::Pod | How::PodRef(_)))).count();
    for (at, parameter) in parameters.iter_mut().enumerate() {
        match &mut parameter.kind {
            Kind::Caller => {
                callers += 1;
                if callers == 2 {
                    mistakes.at(&parameter.ty, "there is one caller");
                }
            }
            Kind::Sink { queue: items, .. } => {
                special += 1;
                if special == 2 {
                    mistakes.at(&parameter.ty, "a method has one stream or answers later: this is the second such parameter");
                } else if at + 1 != count {
                    mistakes.at(&parameter.ty, "the `Sink` is the last parameter: the stream comes after the answer");
                }
                if let Some(attribute) = queue_attribute
                    && let Some(wanted) = mistakes.keep(queue(attribute))
                {
                    *items = wanted;
                }
            }
            Kind::Later => {
                special += 1;
                if special == 2 {
                    mistakes.at(&parameter.ty, "a method has one stream or answers later: this is the second such parameter");
                } else if at + 1 != count {
                    mistakes.at(&parameter.ty, "the `Later` is the last parameter: it is the answer");
                }
                later = mistakes.keep(argument_of(&parameter.ty).and_then(output));
            }
            Kind::Value(_) => {
                values += 1;
                if pods > 0 && values == 2 {
                    mistakes.at(&parameter.ty, "plain old data is the whole body, so a method with a `#[pod]` parameter has no other");
                }
                if values == VALUES_MAX + 1 {
                    mistakes.at(&parameter.ty, "a method has at most 15 arguments; make a struct of some, with `#[libtask::data]`");
                }
            }
        }
    }
    if let Some(attribute) = queue_attribute
        && !parameters.iter().any(|parameter| matches!(parameter.kind, Kind::Sink { .. }))
    {
        mistakes.at(attribute, "`#[queue]` is for a method with a stream: one whose last parameter is a `Sink<T>`");
    }
    if pods > 0
        && let Some(parameter) = parameters.iter().find(|parameter| matches!(parameter.kind, Kind::Sink { .. }))
    {
        mistakes.at(&parameter.ty, "plain old data is the whole body, so a method with a `#[pod]` parameter has no stream");
    }
    if let Some(later) = later {
        if !result.is_unit() || result.error.is_some() {
            mistakes.add(Error::new(output_span, "what is answered later is the result: the method itself gives nothing"));
        }
        *result = later;
    }
}

/// What a parameter is, from its type.
fn kind(ty: &Type, pod: Option<&Attribute>) -> Result<Kind> {
    let value = |how| Ok(Kind::Value(how));
    match ty {
        Type::ImplTrait(_) => Err(Error::new_spanned(ty, "a parameter has one type: it has one form in messages")),
        Type::Reference(reference) => {
            let inner = &*reference.elem;
            if let Some(mutability) = &reference.mutability {
                return Err(Error::new(mutability.span(), "what a method is given cannot be changed for the caller: return it instead"));
            }
            if let Some(lifetime) = &reference.lifetime {
                return Err(Error::new(lifetime.span(), "leave the lifetime away: what is borrowed is borrowed from the message"));
            }
            if last_name(inner).is_some_and(|name| name == "Caller") {
                return Ok(Kind::Caller);
            }
            if pod.is_some() {
                return value(How::PodRef(inner.clone()));
            }
            match inner {
                Type::Slice(slice) if is(&slice.elem, "u8") => value(How::Slice),
                Type::Slice(slice) => {
                    let item = &slice.elem;
                    value(How::Ref(syn::parse_quote!(::std::vec::Vec<#item>)))
                }
                Type::TraitObject(_) => {
                    Err(Error::new_spanned(ty, "an object cannot be sent, but a right to it can: `SendRight<dyn Trait>`, by value"))
                }
                _ if is(inner, "str") => value(How::Plain),
                _ => value(How::Ref(inner.clone())),
            }
        }
        _ if last_name(ty).is_some_and(|name| name == "Caller") => Err(Error::new_spanned(ty, "the caller is lent: write `&Caller`")),
        _ if last_name(ty).is_some_and(|name| name == "Sink") => Ok(Kind::Sink { item: argument_of(ty)?.clone(), queue: QUEUE }),
        _ if last_name(ty).is_some_and(|name| name == "Later") => argument_of(ty).map(|_| Kind::Later),
        _ if pod.is_some() => value(How::Pod),
        _ if is_bytes(ty) => value(How::Bytes),
        _ => value(How::Plain),
    }
}

/// What a method gives, from its type.
fn output(ty: &Type) -> Result<Output> {
    match ty {
        Type::ImplTrait(future) if names_future(future) => {
            return Err(Error::new_spanned(ty, "write `async fn`, and the type that the future gives"));
        }
        Type::ImplTrait(_) => return Err(Error::new_spanned(ty, "a result has one type: it has one form in messages")),
        Type::Reference(_) => return Err(Error::new_spanned(ty, "a result goes to another task, so it is owned: return it by value")),
        _ => {}
    }
    if last_name(ty).is_none_or(|name| name != "Result") {
        return Ok(Output { value: ty.clone(), error: None, pod: false, bytes: is_bytes(ty) });
    }
    match arguments_of(ty).as_slice() {
        [value, error] => Ok(Output { value: (*value).clone(), error: Some((*error).clone()), pod: false, bytes: is_bytes(value) }),
        _ => Err(Error::new_spanned(ty, "write both types of the `Result`: the error is a part of the interface")),
    }
}

fn names_future(ty: &syn::TypeImplTrait) -> bool {
    ty.bounds.iter().any(|bound| match bound {
        syn::TypeParamBound::Trait(bound) => bound.path.segments.last().is_some_and(|segment| segment.ident == "Future"),
        _ => false,
    })
}

fn is_bytes(ty: &Type) -> bool {
    last_name(ty).is_some_and(|name| name == "Vec") && matches!(arguments_of(ty).as_slice(), [item] if is(item, "u8"))
}

fn is(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.qself.is_none() && path.path.is_ident(name))
}

fn last_name(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| &segment.ident),
        _ => None,
    }
}

/// The types in the angle brackets.
fn arguments_of(ty: &Type) -> Vec<&Type> {
    let Type::Path(path) = ty else { return Vec::new() };
    match path.path.segments.last().map(|segment| &segment.arguments) {
        Some(PathArguments::AngleBracketed(arguments)) => {
            let types = arguments.args.iter().filter_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            });
            types.collect()
        }
        _ => Vec::new(),
    }
}

fn argument_of(ty: &Type) -> Result<&Type> {
    match arguments_of(ty).as_slice() {
        [one] => Ok(one),
        _ => Err(Error::new_spanned(ty, "write of which type: `Sink<T>`, `Later<T>`")),
    }
}

//! One source for a driver that is awaited and one that blocks.
//!
//! [`macro@both_ways`] stands on a module named `asynchronous`, written for `embedded-hal-async`. It leaves the module as it is
//! and puts a copy beside it, `blocking`, for `embedded-hal`, in which
//!
//! | what is written | is |
//! |---|---|
//! | `async` | left out |
//! | `.await` | left out |
//! | `asynchronous` | `blocking` |
//! | `embedded_hal_async`, `embedded_io_async` | `embedded_hal`, `embedded_io` |
//!
//! and nothing else is changed: the traits of the two have the same methods. Comments, strings and documentation are not
//! looked into. What needs no bus belongs outside of the module, so that it is compiled once.
//!
//! ```
//! # fn main() {}
//! # mod chip {
//! use lamppost_both_ways::both_ways;
//!
//! #[both_ways]
//! pub mod asynchronous {
//!     use embedded_hal_async::i2c::I2c;
//!
//!     /// The first byte that the chip gives.
//!     pub async fn first<B: I2c>(bus: &mut B) -> Result<u8, B::Error> {
//!         let mut bytes = [0; 1];
//!         bus.read(0x48, &mut bytes).await?;
//!         Ok(bytes[0])
//!     }
//! }
//! pub use blocking::first;
//! # }
//! ```
//!
//! Tests go both ways too: an `async fn` directly behind `#[test]` is run by `embassy_futures::block_on` in the module that is
//! awaited, and is an ordinary test in the other.

#![forbid(unsafe_code)]

mod tests_run;
mod twin;

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

const AWAITED_DOC: &str = "#[doc = \"For `embedded-hal-async`: what takes time is awaited.\"]";
const BLOCKING_DOC: &str = "#[doc = \"For `embedded-hal`: what takes time blocks.\"]";

/// Puts a copy that blocks beside a module `asynchronous`; the documentation of the crate says how.
#[proc_macro_attribute]
pub fn both_ways(arguments: TokenStream, module: TokenStream) -> TokenStream {
    if !arguments.is_empty() {
        return error("both_ways takes no arguments");
    }
    if !is_asynchronous_module(&module) {
        return error("both_ways stands on a module with a body, named `asynchronous`");
    }
    let (Ok(mut both), Ok(blocking_doc)) = (AWAITED_DOC.parse::<TokenStream>(), BLOCKING_DOC.parse::<TokenStream>())
    else {
        return error("the documentation of the two modules can't be parsed");
    };
    both.extend(in_body(module.clone(), tests_run::run_tests));
    both.extend(blocking_doc);
    both.extend(twin::blocking(module));
    both
}

/// Whether it ends with `mod asynchronous { … }`.
fn is_asynchronous_module(module: &TokenStream) -> bool {
    let words: Vec<String> = module.clone().into_iter().map(|token| token.to_string()).collect();
    let body =
        matches!(module.clone().into_iter().last(), Some(TokenTree::Group(g)) if g.delimiter() == Delimiter::Brace);
    body && matches!(words.as_slice(), [.., word, name, _] if word == "mod" && name == "asynchronous")
}

fn in_body(module: TokenStream, change: fn(TokenStream) -> TokenStream) -> TokenStream {
    let changed = |token| match token {
        TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => {
            let mut new = Group::new(Delimiter::Brace, change(body.stream()));
            new.set_span(body.span());
            TokenTree::Group(new)
        }
        other => other,
    };
    module.into_iter().map(changed).collect()
}

fn error(message: &str) -> TokenStream {
    format!("::core::compile_error!({message:?});").parse().unwrap_or_default()
}

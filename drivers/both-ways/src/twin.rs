//! The copy that blocks.

use proc_macro::{Group, Ident, TokenStream, TokenTree};

/// `tokens` without `async` and `.await`, and with the names of what blocks.
pub(crate) fn blocking(tokens: TokenStream) -> TokenStream {
    let mut tokens = tokens.into_iter().peekable();
    let mut copy = Vec::new();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), blocking(group.stream()));
                inner.set_span(group.span());
                copy.push(TokenTree::Group(inner));
            }
            TokenTree::Ident(word) => copy.extend(renamed(word).map(TokenTree::Ident)),
            TokenTree::Punct(point) if point.as_char() == '.' && tokens.peek().is_some_and(is_await) => {
                tokens.next();
            }
            other => copy.push(other),
        }
    }
    copy.into_iter().collect()
}

fn is_await(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Ident(word) if word.to_string() == "await")
}

/// The word for a driver that blocks; `None` if there it says nothing.
fn renamed(word: Ident) -> Option<Ident> {
    let name = match word.to_string().as_str() {
        "async" => return None,
        "asynchronous" => "blocking",
        "embedded_hal_async" => "embedded_hal",
        "embedded_io_async" => "embedded_io",
        _ => return Some(word),
    };
    Some(Ident::new(name, word.span()))
}

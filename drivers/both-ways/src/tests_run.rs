//! Tests in the module that is awaited.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// Makes `#[test] fn name() { embassy_futures::block_on(async { body }) }` of `#[test] async fn name() { body }`, for the
/// functions directly in `tokens`.
pub(crate) fn run_tests(tokens: TokenStream) -> TokenStream {
    let mut done = Vec::new();
    let mut behind_test = false;
    let mut in_async_test = false;
    for token in tokens {
        match &token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => {
                behind_test = group.stream().to_string() == "test";
            }
            TokenTree::Ident(word) if behind_test && word.to_string() == "async" => {
                (behind_test, in_async_test) = (false, true);
                continue;
            }
            TokenTree::Group(body) if in_async_test && body.delimiter() == Delimiter::Brace => {
                in_async_test = false;
                done.push(TokenTree::Group(run(body)));
                continue;
            }
            _ => {}
        }
        done.push(token);
    }
    done.into_iter().collect()
}

fn run(body: &Group) -> Group {
    let awaited: TokenStream = "async".parse().unwrap_or_default();
    let awaited = awaited.into_iter().chain([TokenTree::Group(body.clone())]).collect();
    let mut call: TokenStream = "::embassy_futures::block_on".parse().unwrap_or_default();
    call.extend([TokenTree::Group(Group::new(Delimiter::Parenthesis, awaited))]);
    let mut run = Group::new(Delimiter::Brace, call);
    run.set_span(body.span());
    run
}

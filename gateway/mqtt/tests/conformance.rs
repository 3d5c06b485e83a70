//! Holds `CONFORMANCE.md` against the tests.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

#[path = "conformance/table.rs"]
mod table;

#[test]
fn every_statement_that_applies_is_held_by_a_test() {
    let held = table::held();
    let statements = table::statements();
    let missing: Vec<&str> = statements
        .iter()
        .filter(|statement| statement.whose == "server" && !held.contains_key(statement.number))
        .map(|statement| statement.number)
        .collect();
    assert!(missing.is_empty(), "no test holds {missing:?}");
    let known: Vec<&str> = statements.iter().map(|statement| statement.number).collect();
    let unknown: Vec<&String> = held.keys().filter(|number| !known.contains(&number.as_str())).collect();
    assert!(unknown.is_empty(), "tags name statements that the table does not have: {unknown:?}");
    for statement in &statements {
        let known = matches!(statement.whose, "server" | "client") || statement.whose.starts_with("not: ");
        assert!(known && !statement.gist.is_empty(), "{}", statement.number);
        let tagged = held.contains_key(statement.number);
        assert!(!tagged || statement.whose == "server", "{} is held by a test and said not to apply", statement.number);
    }
}

#[test]
fn the_table_is_the_one_that_the_tests_make() {
    let there = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/CONFORMANCE.md")).unwrap();
    assert!(
        there == table::table(),
        "stale: cargo run -p lamppost-mqtt --example conformance > gateway/mqtt/CONFORMANCE.md"
    );
}

//! Holds `CONFORMANCE.md` against the tests.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

#[path = "conformance/table.rs"]
mod table;

#[test]
fn every_statement_that_applies_is_held_by_a_test() {
    for standard in table::STANDARDS {
        let (name, held, statements) = (standard.name, standard.held(), standard.statements());
        let missing: Vec<&str> = statements
            .iter()
            .filter(|statement| statement.whose == "server" && !held.contains_key(statement.number))
            .map(|statement| statement.number)
            .collect();
        assert!(missing.is_empty(), "{name}: no test holds {missing:?}");
        let known: Vec<&str> = statements.iter().map(|statement| statement.number).collect();
        let unknown: Vec<&String> = held.keys().filter(|number| !known.contains(&number.as_str())).collect();
        assert!(unknown.is_empty(), "{name}: tags name statements that the table does not have: {unknown:?}");
        for statement in &statements {
            let number = statement.number;
            let known = matches!(statement.whose, "server" | "client") || statement.whose.starts_with("not: ");
            assert!(known && !statement.gist.is_empty(), "{name}: {number}");
            let tagged = held.contains_key(number);
            assert!(!tagged || statement.whose == "server", "{name}: {number} is held by a test and said not to apply");
        }
    }
}

#[test]
fn the_tables_have_all_statements_of_the_standards_once() {
    // As many as appendix B of each has.
    for (standard, count) in table::STANDARDS.iter().zip([251, 138]) {
        let statements = standard.statements();
        let numbers: std::collections::BTreeSet<&str> = statements.iter().map(|statement| statement.number).collect();
        assert_eq!((statements.len(), numbers.len()), (count, count), "{}", standard.name);
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

//! `SPECIFICATION.md` names the tests that enforce its promises: they must be there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What stands in backticks and has the form `file.rs::function`.
fn references(text: &str) -> BTreeSet<(&str, &str)> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split_once(".rs::").map(|_| code.rsplit_once("::")))
        .flatten()
        .collect()
}

#[test]
fn every_test_that_the_specification_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("SPECIFICATION.md")).unwrap();
    let references = references(&text);
    assert!(references.len() > 40, "only {} tests are named", references.len());
    let missing: Vec<_> = references
        .into_iter()
        .filter(|(file, function)| {
            let source = fs::read_to_string(root.join(file)).unwrap_or_default();
            !source.contains(&format!("fn {function}("))
        })
        .collect();
    assert!(missing.is_empty(), "SPECIFICATION.md names tests that are not there: {missing:?}");
}

#[test]
fn a_reference_is_a_file_and_a_function() {
    let text = "see `a/b.rs::works` and `c.rs::also_works`, not `std::fs::read` nor a.rs::plain";
    assert_eq!(references(text).into_iter().collect::<Vec<_>>(), [("a/b.rs", "works"), ("c.rs", "also_works")]);
}

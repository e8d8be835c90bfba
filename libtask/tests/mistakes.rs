//! What the compiler says to mistakes in an interface: text that a person understands, at the place of the mistake.

#[test]
fn mistakes_are_told_where_they_are() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/mistakes/[!f]*.rs");
    cases.pass("tests/mistakes/fine.rs");
}

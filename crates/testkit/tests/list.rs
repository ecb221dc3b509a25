//! The lists of laws are whole, each law says what it demands, and there are enough of them.

use std::collections::BTreeSet;

use sessions_testkit::{CLOCK_LAWS, ENTROPY_LAWS, ID_LAWS, LAWS, Law, TOKEN_LAWS};

/// Name and demand of each law.
fn all() -> Vec<(&'static str, String)> {
    fn of<P: ?Sized>(laws: &'static [Law<P>]) -> impl Iterator<Item = (&'static str, String)> {
        laws.iter().map(|law| (law.name, law.demands()))
    }
    of(LAWS).chain(of(CLOCK_LAWS)).chain(of(ID_LAWS)).chain(of(ENTROPY_LAWS)).chain(of(TOKEN_LAWS)).collect()
}

#[test]
fn there_are_at_least_eighty_laws() {
    let (store, all) = (LAWS.len(), all().len());
    println!("{store} laws of a store, {all} with those of the smaller ports");
    assert!(store >= 80, "{store}");
    assert_eq!(all, store + CLOCK_LAWS.len() + ID_LAWS.len() + ENTROPY_LAWS.len() + TOKEN_LAWS.len());
}

/// Every `pub async fn` in the folder of laws stands in a list, once, so none is forgotten.
#[test]
fn the_lists_have_every_law() {
    let mut written = Vec::new();
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/laws")).unwrap() {
        let path = file.unwrap().path();
        let (group, source) = (path.file_stem().unwrap().to_str().unwrap(), std::fs::read_to_string(&path).unwrap());
        let laws = source.lines().filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next());
        written.extend(laws.map(|law| format!("{group}::{law}")));
    }
    let mut listed: Vec<String> = all().into_iter().map(|(name, _)| name.to_owned()).collect();
    written.sort();
    listed.sort_unstable();
    assert_eq!(written, listed);
}

#[test]
fn each_law_says_in_one_line_what_it_demands() {
    let mut said = BTreeSet::new();
    for (name, demands) in all() {
        assert!(demands.ends_with('.') && demands.len() < 200, "{name}: {demands:?}");
        assert!(said.insert(demands.clone()), "{name} demands what another does: {demands}");
    }
}

/// The committed document has the laws of the code, in their order and words, and their number. `cargo xtask conformance` writes it.
#[test]
fn the_document_has_the_laws_of_the_code() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/conformance.md");
    let document = std::fs::read_to_string(document).unwrap();
    let mut group = "";
    let mut written = Vec::new();
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            group = heading;
        } else if let Some(row) = line.strip_prefix("| `").filter(|_| !group.is_empty()) {
            let (law, rest) = row.split_once("` | ").unwrap();
            let (demands, _) = rest.rsplit_once(". | ").unwrap();
            written.push((format!("{group}::{law}"), format!("{demands}.")));
        }
    }
    let laws: Vec<_> = all().into_iter().map(|(name, demands)| (name.to_owned(), demands)).collect();
    for (law, row) in laws.iter().zip(&written) {
        assert_eq!(row, law, "run `cargo xtask conformance`");
    }
    assert_eq!(written.len(), laws.len(), "run `cargo xtask conformance`");
    assert!(
        document.contains(&format!("{} laws: {} of a store", laws.len(), LAWS.len())),
        "run `cargo xtask conformance`"
    );
}

#[test]
fn the_guide_names_laws_that_are_there() {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/backends.md")).unwrap();
    let (_, mistakes) = guide.split_once("## Common mistakes").unwrap();
    let (mistakes, _) = mistakes.split_once("\n## ").unwrap();
    let laws: BTreeSet<&str> = all().into_iter().map(|(name, _)| name).collect();
    let named: Vec<&str> = mistakes.split('`').filter(|word| word.contains("::")).collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        assert!(laws.contains(name), "the guide names {name}, and there is no such law");
    }
}

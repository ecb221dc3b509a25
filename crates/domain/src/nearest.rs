//! The known name that an unknown one may have been meant to be.
//!
//! Must not know: what the names are of.

/// Names beyond this length are compared with none: nobody mistyped them, and comparing takes time that grows with both lengths.
const LONGEST: usize = 128;

/// The known name with the fewest typing errors (a letter more, less, another one, or two that changed places), and the first of several;
/// `None` when each is further away than one error for every three letters of the name, and one in all. Case, and whether words are joined by
/// `-` or `_`, make no difference.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A long name is not even copied.
    let letters = name.chars().take(LONGEST + 1).count();
    if letters == 0 || letters > LONGEST {
        return None;
    }
    let wanted = plain(name);
    let allowed = (letters / 3).max(1).min(letters - 1);
    known
        .map(|known| (strsim::osa_distance(&wanted, &plain(known)), known))
        .filter(|(errors, _)| *errors <= allowed)
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, known)| known)
}

/// A name without what people write in several ways: in lower case, with `_` between its words.
#[must_use]
pub fn plain(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let known = ["max_context_tokens", "url", "durability", "compaction_threshold", "gamma-ray", ""];
        for (word, expected) in [
            ("max_contxt_tokens", Some("max_context_tokens")),
            ("MAX-CONTEXT-TOKENS", Some("max_context_tokens")),
            ("Gama_Rays", Some("gamma-ray")),
            ("ulr", Some("url")),
            ("durabilty", Some("durability")),
            ("compact_threshold", Some("compaction_threshold")),
            ("colour", None),
            ("u", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), expected, "{word}");
        }
        assert_eq!(nearest(&"url".repeat(1_000_000), known.into_iter()), None);
    }

    #[test]
    fn of_several_the_nearest_and_of_those_the_first() {
        assert_eq!(nearest("alphx", ["alphabet", "alpha", "alphz"].into_iter()), Some("alpha"));
    }
}

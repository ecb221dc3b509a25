//! The known name that is spelled most like one that is not known.
//!
//! Must not know: what the names are of.

/// Longer words are not compared: it takes time that grows with both lengths.
const LONGEST: usize = 100;

/// The one of these that is spelled most like the word, if any is spelled like it at all.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let word = plain(word);
    let ranked = known.map(|name| (strsim::damerau_levenshtein(&word, &plain(name)), name));
    let near = ranked.filter(|(distance, name)| *distance <= (name.len() / 3).max(2).min(name.len().saturating_sub(1)));
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// A word without what people spell in several ways.
pub(super) fn plain(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let known = ["max_context_tokens", "url", "durability", "compaction_threshold"];
        for (word, expected) in [
            ("max_contxt_tokens", Some("max_context_tokens")),
            ("MAX-CONTEXT-TOKENS", Some("max_context_tokens")),
            ("ulr", Some("url")),
            ("durabilty", Some("durability")),
            ("compact_threshold", Some("compaction_threshold")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), expected, "{word}");
        }
        assert_eq!(nearest(&"url".repeat(50), known.into_iter()), None);
        assert_eq!(nearest("x", std::iter::once("")), None);
    }
}

//! The known name that an unknown one may have been meant to be.
//!
//! Must not know: what the names are of.

/// Names beyond this length are compared with none: nobody mistyped them.
const LONGEST: usize = 128;

/// The known name with the fewest typing errors (a letter more, less, another one, or two that changed places), and the first of several;
/// `None` when each is further away than one error for every three letters of the name, and one in all.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = name.chars().flat_map(char::to_lowercase).take(LONGEST + 1).collect();
    if wanted.is_empty() || wanted.len() > LONGEST {
        return None;
    }
    let allowed = (wanted.len() / 3).max(1).min(wanted.len() - 1);
    known
        .map(|known| (distance(&wanted, &known.chars().flat_map(char::to_lowercase).collect::<Vec<_>>()), known))
        .filter(|(errors, _)| *errors <= allowed)
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, known)| known)
}

/// Optimal string alignment: the edit distance in which two neighbours that changed places are one error.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    let mut left: Option<char> = None;
    for (row, letter) in one.iter().enumerate() {
        let mut line = vec![row + 1];
        let mut above: Option<char> = None;
        for (column, with) in other.iter().enumerate() {
            let at = |line: &[usize], column: usize| line.get(column).copied().unwrap_or(usize::MAX - 1);
            let mut errors = (at(&last, column) + usize::from(letter != with))
                .min(at(&last, column + 1).saturating_add(1))
                .min(at(&line, column).saturating_add(1));
            if column > 0 && left == Some(*with) && above == Some(*letter) {
                errors = errors.min(at(&before, column - 1).saturating_add(1));
            }
            line.push(errors);
            above = Some(*with);
        }
        before = std::mem::replace(&mut last, line);
        left = Some(*letter);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_counted() {
        let table = [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("abc", "acb", 1),
            ("abc", "ab", 1),
            ("abc", "xabc", 1),
            ("kitten", "sitting", 3),
            ("ca", "abc", 3),
        ];
        for (one, other, errors) in table {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            assert_eq!(distance(&letters(one), &letters(other)), errors, "{one} {other}");
            assert_eq!(distance(&letters(other), &letters(one)), errors, "{other} {one}");
        }
    }

    #[test]
    fn the_nearest_is_near() {
        let known = ["alpha", "beta", "gamma-ray"];
        let nearest = |name: &str| nearest(name, known.into_iter());
        assert_eq!(nearest("alhpa"), Some("alpha"));
        assert_eq!(nearest("BETA"), Some("beta"));
        assert_eq!(nearest("gama-rays"), Some("gamma-ray"));
        assert_eq!(nearest("delta"), None);
        assert_eq!(nearest("a"), None);
        assert_eq!(nearest(""), None);
        assert_eq!(nearest(&"alpha".repeat(1_000_000)), None);
    }
}

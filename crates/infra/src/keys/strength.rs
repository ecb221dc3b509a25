//! Whether a passphrase is any protection. It refuses what guesses begin with, and does not pretend to measure the rest.
//!
//! Must not know: what is derived from it.

use std::collections::BTreeSet;

use sessions_ports::KeyError;
use zeroize::Zeroizing;

/// The fewest characters.
const FEWEST: usize = 12;
/// The fewest characters when all are digits.
const FEWEST_DIGITS: usize = 20;
/// The fewest different characters.
const FEWEST_DIFFERENT: usize = 5;

/// What long passphrases of little worth are made of: words that lists of leaked ones begin with, in small letters and without what stands
/// between words.
const COMMON: [&str; 44] = [
    "password",
    "passphrase",
    "passwort",
    "letmein",
    "welcome",
    "admin",
    "administrator",
    "changeme",
    "default",
    "secret",
    "topsecret",
    "iloveyou",
    "monkey",
    "dragon",
    "football",
    "baseball",
    "superman",
    "batman",
    "sunshine",
    "princess",
    "starwars",
    "trustno",
    "whatever",
    "master",
    "login",
    "access",
    "qwerty",
    "qwertz",
    "azerty",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "qazwsxedc",
    "correcthorsebatterystaple",
    "sessions",
    "session",
    "test",
    "testing",
    "hello",
    "helloworld",
    "abc",
    "computer",
    "internet",
    "mypassword",
];

fn weak(what: &'static str) -> Result<(), KeyError> {
    Err(KeyError::Weak { what })
}

/// In small letters, with the letters that signs and digits often stand for, and without what stands between words.
fn plain(text: &str) -> Zeroizing<String> {
    let letter = |c: char| match c {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        c => c,
    };
    // With room for all of it, so that no copy is left where it grew.
    let mut plain = Zeroizing::new(String::with_capacity(text.len() * 4));
    // Years and signs are what people put around a word.
    let text = text.trim_matches(|c: char| !c.is_alphabetic());
    plain.extend(text.chars().flat_map(char::to_lowercase).map(letter).filter(|c| c.is_alphabetic()));
    plain
}

/// Whether nothing is left of a text once these words are taken out, but so many letters.
fn is_made_of(text: &str, words: &[&str], left: usize) -> bool {
    let mut words: Vec<&str> = words.to_vec();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let mut rest = Zeroizing::new(text.to_owned());
    for word in words {
        rest = Zeroizing::new(rest.replace(word, " "));
    }
    rest.chars().filter(|c| *c != ' ').count() <= left
}

/// The shortest piece that the whole is repetitions of.
fn period(chars: &[char]) -> usize {
    let repeats = |length: &usize| chars.iter().zip(chars.iter().skip(*length)).all(|(a, b)| a == b);
    (1..chars.len()).find(repeats).unwrap_or(chars.len())
}

/// How often a character is not the neighbour of the one before it, on the alphabet or a row of keys.
fn turns(chars: &[char]) -> usize {
    const ROWS: [&str; 8] = [
        "abcdefghijklmnopqrstuvwxyz",
        "01234567890",
        "qwertyuiop[]",
        "asdfghjkl;'",
        "zxcvbnm,./",
        "qwertzuiopü",
        "azertyuiop",
        "yxcvbnm",
    ];
    let are_neighbours = |a: char, b: char| {
        let pairs = |row: &str| row.chars().zip(row.chars().skip(1)).any(|pair| pair == (a, b) || pair == (b, a));
        a == b || ROWS.iter().any(|row| pairs(row))
    };
    chars.iter().zip(chars.iter().skip(1)).filter(|(a, b)| !are_neighbours(**a, **b)).count()
}

/// Refuses a passphrase that is no protection. `known` are words that anybody who has the store knows, as its path.
///
/// # Errors
/// [`KeyError::Weak`].
pub(super) fn check(passphrase: &str, known: &[String]) -> Result<(), KeyError> {
    let chars: Zeroizing<Vec<char>> = Zeroizing::new(passphrase.trim().chars().flat_map(char::to_lowercase).collect());
    if chars.is_empty() {
        return weak("it is empty");
    }
    if passphrase.trim().chars().count() < FEWEST {
        return weak("it has fewer than 12 characters");
    }
    if chars.iter().collect::<BTreeSet<_>>().len() < FEWEST_DIFFERENT {
        return weak("it has hardly any different characters");
    }
    if period(&chars) < FEWEST && period(&chars) * 2 <= chars.len() {
        return weak("it is the same piece again and again");
    }
    if chars.len() < FEWEST_DIGITS && chars.iter().all(|c| c.is_numeric() || c.is_whitespace()) {
        return weak("it has digits alone and fewer than 20 of them");
    }
    if turns(&chars) < 4 {
        return weak("it follows the alphabet, the numbers or the keys of a keyboard");
    }
    let is_known = |word: &&String| word.trim().to_lowercase() == passphrase.trim().to_lowercase();
    if known.iter().find(is_known).is_some() {
        return weak("it is what the store is called");
    }
    let plain = plain(passphrase);
    let letters = passphrase.chars().filter(|c| c.is_alphabetic() || "@$!".contains(*c)).count();
    // What has few letters at all, as many digits, is not judged by words.
    if letters >= 4 && is_made_of(&plain, &COMMON, 3) {
        return weak("it is made of words that are tried first");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_first_is_refused() {
        let known = ["sled:/home/ada/chats".to_owned()];
        for weak in [
            "",
            " ",
            "   \t   \n            ",
            "short",
            "elevenchars",
            "aaaaaaaaaaaaaaaaaaaaaaaa",
            "abababababababab",
            "abcabcabcabcabcabc",
            "hunter2hunter2hunter2",
            "abcdefghijklmnop",
            "ABCDEFGHIJKLMNOP",
            "123456789012345",
            "9876543210987",
            "839201746582",
            "qwertyuiopasdf",
            "zxcvbnm,./zxcvbnm",
            "Password1234",
            "P@ssw0rd2024!",
            "passwordpassword",
            "MyPassword!!!1",
            "letmein letmein 1",
            "welcome-admin-01",
            "correct horse battery staple",
            "CorrectHorseBatteryStaple!",
            "hello world test 12",
            "sled:/home/ada/chats",
            " SLED:/home/ada/chats\n",
            "ääääääääääää",
        ] {
            assert!(matches!(check(weak, &known), Err(KeyError::Weak { .. })), "{weak:?}");
        }
    }

    #[test]
    fn what_is_long_and_not_common_is_taken() {
        let known = ["sled:/home/ada/chats".to_owned()];
        for good in [
            "velvet anchor moss trumpet",
            "kT9#vq!Lw2$zRx",
            "grün Kaktus Löffel Dach",
            "北京 上海 广州 深圳 成都 杭州",
            "the password of my aunt's old boat",
            "83920174658229410573",
            "sled:/home/ada/chats is where it lies",
        ] {
            assert!(check(good, &known).is_ok(), "{good:?}");
        }
    }
}

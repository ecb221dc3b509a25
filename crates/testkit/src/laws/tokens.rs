//! Laws of a counter of tokens: it may be exact or a guess, and it always says the same, leaves nothing out and comes to an end.
//!
//! Must not know: any tokenizer.

use sessions_ports::TokenCounter;

use crate::suite::Outcome;

/// A text of so many different words.
fn words(count: usize) -> String {
    (0..count).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ")
}

/// Short texts of all kinds: blanks, line ends, marks, scripts, joined signs, and what looks like a special token.
const TEXTS: [&str; 12] = [
    "a",
    " ",
    "\n",
    "\r\n\r\n  b   \n",
    "\u{0}",
    "\u{feff}",
    "I'M we'LL dOn'T",
    "日本語テキスト",
    "👩‍👩‍👧‍👦🇩🇪",
    "e\u{301}\u{301}\u{301}",
    "١٢٣٤٥٦٧",
    "<|endoftext|><|im_start|>",
];

/// Its encoding has a name without blanks, and it is always the same, as is whether it is exact.
pub async fn its_encoding_has_one_name(counter: &dyn TokenCounter) -> Outcome {
    let (name, exact) = (counter.encoding().to_owned(), counter.is_exact());
    ensure!(!name.is_empty() && !name.contains(char::is_whitespace), "its encoding is called {name:?}");
    counter.count("a word");
    let again = (counter.encoding(), counter.is_exact());
    ensure!(again == (name.as_str(), exact), "it was {name}, exact: {exact}, and then {again:?}");
    Ok(())
}

/// The same text has the same count, each time and for everybody.
pub async fn a_text_has_one_count(counter: &dyn TokenCounter) -> Outcome {
    let long = words(300);
    for text in TEXTS.into_iter().chain([long.as_str(), ""]) {
        let count = counter.count(text);
        let again = std::thread::scope(|scope| {
            let ask = || (0..20).all(|_| counter.count(text) == count);
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().all(|thread| thread.join().unwrap_or(false))
        });
        ensure!(again, "a text of {} bytes had {count} tokens, and then another number", text.len());
    }
    Ok(())
}

/// The empty text has no tokens, and every other one has some, at most one for each of its bytes.
pub async fn only_the_empty_text_has_no_tokens(counter: &dyn TokenCounter) -> Outcome {
    let none = counter.count("");
    ensure!(none == 0, "the empty text has {none} tokens");
    for text in TEXTS {
        let count = counter.count(text);
        ensure!((1..=text.len() as u64).contains(&count), "{text:?} has {count} tokens, and {} bytes", text.len());
    }
    Ok(())
}

/// A text with a word more has no fewer tokens.
pub async fn a_word_more_is_not_a_token_less(counter: &dyn TokenCounter) -> Outcome {
    let (mut text, mut before) = (String::new(), 0);
    for n in 0..2_000 {
        if n > 0 {
            text.push(' ');
        }
        text.push_str(&format!("word{n}"));
        // Each of the first words, and then some.
        if n < 200 || n % 50 == 0 {
            let count = counter.count(&text);
            ensure!(count >= before, "{} words have {count} tokens, and fewer words had {before}", n + 1);
            before = count;
        }
    }
    Ok(())
}

/// A long text has more tokens than a short one.
pub async fn a_long_text_has_more_than_a_short_one(counter: &dyn TokenCounter) -> Outcome {
    let counts: Vec<u64> = [1, 50, 2_000, 20_000].map(|n| counter.count(&words(n))).to_vec();
    ensure!(
        counts.iter().zip(counts.iter().skip(1)).all(|(a, b)| a < b),
        "1, 50, 2 000 and 20 000 words have {counts:?} tokens"
    );
    Ok(())
}

/// A megabyte without a place to part it takes no longer than one of words: a count comes to an end in the time that a law has.
pub async fn no_text_keeps_it_busy(counter: &dyn TokenCounter) -> Outcome {
    for letter in ["a", " ", "\n", "^", "é", "字", "\u{301}", "👍"] {
        let text = letter.repeat((1 << 20) / letter.len());
        let count = counter.count(&text);
        ensure!((1..=text.len() as u64).contains(&count), "{} bytes of {letter:?} have {count} tokens", text.len());
    }
    Ok(())
}

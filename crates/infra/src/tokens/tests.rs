//! What is built in: by its name alone, ready when it is given, and as tiktoken counts.

use std::sync::{
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use super::*;

#[test]
fn a_counter_is_found_by_its_own_name_alone() {
    let encodings = BuiltInEncodings::new();
    for name in BuiltInEncodings::names() {
        let counter = encodings.named(name).unwrap();
        assert_eq!((counter.encoding(), counter.is_exact()), (name, name != ESTIMATE));
        assert!(encodings.named(&name.to_uppercase()).is_none());
        assert!(encodings.named(&format!("{name} ")).is_none());
    }
    for name in ["", "o200k", "gpt-4o", "estimate", "o200k_harmony"] {
        assert!(encodings.named(name).is_none(), "{name}");
    }
}

#[test]
fn only_what_is_there_is_made_ahead() {
    let encodings = BuiltInEncodings::new();
    let refused = encodings.warm([ESTIMATE, "nobody's", "another"]);
    assert_eq!(refused, Err(UnknownEncoding { name: "nobody's".to_owned() }));
    assert_eq!(encodings.warm([]), Ok(()));
    assert_eq!(encodings.warm(BuiltInEncodings::names()), Ok(()));
    // Also while they are being made, twice over, and by many.
    assert_eq!(encodings.clone().warm(BuiltInEncodings::names()), Ok(()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(encodings.named(ESTIMATE).map(|counter| counter.count("four")), Some(1)));
            scope.spawn(|| encodings.wait());
        }
    });
    encodings.wait();
    encodings.wait();
}

#[test]
fn no_thread_outlives_whom_it_was_begun_for() {
    let (begin, begun) = mpsc::channel::<()>();
    let done = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&done);
    let warming = Warming::default();
    warming.spawn(move || {
        // Goes on when nobody can tell it to begin any more.
        let _ = begun.recv();
        std::thread::yield_now();
        seen.store(true, Ordering::SeqCst);
    });
    drop(begin);
    drop(warming);
    assert!(done.load(Ordering::SeqCst));
}

#[cfg(feature = "tokens")]
mod exact {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        tiktoken: String,
        texts: Vec<Row>,
    }

    #[derive(Deserialize)]
    struct Row {
        text: String,
        times: usize,
        o200k_base: u64,
        cl100k_base: u64,
    }

    #[test]
    fn hard_texts_have_as_many_tokens_as_tiktoken_gives_them() {
        let golden: Golden = serde_json::from_str(include_str!("golden.json")).unwrap();
        assert!(!golden.tiktoken.is_empty() && golden.texts.len() >= 40);
        let counters: Vec<_> =
            BuiltInEncodings::names().filter_map(|name| BuiltInEncodings::new().named(name)).collect();
        for row in &golden.texts {
            let text = row.text.repeat(row.times);
            for counter in counters.iter().filter(|counter| counter.is_exact()) {
                let by_tiktoken = match counter.encoding() {
                    "o200k_base" => row.o200k_base,
                    "cl100k_base" => row.cl100k_base,
                    other => panic!("{other} has no golden counts"),
                };
                let shown = (row.text.as_str(), row.times);
                assert_eq!(counter.count(&text), by_tiktoken, "{}: {shown:?}", counter.encoding());
            }
        }
    }

    mod o200k_base {
        use super::*;
        sessions_testkit::token_laws!(BuiltInEncodings::new().named("o200k_base").unwrap());
    }

    #[cfg(feature = "tokens-cl100k")]
    mod cl100k_base {
        use super::*;
        sessions_testkit::token_laws!(BuiltInEncodings::new().named("cl100k_base").unwrap());
    }
}

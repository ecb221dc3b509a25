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

/// What is seldom less than an encoding has, whatever the text is, is what a context may be fitted by.
#[cfg(feature = "tokens")]
#[test]
fn the_estimate_is_seldom_below_an_encoding_whatever_the_text_is() {
    let (encodings, mut state) = (BuiltInEncodings::new(), 7_u64);
    let mut draw = |letters: &[u8]| {
        let letter = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            letters[(state >> 33) as usize % letters.len()] as char
        };
        (0..4_000).map(letter).collect::<String>()
    };
    let base64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let texts = [
        ("prose", "When the harvest was over, they walked down to the river and talked about the winter.\n".repeat(40)),
        (
            "code",
            "    fn held(&self) -> usize {\n        self.groups.iter().map(|group| group.cost).sum()\n    }\n"
                .repeat(40),
        ),
        ("json", r#"{"id":"call_17","name":"read_file","arguments":{"path":"src/main.rs","offset":120}},"#.repeat(40)),
        ("german", "Wir besprechen heute, wie die Geschichte einer Unterhaltung verkürzt werden kann. ".repeat(40)),
        ("russian", "Сегодня мы обсуждаем, как сократить историю разговора, ничего не потеряв. ".repeat(40)),
        ("greek", "Σήμερα συζητάμε πώς να συμπιέσουμε το ιστορικό μιας συνομιλίας. ".repeat(40)),
        ("chinese", "我们今天讨论如何在不丢失数据的情况下压缩对话历史。".repeat(40)),
        ("japanese", "私たちは今日、会話の履歴を失わずに圧縮する方法を話し合います。".repeat(40)),
        ("emoji", "😀🚀🎉✅".repeat(100)),
        ("commas", "1,7,3,".repeat(500)),
        ("base64", draw(base64)),
        ("hex", draw(b"0123456789abcdef")),
        ("digits", draw(b"0123456789")),
        ("noise", draw(&(b' '..=b'~').collect::<Vec<u8>>())),
    ];
    let [estimate, exact] = [ESTIMATE, "o200k_base"].map(|name| encodings.named(name).unwrap());
    let counted = |(kind, text): (&'static str, String)| (kind, estimate.count(&text), exact.count(&text));
    let off: Vec<_> =
        texts.map(counted).into_iter().filter(|(_, about, is)| about * 100 < is * 88 || *about > is * 3).collect();
    assert!(off.is_empty(), "{off:?}");
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

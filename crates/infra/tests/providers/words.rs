//! Whoever subscribes to every level of every target, and reads every error, sees no word of what was asked or answered, and no key.
//!
//! Must not know: how answers are read.

use std::{
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex},
};

use sessions_infra::providers::Bounds;
use sessions_testkit::stub::{Api, Scenario, Stub};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};

use super::asking::{KEY, Taker, provider, request};

/// Writes down all that it is told.
#[derive(Clone, Default)]
struct Everything(Arc<Mutex<String>>);

impl Visit for Everything {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

impl Subscriber for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What is in the requests, the answers and the refusals.
const WORDS: [&str; 14] = [
    "PROMPT",
    "nobody may see",
    KEY,
    "Reads a file",
    "🦀",
    "I look",
    "hm, so",
    "crabs",
    "cited_text",
    "EuYBCoYBGAIi",
    "It works",
    "Incorrect API",
    "credit balance",
    "is too long: 213462",
];

#[tokio::test]
async fn no_word_and_no_key_is_in_a_log_or_an_error() {
    let everything = Everything::default();
    // All of it happens on this thread.
    let _listening = tracing::subscriber::set_default(everything.clone());
    tracing::trace!(target: "anybody", "it listens");
    let mut errors = String::new();
    for api in Api::ALL {
        for scenario in Scenario::ALL {
            // What waits for nothing tells nothing more.
            if [Scenario::SlowStart, Scenario::SilentMidway].contains(scenario) {
                continue;
            }
            let Some(stub) = Stub::of(KEY, *api, *scenario).unwrap() else { continue };
            let provider = provider(*api, stub.address(), Bounds::default());
            let answer = provider.call(request(*api), &mut Taker::releasing(&stub)).await;
            if let Err(error) = answer {
                writeln!(errors, "{error} {error:?}").unwrap();
            }
        }
    }
    let seen = everything.0.lock().unwrap().clone();
    assert!(seen.contains("it listens"), "it does not listen");
    assert!(errors.lines().count() > 30);
    for word in WORDS {
        assert!(!seen.contains(word), "{word:?} is in a log");
        assert!(!errors.contains(word), "{word:?} is in an error");
    }
}

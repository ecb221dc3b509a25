//! The counters that are built in, by the names of their encodings: an estimate always, and OpenAI's encodings with the features `tokens`
//! (`o200k_base`) and `tokens-cl100k` (`cl100k_base`).
//!
//! Must not know: models, messages.

#[cfg(feature = "tokens")]
mod memo;
#[cfg(feature = "tokens")]
mod openai;
mod warming;

use std::sync::Arc;

use sessions_domain::tokens::ESTIMATE;
use sessions_ports::{Encodings, TokenCounter, UnknownEncoding};

use crate::environment::EstimateCounter;
use warming::Warming;

/// One that is built in.
struct BuiltIn {
    name: &'static str,
    /// Gives the counter, ready to count. What it takes is done once in a process, and waited for by whoever comes second.
    counter: fn() -> Arc<dyn TokenCounter>,
}

const BUILT_IN: &[BuiltIn] = &[
    BuiltIn { name: ESTIMATE, counter: || Arc::new(EstimateCounter) },
    #[cfg(feature = "tokens")]
    BuiltIn { name: openai::O200K_BASE, counter: openai::o200k_base },
    #[cfg(feature = "tokens-cl100k")]
    BuiltIn { name: openai::CL100K_BASE, counter: openai::cl100k_base },
];

/// The counters that this build has ([`Self::names`]). Clones share what is being made.
///
/// The first counter of an encoding takes some 50 milliseconds to make, and the next ones nothing; [`Self::warm`] has that done elsewhere.
///
/// ```
/// use sessions_infra::tokens::BuiltInEncodings;
/// use sessions_ports::{Encodings, TokenCounter};
/// let encodings = BuiltInEncodings::new();
/// assert!(encodings.named("o200k").is_none(), "no name is taken for another");
/// let estimate = encodings.named("estimate-1").unwrap();
/// assert_eq!((estimate.count("Hello, world"), estimate.is_exact()), (3, false));
/// ```
#[derive(Clone, Debug, Default)]
pub struct BuiltInEncodings {
    warming: Arc<Warming>,
}

impl BuiltInEncodings {
    /// All of them; nothing is made yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The names of the encodings that this build counts in.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|built_in| built_in.name)
    }

    /// Makes these counters on a thread of its own, and does not wait for it. Whoever asks for one meanwhile does, and so does whoever
    /// drops the last clone. Without a thread they are made when they are asked for.
    ///
    /// # Errors
    /// [`UnknownEncoding`] with the first name that is not built in; then none is made.
    pub fn warm<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<(), UnknownEncoding> {
        let known = |name: &'a str| built_in(name).ok_or_else(|| UnknownEncoding { name: name.to_owned() });
        let counters = names.into_iter().map(|name| known(name).map(|known| known.counter));
        self.warming.begin(counters.collect::<Result<_, _>>()?);
        Ok(())
    }

    /// Waits until all that is being made is ready. Blocks its thread, for some 50 milliseconds an encoding at most.
    pub fn wait(&self) {
        self.warming.wait();
    }
}

fn built_in(name: &str) -> Option<&'static BuiltIn> {
    BUILT_IN.iter().find(|built_in| built_in.name == name)
}

impl Encodings for BuiltInEncodings {
    fn named(&self, name: &str) -> Option<Arc<dyn TokenCounter>> {
        built_in(name).map(|built_in| (built_in.counter)())
    }
}

#[cfg(test)]
mod tests;

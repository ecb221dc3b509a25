//! Counters of tokens that are ready when the manager is, made while its store is opened.
//!
//! Must not know: models, and what is counted.

use std::sync::Arc;

use sessions_app::SessionError;
use sessions_infra::tokens::BuiltInEncodings;
use sessions_ports::{BackendError, BackendErrorKind, Encodings, StoreError, UnknownEncoding};

/// Where counters are found, some of them being made.
pub(crate) struct Warming {
    encodings: Arc<dyn Encodings>,
    /// Those that are being made on a thread of their own.
    built_in: Option<BuiltInEncodings>,
}

impl Warming {
    /// Begins to make the counters of these names. A host's own are made before this ends, as nobody knows how.
    ///
    /// # Errors
    /// [`SessionError::Configuration`] with an [`UnknownEncoding`]; the store's when the runtime ends meanwhile.
    pub(crate) async fn begin(own: Option<Arc<dyn Encodings>>, names: Vec<String>) -> Result<Self, SessionError> {
        let unknown = |error: UnknownEncoding| SessionError::Configuration(Box::new(error));
        let Some(encodings) = own else {
            let built_in = BuiltInEncodings::new();
            built_in.warm(names.iter().map(String::as_str)).map_err(unknown)?;
            let being_made = (!names.is_empty()).then(|| built_in.clone());
            return Ok(Self { encodings: Arc::new(built_in), built_in: being_made });
        };
        let its = Arc::clone(&encodings);
        let missing =
            tokio::task::spawn_blocking(move || names.into_iter().find(|name| its.named(name).is_none())).await;
        let ended = |error| BackendError::new(BackendErrorKind::Internal, "making counters of tokens", error);
        match missing.map_err(|error| StoreError::from(ended(error)))? {
            Some(name) => Err(unknown(UnknownEncoding { name })),
            None => Ok(Self { encodings, built_in: None }),
        }
    }

    /// Waits until they are made.
    pub(crate) async fn ready(self) -> Arc<dyn Encodings> {
        if let Some(built_in) = self.built_in {
            // Who is not waited for is waited for by the first who asks.
            let _ = tokio::task::spawn_blocking(move || built_in.wait()).await;
        }
        self.encodings
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use sessions_app::SessionError;
    use sessions_domain::tokens::ESTIMATE;
    use sessions_infra::environment::EstimateCounter;
    use sessions_ports::TokenCounter;

    use super::*;

    /// Knows the estimate, and remembers what was asked for.
    #[derive(Clone, Default)]
    struct Asked(Arc<Mutex<Vec<String>>>);

    impl Encodings for Asked {
        fn named(&self, name: &str) -> Option<Arc<dyn TokenCounter>> {
            self.0.lock().unwrap().push(name.to_owned());
            (name == ESTIMATE).then(|| Arc::new(EstimateCounter) as _)
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn unknown(begun: Result<Warming, SessionError>) -> UnknownEncoding {
        match begun.err() {
            Some(SessionError::Configuration(error)) => *error.downcast().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_a_host_brings_is_asked_for_each_name_and_for_no_other() {
        let own = Asked::default();
        let begun = Warming::begin(Some(Arc::new(own.clone())), names(&[ESTIMATE, ESTIMATE])).await.unwrap();
        assert_eq!(*own.0.lock().unwrap(), [ESTIMATE, ESTIMATE]);
        assert!(begun.ready().await.named("o200k_base").is_none(), "it is the host's own");
        let begun = Warming::begin(Some(Arc::new(own)), names(&[ESTIMATE, "nobody's"])).await;
        assert_eq!(unknown(begun).name, "nobody's");
    }

    #[tokio::test]
    async fn what_is_not_built_in_is_refused_and_the_rest_is_ready() {
        assert_eq!(unknown(Warming::begin(None, names(&[ESTIMATE, "nobody's"])).await).name, "nobody's");
        let built_in: Vec<String> = BuiltInEncodings::names().map(str::to_owned).collect();
        let encodings = Warming::begin(None, built_in.clone()).await.unwrap().ready().await;
        assert!(built_in.iter().all(|name| encodings.named(name).is_some()));
        assert!(Warming::begin(None, Vec::new()).await.unwrap().ready().await.named(ESTIMATE).is_some());
    }
}

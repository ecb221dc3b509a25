//! The conformance suite: runs the laws, each on a subject of its own, and lets none pass silently.
//!
//! Must not know: what the laws say.

use std::{
    any::Any,
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use futures_util::{FutureExt, future::LocalBoxFuture};
use sessions_ports::{Clock, Entropy, IdGenerator, StoreError, TokenCounter};
use tokio::sync::oneshot;

use crate::{
    fixture::Fixture,
    list::{CLOCK_LAWS, ENTROPY_LAWS, ID_LAWS, LAWS, TOKEN_LAWS},
    report::{Inapplicable, Report, Verdict, Violation},
};

/// Why a law did not simply hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exception {
    /// The subject broke it.
    Broken {
        /// What it did.
        detail: String,
    },
    /// The law says nothing about this subject.
    Skipped {
        /// Why not.
        why: String,
    },
}

impl Exception {
    /// A broken law.
    pub fn broken(detail: impl Into<String>) -> Self {
        Self::Broken { detail: detail.into() }
    }

    /// A law that does not apply.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self::Skipped { why: why.into() }
    }
}

impl From<StoreError> for Exception {
    fn from(error: StoreError) -> Self {
        Self::broken(format!("the store answered: {error}"))
    }
}

/// What a law gives back.
pub type Outcome = Result<(), Exception>;

type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// One law, by name. `P` is what it is about: a store's [`Fixture`], or another port.
pub struct Law<P: ?Sized = dyn Fixture> {
    /// Its group and name, as in `commits::creating_twice_is_refused`.
    pub name: &'static str,
    /// Tries it.
    pub run: for<'a> fn(&'a P) -> Running<'a>,
    /// The file that it stands in, for the words above it.
    #[doc(hidden)]
    pub source: &'static str,
}

impl<P: ?Sized> Law<P> {
    /// What it demands, in the words that stand above it.
    pub fn demands(&self) -> String {
        let function = self.name.rsplit("::").next().unwrap_or_default();
        let begins = format!("pub async fn {function}(");
        let before = self.source.lines().take_while(|line| !line.starts_with(&begins));
        let words = before.fold(Vec::new(), |mut words, line| {
            match line.strip_prefix("///") {
                Some(word) => words.push(word.trim()),
                None => words.clear(),
            }
            words
        });
        words.join(" ")
    }
}

impl<P: ?Sized> Clone for Law<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: ?Sized> Copy for Law<P> {}

impl<P: ?Sized> fmt::Debug for Law<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Law({})", self.name)
    }
}

/// How long a law may take before its subject counts as stuck. Far above what any needs, so that it says nothing about speed.
const PATIENCE: Duration = Duration::from_secs(120);

/// How much longer a thread is waited for that should have ended by itself: it is blocked where no timer reaches it.
const GRACE: Duration = Duration::from_secs(2);

/// What the laws are tried on, and its name.
struct Subject<P: ?Sized> {
    name: String,
    it: Box<P>,
}

type Make<P> = Arc<dyn Fn() -> LocalBoxFuture<'static, Subject<P>> + Send + Sync>;

/// All laws of one port, and something to make what they are tried on.
///
/// Each law gets a subject, a thread and a runtime of its own: one that panics or hangs is broken, and hides no other.
pub struct Suite<P: ?Sized + 'static = dyn Fixture> {
    laws: Vec<Law<P>>,
    make: Make<P>,
    patience: Duration,
}

impl Suite<dyn Fixture> {
    /// The laws of a store, over what the closure makes. It is called once for each law.
    pub fn new<F: Fixture + 'static>(make: impl AsyncFn() -> F + Send + Sync + 'static) -> Self {
        Self::over(LAWS, make, |fixture| Subject { name: fixture.name().to_owned(), it: Box::new(fixture) })
    }
}

impl Suite<dyn Clock> {
    /// The laws of a clock.
    pub fn clock<C: Clock + 'static>(make: impl AsyncFn() -> C + Send + Sync + 'static) -> Self {
        Self::over(CLOCK_LAWS, make, |clock| Subject { name: named::<C>(), it: Box::new(clock) })
    }
}

impl Suite<dyn IdGenerator> {
    /// The laws of a generator of ids.
    pub fn ids<G: IdGenerator + 'static>(make: impl AsyncFn() -> G + Send + Sync + 'static) -> Self {
        Self::over(ID_LAWS, make, |ids| Subject { name: named::<G>(), it: Box::new(ids) })
    }
}

impl Suite<dyn Entropy> {
    /// The laws of a source of randomness.
    pub fn entropy<E: Entropy + 'static>(make: impl AsyncFn() -> E + Send + Sync + 'static) -> Self {
        Self::over(ENTROPY_LAWS, make, |entropy| Subject { name: named::<E>(), it: Box::new(entropy) })
    }
}

impl Suite<dyn TokenCounter> {
    /// The laws of a counter of tokens, which is named by its encoding.
    pub fn tokens<T: TokenCounter + 'static>(make: impl AsyncFn() -> T + Send + Sync + 'static) -> Self {
        Self::over(TOKEN_LAWS, make, |counter| Subject {
            name: TokenCounter::encoding(&counter).to_owned(),
            it: Box::new(counter),
        })
    }
}

/// A type by its last name.
fn named<T>() -> String {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().unwrap_or(name).to_owned()
}

impl<P: ?Sized> Suite<P> {
    fn over<S: 'static>(
        laws: &[Law<P>],
        make: impl AsyncFn() -> S + Send + Sync + 'static,
        subject: impl Fn(S) -> Subject<P> + Copy + Send + Sync + 'static,
    ) -> Self {
        let make = Arc::new(make);
        let make: Make<P> = Arc::new(move || {
            let make = Arc::clone(&make);
            async move { subject(make().await) }.boxed_local()
        });
        Self { laws: laws.to_vec(), make, patience: PATIENCE }
    }

    /// Only the laws whose name begins so: a group, or one law.
    pub fn only(mut self, beginning: &str) -> Self {
        self.laws.retain(|law| law.name.starts_with(beginning));
        self
    }

    /// How long each law may take; two minutes when nothing is said. For subjects that are far away or slow.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Tries all laws and collects how they went, in a thread of its own.
    pub async fn run(self) -> Report {
        let (send, receive) = oneshot::channel();
        let run = move || {
            let report = self.report();
            // Whoever asked may have gone away.
            let _ = send.send(report);
        };
        match thread::Builder::new().name("conformance".to_owned()).spawn(run) {
            Ok(_) => receive.await.unwrap_or_else(|_| Report::of_nothing("the thread of the suite ended")),
            Err(error) => Report::of_nothing(&format!("no thread to run in: {error}")),
        }
    }

    /// The same for whoever does not await. Blocks the thread.
    pub fn report(&self) -> Report {
        let mut report = Report::default();
        for law in &self.laws {
            let (name, verdict) = self.try_one(law);
            if !name.is_empty() {
                report.store = name;
            }
            report.add(law.name, verdict);
        }
        report
    }

    /// Tries one law in a thread of its own, so that one that blocks it is left behind and told of.
    fn try_one(&self, law: &Law<P>) -> (String, Verdict) {
        let (send, receive) = mpsc::channel();
        let (law, make, patience) = (*law, Arc::clone(&self.make), self.patience);
        let trial = move || {
            // Nobody hears it any more when the patience is at its end.
            let _ = send.send(tried(&law, &make, patience));
        };
        let stuck = || broken(&law, format!("no answer within {patience:?}: it is stuck"));
        match thread::Builder::new().name(law.name.to_owned()).spawn(trial) {
            Ok(_) => receive.recv_timeout(patience.saturating_add(GRACE)).unwrap_or_else(|_| (String::new(), stuck())),
            Err(error) => (String::new(), broken(&law, format!("no thread to try it in: {error}"))),
        }
    }
}

impl<P: ?Sized> fmt::Debug for Suite<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("laws", &self.laws.len())
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

fn broken<P: ?Sized>(law: &Law<P>, seen: String) -> Verdict {
    Verdict::Broken(Violation { law: law.name, demands: law.demands(), seen })
}

/// Tries one law on a subject of its own, in a runtime of its own.
fn tried<P: ?Sized>(law: &Law<P>, make: &Make<P>, patience: Duration) -> (String, Verdict) {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return (String::new(), broken(law, format!("no runtime to try it in: {error}"))),
    };
    let trial = async {
        let subject = make().await;
        let outcome = (law.run)(&subject.it).await;
        (subject.name, outcome)
    };
    let guarded = AssertUnwindSafe(async { tokio::time::timeout(patience, trial).await }).catch_unwind();
    let ended = runtime.block_on(guarded);
    runtime.shutdown_background();
    match ended {
        Ok(Ok((name, Ok(())))) => (name, Verdict::Kept),
        Ok(Ok((name, Err(Exception::Skipped { why })))) => {
            (name, Verdict::Skipped(Inapplicable { law: law.name, why }))
        }
        Ok(Ok((name, Err(Exception::Broken { detail })))) => (name, broken(law, detail)),
        Ok(Err(_)) => (String::new(), broken(law, format!("no answer within {patience:?}: it is stuck"))),
        Err(panic) => (String::new(), broken(law, format!("it panicked: {}", said(&*panic)))),
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}

/// Tries one law of a store.
pub fn check<F: Fixture + 'static>(law: &Law, make: impl AsyncFn() -> F + Send + Sync + 'static) -> Verdict {
    Suite::new(make).try_one(law).1
}

/// Tries all laws of a store, each on a fixture of its own, and collects how they went. Blocks the thread.
pub fn report<F: Fixture + 'static>(make: impl AsyncFn() -> F + Send + Sync + 'static) -> Report {
    Suite::new(make).report()
}

/// Tries one law, which must hold, or not apply when, and only when, `skips` has it, its group, or the reason. What
/// [`store_laws!`](crate::store_laws) and its sisters call.
///
/// # Errors
/// The [`Violation`]; that a law does not apply and was not declared so is one.
#[doc(hidden)]
pub fn confirm<P: ?Sized>(suite: &Suite<P>, name: &str, skips: &[&str]) -> Result<(), Violation> {
    let Some(law) = suite.laws.iter().find(|known| known.name == name) else {
        return Err(Violation { law: "", demands: String::new(), seen: format!("there is no law {name}") });
    };
    let violation = |seen| Err(Violation { law: law.name, demands: law.demands(), seen });
    let group = name.split("::").next().unwrap_or_default();
    let is_named = skips.iter().any(|skip| *skip == name || *skip == group);
    match suite.try_one(law).1 {
        Verdict::Kept if is_named => violation("it applies and holds, so take it off `skips`".to_owned()),
        Verdict::Kept => Ok(()),
        Verdict::Skipped(Inapplicable { why, .. }) if is_named || skips.contains(&why.as_str()) => Ok(()),
        Verdict::Skipped(Inapplicable { why, .. }) => {
            violation(format!("it does not apply: {why}. When that is so, say it: skips: [\"{why}\"]"))
        }
        Verdict::Broken(violation) => Err(violation),
    }
}

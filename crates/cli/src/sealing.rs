//! Seals a plain store in its place: `keys init`.
//!
//! Must not know: how a store is sealed.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde::Serialize;
use sessions_api::{KeyError, KeyProvider, SealStep, SealedInPlace, SessionError, StoreError, StoreUrl, maintenance};

use crate::{failure::Failure, program::Program, progress, table::counted};

#[derive(Serialize)]
struct Shape<'a> {
    store: String,
    kind: String,
    key: String,
    wrapped_by: &'a str,
    made: bool,
    sessions: u64,
    records: u64,
    erased_files: u64,
    erased_bytes: u64,
    not_overwritten: u64,
    resumed: bool,
}

/// How far it is, and whether it should end.
#[derive(Default)]
struct Course {
    done: AtomicU64,
    of: AtomicU64,
    is_stopped: AtomicBool,
}

impl Course {
    fn hear(&self, step: SealStep) -> ControlFlow<()> {
        if let SealStep::Sealed { done, of } = step {
            self.done.store(done, Ordering::Relaxed);
            self.of.store(of, Ordering::Relaxed);
        }
        if self.is_stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn stands_at(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.of.load(Ordering::Relaxed))
    }
}

pub(crate) async fn seal(
    program: &Program,
    url: &StoreUrl,
    key: &dyn KeyProvider,
    erases_quarantine: bool,
) -> Result<(), Failure> {
    let course = Arc::new(Course::default());
    let step = {
        let course = Arc::clone(&course);
        move |step| course.hear(step)
    };
    let work = async { maintenance::seal(url, key, erases_quarantine, step).await.map_err(told) };
    let stops = || course.is_stopped.store(true, Ordering::Relaxed);
    let sealed = progress::drawn(&program.out, "sealing the store", || course.stands_at(), stops, work).await?;
    tell(program, url, &sealed)
}

fn told(error: SessionError) -> Failure {
    let is_set_aside = matches!(error, SessionError::Store(StoreError::Key(KeyError::InTheClear { .. })));
    let failure = Failure::from(error);
    if is_set_aside { failure.with_hint("move it elsewhere, or give --erase-quarantine") } else { failure }
}

fn tell(program: &Program, url: &StoreUrl, sealed: &SealedInPlace) -> Result<(), Failure> {
    let SealedInPlace { sessions, records, files, bytes, not_overwritten, resumed, ref ring } = *sealed;
    let (store, kind, key) = (url.to_string(), ring.wrapped.provider.to_string(), ring.key.to_string());
    if program.out.is_json() {
        return program.out.object(&Shape {
            store,
            kind,
            key,
            wrapped_by: &ring.wrapped.key,
            made: false,
            sessions,
            records,
            erased_files: files,
            erased_bytes: bytes,
            not_overwritten,
            resumed,
        });
    }
    let (sessions, records) = (counted(sessions, "session"), counted(records, "record"));
    program
        .out
        .line(&format!("{store} is sealed in its place with key {key}, which a {kind} wraps: {sessions}, {records}"))?;
    program.out.line(&format!(
        "overwritten and removed: {} with {}",
        counted(files, "file"),
        counted(bytes, "byte")
    ))?;
    if not_overwritten > 0 {
        let files = counted(not_overwritten, "file");
        program
            .out
            .notice(&format!("{files} could not be overwritten, or had another name elsewhere, and went as they were"));
    }
    program.out.notice("backups and exports from before are not sealed; nor is what the disk keeps aside");
    Ok(())
}

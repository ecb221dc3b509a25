//! Files of conversations: transcripts of other programs, and our own.

use std::{cell::RefCell, io::Cursor};

use sessions_api::{Budget, SessionManager};
use sessions_app::{AppendOutcome, Format, ImportOptions, Session};
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: RefCell<Runtime> =
        RefCell::new(Builder::new_current_thread().enable_all().build().expect("a runtime"));
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.with_borrow(|runtime| runtime.block_on(work))
}

/// Every format that can be imported. A new one is put here and is fuzzed.
const FORMATS: [Format; 7] = [
    Format::ClaudeCode,
    Format::SessionsJson,
    Format::SessionsJsonl,
    Format::Codex,
    Format::Pi,
    Format::OpenAi,
    Format::Anthropic,
];

/// The first byte says the format; one beyond all leaves it to the beginning of the file.
pub fn import_any(data: &[u8]) {
    let Some((which, file)) = data.split_first() else { return };
    import(FORMATS.get(usize::from(*which) % (FORMATS.len() + 1)).copied(), file);
}

/// A file is refused with a typed error, or becomes a session that can be read, sent to a model, and given out and taken in again as it is.
pub fn import(format: Option<Format>, file: &[u8]) {
    block_on(async {
        let sessions = memory().await;
        let options = || ImportOptions { format, ..ImportOptions::default() };
        let source = || Cursor::new(file.to_vec());
        let Ok(report) = sessions.import(source(), options()).await else { return };
        let session = sessions.load(report.id).await.expect("what was imported is there");
        let messages = session.last(usize::MAX).await.expect("it can be read");
        assert!(messages.iter().all(|message| message.visible));
        // A conversation may have no place for a budget; what is given is within it.
        if let Ok(context) = session.context(Budget::tokens(1_000)).await {
            assert!(context.tokens <= 1_000);
        }
        let again = sessions.import(source(), options()).await.expect("what was taken once is taken again");
        assert_eq!((again.id, again.outcome), (report.id, AppendOutcome::Replayed));

        let out = given_out(&session).await;
        let others = memory().await;
        let taken = others.import(Cursor::new(out.clone()), ImportOptions::default()).await;
        let taken = taken.expect("what was given out is taken in");
        let copy = others.load(taken.id).await.expect("what was imported is there");
        assert!(given_out(&copy).await == out, "what came back is another session");
    });
}

async fn memory() -> SessionManager {
    SessionManager::open("memory:").await.expect("a store in memory opens")
}

async fn given_out(session: &Session) -> Vec<u8> {
    let mut export = session.export_jsonl().await.expect("an export begins");
    let mut out = Vec::new();
    while let Some(chunk) = export.next_chunk().await.expect("an export goes on") {
        out.extend(chunk);
    }
    out
}

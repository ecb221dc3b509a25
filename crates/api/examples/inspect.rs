//! Looks into a store on disk and changes nothing: its sessions and branches, the records of one session, and what a check finds.
//!
//! `cargo run -p sessions-api --example inspect -- sled:./chats --key-file chats.key` lists the sessions, of a plain store without a key file; with a session's id, key or
//! the beginning of its id behind it, that session's records are listed, each with its kind and size. What was said is not shown.

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use sessions_api::{
    KeyFileProvider, Kind, KindFilter, Order, Query, ReadRange, Session, SessionManager, StoreError, StoreUrl,
    maintenance,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<ExitCode> {
    match inspect().await {
        Ok(code) => Ok(code),
        Err(error) => writeln!(io::stderr(), "inspect: {error}").map(|()| ExitCode::FAILURE),
    }
}

async fn inspect() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let key_file = arguments.iter().position(|argument| argument == "--key-file");
    let key_file: Vec<String> =
        key_file.map(|at| arguments.drain(at..arguments.len().min(at + 2)).collect()).unwrap_or_default();
    let (Some(url), true) = (arguments.first(), key_file.len() != 1) else {
        writeln!(io::stderr(), "usage: inspect sled:PATH [SESSION] [--key-file FILE]")?;
        return Ok(ExitCode::from(2));
    };
    let key = key_file.get(1).map(|file| KeyFileProvider::open(file.as_ref()).map(Arc::new)).transpose()?;
    let mut out = io::stdout().lock();

    // Only a store that is there: a mistyped path makes none.
    let mut builder = SessionManager::builder().url(url).open_existing();
    if let Some(key) = &key {
        builder = builder.sealed_by(key.clone());
    }
    let sessions = builder.build().await?;
    let store = &sessions.ports().store;
    writeln!(out, "{url}: {:?}, gives {}", store.id(), store.strongest())?;
    match arguments.get(1) {
        Some(name) => records(&sessions, &sessions.find(name).await?, &mut out).await?,
        None => list(&sessions, &mut out).await?,
    }
    sessions.close().await?;

    // The check reads the files themselves, so nobody may have the store open meanwhile.
    let at = url.parse::<StoreUrl>()?;
    let found = match &key {
        Some(key) => maintenance::verify_sealed(&at, key.as_ref()).await?,
        None => maintenance::verify(&at).await?,
    };
    writeln!(
        out,
        "checked: {} records of {} sessions in {} segments, {} bytes; {} lost and marked",
        found.records, found.sessions, found.segments, found.bytes, found.lost
    )?;
    for finding in &found.findings {
        writeln!(out, "  {:?}: {finding}", finding.severity)?;
    }
    Ok(if found.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every session with its branches. Those whose history is damaged are named and passed over.
async fn list(sessions: &SessionManager, out: &mut impl Write) -> Result<(), Box<dyn std::error::Error>> {
    let mut query = Query::default();
    loop {
        let page = sessions.list(&query).await?;
        for row in &page.sessions {
            let title = row.title.as_deref().unwrap_or("");
            writeln!(
                out,
                "{}  version {:<6} messages {:<6} {}  {title:?}",
                row.id, row.version, row.messages, row.updated
            )?;
            match branches(sessions, row.id).await {
                Ok(lines) => lines.iter().try_for_each(|line| writeln!(out, "    {line}"))?,
                Err(error) => writeln!(out, "    {error}")?,
            }
        }
        let Some(cursor) = page.cursor else { return Ok(()) };
        query.cursor = Some(cursor);
    }
}

/// A line for each branch, when there is more than one.
async fn branches(
    sessions: &SessionManager,
    id: sessions_api::SessionId,
) -> Result<Vec<String>, sessions_api::SessionError> {
    let branches = sessions.load(id).await?.branches().await?;
    let line = |branch: &sessions_api::BranchInfo| {
        let here = if branch.current { ", the head stands here" } else { "" };
        format!("branch {}: left at {}, ends at {}{here}", branch.branch, branch.left_at, branch.tip)
    };
    Ok(if branches.len() > 1 { branches.iter().map(line).collect() } else { Vec::new() })
}

/// The session's own records, as the store has them.
async fn records(
    sessions: &SessionManager,
    session: &Session,
    out: &mut impl Write,
) -> Result<(), Box<dyn std::error::Error>> {
    let store = &sessions.ports().store;
    let Some(head) = store.head(session.id()).await? else { return Ok(()) };
    writeln!(out, "{}: records {} to {}, head {}", session.id(), head.first, head.version, head.commit)?;
    let mut range = ReadRange {
        from: head.first,
        to: head.version,
        order: Order::OldestFirst,
        kinds: KindFilter::All,
        max_records: 1000,
        max_bytes: 1 << 20,
    };
    let mut bytes = 0;
    while range.from <= head.version {
        match store.read(session.id(), range).await {
            Ok(page) => {
                for record in &page.records {
                    bytes += record.payload.len();
                    let (kind, size) = (kind(record.kind), record.payload.len());
                    writeln!(out, "{:>8}  {kind:<12} {size:>9} bytes  {}", record.seq, record.commit)?;
                }
                // Behind the last page there may be a damaged record, which is told by the next read.
                range.from = page.next.unwrap_or(range.to + 1);
                range.to = if page.next.is_some() { range.to } else { head.version };
            }
            // First what stands before it.
            Err(StoreError::Corrupt { seq, .. }) if seq > range.from => range.to = seq - 1,
            Err(StoreError::Corrupt { seq, what, .. }) => {
                writeln!(out, "{seq:>8}  damaged: {what}")?;
                range.from = seq + 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    writeln!(out, "{bytes} bytes of payload")?;
    Ok(())
}

/// A kind by its name; by its number when this program does not know it.
fn kind(kind: Kind) -> String {
    let name = match kind {
        Kind::CREATED => "created",
        Kind::APPENDED => "message",
        Kind::MOVED => "move",
        Kind::CLEARED => "clear",
        Kind::DESCRIBED => "description",
        Kind::RESIDUE => "residue",
        Kind::STATUS_CHANGED => "status",
        Kind::CONFIGURED => "settings",
        Kind::STATE_CHANGED => "state",
        Kind::PINNED => "pin",
        Kind::CHECKPOINTED => "checkpoint",
        Kind::BEGUN => "begun",
        Kind::CHUNK => "chunk",
        Kind::SEALED => "sealed",
        Kind::TRASHED => "trashed",
        Kind::RESTORED => "restored",
        Kind::RUNTIME_CHANGED => "runtime",
        Kind::TOUCHED => "touch",
        Kind::LOST => "lost",
        Kind(number) => return format!("kind {number}"),
    };
    name.to_owned()
}

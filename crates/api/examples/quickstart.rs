//! A conversation in a sealed store on disk: written, taken back, forked, and found again by a second opening.
//!
//! Run it with `cargo run -p sessions-api --example quickstart [URL [KEY-FILE]]`, twice if you like: it goes on where it was.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use sessions_api::{At, Budget, ErrorKind, KeyFileProvider, Message, SessionError, SessionManager};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "sled:./target/quickstart".to_owned());
    let key_file = std::env::args().nth(2).map_or_else(|| PathBuf::from("./target/quickstart.key"), PathBuf::from);
    let mut out = io::stdout();

    // Made when it is not there. A host keeps it elsewhere than the store, and backs it up: without it nobody reads the store.
    let key = || KeyFileProvider::create_or_open(&key_file);

    // A store is owned by one process at a time; a second one is told by whom.
    let sessions = match SessionManager::open_sealed(&url, key()?).await {
        Err(error) if error.kind() == ErrorKind::Locked => return Err(format!("{url}: {error}").into()),
        opened => opened?,
    };

    // Opened by the host's own key, or created when it is the first time.
    let chat = sessions.open_or_create("quickstart").await?;
    let receipt = chat.append(Message::user("Why does E0502 happen?")).await?;
    writeln!(out, "message {} stands at {} and has reached: {}", receipt.message, receipt.seq, receipt.durability)?;

    chat.append(Message::assistant("Because a mutable borrow overlaps a shared one.")).await?;
    chat.undo(1).await?;
    writeln!(out, "after undo the newest message is: {}", newest(&chat).await?)?;
    chat.redo(1).await?;
    writeln!(out, "after redo it is: {}", newest(&chat).await?)?;

    let other = chat.fork(At::Message(receipt.message)).await?;
    other.append(Message::assistant("Let me show it with an example.")).await?;
    writeln!(out, "the fork {} goes its own way: {}", other.id(), newest(&other).await?)?;

    let context = chat.context(Budget::tokens(8_000)).await?;
    writeln!(out, "a model would be sent {} messages, {} tokens", context.messages.len(), context.tokens)?;
    let (id, version) = (chat.id(), chat.version().await?);
    sessions.close().await?;

    let sessions = SessionManager::open_sealed(&url, key()?).await?;
    let chat = sessions.load(id).await?;
    writeln!(out, "opened again, it is still at version {version}: {}", chat.version().await? == version)?;
    sessions.close().await?;

    let refused = SessionManager::open(&url).await.err().map(|error| error.to_string());
    writeln!(out, "without the key: {}", refused.unwrap_or_default())?;
    Ok(())
}

async fn newest(chat: &sessions_api::Session) -> Result<String, SessionError> {
    Ok(chat.last(1).await?.first().map(|message| message.text()).unwrap_or_default())
}

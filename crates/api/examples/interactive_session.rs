//! A small chat program on the facade: what is typed is kept and answered, the answer is shown while it arrives, and history can be moved in.
//!
//! `cargo run -p sessions-api --example interactive_session [URL]`, and type; or give lines on standard input:
//! `printf 'Hello\n/undo\nHello again\n' | cargo run -p sessions-api --example interactive_session`. A script answers, so that it needs no key; a
//! host puts another [`ModelProvider`](sessions_api::ModelProvider) in its place. `sessions chat` is the same with an editor of lines.

use std::{
    error::Error,
    io::{self, BufRead, Write},
    sync::Arc,
};

use sessions_api::{
    Agent, Form, Message, ModelProfile, Session, SessionError, SessionManager, StopReason, Turn, TurnEvent,
    providers::ScriptedProvider,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".to_owned());
    run(&url, &mut io::stdin().lock(), &mut io::stdout()).await
}

/// The program, from where it is typed to where it is shown.
pub async fn run(url: &str, typed: &mut impl BufRead, shown: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let sessions = SessionManager::open(url).await?;
    let outcome = talk(&sessions, typed, shown).await;
    // Whatever happened, all that was acknowledged is kept, and the store is free for the next process.
    sessions.close().await?;
    outcome
}

async fn talk(
    sessions: &SessionManager,
    typed: &mut impl BufRead,
    shown: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let chat = sessions.open_or_create("interactive").await?;
    let profile = ModelProfile::of("script", ScriptedProvider::NAME, Form::Neutral, 32_768);
    let agent = Agent::of_profile(Arc::new(ScriptedProvider::demo()), Arc::new(profile));
    let agent = agent.instructions("Answer in one sentence.");
    for message in chat.last(4).await? {
        writeln!(shown, "{:?}: {}", message.role, message.text())?;
    }
    if matches!(chat.resume_turn(&agent).await, Ok(outcome) if outcome.stop_reason == StopReason::EndTurn) {
        writeln!(shown, "(the last turn had been cut off, and was gone on with)")?;
    }
    loop {
        write!(shown, "> ")?;
        shown.flush()?;
        let mut line = String::new();
        if typed.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim() {
            "" => {}
            "/exit" => return Ok(()),
            command if command.starts_with('/') => match follow(&chat, command).await {
                Ok(told) => writeln!(shown, "{told}")?,
                // What does not work, as an undo of nothing, says what to do instead.
                Err(error) => writeln!(shown, "{error}")?,
            },
            said => show(chat.turn(&agent, Message::user(said)), shown).await?,
        }
    }
}

async fn follow(chat: &Session, command: &str) -> Result<String, SessionError> {
    Ok(match command {
        "/undo" => format!("{} messages are left", chat.undo_turns(1).await?.messages),
        "/redo" => format!("{} messages are there", chat.redo(1).await?.messages),
        "/clear" => format!("{} messages are left; /undo takes it back", chat.clear().await?.messages),
        "/count" => format!("{} messages", chat.summary().await?.messages),
        "/branches" => format!("{} branches", chat.branches().await?.len()),
        "/tokens" => {
            let spent = chat.usage().await?.total;
            format!("{} calls, {} tokens in, {} out", spent.calls, spent.usage.input, spent.usage.output)
        }
        _ => "/undo, /redo, /clear, /count, /branches, /tokens, /exit".to_owned(),
    })
}

/// Shows an answer while it arrives. It is in the log before it is here.
async fn show(mut turn: Turn, shown: &mut impl Write) -> Result<(), Box<dyn Error>> {
    while let Some(event) = turn.next_event().await {
        match event {
            // A host with a terminal lets no escapes through: what a model says is not to be trusted.
            TurnEvent::Text(piece) => write!(shown, "{}", piece.escape_debug())?,
            // A terminal takes back no lines, so it is said that the half of an answer above is none.
            TurnEvent::Retrying { wait, error, is_anew, .. } => {
                let anew = if is_anew { ", from the beginning" } else { "" };
                writeln!(shown, "\n({error}; again in {wait:?}{anew})")?;
            }
            _ => {}
        }
        shown.flush()?;
    }
    let outcome = turn.outcome().await?;
    match outcome.problem {
        Some(problem) => writeln!(shown, "\n({problem})")?,
        None => writeln!(shown)?,
    }
    Ok(())
}

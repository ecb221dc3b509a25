//! Reading conversations: `show`, `follow`.
//!
//! Must not know: how messages are stored or chosen.

use std::{collections::BTreeSet, sync::Arc};

use serde::Serialize;
use sessions_api::{
    At, Entry, EntryKind, Event, Exactness, Message, MessagePart, MessageRole, ModelProfile, Session, SessionError,
    StoreError, StoredMessage, ToolContent, Update,
};

use crate::{
    arguments::{Follow, Show},
    failure::Failure,
    output::{Style, reader_gone},
    place::Place,
    program::Program,
    progress::interrupted,
    table::counted,
};

/// `show`
pub(crate) async fn show(program: &Program, wish: Show) -> Result<(), Failure> {
    let place = Place::read(wish.at.as_deref())?;
    program
        .with_session(&wish.session, async |_, session| {
            let at = place.of(&session).await?;
            let profile = wish.model.as_deref().map(|name| session.manager().profiles().find(name)).transpose();
            let profile = profile.map_err(SessionError::from)?;
            let pins = session.fresh_view().await?.pins().clone();
            let shown = Shown { program, session: &session, pins, profile };
            match (wish.all, wish.last) {
                (true, _) => shown.all().await?,
                (false, Some(count)) => shown.print(session.last_entries_at(at, count).await?).await?,
                (false, None) => shown.path(at).await?,
            }
            // What is readable was shown; that not all of it is, is the outcome all the same.
            match session.fresh_view().await?.unreadable() {
                None => Ok(()),
                Some(seq) => {
                    let what = "what can be read is shown";
                    Err(StoreError::Corrupt { session: session.id(), seq, what }.into())
                }
            }
        })
        .await
}

/// A conversation that is shown.
struct Shown<'a> {
    program: &'a Program,
    session: &'a Session,
    pins: BTreeSet<u64>,
    /// The model in whose encoding each message is counted.
    profile: Option<Arc<ModelProfile>>,
}

impl Shown<'_> {
    async fn path(&self, at: At) -> Result<(), Failure> {
        let mut pages = self.session.messages_at(at).await?;
        while let Some(page) = pages.next_entries().await? {
            self.print(page).await?;
        }
        Ok(())
    }

    /// Every record. As JSON only the messages, since each line is one.
    async fn all(&self) -> Result<(), Failure> {
        let mut from = 1;
        loop {
            let page = self.session.entries(from).await?;
            let Some(last) = page.last() else { return Ok(()) };
            from = last.seq + 1;
            for entry in self.counted(page).await? {
                match &entry.what {
                    EntryKind::Event(_) if self.program.out.is_json() => {}
                    // The message that they are of is shown as it came.
                    EntryKind::Event(Event::Chunk(_)) => {}
                    EntryKind::Event(event) => print_event(self.program, entry.seq, event)?,
                    _ => self.print_entry(&entry)?,
                }
            }
        }
    }

    /// Messages, and where some are lost.
    async fn print(&self, entries: Vec<Entry>) -> Result<(), Failure> {
        self.counted(entries).await?.iter().try_for_each(|entry| self.print_entry(entry))
    }

    fn print_entry(&self, entry: &Entry) -> Result<(), Failure> {
        match &entry.what {
            EntryKind::Message(message) => print(self.program, message, self.pins.contains(&entry.seq)),
            EntryKind::Lost => print_loss(self.program, entry.seq, false),
            EntryKind::Damaged => print_loss(self.program, entry.seq, true),
            EntryKind::Event(_) => Ok(()),
        }
    }

    /// The same, with the tokens of each message where a model was named.
    async fn counted(&self, entries: Vec<Entry>) -> Result<Vec<Entry>, Failure> {
        let Some(profile) = &self.profile else { return Ok(entries) };
        let (mut others, mut messages) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry.what {
                EntryKind::Message(message) => messages.push(message),
                what => others.push(Entry { seq: entry.seq, what }),
            }
        }
        let messages = self.session.count_tokens(profile, messages).await?;
        others.extend(messages.into_iter().map(|stored| Entry { seq: stored.seq, what: EntryKind::Message(stored) }));
        others.sort_by_key(|entry| entry.seq);
        Ok(others)
    }
}

/// A message that is not there any more, in its place.
#[derive(Serialize)]
struct LostShape {
    seq: u64,
    lost: bool,
    /// True when nothing says yet that it is lost: a copy of the store may have it.
    damaged: bool,
}

fn print_loss(program: &Program, seq: u64, damaged: bool) -> Result<(), Failure> {
    if program.out.is_json() {
        return program.out.object(&LostShape { seq, lost: true, damaged });
    }
    let what = if damaged { "1 message cannot be read here" } else { "1 message lost here" };
    program.out.styled(&[(Style::Faint, &format!("{seq:>5} -- ")), (Style::Bad, what)])
}

/// `follow`
pub(crate) async fn follow(program: &Program, wish: Follow) -> Result<(), Failure> {
    let followed = program.with_session(&wish.session, async |sessions, session| {
        let (_backups, _cleaning) = (program.backups(sessions)?, program.cleaning(sessions)?);
        program.out.notice("this process has the store now: nobody else can write to it until Ctrl-C ends this");
        let mut updates = session.subscribe(wish.from);
        let mut open = None;
        // These are its only ends, so they are no failures.
        let end = async {
            tokio::select! {
                () = interrupted() => {}
                () = reader_gone() => {}
            }
        };
        tokio::pin!(end);
        loop {
            let update = tokio::select! {
                // In this order, so that it is listened for before anything is printed.
                biased;
                () = &mut end => return Ok(()),
                update = updates.next() => update,
            };
            let Some(update) = update? else { return Ok(()) };
            print_update(program, &session, &update, &mut open, wish.chunks).await?;
            program.out.flush()?;
        }
    });
    let hint =
        "a store belongs to one process at a time, so what another one writes cannot be followed: close it there first";
    followed.await.map_err(|failure| failure.when_locked(hint))
}

/// A piece of a message that arrives bit by bit.
#[derive(Serialize)]
struct Piece<'a> {
    /// The number of the message, where it began within what is followed.
    chunk_of: Option<u64>,
    seq: u64,
    parts: &'a [MessagePart],
}

/// What was committed. A message that arrives bit by bit is told when it has ended, so that each is told once, and as it stays.
async fn print_update(
    program: &Program,
    session: &Session,
    update: &Update,
    open: &mut Option<u64>,
    chunks: bool,
) -> Result<(), Failure> {
    match &update.event {
        Event::Begun(_) => {
            *open = Some(update.seq);
            Ok(())
        }
        Event::Chunk(_) if !chunks => Ok(()),
        Event::Chunk(chunk) if program.out.is_json() => {
            program.out.object(&Piece { chunk_of: *open, seq: update.seq, parts: &chunk.parts })
        }
        Event::Sealed(sealed) => {
            match session.entries(sealed.message).await?.into_iter().next().map(|entry| entry.what) {
                Some(EntryKind::Message(message)) => print(program, &message, false),
                _ => print_loss(program, sealed.message, true),
            }
        }
        event => match update.message() {
            Some(message) => print(program, &message, false),
            None if program.out.is_json() => Ok(()),
            None => print_event(program, update.seq, event),
        },
    }
}

/// A message with what the program knows of it.
#[derive(Serialize)]
struct PinnedMessage<'a> {
    #[serde(flatten)]
    message: &'a StoredMessage,
    pinned: bool,
}

/// One message.
pub(crate) fn print(program: &Program, message: &StoredMessage, pinned: bool) -> Result<(), Failure> {
    let out = &program.out;
    if out.is_json() {
        return if pinned { out.object(&PinnedMessage { message, pinned }) } else { out.object(message) };
    }
    let hidden = if message.visible { "" } else { " (hidden)" };
    let late = if message.late { " (late)" } else { "" };
    let state = if message.state.is_complete() { String::new() } else { format!(" ({})", message.state.as_str()) };
    let pin = if pinned { " (pinned)" } else { "" };
    let covered = if message.covered_by.is_some() { " (summarised)" } else { "" };
    let replaces = message.replaces.map(|old| format!("  in place of {old}")).unwrap_or_default();
    let (seq, role) = (format!("{:>5} ", message.seq), role_name(message.role));
    let tokens = message.tokens.map(|tokens| {
        let about = if tokens.exactness == Exactness::Estimate { "about " } else { "" };
        format!("  {about}{}", counted(tokens.count, "token"))
    });
    let (at, id, tokens) = (message.said_at(), message.id, tokens.unwrap_or_default());
    let rest = format!("{hidden}{late}{state}{pin}{covered}  {at}  {id}{replaces}{tokens}");
    out.styled(&[(Style::Faint, &seq), (Style::Name, role), (Style::Faint, &rest)])?;
    print_parts(program, message, "      ")
}

pub(crate) fn print_parts(program: &Program, message: &Message, indent: &str) -> Result<(), Failure> {
    message.parts.iter().try_for_each(|part| print_part(program, part, indent))
}

fn print_part(program: &Program, part: &MessagePart, indent: &str) -> Result<(), Failure> {
    let out = &program.out;
    let labelled = |label: &str, text: &str| {
        out.styled(&[(Style::Plain, indent), (Style::Strong, label)])?;
        out.paragraph(text, &format!("{indent}  "))
    };
    match part {
        MessagePart::Text(text) => out.paragraph(text, indent),
        MessagePart::Reasoning { text, .. } => labelled("reasoning", text),
        MessagePart::ToolCall(call) => labelled(&format!("call {} ({})", call.name, call.call_id), call.input.as_str()),
        MessagePart::ToolResult(result) => {
            let failed = if result.is_error { ", failed" } else { "" };
            let label = format!("result ({}{failed})", result.call_id);
            match &result.content {
                ToolContent::Text(text) => labelled(&label, text),
                ToolContent::Parts(parts) => {
                    labelled(&label, "")?;
                    let deeper = format!("{indent}  ");
                    parts.iter().try_for_each(|part| print_part(program, part, &deeper))
                }
            }
        }
        MessagePart::File(file) => {
            let name = file.name.as_deref().or(file.url.as_deref()).or(file.artifact.as_deref());
            labelled("file", &format!("{} {}", file.media_type, name.unwrap_or_default()))
        }
        MessagePart::Error { message, code } => {
            labelled("error", &format!("{} {message}", code.as_deref().unwrap_or_default()))
        }
        MessagePart::Custom(json) => labelled("custom", json.as_str()),
        other => labelled(other.type_name(), ""),
    }
}

/// The name of a role.
pub(crate) fn role_name(role: MessageRole) -> &'static str {
    match role {
        MessageRole::System => "system",
        MessageRole::User => "user",
        MessageRole::Assistant => "assistant",
        MessageRole::Tool => "tool",
    }
}

fn print_event(program: &Program, seq: u64, event: &Event) -> Result<(), Failure> {
    let what = match event {
        Event::Created(created) => match &created.fork {
            Some(fork) => format!("forked from {} at {}", fork.parent, fork.at),
            None => "created".to_owned(),
        },
        Event::Moved(moved) => format!("{:?} to {}", moved.cause, moved.to).to_lowercase(),
        Event::Cleared(_) => "cleared".to_owned(),
        Event::Described(_) => "described".to_owned(),
        Event::StatusChanged(change) => format!("became {}", change.to),
        Event::Configured(_) => "configured".to_owned(),
        Event::StateChanged(change) => format!("state changed: {}", counted(change.set.len() as u64, "key")),
        Event::Pinned(pin) if pin.pinned => format!("pinned {}", pin.message),
        Event::Pinned(pin) => format!("no longer pinned: {}", pin.message),
        Event::Checkpointed(named) => match named.at {
            Some(at) => format!("checkpoint {:?} at {}", named.name, at.version),
            None => format!("no checkpoint {:?} any more", named.name),
        },
        Event::Chunk(chunk) => format!("more of a message: {}", counted(chunk.parts.len() as u64, "part")),
        Event::Sealed(sealed) => format!("message {} ended: {:?}", sealed.message, sealed.end).to_lowercase(),
        Event::Trashed => "put into the trash".to_owned(),
        Event::Restored => "taken out of the trash".to_owned(),
        Event::Touched => "touched".to_owned(),
        Event::Residue(residue) => {
            format!("{} of the imported file without a place", counted(residue.lines.len() as u64, "line"))
        }
        Event::Lost => "lost: the record was damaged and set aside".to_owned(),
        Event::Unknown { kind } => format!("of kind {kind}, which a newer version wrote"),
        _ => "something else".to_owned(),
    };
    program.out.styled(&[(Style::Faint, &format!("{seq:>5} -- {what}"))])
}

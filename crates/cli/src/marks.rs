//! What stands beside the path of a conversation: `edit`, `pin`, `unpin`, `checkpoint`.
//!
//! Must not know: which messages can be edited; the library does.

use serde::Serialize;
use sessions_api::{At, Message, MessageId, Session, SessionError};

use crate::{
    append,
    arguments::{Checkpoint, Edit, Pin},
    failure::Failure,
    input,
    place::Place,
    program::Program,
    table::{Column, Table, counted},
};

/// `edit`
pub(crate) async fn edit(program: &Program, wish: Edit) -> Result<(), Failure> {
    let text = input::some_text(program, wish.text).await?;
    program
        .changing(&wish.session, wish.once, async |session| {
            let old = session.last_at(At::Message(wish.message), 1).await?.pop();
            let old = old.ok_or(SessionError::UnknownMessage { message: wish.message })?;
            let receipt = session.edit(wish.message, Message::text_of(old.role, text)).await?;
            append::told(program, &receipt, "edited, as")
        })
        .await
}

#[derive(Serialize)]
struct PinShape {
    /// The message.
    id: MessageId,
    pinned: bool,
    version: u64,
    changed: bool,
}

/// `pin`, `unpin`
pub(crate) async fn pin(program: &Program, wish: Pin, pinned: bool) -> Result<(), Failure> {
    program
        .changing(&wish.session, wish.once, async |session| set_pin(program, &session, wish.message, pinned).await)
        .await
}

pub(crate) async fn set_pin(program: &Program, session: &Session, id: MessageId, pinned: bool) -> Result<(), Failure> {
    let changed = session.pin(id, pinned).await?;
    let version = session.version().await?;
    if program.out.is_json() {
        return program.out.object(&PinShape { id, pinned, version, changed });
    }
    let (already, what) = (if changed { "" } else { " already" }, if pinned { "pinned" } else { "not pinned" });
    program.out.line(&format!("{id} is {what}{already} (version {version})"))
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    /// The version that it names; of a retry, the name may be gone by now.
    version: Option<u64>,
    messages: Option<u64>,
    changed: bool,
}

#[derive(Serialize)]
struct Unnamed<'a> {
    name: &'a str,
    removed: bool,
}

/// `checkpoint`
pub(crate) async fn checkpoint(program: &Program, wish: Checkpoint) -> Result<(), Failure> {
    let place = Place::read(wish.at.as_deref())?;
    let Some(name) = wish.name else { return list(program, &wish.session).await };
    program
        .changing(&wish.session, wish.once, async |session| {
            if wish.remove {
                session.remove_checkpoint(&name).await?;
                if program.out.is_json() {
                    return program.out.object(&Unnamed { name: &name, removed: true });
                }
                return program.out.line(&format!("no checkpoint {name} any more"));
            }
            let at = place.of(&session).await?;
            let changed = session.checkpoint(&name, at).await?;
            let named = session.checkpoints().await?.into_iter().find(|named| named.name == name);
            let (version, messages) = named.map(|named| (named.version, named.messages)).unzip();
            if program.out.is_json() {
                return program.out.object(&Named { name: &name, version, messages, changed });
            }
            let words = match (version, messages) {
                (Some(version), Some(messages)) => format!("version {version}, with {}", counted(messages, "message")),
                _ => "taken away since".to_owned(),
            };
            program.out.line(&format!("checkpoint {name}: {words}"))
        })
        .await
}

async fn list(program: &Program, name: &str) -> Result<(), Failure> {
    program
        .with_any_session(name, async |_, session| {
            let checkpoints = session.checkpoints().await?;
            if program.out.is_json() {
                return checkpoints.iter().try_for_each(|named| program.out.object(named));
            }
            if checkpoints.is_empty() {
                program.out.notice("no checkpoints");
                return Ok(());
            }
            let mut table = Table::new([Column::Right("VERSION"), Column::Right("MESSAGES"), Column::Cut("NAME")]);
            for named in checkpoints {
                table.row([named.version.to_string(), named.messages.to_string(), named.name]);
            }
            table.print(&program.out)
        })
        .await
}

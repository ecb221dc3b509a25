//! A session's state of life and its words: `status`, `rename`, `describe`, `tag`, `touch`.
//!
//! Must not know: which state follows which; the library does.

use serde::Serialize;
use sessions_api::{Session, SessionId, SessionStatus};

use crate::{
    arguments::{Changed, Describe, Rename, Status, Tag},
    failure::Failure,
    input,
    program::Program,
};

/// What became of a change.
#[derive(Serialize)]
pub(crate) struct Outcome<T> {
    pub(crate) id: SessionId,
    #[serde(flatten)]
    pub(crate) what: T,
    /// The session's version.
    pub(crate) version: u64,
    /// False when it was so already.
    pub(crate) changed: bool,
}

/// Tells what became of a change: in JSON with `what`, in words as said.
pub(crate) async fn told(
    program: &Program,
    session: &Session,
    changed: bool,
    what: impl Serialize,
    words: &str,
) -> Result<(), Failure> {
    let version = session.version().await?;
    if program.out.is_json() {
        return program.out.object(&Outcome { id: session.id(), what, version, changed });
    }
    let already = if changed { "" } else { " already" };
    program.out.line(&format!("{words}{already} (version {version})"))
}

#[derive(Serialize)]
struct StatusShape {
    status: SessionStatus,
}

/// `status`
pub(crate) async fn status(program: &Program, wish: Status) -> Result<(), Failure> {
    let Some(to) = wish.status else {
        return program
            .with_any_session(&wish.session, async |_, session| {
                let status = session.status().await?;
                if program.out.is_json() {
                    return told(program, &session, false, StatusShape { status }, "").await;
                }
                program.out.line(status.as_str())
            })
            .await;
    };
    program
        .changing(&wish.session, wish.once, async |session| {
            let changed = session.set_status_because(to, wish.reason).await?;
            // Of a retry, what it has become since is no answer.
            told(program, &session, changed, StatusShape { status: to }, &format!("the session is {to}")).await
        })
        .await
}

#[derive(Serialize)]
struct TitleShape<'a> {
    title: Option<&'a str>,
}

/// `rename`
pub(crate) async fn rename(program: &Program, wish: Rename) -> Result<(), Failure> {
    program
        .changing(&wish.session, wish.once, async |session| {
            let changed = session.rename(wish.title.as_str()).await?;
            let title = Some(wish.title.as_str()).filter(|title| !title.is_empty());
            let words = title.map_or("without a title".to_owned(), |title| format!("renamed: {title}"));
            told(program, &session, changed, TitleShape { title }, &words).await
        })
        .await
}

#[derive(Serialize)]
struct Nothing {}

/// `describe`
pub(crate) async fn describe(program: &Program, wish: Describe) -> Result<(), Failure> {
    let text = input::text(program, wish.text).await?;
    program
        .changing(&wish.session, wish.once, async |session| {
            let words = if text.is_empty() { "without a description" } else { "described" };
            let described = sessions_api::Described { description: Some(text), ..Default::default() };
            let changed = session.describe(described).await?;
            told(program, &session, changed, Nothing {}, words).await
        })
        .await
}

#[derive(Serialize)]
struct TagShape<'a> {
    tags: &'a [String],
}

/// `tag`
pub(crate) async fn tag(program: &Program, wish: Tag) -> Result<(), Failure> {
    if let Some(tag) = wish.add.iter().find(|tag| wish.remove.contains(tag) || tag.is_empty()) {
        let what = if tag.is_empty() { "a tag is empty" } else { "a tag is to be added and taken away" };
        return Err(Failure::usage(what, "give each tag once, with one letter or more"));
    }
    let changes = !(wish.add.is_empty() && wish.remove.is_empty());
    program
        .changing(&wish.session, wish.once, async |session| {
            let change = |draft: &mut sessions_api::Draft| {
                wish.add.iter().for_each(|tag| draft.tag(tag));
                wish.remove.iter().for_each(|tag| draft.untag(tag));
            };
            let changed = changes && session.update(change).await?;
            let tags = session.summary().await?.tags;
            let words = if tags.is_empty() { "no tags".to_owned() } else { tags.join(", ") };
            if !changes && !program.out.is_json() {
                return program.out.line(&words);
            }
            told(program, &session, changed, TagShape { tags: &tags }, &format!("tags: {words}")).await
        })
        .await
}

/// `touch`
pub(crate) async fn touch(program: &Program, wish: Changed) -> Result<(), Failure> {
    program
        .changing(&wish.session, wish.once, async |session| {
            session.touch().await?;
            told(program, &session, true, Nothing {}, "touched").await
        })
        .await
}

//! Moving through history: `undo`, `redo`, `clear`, `branches`, `checkout`, `fork`.
//!
//! Must not know: what a step is; the library does.

use serde::Serialize;
use sessions_api::{BranchInfo, Forked, MoveReceipt, NewSession, Session, SessionId};

use crate::{
    arguments::{Changed, Checkout, Fork, Redo, Undo},
    failure::Failure,
    place::Place,
    program::Program,
    table::{Column, Table, counted},
};

/// `undo`
pub(crate) async fn undo(program: &Program, wish: Undo) -> Result<(), Failure> {
    program
        .changing(&wish.session, wish.once, async |session| {
            let done = match (wish.to, wish.turns) {
                (Some(message), _) => session.undo_to(message).await?,
                (None, Some(turns)) => session.undo_turns(turns).await?,
                (None, None) => session.undo(wish.steps.unwrap_or(1)).await?,
            };
            moved(program, "undone", &done)
        })
        .await
}

/// `redo`
pub(crate) async fn redo(program: &Program, wish: Redo) -> Result<(), Failure> {
    program
        .changing(&wish.session, wish.once, async |session| {
            let done = match wish.turns {
                Some(turns) => session.redo_turns(turns).await?,
                None => session.redo(wish.steps.unwrap_or(1)).await?,
            };
            moved(program, "redone", &done)
        })
        .await
}

/// `clear`
pub(crate) async fn clear(program: &Program, wish: Changed) -> Result<(), Failure> {
    program.changing(&wish.session, wish.once, async |session| moved(program, "cleared", &session.clear().await?)).await
}

pub(crate) fn moved(program: &Program, what: &str, done: &MoveReceipt) -> Result<(), Failure> {
    if program.out.is_json() {
        return program.out.object(done);
    }
    let steps = counted(done.steps, "step");
    let visible =
        if done.messages == 1 { "1 message is".to_owned() } else { format!("{} messages are", done.messages) };
    program.out.line(&format!("{what}: {steps}; {visible} visible (version {})", done.version))
}

#[derive(Serialize)]
struct BranchShape {
    #[serde(flatten)]
    info: BranchInfo,
    name: String,
}

/// `branches`
pub(crate) async fn branches(program: &Program, name: &str) -> Result<(), Failure> {
    program.with_session(name, async |_, session| print_branches(program, &session).await).await
}

pub(crate) async fn print_branches(program: &Program, session: &Session) -> Result<(), Failure> {
    let branches = session.branches().await?;
    if program.out.is_json() {
        let shape = |info: &BranchInfo| BranchShape { info: *info, name: name_of(info.branch) };
        return branches.iter().try_for_each(|info| program.out.object(&shape(info)));
    }
    let columns = [Column::Left(""), Column::Right("BRANCH"), Column::Right("LEFT AT"), Column::Right("LAST MESSAGE")];
    let mut table = Table::new(columns);
    for branch in branches {
        let mark = if branch.current { "*" } else { "" };
        table.row([mark.to_owned(), name_of(branch.branch), branch.left_at.to_string(), branch.tip.to_string()]);
    }
    table.print(&program.out)
}

/// Reads the name of a branch.
pub(crate) fn branch_named(name: &str) -> Result<u64, Failure> {
    let number = if name == "main" { Ok(0) } else { name.parse() };
    number.map_err(|_| {
        Failure::usage("a branch is named by its number, or main", "list the branches to see their numbers")
    })
}

fn name_of(branch: u64) -> String {
    if branch == 0 { "main".to_owned() } else { branch.to_string() }
}

/// `checkout`
pub(crate) async fn checkout(program: &Program, wish: Checkout) -> Result<(), Failure> {
    let branch = wish.branch.as_deref().map(branch_named).transpose()?;
    let place = Place::read(wish.at.as_deref())?;
    program
        .changing(&wish.session, wish.once, async |session| {
            let done = match branch {
                Some(branch) => session.checkout(branch).await?,
                None => session.checkout_at(place.of(&session).await?).await?,
            };
            moved(program, "checked out", &done)
        })
        .await
}

#[derive(Serialize)]
struct ForkShape {
    id: SessionId,
    parent: SessionId,
    at: u64,
}

/// `fork`
pub(crate) async fn fork(program: &Program, wish: Fork) -> Result<(), Failure> {
    let place = Place::read(wish.at.as_deref())?;
    program
        .changing(&wish.session, wish.once, async |session| {
            let at = place.of(&session).await?;
            forked(program, &session.fork_as(at, NewSession::default()).await?)
        })
        .await
}

pub(crate) fn forked(program: &Program, forked: &Forked) -> Result<(), Failure> {
    let shape = ForkShape { id: forked.session.id(), parent: forked.parent, at: forked.at };
    if program.out.is_json() {
        return program.out.object(&shape);
    }
    program.out.line(&format!("forked {} at {} into {}", shape.parent, shape.at, shape.id))
}

//! Key-value state: `state get`, `set`, `unset`, `list`.
//!
//! Must not know: what the values mean, or where each scope is kept.

use serde::Serialize;
use sessions_api::{Json, SessionError, StateKey as Key, StateScope};

use crate::{
    arguments::{ListState, Scope, SetState, StateCommand, StateKey, UnsetState},
    failure::Failure,
    input,
    life::told,
    program::Program,
    table::{Column, Table},
};

#[derive(Serialize)]
struct Entry<'a> {
    key: &'a str,
    value: &'a Json,
}

#[derive(Serialize)]
struct KeyShape<'a> {
    key: &'a str,
}

/// `state`
pub(crate) async fn state(program: &Program, what: StateCommand) -> Result<(), Failure> {
    match what {
        StateCommand::Get(which) => get(program, which).await,
        StateCommand::Set(wish) => set(program, wish).await,
        StateCommand::Unset(wish) => unset(program, wish).await,
        StateCommand::List(wish) => list(program, wish).await,
    }
}

/// A key whose value outlives this process.
fn kept(key: &str) -> Result<(), Failure> {
    let parsed = Key::parse(key).map_err(SessionError::from)?;
    if parsed.scope == StateScope::Temp {
        let what = "state of temp: lives as long as the process that set it, so there is none here";
        return Err(Failure::usage(what, "name a key of the session, or one with user: or app: before it"));
    }
    Ok(())
}

async fn get(program: &Program, StateKey { session, key }: StateKey) -> Result<(), Failure> {
    kept(&key)?;
    program
        .with_session(&session, async |_, session| {
            let Some(value) = session.state(&key).await? else {
                return Err(Failure::not_found("the state has no such key", "list the state to see its keys"));
            };
            if program.out.is_json() {
                return program.out.object(&Entry { key: &key, value: &value });
            }
            program.out.line(value.as_str())
        })
        .await
}

async fn set(program: &Program, wish: SetState) -> Result<(), Failure> {
    kept(&wish.which.key)?;
    let text = input::text(program, wish.value).await?;
    let value = if wish.text { Json::parse(&serde_json::to_string(&text)?) } else { Json::parse(&text) };
    let value = value.map_err(|_| {
        let hint = "give JSON, as in '\"dark\"', 7 or '{\"a\":1}', or a text with --text";
        Failure::usage("the value is not JSON", hint)
    })?;
    if value.is_null() {
        return Err(Failure::usage(
            "null is no value: a key that has none is not there",
            "take the key away with unset",
        ));
    }
    let StateKey { session, key } = wish.which;
    program
        .changing(&session, wish.once, async |session| {
            let changed = session.set_state(&key, value).await?;
            told(program, &session, changed, KeyShape { key: &key }, &format!("{key} is set")).await
        })
        .await
}

async fn unset(program: &Program, wish: UnsetState) -> Result<(), Failure> {
    let StateKey { session, key } = wish.which;
    kept(&key)?;
    program
        .changing(&session, wish.once, async |session| {
            let changed = session.unset_state(&key).await?;
            told(program, &session, changed, KeyShape { key: &key }, &format!("{key} is not set")).await
        })
        .await
}

async fn list(program: &Program, wish: ListState) -> Result<(), Failure> {
    let scopes = [
        (Scope::Session, StateScope::Session, ""),
        (Scope::User, StateScope::User, "user:"),
        (Scope::App, StateScope::App, "app:"),
    ];
    program
        .with_session(&wish.session, async |_, session| {
            let mut table = Table::new([Column::Left("KEY"), Column::Cut("VALUE")]);
            let mut is_empty = true;
            for (_, scope, prefix) in
                scopes.into_iter().filter(|(named, ..)| wish.scope.is_none_or(|only| only == *named))
            {
                for (name, value) in session.state_of(scope).await? {
                    is_empty = false;
                    let key = format!("{prefix}{name}");
                    if program.out.is_json() {
                        program.out.object(&Entry { key: &key, value: &value })?;
                    } else {
                        table.row([key, value.as_str().to_owned()]);
                    }
                }
            }
            match (program.out.is_json(), is_empty) {
                (true, _) => Ok(()),
                (false, true) => {
                    program.out.notice("no state");
                    Ok(())
                }
                (false, false) => table.print(&program.out),
            }
        })
        .await
}

//! Creating and finding sessions: `new`, `list`, `info`.
//!
//! Must not know: conversations.

use serde::Serialize;
use sessions_api::{
    AppendOutcome, Clock, Durability, Moment, NewSession, Query, SessionId, SessionKey, SessionSummary, SystemClock,
    Tally, TokenUsage,
};

use crate::{
    arguments::{List, New},
    failure::Failure,
    program::Program,
    table::{Column, Table, counted},
};

#[derive(Serialize)]
struct Made<'a> {
    id: SessionId,
    key: Option<&'a SessionKey>,
    version: u64,
    durability: Durability,
    /// False when a session with the key was there already.
    created: bool,
}

/// `new`
pub(crate) async fn new(program: &Program, wish: New) -> Result<(), Failure> {
    let key = wish.key.map(SessionKey::new).transpose().map_err(sessions_api::SessionError::from)?;
    if let Some(word) =
        key.as_ref().and_then(|key| ["id:", "key:"].into_iter().find(|word| key.as_str().starts_with(word)))
    {
        let what = format!("the key begins with `{word}`, so as a SESSION it would name another one or none");
        return Err(Failure::usage(&what, "give a key that begins otherwise"));
    }
    let mut tags = wish.tags;
    tags.sort();
    tags.dedup();
    let title = wish.title;
    let mut new = title.clone().map(NewSession::titled).unwrap_or_default().tags(tags.clone());
    if let Some(key) = key.clone() {
        new = new.key(key);
    }
    program
        .with_new_or_old(async |sessions| {
            if let Some(id) = key.as_ref().and_then(|key| key.as_str().parse().ok())
                && sessions.get(id).await?.is_some()
            {
                let hint = "use that session by its id, or give another key";
                return Err(Failure::usage("the key is the id of a session, which goes before any key", hint));
            }
            let opened = sessions.open_or_create_as(new).await?;
            let version = opened.session.version().await?;
            // Of a session that was there already, its last append may have asked for less.
            opened.session.wait_durable(version, opened.durability).await?;
            let (id, durability) = (opened.session.id(), opened.durability);
            let created = opened.outcome == AppendOutcome::Inserted;
            if !created {
                let known = opened.session.summary().await?;
                let differs = (title.is_some() && title != known.title) || (!tags.is_empty() && tags != known.tags);
                if differs {
                    program
                        .out
                        .notice("a session with this key was there already: its title and tags stay as they are");
                }
            }
            if program.out.is_json() {
                return program.out.object(&Made { id, key: key.as_ref(), version, durability, created });
            }
            let what = if created { "created" } else { "opened" };
            program.out.line(&format!("{what} {id} (version {version}, {durability})"))
        })
        .await
}

#[derive(Serialize)]
struct More<'a> {
    cursor: &'a str,
}

/// `list`
pub(crate) async fn list(program: &Program, wish: List) -> Result<(), Failure> {
    let mut query = Query {
        status: wish.status,
        tags: wish.tags,
        creator: wish.creator,
        since: wish.since.as_deref().map(moment).transpose()?,
        until: wish.until.as_deref().map(moment).transpose()?,
        text: wish.text,
        sort: wish.sort.into(),
        limit: wish.limit,
        cursor: wish.cursor,
        ..Query::default()
    };
    let listed = program
        .with_sessions(async |sessions| {
            if let Some(parent) = &wish.parent {
                query.parent = Some(sessions.find(parent).await?.id());
            }
            let page = sessions.list(&query).await?;
            print_rows(program, &page.sessions)?;
            if let Some(cursor) = page.cursor {
                if program.out.is_json() {
                    return program.out.object(&More { cursor: &cursor });
                }
                program.out.notice(&format!("there are more: go on with --cursor {cursor}"));
            }
            Ok(())
        })
        .await;
    match listed {
        // Nobody typed the default store's path, so it is not spelled wrong: there is nothing yet.
        Err(failure) if failure.is_no_store() && program.is_default() && wish.parent.is_none() => {
            if !program.out.is_json() {
                program.out.notice("no sessions yet; `sessions import FILE` or `sessions new` brings the first");
            }
            Ok(())
        }
        listed => listed,
    }
}

fn print_rows(program: &Program, rows: &[SessionSummary]) -> Result<(), Failure> {
    if program.out.is_json() {
        return rows.iter().try_for_each(|row| program.out.object(row));
    }
    if rows.is_empty() {
        program.out.notice("no sessions");
        return Ok(());
    }
    let columns = [
        Column::Left("ID"),
        Column::Left("UPDATED"),
        Column::Right("MESSAGES"),
        Column::Left("STATUS"),
        Column::Left("TITLE"),
        Column::Left("KEY"),
        Column::Left("TAGS"),
    ];
    let mut table = Table::new(columns);
    for row in rows {
        table.row([
            row.id.to_string(),
            row.updated.to_string(),
            row.messages.to_string(),
            status_of(row),
            row.title.clone().unwrap_or_default(),
            row.key.as_ref().map(|key| key.as_str().to_owned()).unwrap_or_default(),
            row.tags.join(", "),
        ]);
    }
    table.print(&program.out)
}

fn status_of(row: &SessionSummary) -> String {
    serde_json::to_value(row.status).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

#[derive(Serialize)]
struct About {
    #[serde(flatten)]
    summary: SessionSummary,
    /// Messages that its own records hold, visible or not.
    recorded: Option<u64>,
    tool_calls: Option<u64>,
    usage: Option<TokenUsage>,
    first_said: Option<Moment>,
    last_said: Option<Moment>,
    /// Records that are lost.
    #[serde(skip_serializing_if = "is_none")]
    lost: u64,
}

fn is_none(lost: &u64) -> bool {
    *lost == 0
}

/// `info`
pub(crate) async fn info(program: &Program, name: &str) -> Result<(), Failure> {
    program
        .with_session(name, async |_, session| {
            let summary = session.summary().await?;
            let lost = session.fresh_view().await?.lost();
            let tally = match session.tally().await {
                Ok(tally) => Some(tally),
                // What is damaged does not keep the rest from being told.
                Err(error) => {
                    program.out.notice(&format!("its messages could not all be counted: {error}"));
                    None
                }
            };
            if program.out.is_json() {
                return program.out.object(&About {
                    summary,
                    recorded: tally.map(|tally| tally.messages),
                    tool_calls: tally.map(|tally| tally.tool_calls),
                    usage: tally.map(|tally| tally.usage),
                    first_said: tally.and_then(|tally| tally.first),
                    last_said: tally.and_then(|tally| tally.last),
                    lost,
                });
            }
            print_about(program, summary, tally, lost)
        })
        .await
}

fn print_about(program: &Program, about: SessionSummary, tally: Option<Tally>, lost: u64) -> Result<(), Failure> {
    let status = status_of(&about);
    let visible = about.messages;
    let recorded = tally.map(|tally| tally.messages).filter(|recorded| *recorded != visible);
    let messages = match (recorded, about.parent) {
        (None, _) => visible.to_string(),
        // The places of lost messages count as visible, as far as messages behind them tell of them.
        (Some(recorded), None) if lost > 0 && recorded < visible => {
            format!("{recorded} (of {visible}, the others are lost)")
        }
        (Some(recorded), None) => {
            format!("{visible} visible, {recorded} recorded (on all branches, with what is hidden)")
        }
        (Some(recorded), Some(_)) => {
            format!("{visible} visible, {recorded} recorded since the fork (on all its branches)")
        }
    };
    let said = tally.and_then(|tally| tally.first.zip(tally.last));
    let rows: [(&str, Option<String>); 17] = [
        ("id", Some(about.id.to_string())),
        ("key", about.key.map(|key| key.as_str().to_owned())),
        ("title", about.title),
        ("description", about.description),
        ("status", Some(status)),
        ("tags", Some(about.tags.join(", ")).filter(|tags| !tags.is_empty())),
        ("created", Some(about.created.to_string())),
        ("updated", Some(about.updated.to_string())),
        ("said", said.map(|(first, last)| format!("{first} to {last}"))),
        ("version", Some(about.version.to_string())),
        ("messages", Some(messages)),
        ("lost", (lost > 0).then(|| counted(lost, "record"))),
        ("tool calls", tally.map(|tally| tally.tool_calls.to_string())),
        ("usage", tally.map(|tally| tally.usage).filter(|usage| *usage != TokenUsage::default()).map(words_of)),
        ("folder", about.cwd),
        ("creator", about.creator),
        ("forked from", about.parent.map(|parent| parent.to_string())),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            program.out.line(&format!("{name:<12} {value}"))?;
        }
    }
    Ok(())
}

fn words_of(usage: TokenUsage) -> String {
    let TokenUsage { input, output, cache_read, cache_write, reasoning } = usage;
    let mut words =
        format!("{input} tokens in, {output} out, {cache_read} read from a cache, {cache_write} written to it");
    if reasoning > 0 {
        words.push_str(&format!(", {reasoning} of reasoning"));
    }
    words
}

/// A time as people write it: a moment, a day, or how long ago.
fn moment(text: &str) -> Result<Moment, Failure> {
    let parsed = Moment::parse(text)
        .or_else(|| Moment::parse(&format!("{text}T00:00:00Z")))
        .or_else(|| ago(text, SystemClock.now()));
    parsed.ok_or_else(|| Failure::usage("this is no time", "write 2026-01-31, 2026-01-31T12:00:00Z, 30m, 24h or 7d"))
}

fn ago(text: &str, now: Moment) -> Option<Moment> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: i64 = number.parse().ok().filter(|number| *number >= 0)?;
    let minutes: i64 = match unit {
        "m" => 1,
        "h" => 60,
        "d" => 24 * 60,
        "w" => 7 * 24 * 60,
        _ => return None,
    };
    let millis = number.checked_mul(minutes)?.checked_mul(60_000)?;
    now.as_millis().checked_sub(millis).map(Moment::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_a_day_or_a_while_ago() {
        assert_eq!(moment("2026-01-31T12:00:00Z").unwrap().to_string(), "2026-01-31T12:00:00.000Z");
        assert_eq!(moment("2026-01-31").unwrap().to_string(), "2026-01-31T00:00:00.000Z");
        let now = Moment::from_millis(1_000_000_000);
        let before = |text: &str| ago(text, now).map(|then| (now.as_millis() - then.as_millis()) / 1000);
        assert_eq!(
            (before("30m"), before("24h"), before("7d"), before("1w")),
            (Some(1_800), Some(86_400), Some(604_800), Some(604_800))
        );
        for bad in ["", "m", "7", "-7d", "7y", "99999999999999d", "é", "2026-02-30"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}

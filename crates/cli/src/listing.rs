//! The list of sessions: `list`.
//!
//! Must not know: conversations.

use serde::Serialize;
use sessions_api::{Query, SessionSummary};

use crate::{
    arguments::List,
    failure::Failure,
    moment::moment,
    program::Program,
    table::{Column, Table},
};

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
        created_since: wish.created_since.as_deref().map(moment).transpose()?,
        created_until: wish.created_until.as_deref().map(moment).transpose()?,
        title: wish.title,
        title_prefix: wish.title_prefix,
        key_prefix: wish.key_prefix,
        trash: wish.trash,
        text: wish.text,
        sort: wish.sort.into(),
        limit: wish.limit,
        cursor: wish.cursor,
        ..Query::default()
    };
    let listed = program
        .with_sessions(async |sessions| {
            if let Some(parent) = &wish.parent {
                query.parent = Some(sessions.find_any(parent).await?.id());
            }
            let page = sessions.list(&query).await?;
            print_rows(program, &page.sessions, wish.trash)?;
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

fn print_rows(program: &Program, rows: &[SessionSummary], trash: bool) -> Result<(), Failure> {
    if program.out.is_json() {
        return rows.iter().try_for_each(|row| program.out.object(row));
    }
    if rows.is_empty() {
        program.out.notice(if trash { "nothing is in the trash" } else { "no sessions" });
        return Ok(());
    }
    let columns = [
        Column::Left("ID"),
        Column::Left(if trash { "IN THE TRASH SINCE" } else { "UPDATED" }),
        Column::Right("MESSAGES"),
        Column::Left("STATUS"),
        Column::Cut("TITLE"),
        Column::Cut("KEY"),
        Column::Cut("TAGS"),
    ];
    let mut table = Table::new(columns);
    for row in rows {
        table.row([
            row.id.to_string(),
            row.trashed.unwrap_or(row.updated).to_string(),
            row.messages.to_string(),
            row.status.to_string(),
            row.title.clone().unwrap_or_default(),
            row.key.as_ref().map(|key| key.as_str().to_owned()).unwrap_or_default(),
            row.tags.join(", "),
        ]);
    }
    table.print(&program.out)
}

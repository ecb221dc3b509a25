//! The list of sessions: summaries in memory, kept up to date from the store's changes, filtered and sorted here for every store alike.
//!
//! Must not know: how a store keeps rows.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use sessions_domain::{Moment, SessionId, SessionStatus, SessionSummary, SummaryWords};
use sessions_ports::Row;

use crate::{error::SessionError, manager::SessionManager};

/// What a list is sorted by. Times and counts go down, titles go up; equal ones go by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SortBy {
    /// The newest change first.
    #[default]
    Updated,
    /// The newest session first.
    Created,
    /// By title.
    Title,
    /// The longest first.
    Messages,
}

/// Which sessions to list. Everything that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// In this state.
    pub status: Option<SessionStatus>,
    /// With all these tags.
    pub tags: Vec<String>,
    /// Made by.
    pub creator: Option<String>,
    /// Forked from.
    pub parent: Option<SessionId>,
    /// Changed at or after.
    pub since: Option<Moment>,
    /// Changed before.
    pub until: Option<Moment>,
    /// With this text in title or description, whatever the case.
    pub text: Option<String>,
    /// The order.
    pub sort: SortBy,
    /// At most so many (0: 50).
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListPage {
    /// The rows.
    pub sessions: Vec<SessionSummary>,
    /// Give it to have the next page; `None` behind the last.
    pub cursor: Option<String>,
}

/// The place of a row in an order: what it is sorted by, so that ascending order is the list's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Rank(i64, String, SessionId);

impl Rank {
    fn of(summary: &SessionSummary, sort: SortBy) -> Self {
        let descending = |value: i64| value.saturating_neg();
        let (number, text) = match sort {
            SortBy::Updated => (descending(summary.updated.as_millis()), String::new()),
            SortBy::Created => (descending(summary.created.as_millis()), String::new()),
            SortBy::Title => (0, summary.title.clone().unwrap_or_default()),
            SortBy::Messages => (descending(i64::try_from(summary.messages).unwrap_or(i64::MAX)), String::new()),
        };
        Self(number, text, summary.id)
    }
}

/// Summaries of all sessions.
#[derive(Default)]
pub(crate) struct Directory {
    seen: u64,
    summaries: HashMap<SessionId, SessionSummary>,
    by_update: BTreeSet<Rank>,
}

impl Directory {
    fn take(&mut self, row: &Row, tenant: &str) {
        // Words of a later version may hold more; what cannot be read at all is shown by id alone.
        let words: SummaryWords = serde_json::from_slice(&row.words).unwrap_or_default();
        if words.tenant != tenant {
            return;
        }
        let summary = SessionSummary {
            id: row.session,
            key: words.key,
            title: words.title,
            status: words.status,
            created: words.created.unwrap_or(row.created),
            updated: row.updated,
            last_accessed: row.updated,
            messages: row.messages,
            tokens: None,
            cwd: words.cwd,
            parent: words.parent,
            tags: words.tags,
            version: row.version,
            description: words.description,
            creator: words.creator,
        };
        self.by_update.insert(Rank::of(&summary, SortBy::Updated));
        if let Some(before) = self.summaries.insert(summary.id, summary) {
            let rank = Rank::of(&before, SortBy::Updated);
            if self.summaries.get(&before.id).is_some_and(|now| Rank::of(now, SortBy::Updated) != rank) {
                self.by_update.remove(&rank);
            }
        }
    }

    fn page(&self, query: &Query) -> ListPage {
        let limit = if query.limit == 0 { 50 } else { query.limit };
        let after: Option<Rank> = query.cursor.as_deref().and_then(|cursor| serde_json::from_str(cursor).ok());
        let text = query.text.as_ref().map(|text| text.to_lowercase());
        let fits = |summary: &&SessionSummary| query.holds(summary, text.as_deref());
        let mut found: Vec<&SessionSummary> = Vec::new();
        if query.sort == SortBy::Updated {
            let rest = self.by_update.iter().filter(|rank| after.as_ref().is_none_or(|after| *rank > after));
            found.extend(rest.filter_map(|rank| self.summaries.get(&rank.2)).filter(fits).take(limit + 1));
        } else {
            let mut ranked: Vec<(Rank, &SessionSummary)> =
                self.summaries.values().filter(fits).map(|summary| (Rank::of(summary, query.sort), summary)).collect();
            ranked.retain(|(rank, _)| after.as_ref().is_none_or(|after| rank > after));
            ranked.sort_by(|(a, _), (b, _)| a.cmp(b));
            found.extend(ranked.into_iter().take(limit + 1).map(|(_, summary)| summary));
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| more).map(|summary| Rank::of(summary, query.sort));
        let cursor = last.and_then(|rank| serde_json::to_string(&rank).ok());
        ListPage { sessions: found.into_iter().cloned().collect(), cursor }
    }
}

impl Query {
    fn holds(&self, summary: &SessionSummary, text: Option<&str>) -> bool {
        let has = |words: &Option<String>, text: &str| words.as_ref().is_some_and(|w| w.to_lowercase().contains(text));
        self.status.is_none_or(|status| summary.status == status)
            && self.tags.iter().all(|tag| summary.tags.contains(tag))
            && self.creator.as_ref().is_none_or(|creator| summary.creator.as_ref() == Some(creator))
            && self.parent.is_none_or(|parent| summary.parent == Some(parent))
            && self.since.is_none_or(|since| summary.updated >= since)
            && self.until.is_none_or(|until| summary.updated < until)
            && text.is_none_or(|text| has(&summary.title, text) || has(&summary.description, text))
    }
}

impl SessionManager {
    /// A page of the list of sessions. Conversations are not read.
    ///
    /// A session that does not change while pages are read appears exactly once.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, query: &Query) -> Result<ListPage, SessionError> {
        self.look_up(|directory| directory.page(query)).await
    }

    pub(crate) async fn ids_with_prefix(&self, prefix: &str) -> Result<Vec<SessionId>, SessionError> {
        self.look_up(|directory| {
            let ids = directory.summaries.keys().copied();
            ids.filter(|id| id.to_string().starts_with(prefix)).collect()
        })
        .await
    }

    /// True when a list can show the session.
    pub(crate) async fn is_listed(&self, id: SessionId) -> Result<bool, SessionError> {
        self.look_up(|directory| directory.summaries.contains_key(&id)).await
    }

    /// Brings the directory up to date and looks into it.
    async fn look_up<T>(&self, look: impl FnOnce(&Directory) -> T) -> Result<T, SessionError> {
        let lock = || self.directory().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            let since = lock().seen;
            let page = self.ports().store.rows(since, 8192).await?;
            let mut directory = lock();
            if directory.seen != since {
                // Somebody else took these rows in meanwhile; they may have seen newer ones.
                continue;
            }
            for row in &page.rows {
                directory.take(row, &self.actor().tenant);
            }
            directory.seen = page.next;
            if !page.more {
                return Ok(look(&directory));
            }
        }
    }
}

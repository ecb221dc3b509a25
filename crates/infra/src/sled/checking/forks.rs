//! Forks whose beginnings are lost, in a check: where they left their parents, as the index, other frames and the parents tell.
//!
//! Must not know: segments, or what is done about what is found.

use sessions_domain::{CommitHash, ForkPoint, SessionId, branches::Tree, decide};
use sessions_ports::Link;

use super::{super::checked::Checked, Check};

impl Check {
    /// A session is a fork, as the index or a frame of it says.
    pub(in super::super) fn is_fork(&mut self, session: SessionId, first: u64, parent: SessionId) {
        self.forks.insert(session, (first, parent));
        self.places.insert((parent, first - 1), None);
    }

    /// What forks inherit whose beginnings may be damaged stands with what these were rewritten as.
    pub(in super::super) fn hear_of_forks(&mut self) {
        self.newest.look();
        let links = self.newest.links().iter().map(|(session, links)| (*session, links.clone())).collect::<Vec<_>>();
        for (session, links) in links {
            let (Some(Link { owner, .. }), Some(last)) = (links.last(), links.iter().map(|link| link.last).max())
            else {
                continue;
            };
            if !self.forks.contains_key(&session) {
                self.is_fork(session, last.saturating_add(1), *owner);
                self.links.entry(session).or_insert_with(|| links.iter().map(|link| (link.owner, link.last)).collect());
            }
        }
    }

    /// Whether a session still inherits from another that it once inherited from. A rewrite says of whom it does not any more, and what its first record
    /// is rewritten as says last of whom it does.
    pub(in super::super) fn still_inherits(&self, session: SessionId, owner: SessionId) -> bool {
        let is_unlinked = self.unlinked.get(&session).is_some_and(|unlinked| unlinked.contains(&owner));
        let links = self.newest.links().get(&session);
        !is_unlinked && links.is_none_or(|links| links.iter().any(|link| link.owner == owner))
    }

    /// Of these owners those that a session still inherits from.
    pub(super) fn still_inherited(&self, session: SessionId, owners: &[(SessionId, u64)]) -> Vec<(SessionId, u64)> {
        owners.iter().copied().filter(|(owner, _)| self.still_inherits(session, *owner)).collect()
    }

    /// Who holds the records up to one of a session whose own beginning is lost.
    pub(super) fn owners(&self, session: SessionId, at: u64) -> Vec<(SessionId, u64)> {
        let (mut owners, mut owner, mut last) = (Vec::new(), session, at);
        // None is its own parent's parent; were an index to say so, this ends all the same.
        for _ in 0..=self.forks.len() {
            if let Some(view) = self.sessions.get(&owner).and_then(|known| known.view.as_ref()) {
                owners.extend(view.owners_up_to(last).into_iter().rev());
                break;
            }
            let fork = self.forks.get(&owner);
            if fork.is_none_or(|(first, _)| *first <= last) {
                owners.push((owner, last));
            }
            let Some((first, parent)) = fork else { break };
            (owner, last) = (*parent, last.min(first - 1));
        }
        owners.reverse();
        owners
    }

    /// Where a fork left its parent, whose own record of that is lost.
    pub(super) fn origin(&self, session: SessionId, checked: &Checked) -> Option<ForkPoint> {
        let (first, parent) = self.forks.get(&session).copied().filter(|(first, _)| *first == checked.first)?;
        let at = first - 1;
        let known = self.sessions.get(&parent);
        let view = known.and_then(|known| known.view.as_ref());
        let said = || self.links.get(&session).cloned().unwrap_or_else(|| self.owners(parent, at));
        let owners = view.map_or_else(said, |view| view.owners_up_to(at));
        let commit =
            known.and_then(|known| known.commit_at(at, &self.sessions)).unwrap_or(CommitHash::ZERO.after_lost(at));
        let tree = view.map(|view| view.tree().clipped(at));
        let last = tree.as_ref().map_or(at, Tree::last);
        let shown = || tree.as_ref().map_or(0, |tree| tree.span(last));
        let stood = checked.stood.map(|(head, depth)| (head.unwrap_or(last), depth));
        let stood = stood.or_else(|| self.places.get(&(parent, at)).copied().flatten());
        let (head, depth) = stood.unwrap_or_else(|| (last, self.shown_at_first(checked).unwrap_or_else(shown)));
        let inherits = view.map(|view| decide::inherited(view, at)).unwrap_or_default();
        Some(ForkPoint {
            parent,
            at,
            commit,
            head,
            depth,
            owners,
            last: Some(last).filter(|last| *last != at),
            inherits,
        })
    }
}

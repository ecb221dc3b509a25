//! A session's state of life: which states there are, which follows which, and what was found of a turn.
//!
//! Must not know: what is said in the session.

use serde::{Deserialize, Serialize};

use crate::moment::Moment;

/// A session's state of life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionStatus {
    /// Open for messages.
    #[default]
    Active,
    /// Set aside for a while.
    Paused,
    /// Done.
    Completed,
    /// Ended by an error.
    Failed,
    /// Put away.
    Archived,
}

impl SessionStatus {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Active, Self::Paused, Self::Completed, Self::Failed, Self::Archived];

    /// The state's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Archived => "archived",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether one state follows another: Active ⇄ Paused; Active or Paused → Completed or Failed; any but Archived → Archived;
    /// Archived → the state that was put away.
    pub fn may_become(self, to: Self, before_archive: Option<Self>) -> bool {
        match (self, to) {
            (Self::Active, Self::Paused) | (Self::Paused, Self::Active) => true,
            (Self::Active | Self::Paused, Self::Completed | Self::Failed) => true,
            (Self::Archived, Self::Archived) => false,
            (_, Self::Archived) => true,
            (Self::Archived, to) => before_archive.unwrap_or_default() == to,
            _ => false,
        }
    }
}

impl std::fmt::Display for SessionStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The state of life became another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusChange {
    /// The new state.
    pub to: SessionStatus,
    /// Why, in the host's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a session is doing, beside its state of life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum RuntimeState {
    /// Nothing.
    #[default]
    Idle,
    /// A turn runs.
    Busy,
    /// A call failed and is tried again.
    Retrying {
        /// Which attempt comes next, from 2.
        attempt: u32,
        /// When.
        next: Moment,
        /// What went wrong, in the host's words.
        message: String,
    },
    /// It was busy when its process ended.
    Interrupted,
}

/// What the session does was noted, so that it is known after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeChange {
    /// What it does.
    #[serde(flatten)]
    pub to: RuntimeState,
    /// Which run of a manager noted it: for any other, a session that was busy is interrupted.
    pub run: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_transitions() {
        use SessionStatus::{Active, Archived, Completed, Failed, Paused};
        let allowed = [
            (Active, Paused),
            (Paused, Active),
            (Active, Completed),
            (Paused, Completed),
            (Active, Failed),
            (Paused, Failed),
            (Active, Archived),
            (Paused, Archived),
            (Completed, Archived),
            (Failed, Archived),
        ];
        for from in SessionStatus::ALL {
            for to in SessionStatus::ALL {
                for before in SessionStatus::ALL {
                    let expected =
                        allowed.contains(&(from, to)) || (from == Archived && to == before && to != Archived);
                    assert_eq!(from.may_become(to, Some(before)), expected, "{from} to {to}, {before} before");
                }
            }
        }
    }

    #[test]
    fn a_name_reads_back() {
        for status in SessionStatus::ALL {
            assert_eq!(SessionStatus::parse(status.as_str()), Some(status));
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{status}\""));
        }
        assert_eq!(SessionStatus::parse("Active"), None);
    }
}

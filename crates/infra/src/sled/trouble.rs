//! Why a batch was not written, and what that is to whoever waits for it.
//!
//! Must not know: the log.

use std::io::{self, ErrorKind};

use sessions_ports::{BackendError, BackendErrorKind, StoreError};

use super::segment::NotMade;

/// Why a batch was not written.
pub(super) enum Trouble {
    /// There is no room; later there may be.
    NoSpace(&'static str),
    /// Nothing was written to the log, for a reason that says nothing about it.
    Refused(String),
    /// What is on the disk is not known any more.
    Fatal,
}

impl From<NotMade> for Trouble {
    fn from(why: NotMade) -> Self {
        match why {
            NotMade::Refused(StoreError::NoSpace { operation }) => Self::NoSpace(operation),
            NotMade::Refused(error) => Self::Refused(error.to_string()),
            NotMade::Unsynced(_) => Self::Fatal,
        }
    }
}

/// Whether there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// An append that did not happen, for a reason that says nothing about the log.
pub(crate) fn refused(why: &str) -> StoreError {
    BackendError::new(BackendErrorKind::Unavailable, "appending", why.to_owned()).into()
}

//! A place in history, as people write it.
//!
//! Must not know: what is done there.

use sessions_api::{At, Session, SessionError};

use crate::failure::Failure;

/// A place that was read and not yet looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    At(At),
    Checkpoint(String),
}

impl Place {
    /// Reads a version, a message's id, the token of a place, or `checkpoint:NAME`; nothing is the present.
    pub(crate) fn read(text: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = text else { return Ok(Self::At(At::Now)) };
        if let Some(name) = text.strip_prefix("checkpoint:") {
            return Ok(Self::Checkpoint(name.to_owned()));
        }
        // An id may be all digits too, but no version has 26 of them.
        if text.len() < 20 && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(|version| Self::At(At::Version(version))).map_err(|_| {
                Failure::usage("this is no version", "give the number of a version, or the id of a message")
            });
        }
        if text.matches('.').count() == 3 {
            return text.parse().map(|token| Self::At(At::Token(token))).map_err(|error: SessionError| error.into());
        }
        text.parse().map(|message| Self::At(At::Message(message))).map_err(|_| {
            Failure::usage(
                "this is neither a version nor the id of a message",
                "give a number that `show` or `branches` tells, the id of a message as it is shown, the token of a place, or \
                 checkpoint:NAME",
            )
        })
    }

    /// Looks it up.
    pub(crate) async fn of(&self, session: &Session) -> Result<At, Failure> {
        match self {
            Self::At(at) => Ok(*at),
            Self::Checkpoint(name) => Ok(session.at_checkpoint(name).await?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_write_a_place() {
        assert_eq!(Place::read(None).unwrap(), Place::At(At::Now));
        assert_eq!(Place::read(Some("17")).unwrap(), Place::At(At::Version(17)));
        assert_eq!(Place::read(Some("checkpoint:a.b 17")).unwrap(), Place::Checkpoint("a.b 17".to_owned()));
        let id = "00000000000000000000000000";
        assert_eq!(Place::read(Some(id)).unwrap(), Place::At(At::Message(id.parse().unwrap())));
        let token = format!("{id}.17.{}.disk", "0".repeat(64));
        assert_eq!(Place::read(Some(&token)).unwrap(), Place::At(At::Token(token.parse().unwrap())));
        for wrong in ["", "-1", "1.5", "a.b.c.d", "99999999999999999999", "now", "v17", &token[1..]] {
            assert_eq!(Place::read(Some(wrong)).unwrap_err().code(), Failure::USAGE, "{wrong}");
        }
    }
}

//! What to do at a shell about keys that are wrong, missing or gone.
//!
//! Must not know: how it is told.

use sessions_api::KeyError;

/// What to do, where the error does not say it, or says it for a host.
pub(crate) fn advice(error: &KeyError) -> Option<&'static str> {
    Some(match error {
        KeyError::WrongKey { .. } => "name the right key: --key-file, --passphrase-file or --vault",
        KeyError::NotSealed => "leave the key out; `keys init` seals the store",
        KeyError::Plain => {
            "seal the store first with `keys init`, or delete the session without shredding it with --forever"
        }
        KeyError::SessionDestroyed { .. } => "nothing opens it any more: delete it with --forever",
        KeyError::SessionRetired { .. } => {
            "put the newest copy of the folder `keys` back, or delete the session for good with --forever or --shred"
        }
        KeyError::WornOut { .. } => "`keys rotate-data SESSION` gives it another data key",
        KeyError::Retired { .. } => {
            "let the key service use that version of the key again, or put the newest copy of the folder `keys` back"
        }
        KeyError::Destroyed { .. } => {
            "only a backup whose key is another one can be opened: `restore-backup` it into a new folder"
        }
        KeyError::Damaged { .. } => {
            "when nothing is read, put the folder `keys` back from a backup; when one session alone answers so, leave `keys` as it is: restore a backup beside the store and export the session from there, or delete it with --forever or --shred"
        }
        KeyError::Unfinished => "give the command again, with the new key: it goes on where it was",
        KeyError::Io { .. } => "see to what the system says, and give the command again",
        _ => return None,
    })
}

//! Arguments about keys.
//!
//! Must not know: what they do.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::keyhole::Source;

/// Where the key of a sealed store comes from.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct KeySource {
    /// The key file of a sealed store (default: SESSIONS_KEY_FILE, or the one in your configuration folder)
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) key_file: Option<PathBuf>,
    /// The passphrase of a sealed store is the first line of this file (default: SESSIONS_PASSPHRASE, or it is asked for)
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// The key of a sealed store is in a Vault transit engine: its address, the mount and the key (default: SESSIONS_VAULT)
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) vault: Option<String>,
    /// The token for --vault is the first line of this file (default: VAULT_TOKEN)
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) vault_token_file: Option<PathBuf>,
    /// A store that is made now is plain: whoever reads the disk reads the sessions
    #[arg(long, global = true)]
    pub(crate) plain: bool,
    /// What the configuration names, where neither an argument nor the environment does.
    #[arg(skip)]
    pub(crate) configured: Option<Source>,
    /// Who is trusted to be the key service, where the configuration says so.
    #[arg(skip)]
    pub(crate) trusted: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a sealed store with the key that is named, seal a plain store in its place, or give a sealed store that key
    ///
    /// A plain store keeps its sessions, versions, places and receipts. It is written anew beside itself and takes as much room again meanwhile;
    /// then what was plain is overwritten and removed. Broken off, it is plain or sealed: the same command goes on.
    #[command(
        after_help = "With --json: {\"store\",\"kind\",\"key\",\"made\" (the store)}; where sessions' keys were wrapped anew also \
                            \"slots\",\"damaged\"; where a plain store was sealed also \
                            \"sessions\",\"records\",\"erased_files\",\"erased_bytes\",\"not_overwritten\",\"resumed\""
    )]
    Init(InitKeys),
    /// Say how the store's keys are; needs no key, unless --all asks to look at every session's
    #[command(
        after_help = "With --json: {\"store\",\"sealed\",\"kind\",\"key\",\"wrapped_by\",\"since\",\"age_days\",\"changing\",\"advice\"} and with \
                            --all \"live\",\"destroyed\",\"damaged\",\"missing\",\"oldest\",\"unfinished\",\"pass\" (since when all sessions are given another data key, or null)"
    )]
    Status(KeyStatus),
    /// Make another key-encryption key and wrap all sessions' keys under it; the records stay as they are
    #[command(after_help = "With --json: {\"store\",\"kind\",\"key\",\"slots\",\"damaged\"}")]
    Rotate(NewKey),
    /// Make another data key for a session, or for all, and seal its records anew
    #[command(
        after_help = "With --json a line for each: {\"id\",\"records\",\"epoch\",\"resumed\",\"closed\":{\"epoch\",\"version\",\"old\",\"new\"}}"
    )]
    RotateData(RotateData),
    /// Take another passphrase: from SESSIONS_NEW_PASSPHRASE, a file, or asked for
    #[command(after_help = "With --json: as rotate")]
    ChangePassphrase(NewPassphrase),
}

/// The key that is to be from now on.
#[derive(Debug, Default, Args)]
pub(crate) struct NewKey {
    /// From now on the key is in this file, which is made when it is not there
    #[arg(long, value_name = "FILE")]
    pub(crate) to_key_file: Option<PathBuf>,
    /// From now on it is the passphrase in the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) to_passphrase_file: Option<PathBuf>,
    /// From now on it is a passphrase: of SESSIONS_NEW_PASSPHRASE, or asked for
    #[arg(long)]
    pub(crate) to_passphrase: bool,
    /// From now on it is in a Vault transit engine
    #[arg(long, value_name = "URL")]
    pub(crate) to_vault: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct InitKeys {
    #[command(flatten)]
    pub(crate) new: NewKey,
    /// Where a plain store is sealed: also erase what a crash or a repair set aside, which lies in the clear
    #[arg(long)]
    pub(crate) erase_quarantine: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeyStatus {
    /// Look at the keys of all sessions, for which the store is opened
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RotateData {
    /// The session (default: all)
    pub(crate) session: Option<String>,
    /// Begin with all sessions. Without this, a call for all that was broken off is gone on with: sessions that got another data key keep it, for a week and
    /// as long as the store's key stays
    #[arg(long, conflicts_with = "session")]
    pub(crate) anew: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NewPassphrase {
    /// The new passphrase is the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) new_passphrase_file: Option<PathBuf>,
}

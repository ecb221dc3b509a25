//! What may be typed to begin a chat.
//!
//! Must not know: what is said in it.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// The session to go on with (default: a new one, which is made when the first thing is said)
    pub(crate) session: Option<String>,
    /// The model that answers in this chat (default: the session's, which /model changes, else the one of the configuration, and where nothing
    /// is configured a script)
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Begin a session; SESSION is then its key, and when one has that key already, it is gone on with
    #[arg(long)]
    pub(crate) new: bool,
}

//! What the disk itself gives: an append of 512 bytes to a plain file, and its sync. Every durable figure is a ratio to this.
//!
//! Must not know: sessions.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use crate::stage::text;

/// A plain file that is appended to.
pub(crate) struct RawLog {
    file: File,
    at: usize,
}

impl RawLog {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: OpenOptions::new().create_new(true).append(true).open(path)?, at: 0 })
    }

    /// Appends so many messages in one write and syncs them.
    pub(crate) fn append(&mut self, messages: usize) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(messages * 512);
        for _ in 0..messages {
            bytes.extend_from_slice(text(self.at).as_bytes());
            self.at += 1;
        }
        self.file.write_all(&bytes)?;
        self.file.sync_data()
    }
}

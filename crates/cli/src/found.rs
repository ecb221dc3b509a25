//! Files to import: those that were named, and those that a search of folders finds.
//!
//! Must not know: what is in them, beyond their beginning.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use sessions_api::{DETECT_BYTES, Format, detect};

use crate::{failure::Failure, program::Program, table::counted};

/// So many files are named that were passed over.
const NAMED: usize = 5;

/// Files that were passed over: how many, and the first of them.
#[derive(Default)]
pub(crate) struct PassedOver {
    count: u64,
    first: Vec<PathBuf>,
}

impl PassedOver {
    pub(crate) fn add(&mut self, path: PathBuf) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(path);
        }
    }

    pub(crate) fn tell(&self, program: &Program, why: &str) {
        if self.count == 0 {
            return;
        }
        let mut names: Vec<String> = self.first.iter().map(|path| path.display().to_string()).collect();
        let more = self.count - names.len() as u64;
        if more > 0 {
            names.push(format!("and {more} more"));
        }
        let names = names.join(", ");
        program.out.notice(&format!("passed over, {why}: {} ({names})", counted(self.count, "file")));
    }
}

/// Files to import.
#[derive(Default)]
pub(crate) struct Found {
    /// Each with whether a search found it.
    pub(crate) files: Vec<(PathBuf, bool)>,
    pub(crate) bytes: u64,
    /// Named as transcripts are, and nothing that is known.
    pub(crate) unknown: PassedOver,
    /// Named otherwise.
    pub(crate) others: PassedOver,
    /// Folders below those that are searched.
    pub(crate) too_deep: PassedOver,
    /// Files in which nobody says anything.
    pub(crate) silent: PassedOver,
    pub(crate) failures: Vec<(PathBuf, Failure)>,
}

/// What of a folder is taken.
#[derive(Clone, Copy)]
pub(crate) enum Wanted {
    /// Files whose beginning is known.
    Known,
    /// Files of this format.
    Only(Format),
    /// All that are named as transcripts are: the format was given.
    Named,
}

impl Wanted {
    fn takes(self, head: &[u8]) -> bool {
        match self {
            Self::Known => detect(head).is_some(),
            Self::Only(format) => detect(head) == Some(format),
            Self::Named => true,
        }
    }
}

/// Folders are searched so many levels deep.
const DEEPEST: usize = 24;

impl Found {
    /// A file that was named is taken; of a folder, what is wanted.
    pub(crate) fn look_at(&mut self, path: &Path, wanted: Wanted) {
        match fs::metadata(path) {
            Err(error) => self.failures.push((path.to_owned(), error.into())),
            Ok(about) if about.is_dir() => self.search(path, wanted, DEEPEST),
            Ok(about) => self.take(path.to_owned(), about.len(), false),
        }
    }

    fn take(&mut self, path: PathBuf, bytes: u64, was_searched: bool) {
        self.bytes += bytes;
        self.files.push((path, was_searched));
    }

    /// Searches a folder and the folders in it. Links are not followed, so there is an end.
    fn search(&mut self, folder: &Path, wanted: Wanted, levels: usize) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.failures.push((folder.to_owned(), error.into())),
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        // Files first: what stands in a folder beside a file may be of its session's sub-agents.
        paths.sort_by_cached_key(|path| (path.is_dir(), path.clone()));
        for path in paths {
            let Ok(about) = fs::symlink_metadata(&path) else { continue };
            if about.is_dir() && levels == 0 {
                self.too_deep.add(path);
            } else if about.is_dir() {
                self.search(&path, wanted, levels - 1);
            } else if about.is_file() && !is_candidate(&path) {
                self.others.add(path);
            } else if about.is_file() {
                match head_of(&path) {
                    Err(error) => self.failures.push((path, error.into())),
                    Ok(head) if wanted.takes(&head) => self.take(path, about.len(), true),
                    Ok(_) => self.unknown.add(path),
                }
            }
        }
    }
}

fn is_candidate(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json" || extension == "jsonl")
}

fn head_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(DETECT_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

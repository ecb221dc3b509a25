//! How a sealed store takes the place of the plain one that it was made from.
//!
//! It is made in the folder `sealing` of the store, as a store of its own. Giving the folder `keys` its place is the one step that decides: before
//! it the store is plain, and what stands in `sealing` is thrown away; from then on it is sealed, and whoever opens it next ends what was
//! broken off. What was plain is overwritten before it goes.
//!
//! **Invariant**: a part of the plain store goes only while the sealed one has that part, whole and on the disk. A folder of that name without this
//! store's mark in it is somebody else's, and is left alone.
//!
//! Must not know: what stands in the parts.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use sessions_domain::chain;
use sessions_ports::{BackendError, BackendErrorKind, StoreError, StoreId};

use super::{
    folder::{self, Folder, failed},
    frame::{Found, ROOT, Scan},
    segment::{self, SEGMENT_HEADER},
};

/// Where the sealed store is made.
pub(crate) const WORK: &str = "sealing";
const KEYS: &str = "keys";
/// Stands in the folder from its first moment to its last, and says of which store it is.
const MARK: &str = "SEALING";
const MARK_NEW: &str = "SEALING.new";
const LOG: &str = "log";
const INDEX: &str = "index";
/// What the sealed store has another one of; the log last, since it tells what stands beside it.
const PARTS: [&str; 4] = [INDEX, "blobs", "quarantine", LOG];
const TAKING_OVER: &str = "putting the sealed store in the plain one's place";

/// A step that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The store is sealed from here on.
    Decided,
    /// A file of the plain store is overwritten, and gone.
    Erased,
    /// A part of the sealed store has its place.
    Moved(&'static str),
}

/// What went of the plain store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Files that went without being overwritten, because the disk refused that.
    pub(crate) not_overwritten: u64,
}

fn taking(error: io::Error) -> StoreError {
    failed(TAKING_OVER, error)
}

fn mark_of(store: StoreId) -> String {
    format!("sessions-sealing 1\nid {}\n", chain::to_hex(&store.0))
}

/// Whether a sealed store of this one is being made here, or was to take over and was not done with it.
fn is_ours(root: &Path, store: StoreId) -> bool {
    let work = root.join(WORK);
    is_folder(&work) && fs::read(work.join(MARK)).is_ok_and(|mark| mark == mark_of(store).as_bytes())
}

/// Whether a folder stands there, and not a link to one.
fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Whether something stands there. An error of the disk is no answer.
fn stands(path: &Path) -> Result<bool, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(taking(error)),
    }
}

/// Whether a log is one that was sealed: its batches carry roots, and those of a plain one never do.
fn is_sealed(log: &Path) -> Result<bool, StoreError> {
    if !is_folder(log) {
        return Ok(false);
    }
    for number in segment::numbers(log)? {
        let bytes = fs::read(segment::path_of(log, number)).map_err(taking)?;
        let has_root = |found| match found {
            Found::Frame(_, frame) => frame.fields().any(|(tag, _)| tag == ROOT),
            Found::Damage(..) | Found::Newer(_) => false,
        };
        if Scan::new(&bytes, SEGMENT_HEADER as usize).any(has_root) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a sealed store was to take over here, and was not done with it.
pub(crate) fn is_unfinished(root: &Path) -> bool {
    root.join(KEYS).exists() && matches!(folder::id_of(root), Ok(Some(store)) if is_ours(root, store))
}

/// Ends what was broken off. Whoever calls it has the store's lock.
pub(super) fn settle(root: &Path, store: StoreId) -> Result<(), StoreError> {
    if root.join(KEYS).exists() {
        settle_decided(root, store, &mut |_| ()).map(drop)
    } else if is_ours(root, store) {
        give_up(root)
    } else {
        // What a try leaves whose mark went already, or was not there yet.
        let _ = fs::remove_dir(root.join(WORK));
        Ok(())
    }
}

/// The same, and leaves a store as it is that is plain still.
pub(super) fn settle_decided(root: &Path, store: StoreId, told: &mut dyn FnMut(Step)) -> Result<Gone, StoreError> {
    if root.join(KEYS).exists() && is_ours(root, store) {
        return finish(root, told);
    }
    let _ = fs::remove_dir(root.join(WORK));
    Ok(Gone::default())
}

/// Makes the folder to write to, empty. What an earlier try left there goes.
pub(super) fn begin(root: &Path, store: StoreId) -> Result<PathBuf, StoreError> {
    let work = root.join(WORK);
    if is_ours(root, store) {
        give_up(root)?;
    }
    // An earlier try may have come no further than its name.
    let _ = fs::remove_file(work.join(MARK_NEW));
    let _ = fs::remove_dir(&work);
    if fs::symlink_metadata(&work).is_ok() {
        let why = "something that is not of this store stands in the place `sealing` of its folder; move it elsewhere";
        return Err(BackendError::new(BackendErrorKind::Path, "making the sealed store", why).into());
    }
    // What takes a part's place has to be on the same disk, and the part the store's own.
    let device = |path: &Path| fs::symlink_metadata(path).map(|found| found.dev());
    let own = device(root).map_err(taking)?;
    for part in PARTS {
        let path = root.join(part);
        if stands(&path)? && !(is_folder(&path) && device(&path).is_ok_and(|of| of == own)) {
            let why = format!(
                "`{part}` is a link, a mount or a file; make it a folder of the store's own disk, or seal a copy of the store"
            );
            return Err(BackendError::new(BackendErrorKind::Path, "sealing the store in its place", why).into());
        }
    }
    folder::make(&work)?;
    let operation = "marking the folder of the sealed store";
    folder::write_durably(&work.join(MARK_NEW), &work.join(MARK), mark_of(store).as_bytes(), operation)?;
    folder::sync_dir(root)?;
    Ok(work)
}

/// Goes on with what was broken off behind the step that decides, in a store that nobody has open.
pub(crate) fn go_on(root: &Path, told: &mut dyn FnMut(Step)) -> Result<Gone, StoreError> {
    Folder::existing_told(root, told).map(|(_, gone)| gone)
}

/// Takes away what was made of a sealed store, its mark last. There are no words in it that its keys do not seal, and they go with it.
pub(super) fn give_up(root: &Path) -> Result<(), StoreError> {
    let work = root.join(WORK);
    let remove = || {
        for entry in fs::read_dir(&work)? {
            let entry = entry?;
            if entry.file_name() == MARK {
                continue;
            }
            if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
        }
        File::open(&work)?.sync_all()?;
        fs::remove_file(work.join(MARK))?;
        fs::remove_dir(&work)
    };
    remove().map_err(|error| failed("removing what sealing the store in its place left", error))
}

/// Puts a sealed store that is whole and on the disk in the place of the plain one.
pub(crate) fn take_over(root: &Path, told: &mut dyn FnMut(Step)) -> Result<Gone, StoreError> {
    let work = root.join(WORK);
    folder::sync_dir(&work)?;
    folder::sync_dir(root)?;
    fs::rename(work.join(KEYS), root.join(KEYS)).map_err(taking)?;
    folder::sync_dir(root)?;
    folder::sync_dir(&work)?;
    told(Step::Decided);
    finish(root, told)
}

/// All that comes behind the step that decides. May be broken off anywhere, and be done again.
fn finish(root: &Path, told: &mut dyn FnMut(Step)) -> Result<Gone, StoreError> {
    let work = root.join(WORK);
    let mut gone = Gone::default();
    // What decided may not be on the disk yet.
    folder::sync_dir(root)?;
    // The log goes last, so as long as it is there the parts beside it are plain. Where they are not, somebody put this folder here, and it goes.
    if !stands(&work.join(LOG))? || is_sealed(&root.join(LOG))? {
        give_up(root)?;
        folder::sync_dir(root)?;
        return Ok(gone);
    }
    if stands(&work.join("FORMAT"))? {
        fs::rename(work.join("FORMAT"), root.join("FORMAT")).map_err(taking)?;
        folder::sync_dir(root)?;
        told(Step::Moved("FORMAT"));
    }
    for part in PARTS {
        let is_made = stands(&work.join(part))?;
        if !is_made && part != INDEX {
            continue;
        }
        // The plain index knows other places, so it goes also where there is no other one: that found no space, and is made by the next opening.
        // Where this one is in its place already, it is made once more.
        erase(&root.join(part), &mut gone, told)?;
        if is_made {
            fs::rename(work.join(part), root.join(part)).map_err(taking)?;
        }
        folder::sync_dir(root)?;
        folder::sync_dir(&work)?;
        told(Step::Moved(part));
    }
    give_up(root)?;
    folder::sync_dir(root)?;
    Ok(gone)
}

/// Overwrites and removes every file of a folder, and the folder.
fn erase(path: &Path, gone: &mut Gone, told: &mut dyn FnMut(Step)) -> Result<(), StoreError> {
    if !stands(path)? {
        return Ok(());
    }
    if !is_folder(path) {
        // What it leads to is none of the store's.
        return fs::remove_file(path).map_err(taking);
    }
    let entries = fs::read_dir(path).map_err(taking)?;
    let entries = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<PathBuf>>>();
    for entry in entries.map_err(taking)? {
        let about = fs::symlink_metadata(&entry).map_err(taking)?;
        if about.is_dir() {
            erase(&entry, gone, told)?;
            continue;
        }
        // A file that the disk does not let be overwritten must not keep the store from being opened: it goes as it is. So does one that has
        // another name elsewhere, as in a copy of hard links, which is not the store's to destroy.
        let is_own = about.is_file() && about.nlink() == 1;
        let is_overwritten = is_own && overwrite(&entry, about.len()).is_ok();
        fs::remove_file(&entry).map_err(taking)?;
        gone.files += 1;
        gone.bytes += about.len();
        gone.not_overwritten += u64::from(!is_overwritten);
        told(Step::Erased);
    }
    fs::remove_dir(path).map_err(taking)
}

fn overwrite(path: &Path, length: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    file.sync_all()
}

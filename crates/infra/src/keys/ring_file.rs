//! The files `ring` and `ring.copy`: how the key of all keys is wrapped, twice.
//!
//! ```text
//! 0  8  "SESSRING"        16   8  version     40  4  CRC-32C of bytes 0 to 40     44 + n  32  SHA-256 of all before
//! 8  4  format (1)        24  16  store id    44  n  the ring
//! 12 4  length n
//! ```
//!
//! Both are replaced one after the other, each by a file that is whole; so one is whole at every moment, and the newer one counts. What a
//! replaced file said is laid over with zeros, because an old wrapping opens what an old passphrase still unwraps.
//!
//! Must not know: what a ring says.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use sessions_ports::{KeyError, StoreError, StoreId, StoredRing};

use super::slot_file::Failure;
use crate::sled::folder::{self, failed};

const MAGIC: [u8; 8] = *b"SESSRING";
const FORMAT: u32 = 1;
const HEADER: usize = 44;
/// The most bytes of a ring.
pub(super) const MAX_RING: usize = 1 << 20;
const NAMES: [&str; 2] = ["ring", "ring.copy"];

const READING: &str = "reading the ring of keys";
const WRITING: &str = "writing the ring of keys";

/// The names of each step, for whoever wants to look or to stop there.
pub(super) type Step<'a> = &'a mut dyn FnMut(&'static str);

/// What one of the two files holds.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Absent,
    Whole(StoredRing),
    Damaged(&'static str),
    Newer(u32),
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Whether bytes are the file of a store's ring, as it was written.
pub(super) fn is_whole(store: StoreId, file: &[u8]) -> bool {
    matches!(decode(store, file), Look::Whole(_))
}

pub(super) fn encode(store: StoreId, ring: &StoredRing) -> Vec<u8> {
    let mut file = Vec::with_capacity(HEADER + ring.bytes.len() + 32);
    file.extend(MAGIC);
    file.extend(FORMAT.to_le_bytes());
    file.extend(u32::try_from(ring.bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    file.extend(ring.version.to_le_bytes());
    file.extend(store.0);
    file.extend(crc32c::crc32c(&file).to_le_bytes());
    file.extend(&ring.bytes);
    file.extend(digest(&SHA256, &file).as_ref());
    file
}

fn decode(store: StoreId, file: &[u8]) -> Look {
    whole(store, file).unwrap_or(Look::Damaged("the ring is not as it was written"))
}

fn whole(store: StoreId, file: &[u8]) -> Option<Look> {
    let (head, stored) = file.get(..HEADER)?.split_at_checked(HEADER - 4)?;
    if !head.starts_with(&MAGIC) || stored != crc32c::crc32c(head).to_le_bytes() {
        return None;
    }
    let format = u32::from_le_bytes(number(head, 8)?);
    if format != FORMAT {
        return Some(Look::Newer(format));
    }
    let length = usize::try_from(u32::from_le_bytes(number(head, 12)?)).ok()?;
    let (covered, stored) = file.split_at_checked(HEADER.checked_add(length)?)?;
    if digest(&SHA256, covered).as_ref() != stored {
        return None;
    }
    if head.get(24..40) != Some(store.0.as_slice()) {
        return Some(Look::Damaged("they are those of another store"));
    }
    let version = u64::from_le_bytes(number(head, 16)?);
    Some(Look::Whole(StoredRing { version, bytes: Bytes::copy_from_slice(covered.get(HEADER..)?) }))
}

fn read_file(store: StoreId, path: &Path) -> io::Result<Look> {
    match fs::metadata(path) {
        // Opening what is not a file could wait for ever.
        Ok(about) if !about.is_file() => return Ok(Look::Damaged("the ring is not a file")),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Look::Absent),
        Err(error) => return Err(error),
    }
    let mut bytes = Vec::new();
    File::open(path)?.take((HEADER + MAX_RING + 33) as u64).read_to_end(&mut bytes)?;
    Ok(decode(store, &bytes))
}

/// The two files in their folder.
pub(super) struct RingFiles {
    pub(super) folder: PathBuf,
    pub(super) store: StoreId,
}

impl RingFiles {
    fn path(&self, name: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{name}{ending}"))
    }

    fn looks(&self) -> Result<[Look; 2], StoreError> {
        let look = |name| {
            let unread = |error: io::Error| match folder::is_refusal(&error) {
                true => Err(failed(READING, error)),
                false => Ok(Look::Damaged("the ring cannot be read")),
            };
            read_file(self.store, &self.path(name, "")).or_else(unread)
        };
        let [first, second] = NAMES;
        Ok([look(first)?, look(second)?])
    }

    /// The newer one of those that are whole.
    pub(super) fn read(&self) -> Result<Option<StoredRing>, StoreError> {
        match self.looks()? {
            [Look::Newer(format), _] | [_, Look::Newer(format)] => {
                Err(KeyError::Newer { found: format!("a ring of format {format}") }.into())
            }
            [Look::Whole(first), Look::Whole(second)] => {
                Ok(Some(if second.version > first.version { second } else { first }))
            }
            [Look::Whole(ring), _] | [_, Look::Whole(ring)] => Ok(Some(ring)),
            [Look::Damaged(what), _] | [_, Look::Damaged(what)] => Err(KeyError::Damaged { what }.into()),
            [Look::Absent, Look::Absent] => Ok(None),
        }
    }

    /// Which of the two are not the ring that is read, by name.
    pub(super) fn unlike(&self) -> Result<Vec<&'static str>, StoreError> {
        let Some(ring) = self.read()? else { return Ok(Vec::new()) };
        let looks = self.looks()?;
        let unlike =
            NAMES.into_iter().zip(looks).filter(|(_, look)| !matches!(look, Look::Whole(same) if *same == ring));
        Ok(unlike.map(|(name, _)| name).collect())
    }

    /// Replaces both files.
    pub(super) fn write(&self, ring: &StoredRing, step: Step<'_>) -> Result<(), Failure> {
        self.replace(&NAMES, ring, step)
    }

    /// What was begun and broken off is finished: no old or half ring is left, and both files say the same.
    pub(super) fn mend(&self, step: Step<'_>) -> Result<Vec<&'static str>, StoreError> {
        for name in NAMES {
            self.wipe(&self.path(name, ".new"))?;
            self.wipe_old(name)?;
        }
        let unlike = self.unlike()?;
        let Some(ring) = self.read()?.filter(|_| !unlike.is_empty()) else { return Ok(unlike) };
        match self.replace(&unlike, &ring, step) {
            Ok(()) => Ok(unlike),
            // It can be read, so it is.
            Err(Failure::Refused(_)) => Ok(Vec::new()),
            Err(Failure::Unknown) => Err(StoreError::Poisoned),
        }
    }

    fn replace(&self, names: &[&'static str], ring: &StoredRing, step: Step<'_>) -> Result<(), Failure> {
        let bytes = encode(self.store, ring);
        for name in names {
            step("before a new ring is written");
            let path = self.path(name, ".new");
            if let Err(failure) = write_synced(&path, &bytes) {
                for name in names {
                    let _ = self.wipe(&self.path(name, ".new"));
                }
                return Err(failure);
            }
        }
        for name in names {
            step("before the old ring has a second name");
            self.replace_one(name, step).map_err(|_| Failure::Unknown)?;
        }
        for name in names {
            step("before an old ring is wiped");
            self.wipe_old(name).map_err(|_| Failure::Unknown)?;
        }
        step("after all");
        Ok(())
    }

    /// Puts the new file in the place of the old one, which keeps a name until it is wiped.
    fn replace_one(&self, name: &str, step: Step<'_>) -> Result<(), StoreError> {
        let (path, old) = (self.path(name, ""), self.path(name, ".old"));
        match fs::hard_link(&path, &old) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // A file system without second names, which some refuse as if it were not allowed; the old bytes are left to it.
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {}
            Err(error) => return Err(failed(WRITING, error)),
        }
        folder::sync_dir(&self.folder)?;
        step("before the new ring is in its place");
        fs::rename(self.path(name, ".new"), &path).map_err(|error| failed(WRITING, error))?;
        step("before the ring's new place is synced");
        folder::sync_dir(&self.folder)
    }

    /// Wipes what was replaced, unless it was not replaced yet.
    fn wipe_old(&self, name: &str) -> Result<(), StoreError> {
        let old = self.path(name, ".old");
        let of = |path: &Path| fs::symlink_metadata(path).map(|about| (about.dev(), about.ino())).ok();
        if of(&old).is_some() && of(&old) == of(&self.path(name, "")) {
            return fs::remove_file(&old).map_err(|error| failed(WRITING, error));
        }
        self.wipe(&old)
    }

    /// Lays zeros over a file and takes it away.
    fn wipe(&self, path: &Path) -> Result<(), StoreError> {
        match fs::symlink_metadata(path) {
            Ok(about) if about.is_file() => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(WRITING, error)),
        }
        let lay_zeros = || {
            let mut file = OpenOptions::new().write(true).open(path)?;
            let length = file.metadata()?.len().min((HEADER + MAX_RING + 32) as u64);
            file.write_all(&vec![0; usize::try_from(length).unwrap_or_default()])?;
            file.sync_all()?;
            fs::remove_file(path)
        };
        lay_zeros().map_err(|error: io::Error| failed("wiping a ring that was replaced", error))?;
        folder::sync_dir(&self.folder)
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let write = || {
        if path.is_symlink() {
            // Not written through a link that somebody put there.
            std::fs::remove_file(path)?;
        }
        let mut file = folder::private().write(true).create(true).truncate(true).open(path)?;
        file.write_all(bytes).map(|()| file)
    };
    let file = write().map_err(|error| failed(WRITING, error))?;
    match file.sync_all().map_err(|error| failed(WRITING, error)) {
        Ok(()) => Ok(()),
        // Some file systems find out so late; the file is not in use yet.
        Err(full @ StoreError::NoSpace { .. }) => Err(full.into()),
        Err(_) => Err(Failure::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const STORE: StoreId = StoreId([9; 16]);

    fn rings(folder: &Path) -> RingFiles {
        RingFiles { folder: folder.to_owned(), store: STORE }
    }

    fn ring(version: u64) -> StoredRing {
        StoredRing { version, bytes: Bytes::from(format!("{{\"ring\":{version},\"wrapped\":\"{version:064x}\"}}")) }
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_ring_is_read_as_it_was_written_and_there_is_none_before_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let rings = rings(folder.path());
        assert_eq!(rings.read().unwrap(), None);
        for version in 1..4 {
            rings.write(&ring(version), &mut |_| {}).unwrap();
            assert_eq!(rings.read().unwrap(), Some(ring(version)));
            assert_eq!(names(folder.path()), NAMES);
        }
        assert!(rings.unlike().unwrap().is_empty());
    }

    #[test]
    fn a_crash_before_each_step_leaves_the_old_or_the_new_ring_and_opening_finishes_it() {
        let folder = tempfile::tempdir().unwrap();
        let live = folder.path().join("live");
        fs::create_dir(&live).unwrap();
        rings(&live).write(&ring(1), &mut |_| {}).unwrap();
        let taken = RefCell::new(Vec::new());
        let mut take = |step: &'static str| {
            let mut taken = taken.borrow_mut();
            let to = folder.path().join(taken.len().to_string());
            copy(&live, &to);
            taken.push((step, to));
        };
        rings(&live).write(&ring(2), &mut take).unwrap();
        let taken = taken.into_inner();
        assert!(taken.len() >= 11, "{taken:?}");
        let mut seen = Vec::new();
        for (step, at) in taken {
            let rings = rings(&at);
            let found = rings.read().unwrap().unwrap();
            rings.mend(&mut |_| {}).unwrap();
            assert_eq!(rings.read().unwrap().unwrap(), found, "{step}");
            assert_eq!(names(&at), NAMES, "{step}");
            assert!(rings.unlike().unwrap().is_empty(), "{step}");
            assert!(found == ring(1) || found == ring(2), "{step}");
            seen.push(found.version);
        }
        assert!(seen.is_sorted() && seen.contains(&1) && seen.last() == Some(&2), "{seen:?}");
    }

    #[test]
    fn a_second_name_of_a_ring_that_was_not_replaced_yet_wipes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let rings = rings(folder.path());
        rings.write(&ring(1), &mut |_| {}).unwrap();
        for name in NAMES {
            fs::hard_link(rings.path(name, ""), rings.path(name, ".old")).unwrap();
        }
        rings.mend(&mut |_| {}).unwrap();
        assert_eq!(names(folder.path()), NAMES);
        assert!(rings.read().unwrap() == Some(ring(1)) && rings.unlike().unwrap().is_empty());
    }

    #[test]
    fn what_a_replaced_ring_said_is_wiped() {
        let folder = tempfile::tempdir().unwrap();
        let rings = rings(folder.path());
        rings.write(&ring(1), &mut |_| {}).unwrap();
        // A name of our own keeps the bytes of the old file in sight.
        for name in NAMES {
            fs::hard_link(rings.path(name, ""), rings.path(name, ".seen")).unwrap();
        }
        rings.write(&ring(2), &mut |_| {}).unwrap();
        for name in NAMES {
            assert!(fs::read(rings.path(name, ".seen")).unwrap().iter().all(|byte| *byte == 0), "{name}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_one_file_is_found_and_the_other_one_counts() {
        let folder = tempfile::tempdir().unwrap();
        let rings = rings(folder.path());
        rings.write(&ring(7), &mut |_| {}).unwrap();
        let whole = fs::read(rings.path("ring", "")).unwrap();
        let flips = (0..whole.len() * 8).map(|bit| {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        });
        let cuts = (0..whole.len()).map(|length| whole[..length].to_vec());
        let longer = [whole.clone(), vec![0]].concat();
        for damaged in flips.chain(cuts).chain([longer]) {
            assert!(matches!(decode(STORE, &damaged), Look::Damaged(_)));
        }
        for name in NAMES {
            fs::write(rings.path(name, ""), &whole[1..]).unwrap();
            assert_eq!(rings.read().unwrap(), Some(ring(7)));
            assert_eq!(rings.unlike().unwrap(), [name]);
            assert_eq!(rings.mend(&mut |_| {}).unwrap(), [name]);
            assert!(rings.unlike().unwrap().is_empty());
        }
        for name in NAMES {
            fs::write(rings.path(name, ""), &whole[1..]).unwrap();
        }
        assert!(matches!(rings.read(), Err(StoreError::Key(KeyError::Damaged { .. }))));
        assert!(matches!(rings.mend(&mut |_| {}), Err(StoreError::Key(KeyError::Damaged { .. }))));
    }

    #[test]
    fn a_newer_format_and_another_store_are_told_and_nothing_waits_for_what_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let rings = rings(folder.path());
        rings.write(&ring(7), &mut |_| {}).unwrap();
        let mut newer = fs::read(rings.path("ring", "")).unwrap();
        newer[8] = 2;
        let checksum = crc32c::crc32c(&newer[..HEADER - 4]).to_le_bytes();
        newer[HEADER - 4..HEADER].copy_from_slice(&checksum);
        for name in NAMES {
            let whole = fs::read(rings.path(name, "")).unwrap();
            fs::write(rings.path(name, ""), &newer).unwrap();
            assert!(matches!(rings.read(), Err(StoreError::Key(KeyError::Newer { .. }))), "{name}");
            fs::write(rings.path(name, ""), whole).unwrap();
        }
        let other = RingFiles { folder: folder.path().to_owned(), store: StoreId([8; 16]) };
        assert!(matches!(other.read(), Err(StoreError::Key(KeyError::Damaged { .. }))));
        fs::remove_file(rings.path("ring", "")).unwrap();
        fs::create_dir(rings.path("ring", "")).unwrap();
        assert_eq!(rings.read().unwrap(), Some(ring(7)));
    }
}

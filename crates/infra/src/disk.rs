//! What a folder's disk really does: its file system, and how long one sync takes.
//!
//! Figures of a store mean little without these beside them, because a promise of durability is only as good and as fast as the disk.
//!
//! Must not know: stores.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The file system that a path lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Its type, as in `ext4`.
    pub kind: String,
    /// Where it is mounted.
    pub mounted_at: PathBuf,
    /// What is mounted there, as in `/dev/sda1`.
    pub device: String,
}

impl FileSystem {
    /// The file system of a path that exists; `None` where the system does not tell.
    pub fn of(path: &Path) -> Option<Self> {
        let path = fs::canonicalize(path).ok()?;
        Self::among(&fs::read_to_string("/proc/self/mountinfo").ok()?, &path)
    }

    /// The one among the mounts (`/proc/self/mountinfo`, see proc(5)) that holds the path: the deepest, and of equal ones the last.
    fn among(mounts: &str, path: &Path) -> Option<Self> {
        let mut found: Option<Self> = None;
        for mount in mounts.lines() {
            let Some(mount) = Self::parse(mount).filter(|mount| path.starts_with(&mount.mounted_at)) else { continue };
            let depth = |mount: &Self| mount.mounted_at.components().count();
            if found.as_ref().is_none_or(|known| depth(&mount) >= depth(known)) {
                found = Some(mount);
            }
        }
        found
    }

    fn parse(line: &str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mounted_at = PathBuf::from(unescaped(mount.split(' ').nth(4)?));
        let mut system = system.split(' ');
        let kind = system.next()?.to_owned();
        Some(Self { kind, mounted_at, device: unescaped(system.next()?) })
    }

    /// True when what is written there is gone after a restart, whatever is synced.
    pub fn is_volatile(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs" | "devtmpfs")
    }

    /// True when the disk is another machine's, whose promises are its own.
    pub fn is_remote(&self) -> bool {
        let kind = self.kind.as_str();
        matches!(kind, "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "afs" | "ceph" | "virtiofs")
            || kind.starts_with("fuse")
    }
}

/// Takes back the octal escapes (`\040` for a blank) of a mount's names.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *first == b'\\').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How long appends with a sync take, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncTimes(Vec<Duration>);

impl SyncTimes {
    /// Appends `bytes` bytes and syncs them (`fdatasync`), `times` times, to a file of its own in `folder`. The file is removed again.
    ///
    /// # Errors
    /// The system's.
    pub fn measure(folder: &Path, bytes: usize, times: usize) -> io::Result<Self> {
        let path = folder.join(format!(".sync-probe-{}", std::process::id()));
        let measured = append_and_sync(&path, bytes, times);
        fs::remove_file(&path).or_else(|gone| if measured.is_err() { Ok(()) } else { Err(gone) })?;
        let mut times = measured?;
        times.sort();
        Ok(Self(times))
    }

    /// The time that so many of 100 stay below (50: the median).
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((self.0.len() * percent / 100).min(last)).copied().unwrap_or_default()
    }
}

fn append_and_sync(path: &Path, bytes: usize, times: usize) -> io::Result<Vec<Duration>> {
    let mut file = OpenOptions::new().create_new(true).append(true).open(path)?;
    let block = vec![b'x'; bytes];
    let mut measured = Vec::with_capacity(times);
    for _ in 0..times {
        let begun = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        measured.push(begun.elapsed());
    }
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /home/my\\040disk rw,nosuid shared:5 master:1 - btrfs /dev/sdb1 rw,subvol=/
31 30 0:26 / /home/my\\040disk/cache rw - tmpfs tmpfs rw,size=8k
not a mount
";

    #[test]
    fn a_path_lies_on_the_deepest_mount_above_it() {
        let of = |path: &str| FileSystem::among(MOUNTS, Path::new(path)).unwrap();
        assert_eq!(of("/var/lib").kind, "ext4");
        assert_eq!(of("/home/my disk/chats").kind, "btrfs");
        assert_eq!(of("/home/my disk/chats").mounted_at, Path::new("/home/my disk"));
        assert!(of("/home/my disk/cache/a").is_volatile());
        assert_eq!(of("/home/my disks").kind, "ext4", "a name that only begins alike is another folder");
        assert_eq!(FileSystem::among("", Path::new("/")), None);
    }

    #[test]
    fn syncs_are_measured_and_nothing_stays_behind() {
        let folder = tempfile::tempdir().unwrap();
        let times = SyncTimes::measure(folder.path(), 512, 5).unwrap();
        assert!(times.percentile(50) > Duration::ZERO && times.percentile(99) >= times.percentile(50));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(SyncTimes::measure(&folder.path().join("missing"), 512, 5).is_err());
        assert_eq!(SyncTimes::default().percentile(50), Duration::ZERO);
    }
}

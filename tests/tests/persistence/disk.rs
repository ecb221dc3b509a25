//! File systems to work on that can be cut off, filled and grown. Only for a process with mounts of its own.
//!
//! Must not know: what lies on them.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child as Process, Command, Stdio},
};

use crate::equipment::run;

/// `FS_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: nothing more reaches the disk, not even the journal.
const CUT: &str = "open(my $f, '<', $ARGV[0]) or die $!; my $how = pack('L', 2); $| = 1; print 'ready.'; <STDIN>; \
                   ioctl($f, 0x8004587d, $how) or die $!";

/// An ext4 file system in a file.
pub(crate) struct Disk {
    image: PathBuf,
    pub(crate) root: PathBuf,
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A process that waits to cut the power of a disk.
pub(crate) struct Knife(Process);

impl Knife {
    /// Cuts the power: what was not synced is gone. Processes may still run, and get errors.
    pub(crate) fn cut(mut self) {
        drop(self.0.stdin.take());
        let status = self.0.wait().unwrap();
        assert!(status.success(), "the power was not cut");
    }
}

impl Drop for Knife {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Disk {
    pub(crate) fn make(folder: &Path, mib: u64) -> Self {
        let (image, root) = (folder.join("image"), folder.join("root"));
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        std::fs::create_dir(&root).unwrap();
        run("mkfs.ext4", &["-q", "-F", text(&image)]);
        let disk = Self { image, root };
        disk.mount();
        disk
    }

    fn mount(&self) {
        run("mount", &["-o", "loop", text(&self.image), text(&self.root)]);
    }

    /// Gets everything ready for a cut, so that it comes at once when it is wanted.
    pub(crate) fn knife(&self) -> Knife {
        let mut perl = Command::new("perl");
        let mut process = perl
            .args(["-e", CUT, text(&self.root)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        process.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        Knife(process)
    }

    /// Removes a folder for good: without the sync, the next cut would bring it back, and its blocks would stay taken till then.
    pub(crate) fn remove(&self, folder: &Path) {
        std::fs::remove_dir_all(folder).unwrap();
        run("sync", &["-f", text(&self.root)]);
    }

    /// Starts again after a cut, when no process has anything open there.
    pub(crate) fn start(&self) {
        run("umount", &[text(&self.root)]);
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The mounts end with the process at the latest.
        let _ = Command::new("umount").arg(&self.root).output();
    }
}

/// A file system in memory of a size that can be changed.
pub(crate) struct Space {
    root: PathBuf,
}

impl Space {
    /// Mounts it over a folder that is there.
    pub(crate) fn over(root: &Path, bytes: u64) -> Self {
        run("mount", &["-t", "tmpfs", "-o", &format!("size={bytes},mode=700"), "tmpfs", text(root)]);
        Self { root: root.to_owned() }
    }

    pub(crate) fn grow(&self, bytes: u64) {
        run("mount", &["-o", &format!("remount,size={bytes}"), text(&self.root)]);
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.root).output();
    }
}

//! What a run stands on: the machine, the versions, and what the kernel tells of this process.
//!
//! Must not know: what is measured.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

const UNKNOWN: &str = "unknown";

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start_matches([' ', '\t', ':']).trim().to_owned())
}

fn kibibytes(file: &str, name: &str) -> Option<u64> {
    field(file, name)?.split_whitespace().next()?.parse().ok()
}

/// The type of the file system that holds a path: of the mount that is nearest above it.
fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((PathBuf::from(words.next()?), words.next()?.to_owned()))
    });
    let above = mounts.filter(|(point, _)| path.starts_with(point));
    above.max_by_key(|(point, _)| point.components().count()).map(|(_, kind)| kind)
}

/// Lines that name the machine and the versions.
pub(crate) fn facts(folder: &Path) -> Vec<(&'static str, String)> {
    let or = |fact: Option<String>| fact.unwrap_or_else(|| UNKNOWN.to_owned());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = kibibytes("/proc/meminfo", "MemTotal").map(|kib| format!("{:.0} GiB", kib as f64 / 1_048_576.0));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| format!("Linux {}", text.trim()));
    let load = fs::read_to_string("/proc/loadavg").ok();
    let load = load.and_then(|text| text.split(' ').next().map(str::to_owned));
    let rustc = Command::new("rustc").arg("--version").output().ok();
    let rustc = rustc.and_then(|output| String::from_utf8(output.stdout).ok()).map(|text| text.trim().to_owned());
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
    let versions = format!(
        "sessions {}, sled {}, tokio {}",
        or(locked(lock, "sessions-infra")),
        or(locked(lock, "sled")),
        or(locked(lock, "tokio"))
    );
    vec![
        ("processor", or(field("/proc/cpuinfo", "model name"))),
        ("cores", cores.to_string()),
        ("memory", or(memory)),
        ("kernel", or(kernel)),
        ("file system", or(file_system(folder))),
        ("load when the run began", or(load)),
        ("compiler", or(rustc)),
        ("versions", versions),
    ]
}

/// A package's version in a `Cargo.lock`.
fn locked(lock: &str, package: &str) -> Option<String> {
    let text = fs::read_to_string(lock).ok()?;
    let (_, behind) = text.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    behind.split('"').next().map(str::to_owned)
}

/// The most memory this process had since [`forget_peak`], in bytes.
pub(crate) fn peak_memory() -> Option<u64> {
    kibibytes("/proc/self/status", "VmHWM").map(|kib| kib * 1024)
}

/// The memory this process has, in bytes.
pub(crate) fn memory() -> Option<u64> {
    kibibytes("/proc/self/status", "VmRSS").map(|kib| kib * 1024)
}

/// The processor's time that this process took, in seconds: user's and system's, of all threads.
pub(crate) fn processor_time() -> std::io::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name stands in brackets and may hold anything; what counts stands behind it, in ticks of a hundredth of a second.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: Option<u64> = fields.map(|field| field.parse::<u64>().ok()).sum();
    ticks.map(|ticks| ticks as f64 / 100.0).ok_or_else(|| std::io::Error::other("the system does not tell it"))
}

/// Makes the peak what it is now.
pub(crate) fn forget_peak() {
    // Where the kernel does not allow it the peak stays too high, which can only make a figure worse.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Empties the caches of the file system, which only root may.
pub(crate) fn drop_caches() -> bool {
    // What is not on the disk yet cannot be dropped.
    let synced = Command::new("sync").status().is_ok_and(|status| status.success());
    synced && fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// Bytes that a folder takes on the disk.
pub(crate) fn disk_used(folder: &Path) -> std::io::Result<u64> {
    let mut used = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let found = fs::symlink_metadata(&path)?;
        // POSIX counts blocks of 512 bytes here, whatever the file system's own size of a block.
        used += found.blocks() * 512;
        if found.is_dir() {
            used += disk_used(&path)?;
        }
    }
    Ok(used)
}

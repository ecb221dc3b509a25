//! A key in a file of its own, which only its owner may read.
//!
//! ```text
//! sessions key 1
//! 64 digits: the key
//! check 16 digits: the first bytes of SHA-256 over "sessions key file 1 check" and the key
//! ```
//!
//! It is text, so that a person can print it, keep it and type it in again; the last line finds a slip.
//!
//! Must not know: what the key wraps, or which file a host would choose.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Instant,
};

use async_trait::async_trait;
use ring::digest::{Context, SHA256};
use sessions_domain::chain;
use sessions_ports::{KeyContext, KeyError, KeyHealth, KeyProvider, ProviderKind, SecretKey, Wrapped};
use zeroize::Zeroizing;

use super::{
    random,
    wrapping::{self, Purpose},
};

const HEADER: &str = "sessions key 1";
const DOMAIN: &str = "sessions key file 1";
/// Far above what a key file has, with whatever line ends.
const MOST_BYTES: usize = 256;
/// Opening what is not a file, as a pipe, shall wait for nobody (`O_NONBLOCK`).
#[cfg(target_os = "linux")]
const WITHOUT_WAITING: i32 = 0o4000;
#[cfg(not(target_os = "linux"))]
const WITHOUT_WAITING: i32 = 4;

/// Wraps a store's key under the one in a file.
pub struct KeyFileProvider {
    key: SecretKey,
    name: String,
}

fn refused(what: impl Into<String>) -> KeyError {
    KeyError::KeyFile { what: what.into() }
}

fn io_failed(operation: &'static str) -> impl Fn(io::Error) -> KeyError {
    move |source| KeyError::Io { operation, source }
}

fn digest_of(key: &SecretKey, what: &str) -> String {
    let mut digest = Context::new(&SHA256);
    digest.update(DOMAIN.as_bytes());
    digest.update(what.as_bytes());
    digest.update(key.expose());
    chain::to_hex(digest.finish().as_ref().get(..8).unwrap_or_default())
}

/// The 32 bytes that 64 digits say, without a copy of either that stays in memory.
fn key_of(digits: &[u8]) -> Option<SecretKey> {
    let mut bytes = Zeroizing::new([0; 32]);
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            *byte = *byte << 4 | u8::try_from(char::from(*digit).to_digit(16)?).ok()?;
        }
    }
    Some(SecretKey::take(&mut bytes))
}

fn text_of(key: &SecretKey) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(MOST_BYTES));
    text.extend(HEADER.as_bytes());
    text.push(b'\n');
    for nibble in key.expose().iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        text.push(if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble });
    }
    text.extend(b"\ncheck ");
    text.extend(digest_of(key, " check").as_bytes());
    text.push(b'\n');
    text
}

/// Reads what [`text_of`] wrote.
fn parse(text: &[u8]) -> Result<SecretKey, KeyError> {
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    match lines.next() {
        None => return Err(refused("it is empty; put it back from a copy")),
        Some(header) if header == HEADER.as_bytes() => {}
        Some(header) if header.starts_with(b"sessions key ") => {
            return Err(refused("it was written by a newer version; use that version"));
        }
        Some(_) => return Err(refused("it is no key file of sessions; name the right one")),
    }
    let cut_off = || refused("it is cut off; put it back from a copy");
    let digits = lines.next().ok_or_else(cut_off)?;
    let check = lines.next().ok_or_else(cut_off)?;
    let changed = || refused("it was changed, its check line does not fit; put it back from a copy");
    let key = key_of(digits).ok_or_else(changed)?;
    let fits = check.strip_prefix(b"check ").is_some_and(|check| check == digest_of(&key, " check").as_bytes());
    if !fits || lines.next().is_some() {
        return Err(changed());
    }
    Ok(key)
}

/// Refuses what is no file, or not its owner's alone.
fn check_file(about: &fs::Metadata, path: &Path) -> Result<(), KeyError> {
    if about.is_dir() {
        return Err(refused(format!("{path:?} is a folder; name a file in it")));
    }
    if !about.is_file() {
        return Err(refused(format!("{path:?} is not a file")));
    }
    if about.permissions().mode() & 0o077 != 0 {
        return Err(refused(format!(
            "others may read {path:?}; run `chmod 600 {path:?}`, and take a new key if they did"
        )));
    }
    if about.len() > MOST_BYTES as u64 {
        return Err(refused(format!("{path:?} is too large to be a key file; name the right one")));
    }
    Ok(())
}

fn read(path: &Path) -> Result<SecretKey, KeyError> {
    let reading = io_failed("reading the key file");
    // Before it is opened, because opening a device may already do something; and again after, because it may be another one by then.
    check_file(&fs::metadata(path).map_err(&reading)?, path)?;
    let file = OpenOptions::new().read(true).custom_flags(WITHOUT_WAITING).open(path).map_err(&reading)?;
    check_file(&file.metadata().map_err(&reading)?, path)?;
    // With room for all of it, so that no copy is left where it grew.
    let mut text = Zeroizing::new(Vec::with_capacity(MOST_BYTES + 2));
    file.take(MOST_BYTES as u64 + 1).read_to_end(&mut text).map_err(&reading)?;
    parse(&text)
}

/// Writes a file that was not there, whole or not at all.
fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
    let random: [u8; 8] = random::random().map_err(|_| ErrorKind::Other)?;
    let temporary: PathBuf = folder.join(format!(".{name}.{}", chain::to_hex(&random)));
    let write = || {
        let mut file = OpenOptions::new().mode(0o600).write(true).create_new(true).open(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        // A second name is refused where there is a file already; renaming would replace it.
        match fs::hard_link(&temporary, path) {
            // A file system without second names, which some refuse as if it were not allowed.
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
                write_in_place(path, text)
            }
            linked => linked,
        }
    };
    let written = write();
    let _ = fs::remove_file(&temporary);
    written?;
    File::open(folder)?.sync_all()
}

/// The same where a file can have one name only. What a crash leaves of it is refused by its digest, and no store was made with it yet.
fn write_in_place(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().mode(0o600).write(true).create_new(true).open(path)?;
    let written = file.write_all(text).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

impl KeyFileProvider {
    /// One with a key that a host keeps elsewhere.
    pub fn of(key: SecretKey) -> Self {
        let name = digest_of(&key, " name");
        Self { key, name }
    }

    /// Reads a key file. Waits for the disk.
    ///
    /// # Errors
    /// [`KeyError::KeyFile`], which says what to do: it is not one, is cut off or changed, or others may read it; [`KeyError::Io`], with
    /// [`ErrorKind::NotFound`] when there is none.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        read(path).map(Self::of)
    }

    /// Makes a key, and a file for it that only its owner may read; folders above it that are not there too. Waits for the disk.
    ///
    /// # Errors
    /// [`KeyError::KeyFile`] when there is something already, which is left untouched; [`KeyError::NoEntropy`]; [`KeyError::Io`].
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let key = random::new_key()?;
        write_new(path, &text_of(&key)).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => refused(format!("there is {path:?} already; it was left untouched")),
            _ => io_failed("making the key file")(error),
        })?;
        Ok(Self::of(key))
    }

    /// Reads a key file, or makes one where there is none. Of many who do so at once all get the same key. Waits for the disk.
    ///
    /// # Errors
    /// As [`Self::open`] and [`Self::create`].
    pub fn create_or_open(path: &Path) -> Result<Self, KeyError> {
        let is_missing =
            |error: &KeyError| matches!(error, KeyError::Io { source, .. } if source.kind() == ErrorKind::NotFound);
        match Self::open(path) {
            Err(error) if is_missing(&error) => match Self::create(path) {
                // Somebody was faster.
                Err(KeyError::KeyFile { .. }) => Self::open(path),
                created => created,
            },
            opened => opened,
        }
    }

    /// The key's name, which tells it from others and nothing about it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

const PURPOSE: Purpose<'_> = Purpose { domain: DOMAIN, kind: ProviderKind::KeyFile, bound: b"" };

#[async_trait]
impl KeyProvider for KeyFileProvider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::KeyFile
    }

    async fn current(&self) -> Result<String, KeyError> {
        Ok(self.name.clone())
    }

    async fn wrap(&self, secret: &SecretKey, context: &KeyContext) -> Result<Wrapped, KeyError> {
        Ok(Wrapped {
            provider: ProviderKind::KeyFile,
            key: self.name.clone(),
            parameters: serde_json::Value::Object(serde_json::Map::new()),
            bytes: wrapping::wrap(&self.key, &PURPOSE, secret, context)?,
        })
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &KeyContext) -> Result<SecretKey, KeyError> {
        if wrapped.provider != ProviderKind::KeyFile {
            return Err(KeyError::OtherKind { needed: wrapped.provider, given: ProviderKind::KeyFile });
        }
        wrapping::unwrap(&self.key, &PURPOSE, &wrapped.bytes, context)
    }

    async fn health(&self) -> Result<KeyHealth, KeyError> {
        let begun = Instant::now();
        Ok(KeyHealth { current: self.name.clone(), took: begun.elapsed() })
    }
}

//! The configuration: what a file, the environment and arguments say, checked as a whole, with all that is wrong and where.
//!
//! [`OPTIONS`] is the one table of options. [`Sources`] says what is read, and [`Configuration`] is what is in force;
//! [`Builder::configured`](crate::Builder::configured) is where it meets its effect.
//!
//! Must not know: how a store is opened, or what an option's effect is made of.

mod document;
mod entries;
mod environment;
mod error;
mod layer;
mod profiles;
mod resolve;
mod shown;
mod sources;
mod table;
mod tree;
mod value;

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    path::{Path as FilePath, PathBuf},
    time::Duration,
};

use sessions_domain::{
    Actor, Limits, Moment,
    price::{Day, PriceTable},
    profile::Profiles,
};
use sessions_ports::Durability;

pub use self::{
    document::document,
    entries::{ApiKeyAt, ModelEntry, ProviderEntry, ProviderProtocol},
    environment::Environment,
    error::{ConfigError, ConfigErrors, Notice, Path, Place, Wrong},
    resolve::shipped_prices,
    shown::{InForce, Shown},
    sources::Sources,
    table::{Kind, OPTIONS, OTHER_VARIABLES, OptionRow, State},
};
use self::{layer::Said, value::Set};
use crate::url::StoreUrl;

/// What is in force, checked. It holds no secret, only where they are.
#[derive(Clone, Debug)]
pub struct Configuration {
    said: BTreeMap<Path, Said>,
    models: Vec<ModelEntry>,
    profiles: Profiles,
    providers: Vec<ProviderEntry>,
    own_prices: PriceTable,
    notices: Vec<Notice>,
    environment: Environment,
    file: Option<PathBuf>,
}

/// Where the key of a sealed store is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyAt {
    /// In a file.
    KeyFile(PathBuf),
    /// It is derived from a passphrase, the first line of a file.
    PassphraseFile(PathBuf),
    /// It is derived from a passphrase in a variable of the environment.
    PassphraseVariable(String),
    /// In a Vault transit engine.
    Vault {
        /// Its address, with the mount behind it.
        url: String,
        /// The key's name there.
        key: String,
        /// The file whose first line is the token; `None`: the variable `VAULT_TOKEN`.
        token_file: Option<PathBuf>,
        /// Who is trusted to be the service; `None`: the system's list.
        ca_file: Option<PathBuf>,
    },
}

/// Backups that are to be made again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduledCopies {
    /// From one to the next.
    pub interval: Duration,
    /// Where they lie; `None`: beside the store.
    pub folder: Option<PathBuf>,
    /// How many stay.
    pub keep: usize,
}

/// When sessions are put aside by age. Nothing is, unless it is said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CleanupWish {
    /// How often it is looked for.
    pub interval: Duration,
    /// Not used for so long: out of memory.
    pub idle: Option<Duration>,
    /// Not used for so long: to the trash.
    pub trash_after: Option<Duration>,
    /// In the trash for so long: gone for good.
    pub delete_after: Option<Duration>,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Configuration {
    fn set(&self, option: &str) -> Option<&Set> {
        self.said.get(&Path::of(option)).map(|said| &said.set)
    }

    /// A whole number; `None` also for `none`.
    fn whole(&self, option: &str) -> Option<u64> {
        match self.set(option)? {
            Set::Whole(number) => Some(*number),
            _ => None,
        }
    }

    fn switch(&self, option: &str) -> Option<bool> {
        match self.set(option)? {
            Set::Switch(on) => Some(*on),
            _ => None,
        }
    }

    fn text(&self, option: &str) -> Option<String> {
        self.set(option).map(ToString::to_string)
    }

    fn path(&self, option: &str) -> Option<PathBuf> {
        self.text(option).map(PathBuf::from)
    }

    /// Where an option was said; `None`: nobody said it.
    pub fn place(&self, option: &str) -> Option<&Place> {
        self.said.get(&Path::of(option)).map(|said| &said.place).filter(|place| **place != Place::Default)
    }

    /// What was said and has no effect, and what else is worth knowing. [`Self::old_prices`] is asked with a clock.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The environment that it was read with, which has the variables that hold keys.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The file that was read.
    pub fn file_read(&self) -> Option<&FilePath> {
        self.file.as_deref()
    }

    /// `storage.url`
    pub fn store(&self) -> Option<StoreUrl> {
        match self.set("storage.url")? {
            Set::Store(url) => Some(url.clone()),
            _ => None,
        }
    }

    /// `storage.durability`
    pub fn durability(&self) -> Option<Durability> {
        match self.text("storage.durability")?.as_str() {
            "disk" => Some(Durability::Disk),
            "process" => Some(Durability::Process),
            _ => Some(Durability::Volatile),
        }
    }

    /// `storage.max_sessions`
    pub fn max_sessions(&self) -> Option<u64> {
        self.whole("storage.max_sessions")
    }

    /// `storage.backup_interval_minutes`, with the folder and the number that go with it.
    pub fn backups(&self) -> Option<ScheduledCopies> {
        let minutes = self.whole("storage.backup_interval_minutes")?;
        let keep = self.whole("storage.backups_kept").and_then(|keep| usize::try_from(keep).ok()).unwrap_or(7);
        let interval = Duration::from_secs(minutes.saturating_mul(60));
        Some(ScheduledCopies { interval, folder: self.path("storage.backup_folder"), keep })
    }

    /// `limits` and `storage.max_sessions`; what nobody says is as [`Limits::default`] has it.
    pub fn limits(&self) -> Limits {
        let default = Limits::default();
        let limit = |option: &str, default: Option<u64>| match self.set(option) {
            Some(Set::Whole(number)) => Some(*number),
            Some(_) => None,
            None => default,
        };
        Limits {
            sessions: limit("storage.max_sessions", default.sessions),
            messages: limit("limits.messages", default.messages),
            parts: limit("limits.parts", default.parts),
            message_bytes: limit("limits.message_bytes", default.message_bytes),
            title_chars: limit("limits.title_chars", default.title_chars),
            description_chars: limit("limits.description_chars", default.description_chars),
            tags: limit("limits.tags", default.tags),
            tag_chars: limit("limits.tag_chars", default.tag_chars),
            files: limit("limits.files", default.files),
            metadata_bytes: limit("limits.metadata_bytes", default.metadata_bytes),
            state_keys: limit("limits.state_keys", default.state_keys),
            state_bytes: limit("limits.state_bytes", default.state_bytes),
            checkpoints: limit("limits.checkpoints", default.checkpoints),
            pins: limit("limits.pins", default.pins),
        }
    }

    /// `identity`
    pub fn actor(&self) -> Actor {
        let text = |option: &str| self.text(option).unwrap_or_default();
        Actor { tenant: text("identity.tenant"), id: text("identity.actor") }
    }

    /// `tokens.max_context_tokens`
    pub fn max_context_tokens(&self) -> Option<NonZeroU64> {
        self.whole("tokens.max_context_tokens").and_then(NonZeroU64::new)
    }

    /// `tokens.compaction_threshold`, in percent: 1 to 100.
    pub fn compaction_threshold_percent(&self) -> u8 {
        match self.set("tokens.compaction_threshold") {
            Some(Set::Percent(percent)) => *percent,
            _ => 80,
        }
    }

    /// `tokens.reserve_tokens`
    pub fn reserve_tokens(&self) -> Option<u64> {
        self.whole("tokens.reserve_tokens")
    }

    /// `encryption.enabled`; `None`: nobody says so, and a store stays what it is.
    pub fn encrypts(&self) -> Option<bool> {
        self.switch("encryption.enabled")
    }

    /// `encryption.enterprise_mode`: only a key in a key service opens or makes a store.
    pub fn wants_key_service(&self) -> bool {
        self.switch("encryption.enterprise_mode").unwrap_or(false)
    }

    /// `encryption.key_rotation_days`
    pub fn key_rotation_days(&self) -> u64 {
        self.whole("encryption.key_rotation_days").unwrap_or(90)
    }

    /// `encryption.auto_rotate`
    pub fn rotates_by_itself(&self) -> bool {
        self.switch("encryption.auto_rotate").unwrap_or(false)
    }

    /// `keys`; `None`: none is named.
    pub fn key(&self) -> Option<KeyAt> {
        let vault = || {
            let (url, key) = (self.text("keys.vault.url")?, self.text("keys.vault.key")?);
            let (token_file, ca_file) = (self.path("keys.vault.token_file"), self.path("keys.vault.ca_file"));
            Some(KeyAt::Vault { url, key, token_file, ca_file })
        };
        let file = self.path("keys.key_file").map(KeyAt::KeyFile);
        file.or_else(|| self.path("keys.passphrase_file").map(KeyAt::PassphraseFile))
            .or_else(|| self.text("keys.passphrase_env").map(KeyAt::PassphraseVariable))
            .or_else(vault)
    }

    /// Where a person's key file is when none is named: in the configuration folder, never beside a store.
    pub fn usual_key_file(&self) -> Option<PathBuf> {
        self.environment.folder().map(|folder| folder.join("key"))
    }

    /// `cleanup` and `trash`
    pub fn cleanup(&self) -> CleanupWish {
        let days =
            |option: &str| self.whole(option).map(|days| DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX)));
        CleanupWish {
            interval: Duration::from_secs(self.whole("cleanup.interval_seconds").unwrap_or(300)),
            idle: self.whole("cleanup.max_idle_seconds").map(Duration::from_secs),
            trash_after: days("trash.after_days"),
            delete_after: days("cleanup.delete_after_days"),
        }
    }

    /// The models that are known, and `models` among them or in their place, with `tokens.reserve_tokens` kept free of each window that has
    /// as many.
    pub fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    /// `model`: the one of turns for which nobody names one.
    pub fn model(&self) -> Option<String> {
        self.text("model")
    }

    /// `models`, in the order of the file.
    pub fn models(&self) -> &[ModelEntry] {
        &self.models
    }

    /// `providers`, in the order of the file.
    pub fn providers(&self) -> &[ProviderEntry] {
        &self.providers
    }

    /// `prices`, and behind them those that are shipped. Whoever says what a model costs says it for all days.
    pub fn prices(&self) -> PriceTable {
        self.own_prices.clone().over(shipped_prices().clone())
    }

    /// Whether some prices were noted long before this moment.
    pub fn old_prices(&self, now: Moment) -> Option<Notice> {
        let aged = self.prices().aged(Day::of(now)?)?;
        Some(Notice::OldPrices { rows: aged.rows, oldest: aged.oldest })
    }
}

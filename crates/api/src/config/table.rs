//! The one table of options. What is checked, which variables of the environment count, what `sessions config` tells and
//! `docs/configuration.md` come from it.
//!
//! Must not know: where a value was said, or what its effect is made of.

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A whole number.
    Whole {
        /// The least.
        least: u64,
        /// The most.
        most: u64,
        /// What is counted.
        unit: &'static str,
        /// Whether `none` may be said, for no limit.
        or_none: bool,
    },
    /// A share above 0 and up to 1, with two digits behind the point at most.
    Share,
    /// `true` or `false`.
    Switch,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// The URL of a store.
    Store,
    /// An address of HTTP, without names and passwords in it.
    Address,
    /// A file or folder.
    File,
    /// The name of a variable of the environment.
    Variable,
    /// A text of at most so many characters.
    Text(usize),
    /// A list of such texts.
    Texts(usize),
    /// The price of a million tokens, with six digits behind the point at most.
    Price,
    /// Three capital letters.
    Currency,
    /// A day.
    Day,
}

/// Whether an option does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does what its line says.
    Effective,
    /// It is read and checked, and has no effect before this is built.
    NotBuilt {
        /// What has to be built.
        feature: &'static str,
    },
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionRow {
    /// The names on the way to it below `sessions`, with dots between. `*` is any name, `[]` any item of a list.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What counts when it is not said.
    pub default: &'static str,
    /// What it does.
    pub effect: &'static str,
    /// Whether it does so already.
    pub state: State,
}

impl OptionRow {
    /// The variable of the environment that says it; `None` for what has a name of a person's own, or several values.
    pub fn variable(&self) -> Option<String> {
        let is_one = !self.path.contains(['*', '[']);
        is_one.then(|| format!("SESSIONS_{}", self.path.replace('.', "_").to_ascii_uppercase()))
    }

    /// Variables that say it too, since they did before there was a configuration.
    pub fn other_variables(&self) -> &'static [&'static str] {
        match self.path {
            "storage.url" => &["SESSIONS_STORE"],
            "keys.key_file" => &["SESSIONS_KEY_FILE"],
            _ => &[],
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('.')
    }
}

/// Variables of the environment that are read elsewhere, or by tests. Those that end in `*` are beginnings.
pub const OTHER_VARIABLES: &[&str] = &[
    "SESSIONS_CONFIG",
    "SESSIONS_PASSPHRASE",
    "SESSIONS_NEW_PASSPHRASE",
    "SESSIONS_VAULT",
    "SESSIONS_REAL_MODEL*",
    "SESSIONS_TEST*",
    "SESSIONS_BENCH_DIR",
    "SESSIONS_CRASH*",
    "SESSIONS_CUTS",
    "SESSIONS_PEERS",
    "SESSIONS_SEED",
    "SESSIONS_WRITE_*",
];

/// Options that older systems, or a person's memory, have in another place.
pub(super) const ELSEWHERE: &[(&str, &str)] = &[
    ("limits.sessions", "storage.max_sessions"),
    ("storage.path", "storage.url"),
    ("storage.backups", "storage.backup_interval_minutes"),
    ("keys.passphrase", "keys.passphrase_env"),
    ("keys.vault.token", "keys.vault.token_file"),
    ("identity.user", "identity.actor"),
    ("trash.retention_days", "cleanup.delete_after_days"),
];

const MOST: u64 = 1 << 53;

const fn whole(least: u64, most: u64, unit: &'static str) -> Kind {
    Kind::Whole { least, most, unit, or_none: false }
}

const fn limit(unit: &'static str) -> Kind {
    Kind::Whole { least: 1, most: MOST, unit, or_none: true }
}

const fn row(path: &'static str, kind: Kind, default: &'static str, effect: &'static str) -> OptionRow {
    OptionRow { path, kind, default, effect, state: State::Effective }
}

const fn later(
    path: &'static str,
    kind: Kind,
    default: &'static str,
    feature: &'static str,
    effect: &'static str,
) -> OptionRow {
    OptionRow { path, kind, default, effect, state: State::NotBuilt { feature } }
}

const AGENTS: &str = "running agents in the background";
const SHARING: &str = "sharing";
const ARTIFACTS: &str = "artifacts";
const YEARS: u64 = 36_500;

/// A price, which stands in four places each for a row of prices and for what it costs above some tokens.
macro_rules! price {
    ($name:literal, $what:literal) => {
        [
            row(
                concat!("prices.[].", $name),
                Kind::Price,
                "no price",
                concat!("The price of a million tokens of ", $what, "."),
            ),
            row(
                concat!("prices.[].above.", $name),
                Kind::Price,
                "no price",
                "That price in a call with more input than `above.tokens`.",
            ),
        ]
    };
}

const INPUT: [OptionRow; 2] = price!("input", "input that is neither read from a cache nor written to one");
const OUTPUT: [OptionRow; 2] = price!("output", "output, reasoning among it");
const READ: [OptionRow; 2] = price!("cache_read", "input read from a cache");
const WRITE: [OptionRow; 2] = price!("cache_write", "input written to a cache for minutes");
const LONG: [OptionRow; 2] = price!("cache_write_long", "input written to a cache for an hour");
const REASONING: [OptionRow; 2] = price!("reasoning", "reasoning, where it is not that of other output");

/// Every option, in the order in which they are told.
pub static OPTIONS: &[OptionRow] = &[
    row(
        "storage.url",
        Kind::Store,
        "`sled:` under your data directory; a host names one",
        "Where the sessions are kept.",
    ),
    row(
        "storage.max_sessions",
        limit("sessions"),
        "none",
        "How many sessions a tenant may have, those in the trash not counted. One more is refused.",
    ),
    row(
        "storage.auto_save",
        Kind::Switch,
        "true",
        "What is acknowledged is always kept, so `false` is refused; what an acknowledgement means is `storage.durability`.",
    ),
    row(
        "storage.backup_interval_minutes",
        Kind::Whole { least: 1, most: 527_040, unit: "minutes", or_none: true },
        "none",
        "A host, `chat` and `follow` make a backup so often while they run, and read it back. Commands that end by themselves make none.",
    ),
    row(
        "storage.backup_folder",
        Kind::File,
        "beside the store, with `-backups` behind its name",
        "Where those backups lie.",
    ),
    row("storage.backups_kept", whole(1, 100_000, "backups"), "7", "How many of them stay; older ones are removed."),
    row(
        "storage.durability",
        Kind::OneOf(&["disk", "process", "volatile"]),
        "the most that the store gives",
        "What an append survives before it is acknowledged: a power cut, the death of the process, nothing.",
    ),
    row(
        "tokens.max_context_tokens",
        limit("tokens"),
        "none",
        "A context has no more tokens than this, whatever the model's window and the request allow.",
    ),
    row(
        "tokens.compaction_threshold",
        Kind::Share,
        "0.8",
        "The share of what a request may have (the window without what is kept free) at which a conversation is compacted. It is brought down to \
         half of what a request may have, or to five eighths of this where that is less.",
    ),
    row(
        "tokens.reserve_tokens",
        Kind::Whole { least: 0, most: MOST, unit: "tokens", or_none: true },
        "none",
        "Tokens of each window that are kept free for the answer; without it as many as the model's profile says. It has no effect on known models \
         whose window has no more, which is told.",
    ),
    row(
        "model",
        Kind::Text(200),
        "none: `chat` is answered by a script",
        "The model of turns for which nobody names one, as `sessions chat` without `--model`.",
    ),
    row(
        "models.*.provider",
        Kind::Text(200),
        "has to be said",
        "Which of `providers` runs the model that the name stands for; the name of a kind is that kind where it usually is.",
    ),
    row("models.*.aliases", Kind::Texts(200), "none", "Other names of the model, which are no other model's."),
    row(
        "models.*.window",
        whole(1, MOST, "tokens"),
        "has to be said",
        "The model's window, input and output together.",
    ),
    row("models.*.max_output", whole(1, MOST, "tokens"), "not known", "The most that the model writes at once."),
    row(
        "models.*.reserved_output",
        whole(0, MOST, "tokens"),
        "`tokens.reserve_tokens`, or a quarter of the window and 32000 at most",
        "Tokens of this model's window that are kept free for the answer; less than the window.",
    ),
    row(
        "models.*.encoding",
        Kind::OneOf(&["o200k_base", "cl100k_base", "estimate-1"]),
        "that of a known model of this name, or `estimate-1`",
        "How its tokens are counted. `estimate-1` is an estimate and is marked as one.",
    ),
    row(
        "models.*.form",
        Kind::OneOf(&["neutral", "openai", "anthropic"]),
        "that of its provider",
        "The form in which it takes messages.",
    ),
    row(
        "providers.*.kind",
        Kind::OneOf(&["openai", "anthropic", "ollama", "scripted"]),
        "has to be said",
        "Which protocol the provider of that name speaks; `scripted` answers from a script, without a network.",
    ),
    row(
        "providers.*.base_url",
        Kind::Address,
        "that of its kind",
        "Where it is, when it is not where its kind usually is.",
    ),
    row(
        "providers.*.api_key_env",
        Kind::Variable,
        "none",
        "The variable of the environment that has its key. A key never stands in the configuration itself.",
    ),
    row("providers.*.api_key_file", Kind::File, "none", "Or the file whose first line is its key."),
    row(
        "providers.*.timeout_seconds",
        whole(1, 86_400, "seconds"),
        "600",
        "How long it may say nothing: until an answer begins, and between two pieces of one. Models that think say nothing for minutes.",
    ),
    row("prices.[].provider", Kind::Text(200), "has to be said", "Whose price it is."),
    row(
        "prices.[].model",
        Kind::Text(200),
        "has to be said",
        "The model's exact name, which also stands for its snapshots (the name with a date behind it, where the provider writes such names).",
    ),
    row("prices.[].aliases", Kind::Texts(200), "none", "Other exact names with the same price."),
    row("prices.[].currency", Kind::Currency, "USD", "What the price is stated in."),
    INPUT[0],
    OUTPUT[0],
    READ[0],
    WRITE[0],
    LONG[0],
    REASONING[0],
    row(
        "prices.[].above.tokens",
        whole(1, MOST, "tokens"),
        "has to be said",
        "A call with more input than this, caches counted, has the prices of `above` as a whole.",
    ),
    INPUT[1],
    OUTPUT[1],
    READ[1],
    WRITE[1],
    LONG[1],
    REASONING[1],
    row("prices.[].valid_from", Kind::Day, "always before", "The first day on which it holds."),
    row("prices.[].valid_to", Kind::Day, "until further notice", "The last day on which it holds."),
    row("prices.[].source", Kind::Text(1_000), "none", "Where it was found."),
    row("prices.[].noted", Kind::Day, "none", "When it stood there. Prices of more than 180 days ago are told."),
    row("limits.messages", limit("messages"), "none", "Visible messages of a session."),
    row("limits.parts", limit("parts"), "none", "Parts of a message."),
    row("limits.message_bytes", limit("bytes"), "none", "Bytes of a message, as it is written."),
    row("limits.title_chars", limit("characters"), "1000", "Characters of a title."),
    row("limits.description_chars", limit("characters"), "20000", "Characters of a description."),
    row("limits.tags", limit("tags"), "200", "Tags of a session."),
    row("limits.tag_chars", limit("characters"), "200", "Characters of a tag."),
    row("limits.files", limit("files"), "10000", "Files of a session."),
    row("limits.metadata_bytes", limit("bytes"), "1048576", "Bytes of all else that is known of a session."),
    row("limits.state_keys", limit("keys"), "10000", "Keys of a scope of state."),
    row("limits.state_bytes", limit("bytes"), "1048576", "Bytes of a scope of state."),
    row("limits.checkpoints", limit("checkpoints"), "1000", "Named checkpoints of a session."),
    row("limits.pins", limit("messages"), "1000", "Pinned messages of a session."),
    row(
        "identity.tenant",
        Kind::Text(256),
        "the empty one",
        "For which tenant the program or host acts; those of others are not found.",
    ),
    row("identity.actor", Kind::Text(256), "nobody in particular", "Who acts, as it stands on every record."),
    row(
        "encryption.enabled",
        Kind::Switch,
        "as the store is; a new one is sealed by the program, and by a host when a key is named",
        "`true`: only a sealed store is made or opened. `false`: only a plain one. Never does one pass for the other.",
    ),
    row(
        "encryption.enterprise_mode",
        Kind::Switch,
        "false",
        "The key has to be in a key service that its owner runs; any other is refused.",
    ),
    row(
        "encryption.key_rotation_days",
        whole(1, YEARS, "days"),
        "90",
        "A key that wraps the others and is older than this is told.",
    ),
    row(
        "encryption.auto_rotate",
        Kind::Switch,
        "false",
        "A host that goes on running changes such a key in the background, and wraps all others anew under the next one. The program tells it, and `keys rotate` does it.",
    ),
    row(
        "keys.key_file",
        Kind::File,
        "the one in your configuration folder",
        "The key of a sealed store is in this file.",
    ),
    row("keys.passphrase_file", Kind::File, "none", "Or it is a passphrase, the first line of this file."),
    row("keys.passphrase_env", Kind::Variable, "none", "Or a passphrase in this variable of the environment."),
    row(
        "keys.vault.url",
        Kind::Address,
        "none",
        "Or it is in a Vault transit engine at this address, its mount behind it.",
    ),
    row("keys.vault.key", Kind::Text(200), "none", "The key's name there."),
    row(
        "keys.vault.token_file",
        Kind::File,
        "the variable VAULT_TOKEN",
        "The first line of this file is the token for it.",
    ),
    row("keys.vault.ca_file", Kind::File, "the system's list", "Who is trusted to be that service."),
    row(
        "trash.after_days",
        limit("days"),
        "none",
        "A session that was not changed or touched for so long goes to the trash. One with pinned messages, or that others inherit from, does not.",
    ),
    row(
        "cleanup.interval_seconds",
        whole(1, 31_622_400, "seconds"),
        "300",
        "How often a host that goes on running looks for what is due.",
    ),
    row(
        "cleanup.max_idle_seconds",
        limit("seconds"),
        "none",
        "A session that nobody holds, changed or asked for so long leaves memory; its next use reads it again.",
    ),
    row(
        "cleanup.delete_after_days",
        limit("days"),
        "none",
        "A session that has been in the trash for so long is deleted for good. It does nothing to one that nobody put there.",
    ),
    later("artifacts.max_bytes", limit("bytes"), "104857600", ARTIFACTS, "Bytes of an artifact."),
    later("artifacts.quota_bytes", limit("bytes"), "none", ARTIFACTS, "Bytes of all artifacts of a session."),
    later(
        "artifacts.compress_above_bytes",
        whole(0, MOST, "bytes"),
        "10240",
        ARTIFACTS,
        "Artifacts with more than this are compressed.",
    ),
    later("background.max_concurrent_agents", whole(1, 10_000, "agents"), "5", AGENTS, "How many run side by side."),
    later("background.agent_timeout_seconds", whole(1, 31_622_400, "seconds"), "300", AGENTS, "How long one may take."),
    later(
        "background.retry_attempts",
        whole(0, 1_000, "attempts"),
        "3",
        AGENTS,
        "How often one that failed is tried again.",
    ),
    later("sharing.base_url", Kind::Address, "none", SHARING, "What the links begin with."),
    later(
        "sharing.default_expiration_hours",
        whole(1, 876_000, "hours"),
        "24",
        SHARING,
        "How long a link lives unless it says so.",
    ),
    later("sharing.max_shared_sessions", limit("links"), "50", SHARING, "How many links may live at once."),
    later("sharing.require_authentication", Kind::Switch, "false", SHARING, "Only verified viewers see anything."),
    later("sharing.enable_enterprise_features", Kind::Switch, "false", SHARING, "Policies may be asked of links."),
    later("sharing.enterprise.max_expiration_days", whole(1, YEARS, "days"), "30", SHARING, "No link lives longer."),
    later(
        "sharing.enterprise.compliance_logging",
        Kind::Switch,
        "true",
        SHARING,
        "Without a record of it nobody sees anything.",
    ),
    later(
        "sharing.enterprise.data_classification",
        Kind::OneOf(&["public", "internal", "confidential", "restricted"]),
        "internal",
        SHARING,
        "What a session counts as unless it says so.",
    ),
];

/// The option at a place of the tree; its names are those of the table, with `*` and `[]`.
pub(super) fn at(pattern: &[&str]) -> Option<&'static OptionRow> {
    OPTIONS.iter().find(|row| row.names().eq(pattern.iter().copied()))
}

/// The row of an option that has one name.
pub(super) fn named(path: &str) -> Option<&'static OptionRow> {
    OPTIONS.iter().find(|row| row.path == path)
}

/// What may stand below a place of the tree, each once, in the table's order.
pub(super) fn below(pattern: &[&str]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for row in OPTIONS {
        let mut on_the_way = row.names();
        let leads_here = pattern.iter().all(|name| on_the_way.next() == Some(*name));
        if let Some(name) = on_the_way.next().filter(|name| leads_here && !names.contains(name)) {
            names.push(name);
        }
    }
    names
}

impl Kind {
    /// What belongs there, for a person.
    pub fn expected(&self) -> String {
        match self {
            Self::Whole { or_none: true, unit, .. } => format!("a whole number of {unit}, or none,"),
            Self::Whole { unit, .. } => format!("a whole number of {unit}"),
            Self::Share => "a share as in 0.8".to_owned(),
            Self::Switch => "true or false".to_owned(),
            Self::OneOf(names) => format!("one of {}", names.join(", ")),
            Self::Store => "the url of a store, as in sled:./chats,".to_owned(),
            Self::Address => "an address as in https://example.org".to_owned(),
            Self::File => "the path of a file or folder".to_owned(),
            Self::Variable => "the name of a variable of the environment".to_owned(),
            Self::Text(_) => "a text (in quotes, if it is a number)".to_owned(),
            Self::Texts(_) => "a list of texts".to_owned(),
            Self::Price => "the price of a million tokens, as in 2.50,".to_owned(),
            Self::Currency => "a currency as in USD".to_owned(),
            Self::Day => "a day as in 2026-01-31".to_owned(),
        }
    }

    /// What it may be, for the document.
    pub(super) fn range(&self) -> String {
        match self {
            Self::Whole { least, most, unit, or_none } => {
                let or_none = if *or_none { ", or `none`" } else { "" };
                let most = if *most == MOST { String::new() } else { format!("–{most}") };
                let from = if most.is_empty() { "from " } else { "" };
                format!("whole number of {unit}, {from}{least}{most}{or_none}")
            }
            Self::Share => "share above 0 up to 1, two digits behind the point".to_owned(),
            Self::Switch => "`true` or `false`".to_owned(),
            Self::OneOf(names) => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
            Self::Store => "URL of a store".to_owned(),
            Self::Address => "address of HTTP, without a password in it".to_owned(),
            Self::File => "path".to_owned(),
            Self::Variable => "name of a variable".to_owned(),
            Self::Text(longest) => format!("text, {longest} characters"),
            Self::Texts(longest) => format!("list of texts, {longest} characters each"),
            Self::Price => "price of a million tokens, six digits behind the point".to_owned(),
            Self::Currency => "three capital letters".to_owned(),
            Self::Day => "day as in 2026-01-31".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_option_has_one_row_and_one_variable() {
        let paths: BTreeSet<&str> = OPTIONS.iter().map(|row| row.path).collect();
        assert_eq!(paths.len(), OPTIONS.len());
        let mut variables = BTreeSet::new();
        for row in OPTIONS {
            let own = row.variable().into_iter().chain(row.other_variables().iter().map(ToString::to_string));
            for name in own {
                let is_read_elsewhere = OTHER_VARIABLES.iter().any(|other| match other.strip_suffix('*') {
                    Some(beginning) => name.starts_with(beginning),
                    None => *other == name,
                });
                assert!(!is_read_elsewhere, "{name} means something else already");
                assert!(variables.insert(name.clone()), "{name} says two options");
            }
        }
    }

    #[test]
    fn no_option_is_a_group_too_and_each_says_what_it_does() {
        for row in OPTIONS {
            let pattern: Vec<&str> = row.names().collect();
            assert!(below(&pattern).is_empty(), "{}", row.path);
            assert_eq!(at(&pattern), Some(row));
            assert!(row.effect.ends_with('.') && !row.default.is_empty(), "{}", row.path);
        }
        for (_, meant) in ELSEWHERE {
            assert!(OPTIONS.iter().any(|row| row.path == *meant), "{meant}");
        }
        assert!(below(&["storage"]).contains(&"url") && below(&["models"]) == ["*"] && below(&["prices"]) == ["[]"]);
    }
}

//! The configuration of the program: what it is read from, and `config`, which tells what is in force.
//!
//! Must not know: what options do.

use std::io::{self, ErrorKind};

use sessions_api::{
    Clock as _, Durability, SystemClock,
    config::{ConfigError, Configuration, Environment, Notice, Sources, Wrong, document},
};

use crate::{
    arguments::{Arguments, Command, Config},
    failure::Failure,
    output::Output,
    program::{Program, default_folder},
    table::{Column, Table},
};

/// Reads what counts for these arguments. Commands that have to do with no store have nothing that could be wrong with it.
pub(crate) fn of(arguments: &Arguments, out: &Output) -> Result<Configuration, Failure> {
    let needs_none = match &arguments.command {
        Command::Completions(_) | Command::Man(_) | Command::Reference | Command::Demo(_) => true,
        Command::Config(wish) => wish.reference,
        _ => false,
    };
    if needs_none {
        return loaded(Sources::of(Environment::of::<&str, &str>([])).text("", ""));
    }
    let configuration = loaded(sources(arguments))?;
    if !matches!(arguments.command, Command::Config(_)) {
        tell(&configuration, out);
    }
    Ok(configuration)
}

fn loaded(sources: Sources) -> Result<Configuration, Failure> {
    let hint = "docs/configuration.md has every option with its values";
    sources.load().map_err(|errors| match errors.all() {
        [ConfigError { what: Wrong::Unreadable { kind: ErrorKind::PermissionDenied, .. }, .. }] => {
            Failure::from(io::Error::from(ErrorKind::PermissionDenied)).among_others(errors.to_string())
        }
        _ => Failure::usage(&errors.to_string(), hint),
    })
}

fn sources(arguments: &Arguments) -> Sources {
    let mut sources = Sources::of(Environment::of_process());
    if let Some(path) = &arguments.config {
        sources = sources.file(path);
    }
    if let Some(folder) = default_folder().as_deref().and_then(|folder| folder.to_str()) {
        sources = sources.default_of("storage.url", format!("sled:{folder}"));
    }
    let of_variable = std::env::var("SESSIONS_STORE").ok();
    // What is wrong with the argument is said where a store is opened.
    let store = arguments.store.clone().filter(|url| Some(url) != of_variable.as_ref());
    let store = store.filter(|url| url.parse::<sessions_api::StoreUrl>().is_ok());
    let level = arguments.durability.map(|level| match level {
        Durability::Disk => "disk",
        Durability::Process => "process",
        Durability::Volatile => "volatile",
    });
    let key = &arguments.key;
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().and_then(|path| path.to_str()).map(str::to_owned);
    let vault = key
        .vault
        .as_deref()
        .filter(|url| url.starts_with("http"))
        .and_then(|url| url.trim_end_matches('/').rsplit_once('/'));
    let said = [
        ("--store", "storage.url", store),
        ("--durability", "storage.durability", level.map(str::to_owned)),
        ("--plain", "encryption.enabled", key.plain.then(|| "false".to_owned())),
        ("--key-file", "keys.key_file", path(&key.key_file)),
        ("--passphrase-file", "keys.passphrase_file", path(&key.passphrase_file)),
        ("--vault", "keys.vault.url", vault.map(|(url, _)| url.to_owned())),
        ("--vault", "keys.vault.key", vault.map(|(_, key)| key.to_owned())),
        ("--vault-token-file", "keys.vault.token_file", path(&key.vault_token_file).filter(|_| vault.is_some())),
    ];
    said.into_iter().fold(sources, |sources, (by, option, value)| match value {
        Some(value) => sources.argument(by, option, value),
        None => sources,
    })
}

/// What a person should hear at every command: in one line what has no effect yet, since the file may have a lot of it.
fn tell(configuration: &Configuration, out: &Output) {
    let mut later = 0_usize;
    for notice in configuration.notices() {
        match notice {
            Notice::NotBuilt { .. } => later += 1,
            notice => out.notice(&notice.to_string()),
        }
    }
    match later {
        0 => {}
        1 => out.notice("1 option of the configuration has no effect yet; `sessions config` names it"),
        later => out
            .notice(&format!("{later} options of the configuration have no effect yet; `sessions config` names them")),
    }
}

/// `config`
pub(crate) fn config(program: &Program, wish: &Config) -> Result<(), Failure> {
    if wish.reference {
        return program.out.bytes(document().as_bytes());
    }
    let configuration = &program.configuration;
    let old = configuration.old_prices(SystemClock.now());
    for notice in configuration.notices().iter().chain(&old) {
        program.out.notice(&notice.to_string());
    }
    let rows = configuration.rows();
    if program.out.is_json() {
        return rows.iter().try_for_each(|row| program.out.object(row));
    }
    let mut table =
        Table::new([Column::Left("OPTION"), Column::Cut("VALUE"), Column::Cut("FROM"), Column::Cut("STATE")]);
    for row in rows {
        let value = match row.value.to_string() {
            value if value.is_empty() => format!("({})", row.default.replace('`', "")),
            value => value,
        };
        table.row([row.option, value, row.from, row.state]);
    }
    table.print(&program.out)
}

//! Where a configuration is said: defaults, the file, the environment, arguments. Each counts more than those before it.
//!
//! Must not know: what values have to do with each other.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    path::{Path as FilePath, PathBuf},
};

use super::{
    Configuration,
    environment::Environment,
    error::{ConfigError, ConfigErrors, Notice, Path, Place, Wrong},
    layer::{Layer, of_variable},
    table, tree,
};

/// Takes what a configuration is read from.
///
/// ```
/// use sessions_api::config::{Environment, Sources};
///
/// let environment = Environment::of([("SESSIONS_STORAGE_DURABILITY", "process")]);
/// let file = b"sessions:\n  storage: { durability: disk, max_sessions: 10 }\n";
/// let configuration = Sources::of(environment).text("config.yaml", file).load()?;
/// assert_eq!(configuration.durability(), Some(sessions_api::Durability::Process), "the environment counts more");
/// assert_eq!(configuration.max_sessions(), Some(10));
/// # Ok::<(), sessions_api::config::ConfigErrors>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is read until it is loaded"]
pub struct Sources {
    environment: Environment,
    file: Source,
    defaults: Vec<Word>,
    arguments: Vec<Word>,
}

#[derive(Clone, Debug)]
enum Source {
    /// The one that the environment names, or that of the person, if it is there.
    Usual,
    File(PathBuf),
    Text(String, Vec<u8>),
}

/// What an argument says of an option.
#[derive(Clone, Debug)]
struct Word {
    by: String,
    option: String,
    value: String,
}

impl Sources {
    /// The variables of this environment, and the file that they lead to: `SESSIONS_CONFIG`, or else `sessions/config.yaml` in a person's
    /// configuration folder, if that is there.
    pub fn of(environment: Environment) -> Self {
        Self { environment, file: Source::Usual, defaults: Vec::new(), arguments: Vec::new() }
    }

    /// This file, whatever the environment says.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Source::File(path.into());
        self
    }

    /// What a file of this name would say if it had these bytes, and no other file.
    pub fn text(mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.file = Source::Text(name.into(), bytes.into());
        self
    }

    /// An argument, which counts more than the environment; `by` is how errors name it, as `--store`.
    pub fn argument(mut self, by: impl Into<String>, option: impl Into<String>, value: impl Into<String>) -> Self {
        self.arguments.push(Word { by: by.into(), option: option.into(), value: value.into() });
        self
    }

    /// What counts in this program or host when nobody says anything.
    pub fn default_of(mut self, option: impl Into<String>, value: impl Into<String>) -> Self {
        self.defaults.push(Word { by: String::new(), option: option.into(), value: value.into() });
        self
    }

    /// Reads and checks all of it.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load(self) -> Result<Configuration, ConfigErrors> {
        let mut notices = Vec::new();
        let defaults = words(&self.defaults, |_| Place::Default);
        let (path, file) = self.read();
        let environment = variables(&self.environment, &mut notices);
        let arguments = words(&self.arguments, |word| Place::Argument(word.by.clone()));
        Configuration::resolve(vec![defaults, file, environment, arguments], notices, self.environment, path)
    }

    fn read(&self) -> (Option<PathBuf>, Layer) {
        let named = |path: PathBuf| {
            let bytes = bytes_of(&path);
            (path, bytes)
        };
        let found = match &self.file {
            Source::Text(name, bytes) => return (None, of_bytes(name, bytes)),
            Source::File(path) => Some(named(path.clone())),
            Source::Usual => match self.environment.get("SESSIONS_CONFIG") {
                Some(path) => Some(named(path.into())),
                None => self.usual(),
            },
        };
        let Some((path, bytes)) = found else { return (None, Layer::default()) };
        let name = path.display().to_string();
        let layer = match bytes {
            Ok(bytes) => of_bytes(&name, &bytes),
            Err(error) => {
                let what = Wrong::Unreadable { kind: error.kind(), said: error.to_string() };
                let place = Place::File { name, line: 0, column: 0 };
                Layer { errors: vec![ConfigError::new(place, Path::default(), what)], ..Layer::default() }
            }
        };
        (Some(path), layer)
    }

    /// A person's own file, if it is there.
    fn usual(&self) -> Option<(PathBuf, std::io::Result<Vec<u8>>)> {
        let path = self.environment.folder()?.join("config.yaml");
        match bytes_of(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
            bytes => Some((path, bytes)),
        }
    }
}

/// No more of a file than shows that it is too long.
fn bytes_of(path: &FilePath) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(tree::MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn of_bytes(name: &str, bytes: &[u8]) -> Layer {
    match tree::read(name, bytes) {
        Ok(tree) => Layer::of_tree(tree.as_ref()),
        Err(error) => Layer { errors: vec![*error], ..Layer::default() },
    }
}

fn words(words: &[Word], place: impl Fn(&Word) -> Place) -> Layer {
    let mut layer = Layer::default();
    for word in words {
        match table::named(&word.option).filter(|row| row.variable().is_some()) {
            Some(row) => layer.say(place(word), row, &word.value),
            None => layer.errors.push(ConfigError::new(place(word), Path::of(&word.option), Wrong::Unknown)),
        }
    }
    layer
}

fn variables(environment: &Environment, notices: &mut Vec<Notice>) -> Layer {
    let mut layer = Layer::default();
    for name in environment.names() {
        let Some(value) = environment.get(&name) else { continue };
        let place = Place::Variable(name.clone());
        if name == "SESSIONS_VAULT" {
            say_vault(&mut layer, &place, &value.to_string_lossy());
            continue;
        }
        match (of_variable(&name), value.to_str()) {
            (Ok(row), Some(value)) => layer.say(place, row, value),
            (Ok(row), None) => {
                let what = Wrong::Form("it is not UTF-8".to_owned());
                layer.errors.push(ConfigError::new(place, Path::of(row.path), what));
            }
            (Err(Some(nearest)), _) => notices.push(Notice::UnknownVariable { name, nearest }),
            (Err(None), _) => {}
        }
    }
    layer
}

/// An address, a mount and a key in one, as this variable has always had them.
fn say_vault(layer: &mut Layer, place: &Place, value: &str) {
    let named = value.trim_end_matches('/').rsplit_once('/').filter(|(url, key)| {
        let behind = url.split_once("://").and_then(|(_, behind)| behind.split_once('/'));
        !key.is_empty() && behind.is_some_and(|(host, mount)| !host.is_empty() && !mount.is_empty())
    });
    let Some((url, key)) = named else {
        let what = "it names an address, a mount and a key, as in https://vault.example.org:8200/transit/sessions";
        layer.errors.push(ConfigError::new(place.clone(), Path::of("keys.vault.url"), Wrong::Form(what.to_owned())));
        return;
    };
    for (option, part) in [("keys.vault.url", url), ("keys.vault.key", key)] {
        if let Some(row) = table::named(option) {
            layer.say(place.clone(), row, part);
        }
    }
}

//! What one place says: the file, the environment, or arguments; each value with where it was said, and all that is wrong.
//!
//! Must not know: which place counts more, or what values have to do with each other.

use std::collections::BTreeMap;

use sessions_domain::nearest::{nearest, plain};

use super::{
    error::{ConfigError, Path, Place, Wrong},
    table::{self, ELSEWHERE, Kind, OPTIONS, OptionRow},
    tree::{Name, Node, Value},
    value::{self, Set, Written},
};

/// What stands above all options in a file.
const ROOT: &str = "sessions";
/// Names of a person's own, as of models, have no more characters than this.
const LONGEST_NAME: usize = 200;

/// A value, and where it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) place: Place,
    pub(super) row: &'static OptionRow,
    pub(super) set: Set,
}

/// What one place says.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) said: BTreeMap<Path, Said>,
    /// Where each group that has a name of a person's own, and each item of a list, begins.
    pub(super) groups: BTreeMap<Path, Place>,
    pub(super) errors: Vec<ConfigError>,
}

impl Layer {
    /// What a file says.
    pub(super) fn of_tree(tree: Option<&Node>) -> Self {
        let mut layer = Self::default();
        match tree {
            None => {}
            Some(Node { value: Value::Nothing, .. }) => {}
            Some(Node { value: Value::Map(entries), .. }) => layer.root(entries),
            Some(node) => layer.wrong(&node.place, Path::default(), type_of(&format!("the group {ROOT}"), &node.value)),
        }
        layer
    }

    /// Adds what a variable or an argument says.
    pub(super) fn say(&mut self, place: Place, row: &'static OptionRow, text: &str) {
        let path = Path::of(row.path);
        match value::read(row.kind, Written::Outside(text)) {
            Err((wrong, near)) => self.errors.push(ConfigError::new(place, path, wrong).near(near)),
            Ok(set) => match self.said.get(&path) {
                Some(before) if before.set != set => {
                    let first = before.place.clone();
                    self.wrong(&place, path, Wrong::Twice { first });
                }
                Some(_) => {}
                None => {
                    self.said.insert(path, Said { place, row, set });
                }
            },
        }
    }

    fn wrong(&mut self, place: &Place, path: Path, what: Wrong) {
        self.errors.push(ConfigError::new(place.clone(), path, what));
    }

    fn root(&mut self, entries: &[(Name, Node)]) {
        let mut first: Option<&Place> = None;
        let sections = table::below(&[]);
        for (name, node) in entries {
            let path = Path::default().below(&name.text);
            if plain(&name.text) == ROOT {
                self.check_name(name, ROOT, first.replace(&name.place), path);
                self.node(node, &mut Vec::new(), Path::default());
            } else if let Some(section) = sections.iter().find(|section| **section == name.text) {
                let what = format!("all options stand below {ROOT}:, and this one beside it");
                self.wrong(&name.place, path.clone(), Wrong::Form(what));
                self.within(section, node, &mut Vec::new(), path);
            } else {
                let near = nearest(&name.text, std::iter::once(ROOT)).map(str::to_owned);
                self.errors.push(ConfigError::new(name.place.clone(), path, Wrong::Unknown).near(near));
            }
        }
    }

    /// Tells when a name was said before, or is spelled otherwise than the table has it. What it says is read all the same.
    fn check_name(&mut self, name: &Name, option: &str, first: Option<&Place>, path: Path) {
        if let Some(first) = first {
            self.wrong(&name.place, path, Wrong::Twice { first: first.clone() });
        } else if option != name.text {
            let error = ConfigError::new(name.place.clone(), path, Wrong::Spelling);
            self.errors.push(error.near(Some(option.to_owned())));
        }
    }

    /// Reads a part of the file that stands where the table has `pattern`.
    fn node(&mut self, node: &Node, pattern: &mut Vec<&'static str>, path: Path) {
        if let Some(row) = table::at(pattern) {
            return self.option(node, row, path);
        }
        let below = table::below(pattern);
        match (&node.value, below.as_slice()) {
            (Value::Nothing, _) => {}
            (Value::List(items), ["[]"]) => {
                for (at, item) in items.iter().enumerate() {
                    let path = path.below(format!("{}", at + 1));
                    self.groups.insert(path.clone(), item.place.clone());
                    self.within("[]", item, pattern, path);
                }
            }
            (_, ["[]"]) => self.wrong(&node.place, path, type_of("a list", &node.value)),
            (Value::Map(entries), ["*"]) => self.named(entries, pattern, &path),
            (Value::Map(entries), known) => self.known(entries, known, pattern, &path),
            _ => self.wrong(&node.place, path, type_of("a group of options", &node.value)),
        }
    }

    fn within(&mut self, name: &'static str, node: &Node, pattern: &mut Vec<&'static str>, path: Path) {
        pattern.push(name);
        self.node(node, pattern, path);
        pattern.pop();
    }

    /// A group whose names are a person's own.
    fn named(&mut self, entries: &[(Name, Node)], pattern: &mut Vec<&'static str>, path: &Path) {
        let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
        for (name, node) in entries {
            let path = path.below(&name.text);
            self.check_name(name, &name.text, seen.insert(&name.text, &name.place), path.clone());
            if let Err((wrong, _)) = value::line(&name.text, LONGEST_NAME) {
                self.wrong(&name.place, path.clone(), wrong);
            }
            self.groups.entry(path.clone()).or_insert_with(|| name.place.clone());
            self.within("*", node, pattern, path);
        }
    }

    /// A group whose names are the table's.
    fn known(
        &mut self,
        entries: &[(Name, Node)],
        known: &[&'static str],
        pattern: &mut Vec<&'static str>,
        path: &Path,
    ) {
        // By the name as it is meant, so that two spellings of one are found.
        let mut seen: BTreeMap<&'static str, &Place> = BTreeMap::new();
        for (name, node) in entries {
            let below = path.below(&name.text);
            let meant = plain(&name.text);
            let Some(option) = known.iter().find(|known| **known == meant).copied() else {
                let error = unknown(name, known, pattern, below);
                self.errors.push(error);
                continue;
            };
            self.check_name(name, option, seen.insert(option, &name.place), below);
            self.within(option, node, pattern, path.below(option));
        }
    }

    fn option(&mut self, node: &Node, row: &'static OptionRow, path: Path) {
        let set = match (&node.value, row.kind) {
            (Value::Plain(text), kind) => value::read(kind, Written::Plain(text)),
            (Value::Text(text), kind) => value::read(kind, Written::Quoted(text)),
            (Value::List(items), Kind::Texts(longest)) => return self.texts(items, longest, row, &node.place, path),
            (other, kind) => Err((type_of(&kind.expected(), other), None)),
        };
        match set {
            Ok(set) => {
                self.said.insert(path, Said { place: node.place.clone(), row, set });
            }
            Err((wrong, near)) => self.errors.push(ConfigError::new(node.place.clone(), path, wrong).near(near)),
        }
    }

    fn texts(&mut self, items: &[Node], longest: usize, row: &'static OptionRow, place: &Place, path: Path) {
        let mut texts = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let text = match &item.value {
                Value::Plain(text) => value::read(Kind::Text(longest), Written::Plain(text)),
                Value::Text(text) => value::read(Kind::Text(longest), Written::Quoted(text)),
                other => Err((type_of(&Kind::Text(longest).expected(), other), None)),
            };
            match text {
                Ok(set) => texts.push(set.to_string()),
                Err((wrong, near)) => {
                    let path = path.below(format!("{}", at + 1));
                    self.errors.push(ConfigError::new(item.place.clone(), path, wrong).near(near));
                }
            }
        }
        self.said.insert(path, Said { place: place.clone(), row, set: Set::Texts(texts) });
    }
}

fn type_of(expected: &str, found: &Value) -> Wrong {
    Wrong::Type { expected: expected.to_owned(), found: found.kind() }
}

/// What may have been meant: a name of the same group, then one that stands elsewhere.
fn unknown(name: &Name, known: &[&'static str], pattern: &[&'static str], path: Path) -> ConfigError {
    let error = |what| ConfigError::new(name.place.clone(), path.clone(), what);
    if matches!(pattern, ["providers", "*"]) && matches!(plain(&name.text).as_str(), "api_key" | "key" | "token") {
        return error(Wrong::Refused(
            "a key never stands in the configuration; name it with api_key_env or api_key_file",
        ));
    }
    let dotted = pattern.iter().copied().chain([plain(&name.text).as_str()]).collect::<Vec<_>>().join(".");
    let elsewhere = ELSEWHERE.iter().find(|(wrong, _)| *wrong == dotted).map(|(_, meant)| (*meant).to_owned());
    let sibling = || nearest(&name.text, known.iter().copied()).map(str::to_owned);
    let last = |row: &OptionRow| row.names().last().unwrap_or_default();
    let anywhere = || {
        let one = nearest(&name.text, OPTIONS.iter().map(last))?;
        OPTIONS.iter().find(|row| last(row) == one).map(|row| row.path.to_owned())
    };
    error(Wrong::Unknown).near(elsewhere.or_else(sibling).or_else(anywhere))
}

/// The option that a variable says, or the known variable nearest to one that says none. `Err(None)`: it is not ours, or read elsewhere.
pub(super) fn of_variable(name: &str) -> Result<&'static OptionRow, Option<Option<String>>> {
    let names =
        |row: &OptionRow| row.variable().into_iter().chain(row.other_variables().iter().map(ToString::to_string));
    if !name.starts_with("SESSIONS_") {
        return Err(None);
    }
    if let Some(row) = OPTIONS.iter().find(|row| names(row).any(|known| known == name)) {
        return Ok(row);
    }
    let is_read_elsewhere = |other: &&str| match other.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => *other == name,
    };
    if table::OTHER_VARIABLES.iter().any(is_read_elsewhere) {
        return Err(None);
    }
    let bare = |name: &str| name.trim_start_matches("SESSIONS_").to_owned();
    let known: Vec<String> = OPTIONS.iter().flat_map(names).map(|name| bare(&name)).collect();
    Err(Some(nearest(&bare(name), known.iter().map(String::as_str)).map(|near| format!("SESSIONS_{near}"))))
}

//! The environment, that of the process or one that a host hands in. This is the only place of the workspace's libraries that reads it.
//!
//! Must not know: what a variable is for.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fmt,
    path::PathBuf,
};

use sessions_ports::Passphrase;

/// Variables by name. Their values are shown nowhere.
#[derive(Clone)]
pub struct Environment(Variables);

#[derive(Clone)]
enum Variables {
    Process,
    Given(BTreeMap<OsString, OsString>),
}

impl Environment {
    /// That of the process.
    pub fn of_process() -> Self {
        Self(Variables::Process)
    }

    /// These variables and no others.
    pub fn of<N: Into<OsString>, V: Into<OsString>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(Variables::Given(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect()))
    }

    /// A variable that is set, and not to nothing.
    pub(super) fn get(&self, name: impl AsRef<OsStr>) -> Option<OsString> {
        let value = match &self.0 {
            Variables::Process => env::var_os(name),
            Variables::Given(all) => all.get(name.as_ref()).cloned(),
        };
        value.filter(|value| !value.is_empty())
    }

    /// A secret in a variable; `None` when there is none, or none that is UTF-8. Its memory is wiped.
    pub(crate) fn secret(&self, name: &str) -> Option<Passphrase> {
        self.get(name)?.into_string().ok().map(Passphrase::new)
    }

    /// The names of all variables that are ours, in order.
    pub(super) fn names(&self) -> Vec<String> {
        let of_ours = |name: &OsStr| name.to_str().filter(|name| name.starts_with("SESSIONS_")).map(str::to_owned);
        let mut names: Vec<String> = match &self.0 {
            Variables::Process => env::vars_os().filter_map(|(name, _)| of_ours(&name)).collect(),
            Variables::Given(all) => all.keys().filter_map(|name| of_ours(name)).collect(),
        };
        names.sort();
        names
    }

    /// The folder in which a person's programs are configured, with ours in it.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        let folder = |name: &str| self.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = if cfg!(windows) {
            folder("APPDATA")
        } else if cfg!(target_os = "macos") {
            folder("HOME").map(|home| home.join("Library/Application Support"))
        } else {
            folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")))
        };
        folder.map(|folder| folder.join("sessions"))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Variables::Process => "Environment(process)",
            Variables::Given(_) => "Environment(given)",
        })
    }
}

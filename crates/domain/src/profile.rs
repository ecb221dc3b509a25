//! What is known of a model: its window, how its tokens are counted, and what its provider asks of messages.
//!
//! Must not know: prices, endpoints, keys.

mod dated;
mod shipped;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use crate::tokens::Framing;
pub use dated::{is_same_model, undated};
pub use shipped::{ShippedRow, shipped_rows};

use crate::{
    form::{Form, FormRules},
    nearest::nearest,
    tokens::ESTIMATE,
};

/// What is known of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelProfile {
    /// Its name, as its provider takes it.
    pub name: String,
    /// Other names of it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Who runs it, as `openai`.
    pub provider: String,
    /// Tokens that a request and its answer may have together.
    pub window: u64,
    /// Tokens that an answer may have, where that is known.
    #[serde(default)]
    pub max_output: Option<u64>,
    /// Tokens that a request may have at most, where its provider says so beside the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_input: Option<u64>,
    /// Tokens of the window that are kept free for the answer.
    pub reserved_output: u64,
    /// The encoding in which its tokens are counted, or [`ESTIMATE`] where none is published.
    pub encoding: String,
    /// The form in which it takes messages.
    pub form: Form,
    /// What is asked of these messages.
    pub rules: FormRules,
    /// What is written around them, in tokens.
    #[serde(default)]
    pub framing: Framing,
}

impl ModelProfile {
    /// A model of which nothing is known but its window, as of one that runs on the host's own machine: tokens are estimated, the form's
    /// own rules hold, and a quarter of the window, at most 32 000 tokens, is kept free for the answer.
    ///
    /// ```
    /// # use sessions_domain::{form::Form, profile::{ModelProfile, Profiles}};
    /// let mine = ModelProfile::of("qwen3:8b", "ollama", Form::OpenAi, 32_768);
    /// let profiles = Profiles::shipped().with(mine)?;
    /// assert_eq!(profiles.find("qwen3:8b").map(|found| found.usable()), Ok(24_576));
    /// # Ok::<(), sessions_domain::profile::InvalidProfile>(())
    /// ```
    pub fn of(name: impl Into<String>, provider: impl Into<String>, form: Form, window: u64) -> Self {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            provider: provider.into(),
            window,
            max_output: None,
            max_input: None,
            reserved_output: (window / 4).min(MOST_RESERVED),
            encoding: ESTIMATE.to_owned(),
            form,
            rules: FormRules::of(form),
            framing: Framing::CHAT,
        }
    }

    /// Tokens that a request may have: the window without what is kept free for the answer, and no more than its provider takes.
    pub const fn usable(&self) -> u64 {
        let left = self.window.saturating_sub(self.reserved_output);
        match self.max_input {
            Some(most) if most < left => most,
            _ => left,
        }
    }

    /// Whether the profile says anything that can be gone by.
    ///
    /// # Errors
    /// [`InvalidProfile`]: the first thing that is wrong with it.
    pub fn check(&self) -> Result<(), InvalidProfile> {
        let unnamed = |name: &String| name.trim().is_empty();
        if unnamed(&self.name) || self.aliases.iter().any(unnamed) {
            return Err(InvalidProfile::Unnamed { what: "model" });
        }
        for (name, what) in [(&self.provider, "provider"), (&self.encoding, "encoding")] {
            if unnamed(name) {
                return Err(InvalidProfile::Unnamed { what });
            }
        }
        if self.usable() == 0 {
            return Err(InvalidProfile::NoRoom { window: self.window, reserved_output: self.reserved_output });
        }
        Ok(())
    }
}

/// What is kept free for an answer where neither the model nor a host asks for something else.
const MOST_RESERVED: u64 = 32_000;

/// A profile that nothing can be sent by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProfile {
    /// A name is empty or blank.
    #[error("a profile has an empty name of its {what}; name it")]
    Unnamed {
        /// What has no name.
        what: &'static str,
    },
    /// Nothing of the window is left for the request.
    #[error(
        "a profile keeps {reserved_output} for the answer, of a window of {window} in tokens; reserve less than the window"
    )]
    NoRoom {
        /// The window, in tokens.
        window: u64,
        /// What is kept free of it.
        reserved_output: u64,
    },
}

/// No profile has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no model of this name is known{}; name another one, or say what is known of it: under models in the configuration, or as a profile", .nearest.as_ref().map(|name| format!(", the nearest is {name}")).unwrap_or_default())]
pub struct UnknownModel {
    /// What was asked for.
    pub name: String,
    /// The known name that it may have been meant to be.
    pub nearest: Option<String>,
}

/// The models that are known. A clone shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profiles {
    /// Each name once, the newest last.
    known: Vec<Arc<ModelProfile>>,
}

impl Profiles {
    /// Those that the project knows, each with its source ([`shipped_rows`]).
    pub fn shipped() -> Self {
        Self { known: shipped_rows().map(|row| Arc::new(row.profile())).collect() }
    }

    /// The same with one more, which stands in for the one of its name.
    ///
    /// # Errors
    /// [`InvalidProfile`].
    pub fn with(mut self, profile: ModelProfile) -> Result<Self, InvalidProfile> {
        profile.check()?;
        self.known.retain(|known| known.name != profile.name);
        self.known.push(Arc::new(profile));
        Ok(self)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ModelProfile>> {
        self.known.iter()
    }

    /// The model of this name: by its name, by an alias (the one that was added last), or by a name with a date behind it where its
    /// provider documents that the date names a snapshot of that model ([`undated`]); a snapshot keeps its name, and is asked for by it.
    /// Nothing else is taken for it.
    ///
    /// # Errors
    /// [`UnknownModel`], with the nearest name.
    pub fn find(&self, name: &str) -> Result<Arc<ModelProfile>, UnknownModel> {
        let newest = || self.known.iter().rev();
        let named = newest().find(|known| known.name == name);
        let found = named
            .or_else(|| newest().find(|known| known.aliases.iter().any(|alias| alias == name)))
            .cloned()
            .or_else(|| {
                let of = newest().find(|known| undated(&known.provider, name) == Some(&known.name))?;
                Some(Arc::new(ModelProfile { name: name.to_owned(), ..of.as_ref().clone() }))
            });
        found.ok_or_else(|| {
            let names = self.known.iter().flat_map(|known| [&known.name].into_iter().chain(&known.aliases));
            let nearest = nearest(name, names.map(String::as_str)).map(str::to_owned);
            UnknownModel { name: name.to_owned(), nearest }
        })
    }
}

/// How full a model's window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowState {
    /// Below three quarters.
    Normal,
    /// From three quarters on.
    Warning,
    /// From nine tenths on.
    Critical,
}

/// How full the window is with so many tokens in use, of what the model leaves for a request ([`ModelProfile::usable`]).
pub fn window_state(used: u64, profile: &ModelProfile) -> WindowState {
    let (used, usable) = (u128::from(used) * 100, u128::from(profile.usable()));
    if used >= usable * 90 {
        WindowState::Critical
    } else if used >= usable * 75 {
        WindowState::Warning
    } else {
        WindowState::Normal
    }
}

#[cfg(test)]
mod tests;

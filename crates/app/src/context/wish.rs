//! What a context is wanted for.
//!
//! Must not know: what is in it.

use std::sync::Arc;

use sessions_domain::{context::Budget, form::Form, profile::ModelProfile};

use crate::{
    error::SessionError,
    session::{At, Session},
};

/// What a context is wanted for: a budget, a model, or both.
///
/// ```
/// # use sessions_app::ContextWish;
/// # use sessions_domain::context::Budget;
/// let wish = ContextWish::for_model("gpt-4o").within(Budget::tokens(20_000));
/// ```
#[derive(Clone, Debug)]
pub struct ContextWish {
    pub(crate) budget: Option<Budget>,
    pub(crate) model: Option<Model>,
    pub(crate) form: Option<Form>,
    pub(crate) at: At,
    pub(crate) is_whole: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Model {
    Named(String),
    Of(Arc<ModelProfile>),
}

impl Model {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Of(profile) => profile.name.clone(),
            Self::Named(name) => name.clone(),
        }
    }

    /// What is known of it.
    pub(crate) fn profile(&self, session: &Session) -> Result<Arc<ModelProfile>, SessionError> {
        match self {
            Self::Of(profile) => Ok(Arc::clone(profile)),
            Self::Named(name) => Ok(session.manager().profiles().find(name)?),
        }
    }
}

impl From<Budget> for ContextWish {
    fn from(budget: Budget) -> Self {
        Self { budget: Some(budget), model: None, form: None, at: At::Now, is_whole: false }
    }
}

impl ContextWish {
    fn of(model: Model) -> Self {
        Self { budget: None, model: Some(model), form: None, at: At::Now, is_whole: false }
    }

    /// For a model that the manager knows: within its window less what is kept free for its answer, in its provider's form and counted
    /// in its encoding.
    pub fn for_model(name: impl Into<String>) -> Self {
        Self::of(Model::Named(name.into()))
    }

    /// For a model of this profile.
    pub fn for_profile(profile: Arc<ModelProfile>) -> Self {
        Self::of(Model::Of(profile))
    }

    /// The same, within a budget too: the smaller of both counts.
    #[must_use]
    pub fn within(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// The same, with all turns, whatever the model takes.
    #[must_use]
    pub fn whole(mut self) -> Self {
        self.is_whole = true;
        self
    }

    /// The same, in this form: by the rules of the model where that takes it, by those of the form alone otherwise.
    #[must_use]
    pub fn in_form(mut self, form: Form) -> Self {
        self.form = Some(form);
        self
    }

    /// The same, as it was at a place in history.
    #[must_use]
    pub fn at(mut self, at: At) -> Self {
        self.at = at;
        self
    }
}

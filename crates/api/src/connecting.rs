//! Models, and who answers for them, as the configuration names them.
//!
//! Must not know: how a provider is reached, or what a turn is made of.

use std::{fmt, sync::Arc};

use sessions_app::{Agent, ByModel, Extractive};
use sessions_domain::{form::Form, nearest::nearest, profile::ModelProfile};
use sessions_infra::providers::ScriptedProvider;
use sessions_ports::{ModelProvider, Passphrase, Summarizer};

use crate::{
    config::{ApiKeyAt, Configuration, ProviderEntry, ProviderProtocol},
    wiring::{Unwired, in_file, in_variable},
};

/// The window of the script that answers where nothing is configured, in tokens.
const SCRIPT_WINDOW: u64 = 32_768;

/// Why nobody answers for a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotConnected {
    /// No model was named, and the configuration names none though it has providers or models.
    #[error("no model is named; name one, or write `model: NAME` below `sessions:` in the configuration")]
    NoModel,
    /// A model that is not known.
    #[error(
        "no model of this name is known{}; name another one, or write `models: {{ \"{name}\": {{ provider: …, window: … }} }}` below \
         `sessions:` in the configuration", near(.nearest)
    )]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// The known name that it may have been meant to be.
        nearest: Option<String>,
    },
    /// A provider that is not configured, and of which it is not known what it speaks or what its key is.
    #[error(
        "no provider {name:?} is configured{}; write `providers: {{ {name}: {{ {needed} }} }}` below `sessions:` in the configuration",
        near(.nearest)
    )]
    NoProvider {
        /// What was asked for.
        name: String,
        /// The configured name that it may have been meant to be.
        nearest: Option<String>,
        /// What the configuration has to say of it.
        needed: &'static str,
    },
    /// A provider that cannot be used as it is configured.
    #[error("the provider {name:?} cannot be used: {what}")]
    Provider {
        /// Its name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

fn near(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!(", the nearest is {name}")).unwrap_or_default()
}

/// A model, and who answers for it.
#[derive(Clone)]
pub struct ConnectedModel {
    /// The model.
    pub profile: Arc<ModelProfile>,
    /// Who is asked.
    pub provider: Arc<dyn ModelProvider>,
    /// Whether it is a script and no model.
    pub is_script: bool,
}

impl ConnectedModel {
    /// The script that answers where nothing is configured, and says so in each answer.
    pub fn script() -> Self {
        let profile = ModelProfile::of("script", ScriptedProvider::NAME, Form::Neutral, SCRIPT_WINDOW);
        Self { profile: Arc::new(profile), provider: Arc::new(ScriptedProvider::demo()), is_script: true }
    }

    /// An agent with this model, and as yet without tools.
    pub fn agent(&self) -> Agent {
        let agent = Agent::of_profile(Arc::clone(&self.provider), Arc::clone(&self.profile));
        // What a script says of a conversation stands for nothing of it.
        if self.is_script { agent.summarizer(self.summarizer()) } else { agent }
    }

    /// Who writes summaries of what is compacted: the model, or nobody where it is a script.
    pub fn summarizer(&self) -> Arc<dyn Summarizer> {
        if self.is_script {
            return Arc::new(Extractive);
        }
        Arc::new(ByModel::new(Arc::clone(&self.provider), Arc::clone(&self.profile)))
    }
}

impl fmt::Debug for ConnectedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectedModel({} of {})", self.profile.name, self.provider.name())
    }
}

impl Configuration {
    /// Who answers for a model: the provider of its profile, as `providers` has it, or the usual one of a kind that wants no key.
    ///
    /// Without a name it is `model`'s, and where the configuration has neither that nor any model or provider, a script.
    ///
    /// ```
    /// # use sessions_api::config::{Environment, Sources};
    /// let file = "sessions: { model: house, providers: { mine: { kind: scripted } }, models: { house: { provider: mine, window: 8000 } } }";
    /// let configuration = Sources::of(Environment::of([("WORK_KEY", "…")])).text("config.yaml", file).load()?;
    /// let house = configuration.connected(None)?;
    /// assert_eq!(house.profile.window, 8_000);
    /// let agent = house.agent().instructions("Be brief.");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Unwired::Model`], and as [`Self::connect`].
    pub fn connected(&self, model: Option<&str>) -> Result<ConnectedModel, Unwired> {
        let Some(name) = model.map(str::to_owned).or_else(|| self.model()) else {
            let is_anything = !self.providers().is_empty() || !self.models().is_empty();
            return if is_anything { Err(NotConnected::NoModel.into()) } else { Ok(ConnectedModel::script()) };
        };
        let profile = self
            .profiles()
            .find(&name)
            .map_err(|unknown| NotConnected::UnknownModel { name: unknown.name, nearest: unknown.nearest })?;
        let provider = self.connect(&profile.provider)?;
        let is_script = self.protocol_of(&profile.provider) == Some(ProviderProtocol::Scripted);
        Ok(ConnectedModel { profile, provider, is_script })
    }

    /// The provider of this name, among `providers`, or the usual one of a kind that wants no key. Nothing is sent yet.
    ///
    /// Its key is read now, from the variable or the file that is named, which nobody else may read. The provider has the name of its kind where it is
    /// where its kind usually is, and its own otherwise: that is whose `prices` count.
    ///
    /// # Errors
    /// [`Unwired::Model`], those of its key, and [`Unwired::NotBuilt`] for one over the network without the feature `providers`.
    pub fn connect(&self, name: &str) -> Result<Arc<dyn ModelProvider>, Unwired> {
        let entry = self.providers().iter().find(|entry| entry.name == name);
        match (entry, self.protocol_of(name)) {
            (_, Some(ProviderProtocol::Scripted)) => Ok(Arc::new(ScriptedProvider::demo())),
            (Some(entry), _) => reach(entry, self.api_key(entry)?),
            (None, Some(protocol @ ProviderProtocol::Ollama)) => {
                let name = name.to_owned();
                reach(&ProviderEntry { name, protocol, base_url: None, key: None, timeout: None }, None)
            }
            (None, known) => Err(self.not_configured(name, known).into()),
        }
    }

    fn not_configured(&self, name: &str, known: Option<ProviderProtocol>) -> NotConnected {
        let needed = match known {
            Some(ProviderProtocol::OpenAi) => "kind: openai, api_key_env: OPENAI_API_KEY",
            Some(ProviderProtocol::Anthropic) => "kind: anthropic, api_key_env: ANTHROPIC_API_KEY",
            _ => "kind: …, base_url: …, api_key_env: …",
        };
        let names = self.providers().iter().map(|entry| entry.name.as_str());
        let nearest = nearest(name, names.filter(|_| known.is_none())).map(str::to_owned);
        NotConnected::NoProvider { name: name.to_owned(), nearest, needed }
    }

    /// What a provider speaks: by its entry, or as a kind.
    fn protocol_of(&self, name: &str) -> Option<ProviderProtocol> {
        ProviderProtocol::of(name, self.providers())
    }

    fn api_key(&self, entry: &ProviderEntry) -> Result<Option<Passphrase>, Unwired> {
        match &entry.key {
            None => Ok(None),
            Some(ApiKeyAt::Variable(variable)) => {
                in_variable(self, variable, &format!("api_key_env of the provider {:?}", entry.name)).map(Some)
            }
            Some(ApiKeyAt::File(path)) => {
                in_file(path, &format!("api_key_file of the provider {:?}", entry.name)).map(Some)
            }
        }
    }
}

#[cfg(feature = "providers")]
fn reach(entry: &ProviderEntry, key: Option<Passphrase>) -> Result<Arc<dyn ModelProvider>, Unwired> {
    use sessions_infra::providers::{Bounds, Protocol, RemoteProvider};

    let protocol = match entry.protocol {
        ProviderProtocol::OpenAi => Protocol::OpenAi,
        ProviderProtocol::Anthropic => Protocol::Anthropic,
        ProviderProtocol::Ollama => Protocol::Ollama,
        ProviderProtocol::Scripted => return Ok(Arc::new(ScriptedProvider::demo())),
    };
    let usual = Bounds::default();
    let bounds = entry.timeout.map_or(usual, |silence| Bounds { first_byte: silence, silence, ..usual });
    let provider = RemoteProvider::new(protocol, entry.base_url.as_deref(), key.as_ref());
    let provider =
        provider.map_err(|invalid| NotConnected::Provider { name: entry.name.clone(), what: invalid.what })?;
    // Who is where its kind usually is, is the one that is meant by the kind's name.
    let is_usual = entry.base_url.as_deref().is_none_or(|url| url.trim_end_matches('/') == protocol.usual_address());
    let name = if is_usual { protocol.name() } else { &entry.name };
    Ok(Arc::new(provider.named(name).with_bounds(bounds)))
}

#[cfg(not(feature = "providers"))]
fn reach(_: &ProviderEntry, _: Option<Passphrase>) -> Result<Arc<dyn ModelProvider>, Unwired> {
    Err(Unwired::NotBuilt { what: "a provider of models over the network", feature: "providers" })
}

//! Models, providers and prices: the groups of options that have names of a person's own, as one thing each.
//!
//! Must not know: which place a value came from counts more.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use sessions_domain::{
    form::Form,
    money::Currency,
    price::{Day, InvalidPrices, PerMillion, Price, PriceRow, PriceTable},
};

use super::{
    error::{ConfigError, Path, Place, Wrong},
    layer::Said,
    value::Set,
};

/// A model that a person added, or says something else of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelEntry {
    /// Its name.
    pub name: String,
    /// Other names of it.
    pub aliases: Vec<String>,
    /// The provider that runs it, as `providers` names it.
    pub provider: String,
    /// Tokens of input and output together.
    pub window: u64,
    /// The most tokens that it writes at once, where that is known.
    pub max_output: Option<u64>,
    /// Tokens of the window that are kept free for the answer; less than the window. `None`: as many as `tokens.reserve_tokens` says.
    pub reserved_output: Option<u64>,
    /// How its tokens are counted; `None`: as those of a known model of its name, or by estimate.
    pub encoding: Option<String>,
    /// The form in which it takes messages; `None`: that of its provider.
    pub form: Option<Form>,
}

/// Which protocol a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProviderProtocol {
    /// Chat completions.
    OpenAi,
    /// Messages.
    Anthropic,
    /// That of a local server.
    Ollama,
    /// None: it answers from a script.
    Scripted,
}

/// Where a provider's key is. The key itself never stands in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApiKeyAt {
    /// In this variable of the environment.
    Variable(String),
    /// The first line of this file.
    File(PathBuf),
}

/// Who runs models.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderEntry {
    /// Its name.
    pub name: String,
    /// What it speaks.
    pub protocol: ProviderProtocol,
    /// Where it is; `None`: where its kind usually is.
    pub base_url: Option<String>,
    /// Where its key is, if it wants one.
    pub key: Option<ApiKeyAt>,
    /// How long it may say nothing, until an answer begins and between its pieces; `None`: as long as is usual.
    pub timeout: Option<Duration>,
}

impl ProviderProtocol {
    /// What the provider of this name speaks: by its entry, or as a kind.
    pub(crate) fn of(name: &str, providers: &[ProviderEntry]) -> Option<Self> {
        let entry = providers.iter().find(|entry| entry.name == name).map(|entry| entry.protocol);
        entry.or(match name {
            "openai" => Some(Self::OpenAi),
            "anthropic" => Some(Self::Anthropic),
            "ollama" => Some(Self::Ollama),
            "scripted" => Some(Self::Scripted),
            _ => None,
        })
    }

    /// The only form in which it takes messages, and its name; `None`: it takes each.
    fn form(self) -> Option<(Form, &'static str)> {
        match self {
            Self::OpenAi | Self::Ollama => Some((Form::OpenAi, "openai")),
            Self::Anthropic => Some((Form::Anthropic, "anthropic")),
            Self::Scripted => None,
        }
    }
}

/// The values of one group.
pub(super) struct Group<'a> {
    said: &'a BTreeMap<Path, Said>,
    path: &'a Path,
    place: &'a Place,
}

/// The groups below a name, in the order of their places.
pub(super) fn groups<'a>(
    said: &'a BTreeMap<Path, Said>,
    groups: &'a BTreeMap<Path, Place>,
    below: &'static str,
) -> Vec<Group<'a>> {
    let is_below = |path: &&Path| matches!(path.names(), [first, _] if first == below);
    let mut found: Vec<Group<'a>> =
        groups.iter().filter(|(path, _)| is_below(path)).map(|(path, place)| Group { said, path, place }).collect();
    found.sort_by_key(|group| match group.place {
        Place::File { line, column, .. } => (*line, *column),
        _ => (0, 0),
    });
    found
}

impl Group<'_> {
    fn name(&self) -> String {
        self.path.names().last().cloned().unwrap_or_default()
    }

    fn said(&self, names: &[&str]) -> Option<&Said> {
        let path = names.iter().fold(self.path.clone(), |path, name| path.below(*name));
        self.said.get(&path)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.said(&[name]).map(|said| said.set.to_string())
    }

    fn texts(&self, name: &str) -> Vec<String> {
        match self.said(&[name]).map(|said| &said.set) {
            Some(Set::Texts(texts)) => texts.clone(),
            _ => Vec::new(),
        }
    }

    fn whole(&self, names: &[&str]) -> Option<u64> {
        match self.said(names)?.set {
            Set::Whole(number) => Some(number),
            _ => None,
        }
    }

    fn day(&self, name: &str) -> Option<Day> {
        match self.said(&[name])?.set {
            Set::Day(day) => Some(day),
            _ => None,
        }
    }

    /// Tells that something is missing, unless it is there and wrong, which was told.
    fn missing(&self, what: &'static str, errors: &mut Vec<ConfigError>) {
        let path = what.split('.').fold(self.path.clone(), |path, name| path.below(name));
        if !errors.iter().any(|error| error.path == path) {
            errors.push(ConfigError::new(self.place.clone(), self.path.clone(), Wrong::Missing(what)));
        }
    }

    fn wrong(&self, name: &str, what: Wrong) -> ConfigError {
        let place = self.said(&[name]).map_or(self.place, |said| &said.place);
        ConfigError::new(place.clone(), self.path.below(name), what)
    }
}

/// A model, where all that has to be said is.
pub(super) fn model(
    group: &Group<'_>,
    names: &[String],
    providers: &[ProviderEntry],
    errors: &mut Vec<ConfigError>,
) -> Option<ModelEntry> {
    let (provider, window) = (group.text("provider"), group.whole(&["window"]));
    if provider.is_none() {
        group.missing("provider", errors);
    }
    if window.is_none() {
        group.missing("window", errors);
    }
    let reserved_output = group.whole(&["reserved_output"]);
    if reserved_output.zip(window).is_some_and(|(reserved, window)| reserved >= window) {
        errors.push(group.wrong("reserved_output", Wrong::Refused("nothing of the window is left for messages")));
    }
    let (provider, window) = (provider?, window?);
    // A kind is a name too, for the provider that is usually meant by it.
    let is_kind = ["openai", "anthropic", "ollama", "scripted"].contains(&provider.as_str());
    if !is_kind && !names.contains(&provider) {
        let near = sessions_domain::nearest::nearest(&provider, names.iter().map(String::as_str)).map(str::to_owned);
        errors.push(group.wrong("provider", Wrong::Refused("no provider has this name")).near(near));
    }
    let form = match group.text("form").as_deref() {
        Some("openai") => Some(Form::OpenAi),
        Some("anthropic") => Some(Form::Anthropic),
        Some(_) => Some(Form::Neutral),
        None => None,
    };
    let spoken = ProviderProtocol::of(&provider, providers).and_then(ProviderProtocol::form);
    if let (Some(form), Some((spoken, name))) = (form, spoken)
        && form != spoken
    {
        let what = format!("its provider takes messages in the form {name} and no other; leave it out");
        errors.push(group.wrong("form", Wrong::Form(what)));
    }
    Some(ModelEntry {
        name: group.name(),
        aliases: group.texts("aliases"),
        provider,
        window,
        max_output: group.whole(&["max_output"]),
        reserved_output,
        encoding: group.text("encoding"),
        form,
    })
}

/// A provider, where all that has to be said is.
pub(super) fn provider(group: &Group<'_>, errors: &mut Vec<ConfigError>) -> Option<ProviderEntry> {
    let key = match (group.text("api_key_env"), group.text("api_key_file")) {
        (Some(_), Some(_)) => {
            errors.push(
                group.wrong("api_key_file", Wrong::Refused("its key is named twice; leave api_key_env or this out")),
            );
            None
        }
        (Some(variable), None) => Some(ApiKeyAt::Variable(variable)),
        (None, Some(file)) => Some(ApiKeyAt::File(file.into())),
        (None, None) => None,
    };
    let Some(kind) = group.text("kind") else {
        group.missing("kind", errors);
        return None;
    };
    let protocol = match kind.as_str() {
        "openai" => ProviderProtocol::OpenAi,
        "anthropic" => ProviderProtocol::Anthropic,
        "ollama" => ProviderProtocol::Ollama,
        _ => ProviderProtocol::Scripted,
    };
    let timeout = group.whole(&["timeout_seconds"]).map(Duration::from_secs);
    Some(ProviderEntry { name: group.name(), protocol, base_url: group.text("base_url"), key, timeout })
}

/// The prices of these rows; `None` when something is wrong with one.
pub(super) fn prices(groups: &[Group<'_>], errors: &mut Vec<ConfigError>) -> PriceTable {
    let mut rows = Vec::new();
    for group in groups {
        rows.extend(price_row(group, errors).map(|row| (group, row)));
    }
    match PriceTable::new(rows.iter().map(|(_, row)| row.clone()).collect()) {
        Ok(table) => table,
        Err(error) => {
            let at = match &error {
                InvalidPrices::Twice { row, .. } | InvalidPrices::NoDay { row, .. } => rows.get(*row),
                _ => None,
            };
            let what = match &error {
                InvalidPrices::NoDay { .. } => "it ends before it begins",
                _ => "another price of the same name holds on the same day; give the days on which each of them holds",
            };
            errors.extend(
                at.map(|(group, _)| ConfigError::new(group.place.clone(), group.path.clone(), Wrong::Refused(what))),
            );
            PriceTable::default()
        }
    }
}

fn price_row(group: &Group<'_>, errors: &mut Vec<ConfigError>) -> Option<PriceRow> {
    let (provider, model) = (group.text("provider"), group.text("model"));
    for (said, name) in [(&provider, "provider"), (&model, "model")] {
        if said.is_none() {
            group.missing(name, errors);
        }
    }
    let currency = match group.said(&["currency"]).map(|said| &said.set) {
        Some(Set::Currency(currency)) => *currency,
        _ => Currency::USD,
    };
    let is_below = |error: &ConfigError| {
        let (inner, outer) = (error.path.names(), group.path.names());
        inner.len() > outer.len() && inner.starts_with(outer)
    };
    let mut price = rates(group, &[], currency);
    let above = rates(group, &["above"], currency);
    price.above = match group.whole(&["above", "tokens"]) {
        Some(_) if above == Price::none(currency) && !errors.iter().any(is_below) => {
            group.missing("a price in above, as of input and output,", errors);
            None
        }
        Some(tokens) => Some((tokens, Box::new(above))),
        None if above != Price::none(currency) => {
            group.missing("above.tokens", errors);
            None
        }
        None => None,
    };
    if price == Price::none(currency) && !errors.iter().any(is_below) {
        group.missing("a price, as of input and output,", errors);
    }
    Some(PriceRow {
        provider: provider?,
        model: model?,
        aliases: group.texts("aliases"),
        valid_from: group.day("valid_from"),
        valid_to: group.day("valid_to"),
        price,
        source: group.text("source"),
        noted: group.day("noted"),
    })
}

fn rates(group: &Group<'_>, within: &[&str], currency: Currency) -> Price {
    let rate = |name: &str| -> Option<PerMillion> {
        let names: Vec<&str> = within.iter().copied().chain([name]).collect();
        match group.said(&names)?.set {
            Set::Price(price) => Some(price),
            _ => None,
        }
    };
    Price {
        currency,
        input: rate("input"),
        output: rate("output"),
        cache_read: rate("cache_read"),
        cache_write: rate("cache_write"),
        cache_write_long: rate("cache_write_long"),
        reasoning: rate("reasoning"),
        above: None,
    }
}

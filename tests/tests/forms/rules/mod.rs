//! What providers ask of the messages of a request, as a table: each rule with what says so, a check, a request that breaks it and one that
//! does not. `docs/forms.md` is made of it.
//!
//! Must not know: the code that builds requests.

mod anthropic;
mod blocks;
mod openai;
mod read;

use serde_json::Value;

pub(crate) use read::Body;

/// Whose rule it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    OpenAi,
    Anthropic,
}

/// What is known of the model that a request is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knows {
    /// It goes on with an answer that was begun.
    pub(crate) prefill: bool,
    /// It takes instructions inside the conversation.
    pub(crate) system_inside: bool,
    /// It takes instructions at all.
    pub(crate) system: bool,
    /// It thought before it made the last calls, and signed what it thought.
    pub(crate) thought: bool,
}

impl Knows {
    /// The newest models of each.
    pub(crate) const fn newest(api: Api) -> Self {
        match api {
            Api::OpenAi => Self { prefill: true, system_inside: true, system: true, thought: false },
            Api::Anthropic => Self { prefill: false, system_inside: false, system: true, thought: false },
        }
    }
}

/// A request: its messages, and what the form keeps beside them.
pub(crate) struct Request {
    /// As it is sent.
    pub(crate) text: String,
    /// The same, read; null when it cannot be.
    pub(crate) body: Value,
    pub(crate) knows: Knows,
}

impl Request {
    pub(crate) fn of(text: String, knows: Knows) -> Self {
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { text, body, knows }
    }
}

/// One rule.
pub(crate) struct Rule {
    pub(crate) api: Api,
    pub(crate) id: &'static str,
    pub(crate) says: &'static str,
    /// What says so; "ours" where we ask for more than a provider does.
    pub(crate) source: &'static str,
    /// The day of the source, or what kind of evidence it is.
    pub(crate) since: &'static str,
    /// What breaks it in a request.
    pub(crate) check: fn(&Request) -> Vec<String>,
    /// Requests that break it (see [`expanded`]).
    pub(crate) breaks: &'static [&'static str],
    /// Requests that come close and do not.
    pub(crate) holds: &'static [&'static str],
    /// What the model of these requests knows, when it is not the newest.
    pub(crate) knows: Option<Knows>,
}

impl Rule {
    pub(crate) fn request(&self, template: &str) -> Request {
        Request::of(expanded(template), self.knows.unwrap_or(Knows::newest(self.api)))
    }
}

/// All rules, in the document's order.
pub(crate) fn rules() -> impl Iterator<Item = &'static Rule> {
    openai::RULES.iter().chain(anthropic::RULES)
}

/// All that breaks a rule of an API in a request, each with the rule.
pub(crate) fn broken(api: Api, request: &Request) -> Vec<String> {
    let of =
        |rule: &Rule| (rule.check)(request).into_iter().map(|what| format!("{}: {what}", rule.id)).collect::<Vec<_>>();
    rules().filter(|rule| rule.api == api).flat_map(of).collect()
}

/// A template's text: `<<x*41>>` is 41 times `x`, and `<<3,c#>>` is `c0,c1,c2`.
pub(crate) fn expanded(template: &str) -> String {
    let Some((before, rest)) = template.split_once("<<") else { return template.to_owned() };
    let (inner, behind) = rest.split_once(">>").expect("a template that ends");
    let many = if let Some((count, each)) = inner.split_once(',').filter(|(count, _)| count.parse::<usize>().is_ok()) {
        let each = |number: usize| each.replace('#', &number.to_string());
        (0..count.parse().unwrap()).map(each).collect::<Vec<_>>().join(",")
    } else {
        let (text, count) = inner.rsplit_once('*').expect("a template that says how often");
        text.repeat(count.parse().unwrap())
    };
    format!("{before}{many}{}", expanded(behind))
}

/// The document.
pub(crate) fn document() -> String {
    let mut out = String::from(BEGINNING);
    for (api, title) in [(Api::OpenAi, "OpenAI, chat completions"), (Api::Anthropic, "Anthropic, messages")] {
        out.push_str(&format!("\n## {title}\n\n| rule | says | evidence | source |\n|---|---|---|---|\n"));
        for rule in rules().filter(|rule| rule.api == api) {
            let cell = |text: &str| text.replace('|', "\\|");
            let row = [rule.id, &cell(rule.says), &cell(rule.since), &cell(rule.source)];
            out.push_str(&format!("| {} |\n", row.join(" | ")));
        }
    }
    out
}

const BEGINNING: &str = "\
# What providers ask of messages

Made by `cargo xtask docs` of the table in `tests/tests/forms/rules`; a test holds it. Every context in a provider's form keeps these rules, whatever the
session's history is and wherever it was cut. Rules about what else a request says (model, tools, limits) are not here.

*Evidence* says how sure a rule is: *schema* is what the vendor publishes for programs, *manual* what it publishes for people, each with the day of the
copy that was read; *thread* is an answer of the API that somebody quoted, and of one day; *ours* is asked by us alone, so that the other rules can be
checked, or because servers that take the same form are stricter.
";

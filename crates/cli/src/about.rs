//! What is known of a session: `info`, `lineage`.
//!
//! Must not know: conversations.

use serde::Serialize;
use sessions_api::{
    Checkpoint, Kinship, Lineage, Moment, Origin, RuntimeState, Session, SessionId, SessionSettings, SessionSummary,
    TokenUsage,
};

use crate::{failure::Failure, program::Program, table::counted};

#[derive(Serialize)]
struct About {
    #[serde(flatten)]
    summary: SessionSummary,
    /// Messages that its own records hold, visible or not.
    recorded: Option<u64>,
    tool_calls: Option<u64>,
    usage: Option<TokenUsage>,
    first_said: Option<Moment>,
    last_said: Option<Moment>,
    /// Records that are lost.
    #[serde(skip_serializing_if = "is_none")]
    lost: u64,
    runtime: RuntimeState,
    lineage: Lineage,
    /// The numbers of the pinned messages.
    pins: Vec<u64>,
    checkpoints: Vec<Checkpoint>,
    branches: usize,
    state_keys: usize,
    #[serde(skip_serializing_if = "Origin::is_empty")]
    metadata: Origin,
    #[serde(skip_serializing_if = "SessionSettings::is_empty")]
    settings: SessionSettings,
}

fn is_none(lost: &u64) -> bool {
    *lost == 0
}

/// `info`
pub(crate) async fn info(program: &Program, name: &str) -> Result<(), Failure> {
    program
        .with_any_session(name, async |_, session| {
            let about = About::of(program, &session).await?;
            if program.out.is_json() { program.out.object(&about) } else { print_about(program, about) }
        })
        .await
}

impl About {
    async fn of(program: &Program, session: &Session) -> Result<Self, Failure> {
        let view = session.fresh_view().await?;
        let tally = match session.tally().await {
            Ok(tally) => Some(tally),
            // What is damaged does not keep the rest from being told.
            Err(error) => {
                program.out.notice(&format!("its messages could not all be counted: {error}"));
                None
            }
        };
        let lineage = match session.lineage().await {
            Ok(lineage) => lineage,
            Err(error) => {
                program.out.notice(&format!("not all that it came from could be read: {error}"));
                Lineage::default()
            }
        };
        let mut metadata = view.origin().clone();
        let settings = std::mem::take(&mut metadata.settings);
        Ok(Self {
            summary: session.summary().await?,
            recorded: tally.map(|tally| tally.messages),
            tool_calls: tally.map(|tally| tally.tool_calls),
            usage: tally.map(|tally| tally.usage),
            first_said: tally.and_then(|tally| tally.first),
            last_said: tally.and_then(|tally| tally.last),
            lost: view.lost(),
            runtime: session.runtime().await?,
            lineage,
            pins: view.pins().iter().copied().collect(),
            checkpoints: session.checkpoints().await?,
            branches: session.branches().await?.len(),
            state_keys: view.state().len(),
            metadata,
            settings,
        })
    }

    fn messages(&self) -> String {
        let visible = self.summary.messages;
        let recorded = self.recorded.filter(|recorded| *recorded != visible);
        let inherits = self.lineage.ancestors.first().is_some_and(|ancestor| ancestor.kinship == Kinship::Fork);
        match recorded {
            None => visible.to_string(),
            // The places of lost messages count as visible, as far as messages behind them tell of them.
            Some(recorded) if !inherits && self.lost > 0 && recorded < visible => {
                format!("{recorded} (of {visible}, the others are lost)")
            }
            Some(recorded) if !inherits => {
                format!("{visible} visible, {recorded} recorded (on all branches, with what is hidden)")
            }
            Some(recorded) => format!("{visible} visible, {recorded} recorded since the fork (on all its branches)"),
        }
    }

    fn parent(&self) -> Option<(&'static str, SessionId)> {
        let label = if self.summary.kinship == Some(Kinship::SubAgent) { "sub-agent of" } else { "forked from" };
        self.summary.parent.map(|parent| (label, parent))
    }
}

fn print_about(program: &Program, about: About) -> Result<(), Failure> {
    let messages = about.messages();
    let parent = about.parent();
    let said = about.first_said.zip(about.last_said);
    let names = |named: &[Checkpoint]| named.iter().map(|named| named.name.clone()).collect::<Vec<_>>().join(", ");
    let shown = |count: usize| (count > 0).then(|| count.to_string());
    let listed = |texts: &[String]| Some(texts.join(", ")).filter(|text| !text.is_empty());
    let (row, known) = (about.summary, about.metadata);
    let custom = known.custom.keys().cloned().collect::<Vec<_>>();
    let servers = known.mcp_servers.keys().cloned().collect::<Vec<_>>();
    let rows: [(&str, Option<String>); 34] = [
        ("id", Some(row.id.to_string())),
        ("key", row.key.map(|key| key.as_str().to_owned())),
        ("title", row.title.filter(|title| !title.is_empty())),
        ("description", row.description.filter(|text| !text.is_empty())),
        ("status", Some(row.status.to_string())),
        ("in the trash", row.trashed.map(|since| format!("since {since}"))),
        ("runtime", runtime_words(&about.runtime)),
        ("tags", listed(&row.tags)),
        ("created", Some(row.created.to_string())),
        ("updated", Some(row.updated.to_string())),
        ("used", Some(row.last_accessed).filter(|used| *used != row.updated).map(|used| used.to_string())),
        ("said", said.map(|(first, last)| format!("{first} to {last}"))),
        ("version", Some(row.version.to_string())),
        ("messages", Some(messages)),
        ("lost", (about.lost > 0).then(|| counted(about.lost, "record"))),
        ("tool calls", about.tool_calls.map(|calls| calls.to_string())),
        ("usage", about.usage.filter(|usage| *usage != TokenUsage::default()).map(words_of)),
        ("branches", Some(about.branches).filter(|count| *count > 1).map(|count| count.to_string())),
        ("pinned", shown(about.pins.len())),
        ("checkpoints", Some(names(&about.checkpoints)).filter(|names| !names.is_empty())),
        ("state keys", shown(about.state_keys)),
        ("folder", known.cwd),
        ("creator", known.creator),
        ("agent role", known.agent_role),
        ("provider", known.provider),
        ("model", known.model),
        ("mode", known.mode),
        ("files", shown(known.files.len())),
        ("servers", listed(&servers)),
        ("custom", listed(&custom)),
        ("settings", (!about.settings.is_empty()).then(|| serde_json::to_string(&about.settings)).transpose()?),
        (parent.map_or("", |(label, _)| label), parent.map(|(_, parent)| parent.to_string())),
        ("ancestors", Some(about.lineage.ancestors.len()).filter(|count| *count > 1).map(|count| count.to_string())),
        ("children", shown(about.lineage.children.len())),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            program.out.line(&format!("{name:<12} {value}"))?;
        }
    }
    Ok(())
}

fn runtime_words(runtime: &RuntimeState) -> Option<String> {
    match runtime {
        RuntimeState::Idle => None,
        RuntimeState::Busy => Some("busy".to_owned()),
        RuntimeState::Retrying { attempt, next, message } => Some(format!("attempt {attempt} at {next}: {message}")),
        RuntimeState::Interrupted => Some("interrupted: it was busy when its process ended".to_owned()),
    }
}

#[derive(Serialize)]
struct LineageShape {
    id: SessionId,
    #[serde(flatten)]
    lineage: Lineage,
}

/// `lineage`
pub(crate) async fn lineage(program: &Program, name: &str) -> Result<(), Failure> {
    program
        .with_any_session(name, async |_, session| {
            let (id, lineage) = (session.id(), session.lineage().await?);
            if program.out.is_json() {
                return program.out.object(&LineageShape { id, lineage });
            }
            if lineage.ancestors.is_empty() && lineage.children.is_empty() {
                program.out.notice("it came from no session, and none came from it");
            }
            for ancestor in &lineage.ancestors {
                let at = ancestor.at.map(|at| format!(" at {at}")).unwrap_or_default();
                let how = if ancestor.kinship == Kinship::Fork { "forked from" } else { "sub-agent of" };
                program.out.line(&format!("{how} {}{at}", ancestor.session))?;
            }
            lineage.children.iter().try_for_each(|child| program.out.line(&format!("gave {child}")))
        })
        .await
}

fn words_of(usage: TokenUsage) -> String {
    let TokenUsage { input, output, cache_read, reasoning, .. } = usage;
    let cache_write = usage.cache_written();
    let input = counted(input, "token");
    let mut words = format!("{input} in, {output} out, {cache_read} read from a cache, {cache_write} written to it");
    if reasoning > 0 {
        words.push_str(&format!(", {reasoning} of reasoning"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_is_told_as_one() {
        let of = |input| words_of(TokenUsage { input, ..TokenUsage::default() });
        assert_eq!(of(1), "1 token in, 0 out, 0 read from a cache, 0 written to it");
        assert_eq!(of(2), "2 tokens in, 0 out, 0 read from a cache, 0 written to it");
    }
}

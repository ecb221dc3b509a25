//! The models that the project knows, with the source and the date of each row.
//!
//! A row is here when its window has a source. Encodings are those of tiktoken's table of models (`tiktoken/model.py` of 2026-08-16, commit
//! 4e71bbe, in <https://github.com/openai/tiktoken>); a model that is not in it is estimated, as are all models of Anthropic, which publishes
//! no tokenizer. Models on a host's own machine have no row: their window is what their server was started with.
//!
//! Must not know: prices.

use super::{MOST_RESERVED, ModelProfile};
use crate::{
    form::{Form, FormRules, InstructionsAs, ReasoningBack},
    tokens::{ESTIMATE, Framing},
};

const O200K: &str = "o200k_base";
const CL100K: &str = "cl100k_base";

const DEV: &str = "https://github.com/anomalyco/models.dev";
const PLATFORM: &str = "https://platform.claude.com/docs/en/about-claude/models/overview";
const SONNET: &str = "https://platform.claude.com/docs/en/models/sonnet-5-5/overview";

/// What a line of models has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// OpenAI's that take `system`.
    Gpt,
    /// OpenAI's that reason: instructions are the developer's (<https://github.com/openai/openai-openapi>, 2026-08-21).
    Reasoning,
    /// The same, and an answer's room is no part of what a request may have: the limit of its input is the window less the longest answer.
    Split,
    /// OpenAI's first that reason, which take no instructions at all (<https://github.com/langchain-ai/langchain/issues/28895>).
    FirstReasoning,
    /// Anthropic's up to 4.5, which go on with an answer that was begun for them.
    Claude,
    /// Anthropic's from 4.6 on, which do not (<https://github.com/ericc-ch/copilot-api/pull/261>).
    Claude46,
    /// Anthropic's whose reasoning holds only behind what it was made with
    /// (<https://platform.claude.com/docs/en/build-with-claude/preserved-thinking>).
    Preserved,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct ShippedRow {
    /// The model.
    pub name: &'static str,
    /// Where window and longest answer were read.
    pub source: &'static str,
    /// When that was so, as `2026-07-02`; the day it was read where the source names none.
    pub date: &'static str,
    window: u64,
    max_output: u64,
    encoding: &'static str,
    line: Line,
}

const fn row(
    name: &'static str,
    (window, max_output): (u64, u64),
    encoding: &'static str,
    line: Line,
    (source, date): (&'static str, &'static str),
) -> ShippedRow {
    ShippedRow { name, source, date, window, max_output, encoding, line }
}

use Line::{Claude, Claude46, FirstReasoning, Gpt, Preserved, Reasoning, Split};

#[rustfmt::skip]
const ROWS: &[ShippedRow] = &[
    row("gpt-6-astra",        (1_050_000, 128_000), ESTIMATE, Split,          (DEV, "2026-09-04")),
    row("gpt-6-sol",          (1_050_000, 128_000), ESTIMATE, Split,          (DEV, "2026-09-22")),
    row("gpt-6-luna",         (1_050_000, 128_000), ESTIMATE, Split,          (DEV, "2026-09-22")),
    row("gpt-5.6-sol",        (1_050_000, 128_000), O200K,    Split,          (DEV, "2026-07-09")),
    row("gpt-5.6-terra",      (1_050_000, 128_000), O200K,    Split,          (DEV, "2026-07-09")),
    row("gpt-5.6-luna",       (1_050_000, 128_000), O200K,    Split,          (DEV, "2026-07-09")),
    row("gpt-5.5",            (1_050_000, 128_000), O200K,    Split,          (DEV, "2026-07-02")),
    row("gpt-5.5-pro",        (1_050_000, 128_000), O200K,    Split,          (DEV, "2026-07-02")),
    row("gpt-5.4",            (1_050_000, 128_000), O200K,    Split,          (DEV, "2026-07-02")),
    row("gpt-5.4-mini",       (400_000,   128_000), O200K,    Split,          (DEV, "2026-07-02")),
    row("gpt-5.4-nano",       (400_000,   128_000), O200K,    Split,          (DEV, "2026-07-02")),
    row("gpt-5.3-codex",      (400_000,   128_000), O200K,    Split,          (DEV, "2026-07-02")),
    row("gpt-5.2",            (400_000,   128_000), O200K,    Split,          (DEV, "2026-07-02")),
    row("gpt-5.1",            (400_000,   128_000), O200K,    Split,          (DEV, "2026-07-02")),
    row("gpt-5",              (400_000,   128_000), O200K,    Split,          (DEV, "2026-07-02")),
    row("gpt-5-mini",         (400_000,   128_000), O200K,    Split,          (DEV, "2026-07-02")),
    row("gpt-5-nano",         (400_000,   128_000), O200K,    Split,          (DEV, "2026-07-02")),
    row("gpt-4.1",            (1_047_576, 32_768),  O200K,    Gpt,            (DEV, "2026-07-02")),
    row("gpt-4.1-mini",       (1_047_576, 32_768),  O200K,    Gpt,            (DEV, "2026-07-02")),
    row("gpt-4.1-nano",       (1_047_576, 32_768),  O200K,    Gpt,            (DEV, "2026-07-02")),
    row("gpt-4o",             (128_000,   16_384),  O200K,    Gpt,            (DEV, "2026-07-02")),
    row("gpt-4o-2024-05-13",  (128_000,   4_096),   O200K,    Gpt,            (DEV, "2026-11-22")),
    row("gpt-4o-mini",        (128_000,   16_384),  O200K,    Gpt,            (DEV, "2026-07-02")),
    row("o4-mini",            (200_000,   100_000), O200K,    Reasoning,      (DEV, "2026-07-02")),
    row("o3",                 (200_000,   100_000), O200K,    Reasoning,      (DEV, "2026-07-02")),
    row("o3-mini",            (200_000,   100_000), O200K,    Reasoning,      (DEV, "2026-07-02")),
    row("o1",                 (200_000,   100_000), O200K,    Reasoning,      (DEV, "2026-07-02")),
    row("o1-mini",            (128_000,   65_536),  O200K,    FirstReasoning, (DEV, "2026-11-22")),
    row("o1-preview",         (128_000,   32_768),  O200K,    FirstReasoning, (DEV, "2026-11-22")),
    row("gpt-4-turbo",        (128_000,   4_096),   CL100K,   Gpt,            (DEV, "2026-07-02")),
    row("gpt-4",              (8_192,     8_192),   CL100K,   Gpt,            (DEV, "2026-07-02")),
    row("gpt-3.5-turbo",      (16_385,    4_096),   CL100K,   Gpt,            (DEV, "2026-07-02")),
    row("claude-haiku-5-5",   (1_000_000, 128_000), ESTIMATE, Preserved,      (DEV, "2026-10-07")),
    row("claude-opus-5-5",    (1_000_000, 128_000), ESTIMATE, Preserved,      (PLATFORM, "2026-09-22")),
    row("claude-sonnet-5-5",  (1_000_000, 128_000), ESTIMATE, Preserved,      (SONNET, "2026-11-22")),
    row("claude-opus-5",      (1_000_000, 128_000), ESTIMATE, Claude46,       (DEV, "2026-07-24")),
    row("claude-sonnet-5",    (1_000_000, 128_000), ESTIMATE, Claude46,       (DEV, "2026-06-30")),
    row("claude-fable-5",     (1_000_000, 128_000), ESTIMATE, Claude46,       (DEV, "2026-07-02")),
    row("claude-opus-4-8",    (1_000_000, 128_000), ESTIMATE, Claude46,       (DEV, "2026-07-02")),
    row("claude-opus-4-7",    (1_000_000, 128_000), ESTIMATE, Claude46,       (DEV, "2026-07-02")),
    row("claude-opus-4-6",    (1_000_000, 128_000), ESTIMATE, Claude46,       (DEV, "2026-07-02")),
    row("claude-sonnet-4-6",  (1_000_000, 64_000),  ESTIMATE, Claude46,       (DEV, "2026-07-02")),
    row("claude-opus-4-5",    (200_000,   64_000),  ESTIMATE, Claude,         (DEV, "2026-11-22")),
    row("claude-sonnet-4-5",  (200_000,   64_000),  ESTIMATE, Claude,         (DEV, "2026-11-22")),
    row("claude-haiku-4-5",   (200_000,   64_000),  ESTIMATE, Claude,         (DEV, "2026-11-22")),
    row("claude-opus-4-1",    (200_000,   32_000),  ESTIMATE, Claude,         (DEV, "2026-11-22")),
];

/// The rows, the newest models of each provider first.
pub fn shipped_rows() -> impl Iterator<Item = &'static ShippedRow> {
    ROWS.iter()
}

impl ShippedRow {
    pub(super) fn profile(&self) -> ModelProfile {
        let (provider, form) = match self.line {
            Gpt | Reasoning | Split | FirstReasoning => ("openai", Form::OpenAi),
            Claude | Claude46 | Preserved => ("anthropic", Form::Anthropic),
        };
        // An answer is seldom as long as the longest, so that much of the window is not kept free.
        let reserved_output = self.max_output.min(MOST_RESERVED).min(self.window / 4);
        let max_input = (self.line == Split).then(|| self.window.saturating_sub(self.max_output));
        ModelProfile {
            name: self.name.to_owned(),
            aliases: Vec::new(),
            provider: provider.to_owned(),
            window: self.window,
            max_output: Some(self.max_output),
            max_input,
            reserved_output,
            encoding: self.encoding.to_owned(),
            form,
            rules: self.line.rules(form),
            framing: Framing::CHAT,
        }
    }
}

impl Line {
    fn rules(self, form: Form) -> FormRules {
        let rules = FormRules::of(form);
        match self {
            Self::Gpt => rules,
            Self::Reasoning | Self::Split => FormRules { instructions: InstructionsAs::Developer, ..rules },
            Self::FirstReasoning => FormRules { instructions: InstructionsAs::User, ..rules },
            Self::Claude => FormRules { prefill: true, ..rules },
            Self::Claude46 => FormRules { prefill: false, ..rules },
            Self::Preserved => FormRules { prefill: false, reasoning: ReasoningBack::Unchanged, ..rules },
        }
    }
}

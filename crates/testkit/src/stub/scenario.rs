//! What providers do, well or badly, as a table: the same for each API that has it.
//!
//! Must not know: what a caller makes of it.

use super::{Reply, Then, anthropic, chunk, ollama, openai};

/// Whose API is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// OpenAI's chat completions.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Ollama's chat completions.
    Ollama,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// `Hi 🦀 there` in three pieces.
    Text,
    /// The same, byte by byte.
    Dripped,
    /// Two calls, `read {"path":"a"}` and `list {}`, with a text before them.
    Calls,
    /// Reasoning, where there are signatures with one, and `Hi`.
    Reasoning,
    /// A block that nobody knows, and `Hi`.
    UnknownBlock,
    /// `Hi` with a citation.
    Citations,
    /// Reasoning that nobody may read, and `Hi`.
    Redacted,
    /// An answer without anything.
    Empty,
    /// `Hi`, and behind the end mark an error and nonsense.
    BehindTheEnd,
    /// `Hi`, cut by the limit of the answer.
    Limit,
    /// `Hi`, with −1 tokens sent.
    NegativeUsage,
    /// `Hi`, with 10¹⁸ tokens that came back.
    HugeUsage,
    /// `Hi`, and nothing is said of tokens.
    NoUsage,
    /// A call at the place 4 294 967 295.
    HighIndex,
    /// The model was loaded, and that is all.
    Loaded,
    /// 429 with `retry-after-ms: 1500`.
    RateInMillis,
    /// 429 with `retry-after: 7`.
    RateInSeconds,
    /// 429 with a date 30 seconds behind the answer's.
    RateByDate,
    /// 429 for an account that has nothing left.
    Quota,
    /// 529, or 503.
    Overloaded,
    /// 500, and then [`Self::Text`].
    ErrorThenText,
    /// 401.
    Denied,
    /// 404 for the model.
    UnknownModel,
    /// 400 for a request that is longer than the window.
    TooLong,
    /// 413.
    TooLarge,
    /// Nothing comes.
    SlowStart,
    /// `Hi` comes, and nothing more.
    SilentMidway,
    /// `Hi` comes; when released, the connection is reset.
    ResetMidway,
    /// `Hi` comes, and the connection ends within the answer.
    BrokenOff,
    /// `Hi` comes, and the answer ends without its end mark.
    NoEndMark,
    /// `Hi` comes, and then an error.
    ErrorMidway,
    /// `Hi` comes, and then bytes that are no UTF-8.
    BadUtf8,
    /// A frame that does not end.
    EndlessFrame,
    /// A page with status 200.
    Html,
}

impl Scenario {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Text,
        Self::Dripped,
        Self::Calls,
        Self::Reasoning,
        Self::UnknownBlock,
        Self::Citations,
        Self::Redacted,
        Self::Empty,
        Self::BehindTheEnd,
        Self::Limit,
        Self::NegativeUsage,
        Self::HugeUsage,
        Self::NoUsage,
        Self::HighIndex,
        Self::Loaded,
        Self::RateInMillis,
        Self::RateInSeconds,
        Self::RateByDate,
        Self::Quota,
        Self::Overloaded,
        Self::ErrorThenText,
        Self::Denied,
        Self::UnknownModel,
        Self::TooLong,
        Self::TooLarge,
        Self::SlowStart,
        Self::SilentMidway,
        Self::ResetMidway,
        Self::BrokenOff,
        Self::NoEndMark,
        Self::ErrorMidway,
        Self::BadUtf8,
        Self::EndlessFrame,
        Self::Html,
    ];
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Rate,
    Quota,
    Overloaded,
    Server,
    Denied,
    UnknownModel,
    TooLong,
    TooLarge,
}

impl Api {
    /// All of them.
    pub const ALL: &[Self] = &[Self::OpenAi, Self::Anthropic, Self::Ollama];

    /// The frames of an answer that comes to its end.
    fn answer(self, scenario: Scenario) -> Option<Vec<String>> {
        match self {
            Self::OpenAi => openai::answer(scenario),
            Self::Anthropic => anthropic::answer(scenario),
            Self::Ollama => ollama::answer(scenario),
        }
    }

    /// The frames with which `Hi` begins.
    fn begun(self) -> Vec<String> {
        match self {
            Self::OpenAi => openai::begun(),
            Self::Anthropic => anthropic::begun(),
            Self::Ollama => ollama::begun(),
        }
    }

    /// Status and body of a refusal.
    fn refusal(self, why: Refusal) -> Option<(u16, String)> {
        match self {
            Self::OpenAi => Some(openai::refusal(why)),
            Self::Anthropic => Some(anthropic::refusal(why)),
            Self::Ollama => ollama::refusal(why),
        }
    }

    fn error_frame(self) -> String {
        match self {
            Self::OpenAi => openai::error_frame(),
            Self::Anthropic => anthropic::error_frame(),
            Self::Ollama => ollama::error_frame(),
        }
    }

    fn refused(self, why: Refusal, headers: &[&str]) -> Option<Vec<Reply>> {
        let (status, body) = self.refusal(why)?;
        let headers: Vec<&str> = headers.iter().copied().chain(["Content-Type: application/json"]).collect();
        Some(vec![Reply::whole(status, &headers, &body)])
    }

    /// What is answered in a scenario, one a request; `None` where the API has no such thing.
    pub fn replies(self, scenario: Scenario) -> Option<Vec<Reply>> {
        let bytes = |frames: Vec<String>| frames.into_iter().map(String::into_bytes).collect::<Vec<_>>();
        let begun = || bytes(self.begun());
        let only = |reply| Some(vec![reply]);
        match scenario {
            Scenario::Dripped => {
                let whole: Vec<u8> = self.answer(Scenario::Text)?.concat().into_bytes();
                only(Reply::stream(whole.iter().map(|byte| vec![*byte])))
            }
            Scenario::RateInMillis => self.refused(Refusal::Rate, &["retry-after-ms: 1500", "Retry-After: 9"]),
            Scenario::RateInSeconds => self.refused(Refusal::Rate, &["Retry-After: 7"]),
            Scenario::RateByDate => self.refused(
                Refusal::Rate,
                &["Date: Sun, 06 Nov 1994 08:49:37 GMT", "Retry-After: Sun, 06 Nov 1994 08:50:07 GMT"],
            ),
            Scenario::Quota => self.refused(Refusal::Quota, &[]),
            Scenario::Overloaded => self.refused(Refusal::Overloaded, &[]),
            Scenario::ErrorThenText => {
                let failed = self.refused(Refusal::Server, &[])?;
                Some([failed, self.replies(Scenario::Text)?].concat())
            }
            Scenario::Denied => self.refused(Refusal::Denied, &[]),
            Scenario::UnknownModel => self.refused(Refusal::UnknownModel, &[]),
            Scenario::TooLong => self.refused(Refusal::TooLong, &[]),
            Scenario::TooLarge => self.refused(Refusal::TooLarge, &[]),
            Scenario::SlowStart => only(Reply::silence()),
            Scenario::SilentMidway => only(Reply::begun(begun(), Then::Hang)),
            Scenario::ResetMidway => only(Reply::begun(begun(), Then::Reset)),
            Scenario::BrokenOff => only(Reply::begun(begun(), Then::Close)),
            Scenario::NoEndMark => only(Reply::stream(begun())),
            Scenario::ErrorMidway => only(Reply::stream(begun().into_iter().chain([self.error_frame().into_bytes()]))),
            Scenario::BadUtf8 => only(Reply::stream(begun().into_iter().chain([b"data: \"\xF0\x9F\"\n\n".to_vec()]))),
            Scenario::EndlessFrame => {
                let endless = Then::Repeat(chunk(&vec![b'a'; 64 << 10]));
                only(Reply::begun(begun().into_iter().chain([b"data: ".to_vec()]), endless))
            }
            Scenario::Html => {
                let page = "<!doctype html><html><body>It works!</body></html>";
                only(Reply::whole(200, &["Content-Type: text/html; charset=utf-8"], page))
            }
            whole => only(Reply::stream(bytes(self.answer(whole)?))),
        }
    }
}

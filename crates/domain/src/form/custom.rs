//! Parts that are kept in a provider's own words: which of them a form takes as they came, and which say a file that every form knows.
//!
//! Must not know: where in a conversation a part stands.

use serde::Deserialize;

use super::{
    Form,
    media::{data_of, is_https, media},
};
use crate::{json::Json, message::FileRef};

/// Where a part stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    /// In instructions.
    System,
    /// In a user's message.
    User,
    /// In an answer.
    Answer,
    /// In the content of a result.
    Result,
}

#[derive(Deserialize)]
struct Tag {
    #[serde(rename = "type")]
    kind: String,
}

/// The type that a part says.
pub(super) fn kind(json: &Json) -> Option<String> {
    json.decode::<Tag>().ok().map(|tag| tag.kind)
}

/// A block of Anthropic's with a source. Nothing else may stand in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sourced {
    #[serde(rename = "type")]
    _kind: String,
    source: Source,
    #[serde(default)]
    title: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    data: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    file_id: Option<String>,
}

/// The same with whatever else.
#[derive(Deserialize)]
struct Loose {
    source: Option<Source>,
    #[serde(default)]
    title: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redacted {
    #[serde(rename = "type")]
    _kind: String,
    data: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageUrl {
    #[serde(rename = "type")]
    _kind: String,
    image_url: Address,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Address {
    url: String,
    #[serde(default)]
    detail: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputAudio {
    #[serde(rename = "type")]
    _kind: String,
    input_audio: Audio,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Audio {
    data: String,
    format: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePart {
    #[serde(rename = "type")]
    _kind: String,
    file: FileData,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileData {
    #[serde(default)]
    filename: Option<String>,
    #[serde(default)]
    file_data: Option<String>,
    #[serde(default)]
    file_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal {
    #[serde(rename = "type")]
    _kind: String,
    refusal: String,
}

/// A picture as coding agents keep it beside providers.
#[derive(Deserialize)]
struct Bare {
    #[serde(default)]
    data: Option<String>,
    #[serde(default, rename = "mimeType")]
    mime_type: Option<String>,
    #[serde(default)]
    image_url: Option<String>,
}

/// What the model thought and nobody may read: the opaque data.
pub(super) fn redacted(json: &Json) -> Option<String> {
    let is = kind(json).as_deref() == Some("redacted_thinking");
    is.then(|| json.decode::<Redacted>().ok()).flatten().map(|redacted| redacted.data).filter(|data| !data.is_empty())
}

/// The words of a refusal, as OpenAI says it.
pub(super) fn refusal(json: &Json) -> Option<String> {
    let is = kind(json).as_deref() == Some("refusal");
    is.then(|| json.decode::<Refusal>().ok()).flatten().map(|refusal| refusal.refusal)
}

/// True for a part that the form takes as it came. Reasoning is not asked for here.
pub(super) fn is_taken(json: &Json, form: Form, stands: Stands) -> bool {
    let Some(kind) = kind(json) else { return false };
    match (form, stands, kind.as_str()) {
        (Form::Anthropic, Stands::User | Stands::Result, "image" | "document") => {
            let Ok(block) = json.decode::<Sourced>() else { return false };
            let is_titled = block.title.is_some() && kind == "image";
            let is_kind = |file: FileRef| media(&file, form).is_some_and(|is| is.is_picture() == (kind == "image"));
            !is_titled && (block.source.is_upload() || file(json).is_some_and(is_kind))
        }
        (Form::OpenAi, Stands::User, "image_url") => {
            let details = ["auto", "low", "high"];
            let part = json.decode::<ImageUrl>().ok();
            let known = |detail: &Option<String>| detail.as_deref().is_none_or(|detail| details.contains(&detail));
            part.is_some_and(|part| known(&part.image_url.detail)) && is_media(json, form)
        }
        (Form::OpenAi, Stands::User, "file") => is_upload(json) || is_media(json, form),
        (Form::OpenAi, Stands::User, "input_audio") => is_media(json, form),
        (Form::OpenAi, Stands::Answer, "refusal") => refusal(json).is_some_and(|words| !super::mend::is_blank(&words)),
        _ => false,
    }
}

/// True for a file that was given to the provider before.
fn is_upload(json: &Json) -> bool {
    let file = json.decode::<FilePart>().ok().map(|part| part.file);
    file.is_some_and(|file| file.filename.is_none() && file.file_data.is_none() && is_said(file.file_id.as_ref()))
}

fn is_said(id: Option<&String>) -> bool {
    id.is_some_and(|id| !id.is_empty())
}

impl Source {
    fn is_upload(&self) -> bool {
        let only = self.media_type.is_none() && self.data.is_none() && self.url.is_none();
        self.kind == "file" && only && is_said(self.file_id.as_ref())
    }
}

fn is_media(json: &Json, form: Form) -> bool {
    file(json).is_some_and(|file| media(&file, form).is_some())
}

/// The file that a part says in some provider's words.
pub(super) fn file(json: &Json) -> Option<FileRef> {
    match kind(json)?.as_str() {
        "image" | "document" => sourced(json).or_else(|| bare(json)),
        "input_image" => bare(json),
        "image_url" => json.decode::<ImageUrl>().ok().and_then(|part| at(part.image_url.url, None)),
        "input_audio" => {
            let audio = json.decode::<InputAudio>().ok()?.input_audio;
            let kind = match audio.format.as_str() {
                "wav" => "audio/wav",
                "mp3" => "audio/mpeg",
                _ => return None,
            };
            at(format!("data:{kind};base64,{}", audio.data), None)
        }
        "file" => {
            let FileData { filename, file_data, file_id } = json.decode::<FilePart>().ok()?.file;
            file_data.filter(|data| file_id.is_none() && data.starts_with("data:")).and_then(|data| at(data, filename))
        }
        _ => None,
    }
}

fn sourced(json: &Json) -> Option<FileRef> {
    let block: Loose = json.decode().ok()?;
    let source = block.source?;
    let is_document = kind(json).as_deref() == Some("document");
    match (source.kind.as_str(), source.media_type, source.data, source.url) {
        ("base64", Some(kind), Some(data), None) => at(format!("data:{kind};base64,{data}"), block.title),
        ("text", Some(media_type), Some(data), None) => {
            let url = Some(format!("data:{media_type},{}", data.replace('%', "%25")));
            Some(FileRef { media_type, name: block.title, artifact: None, url })
        }
        ("url", None, None, Some(url)) => {
            let media_type = if is_document { "application/pdf" } else { "image/png" };
            let file = FileRef { media_type: media_type.into(), name: block.title, artifact: None, url: Some(url) };
            file.url.as_deref().is_some_and(is_https).then_some(file)
        }
        _ => None,
    }
}

fn bare(json: &Json) -> Option<FileRef> {
    let bare: Bare = json.decode().ok()?;
    match (bare.mime_type, bare.data, bare.image_url) {
        (Some(kind), Some(data), None) => at(format!("data:{kind};base64,{data}"), None),
        (None, None, Some(url)) => at(url, None),
        _ => None,
    }
}

/// A file at an address; a picture whose type the address does not tell is taken for one that every form takes.
fn at(url: String, name: Option<String>) -> Option<FileRef> {
    let media_type = match data_of(&url) {
        Some((kind, _)) => kind.to_owned(),
        None if is_https(&url) => "image/png".to_owned(),
        None => return None,
    };
    Some(FileRef { media_type, name, artifact: None, url: Some(url) })
}

//! A session as one HTML page: no script, nothing from elsewhere, every text escaped.
//!
//! Must not know: other pages.

use sessions_domain::{MessagePart, StoredMessage, ToolContent, View};

use super::{facts, file_name, plain, role_name, title};

/// What stands behind the messages.
pub(super) const END: &str = "</main>\n</body>\n</html>\n";

/// The page's style.
const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}article{border-top:1px solid #ccc;padding:.5rem 0}h2{font-size:1rem;margin:.5rem 0}time{color:#595959;font-weight:400}pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit;margin:.5rem 0}details pre,.code{font:.875rem/1.4 ui-monospace,monospace;background:#f4f4f4;padding:.5rem}.error{border-left:4px solid #a00}@media(prefers-color-scheme:dark){body{color:#eee;background:#1a1a1a}time{color:#aaa}details pre,.code{background:#2a2a2a}}";

/// SHA-256 of [`STYLE`] in base 64: the one style that the page lets in.
const STYLE_DIGEST: &str = "tzKJRZqipBqbG2MmDP5byEo11cV8EXxBPyevB4K1jQM=";

/// What stands before the messages.
pub(super) fn begin(view: &View) -> String {
    let title = escaped(&title(view));
    let known = |(name, value): (&str, String)| format!("<li>{name}: <bdi>{}</bdi></li>\n", escaped(&value));
    let facts: String = facts(view).into_iter().map(known).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{STYLE_DIGEST}'; base-uri 'none'; \
         form-action 'none'\">\n<meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"robots\" content=\"noindex\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<header>\n<h1 dir=\"auto\">{title}</h1>\n<ul>\n{facts}</ul>\n</header>\n<main>\n"
    )
}

/// One message.
pub(super) fn message(message: &StoredMessage) -> String {
    let (role, at, seq) = (role_name(message.role), message.said_at(), message.seq);
    let mut out =
        format!("<article id=\"m{seq}\" class=\"{role}\">\n<h2>{role} <time datetime=\"{at}\">{at}</time></h2>\n");
    message.parts.iter().for_each(|part| out.push_str(&part_of(part)));
    out.push_str("</article>\n");
    out
}

fn part_of(part: &MessagePart) -> String {
    match part {
        MessagePart::Text(text) => block("", text),
        MessagePart::Reasoning { text, .. } if text.is_empty() => {
            "<p>reasoning, which the provider keeps to itself</p>\n".into()
        }
        MessagePart::Reasoning { text, .. } => details("reasoning", "", &block("", text)),
        MessagePart::ToolCall(call) => {
            let what = format!("calls {} ({})", call.name, call.call_id);
            details(&what, "", &block("", call.input.as_str()))
        }
        MessagePart::ToolResult(result) => {
            let (what, class) = if result.is_error { ("error of", " class=\"error\"") } else { ("result of", "") };
            let inner = match &result.content {
                ToolContent::Text(text) => block("", text),
                ToolContent::Parts(parts) => parts.iter().map(part_of).collect(),
            };
            details(&format!("{what} {}", result.call_id), class, &inner)
        }
        MessagePart::File(file) => format!("<p>file <bdi>{}</bdi></p>\n", escaped(&file_name(file))),
        MessagePart::Error { message, .. } => block(" class=\"error\"", message),
        MessagePart::Custom(json) => block(" class=\"code\"", json.as_str()),
        other => format!("<p>{}</p>\n", other.type_name()),
    }
}

fn details(what: &str, class: &str, inner: &str) -> String {
    format!("<details{class}>\n<summary><bdi>{}</bdi></summary>\n{inner}</details>\n", escaped(what))
}

/// A text as it is, line breaks and all. The first line break of such a block is not shown, so one is put before.
fn block(class: &str, text: &str) -> String {
    format!("<pre{class} dir=\"auto\">\n{}</pre>\n", escaped(text))
}

/// A text in which nothing means anything to a browser.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Base 64 (RFC 4648, section 4), of whole bytes.
    fn base64(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let letters = |group: &[u8]| {
            let bits = (0..3).fold(0_usize, |bits, at| bits << 8 | usize::from(group.get(at).copied().unwrap_or(0)));
            let letter =
                |at: usize| if at <= group.len() { char::from(LETTERS[bits >> (18 - 6 * at) & 63]) } else { '=' };
            (0..4).map(letter).collect::<String>()
        };
        bytes.chunks(3).map(letters).collect()
    }

    #[test]
    fn the_style_is_the_one_that_is_let_in() {
        assert_eq!(base64(b"any c"), "YW55IGM=");
        assert_eq!(base64(&sessions_domain::chain::sha256(STYLE.as_bytes())), STYLE_DIGEST);
    }
}

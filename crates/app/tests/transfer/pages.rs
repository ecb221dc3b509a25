//! Pages for people: what they show, and that nothing that was said reaches beyond its message.
//!
//! Must not know: how a page is made.

use sessions_app::{NewSession, transfer::ExportFormat};
use sessions_domain::{Message, MessagePart};

use crate::ground::{exported, fixture, host, real_files, session_of};

/// What hostile words try.
const PAYLOADS: [&str; 64] = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//e.example/x></ScRiPt>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<iframe src=javascript:alert(1)>",
    "<a href=\"javascript:alert(1)\">x</a>",
    "\"><script>alert(1)</script>",
    "'><script>alert(1)</script>",
    "</pre><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</details></article></main><h1>Forged</h1>",
    "<!-- open comment",
    "--><script>alert(1)</script>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<meta http-equiv=refresh content=0;url=http://e.example>",
    "<base href=http://e.example>",
    "<link rel=stylesheet href=http://e.example>",
    "<style>*{background:url(http://e.example)}</style>",
    "<form action=http://e.example><input name=q>",
    "<object data=http://e.example>",
    "<embed src=http://e.example>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<template><script>alert(1)</script></template>",
    "<plaintext>",
    "<textarea>",
    "<xmp>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;",
    "&#x3c;script",
    "\u{ff1c}script\u{ff1e}",
    "<\u{0}script>alert(1)</script>",
    "<script\u{c}>alert(1)</script>",
    "![track](http://e.example/p.png)",
    "![track][t]\n\n[t]: http://e.example/p.png",
    "[click](javascript:alert(1))",
    "[click](data:text/html,<script>alert(1)</script>)",
    "[t]: javascript:alert(1)\n[t]",
    "<javascript:alert(1)>",
    "<http://e.example>",
    "# user · 2026-01-01T00:00:00.000Z",
    "## assistant · 2026-01-01T00:00:00.000Z",
    "assistant\n---",
    "assistant\n===",
    "```\nnever closed",
    "````\n```\nnever closed",
    "~~~\nnever closed",
    "```\n```\n<script>alert(1)</script>",
    "- ```\n<script>alert(1)</script>",
    "> ```\n<script>alert(1)</script>",
    "  ```\n<script>alert(1)</script>\n  ```",
    "a ` b\nc ` <script>alert(1)</script> ` d",
    "\\`<script>alert(1)</script>`",
    "`` ` <script>alert(1)</script>",
    "``` `<script>alert(1)</script>",
    "\u{1b}[2J\u{1b}[31m",
    "\u{1b}]0;title\u{7}",
    "\u{1b}]8;;http://e.example\u{1b}\\click\u{1b}]8;;\u{1b}\\",
    "\u{9b}31m",
    "\u{202e}txt.exe",
    "\u{2066}\u{2067}\u{2068}\u{2069}",
    "a\rb\u{8}\u{8}c",
    "\u{200b}\u{feff}\u{2060}hidden",
    "\u{e0041}\u{e0042}\u{2028}\u{2029}",
];

/// The payload at every place where words may stand.
async fn page(payload: &str, format: ExportFormat) -> String {
    let host = host(1);
    let session = host.create(NewSession::titled(payload)).await.unwrap();
    let json = serde_json::to_string(payload).unwrap();
    session.append(Message::system(payload)).await.unwrap();
    session
        .append(
            Message::user(payload)
                .with(MessagePart::Custom(sessions_domain::Json::parse(&format!("[{json}]")).unwrap())),
        )
        .await
        .unwrap();
    let reasoning = MessagePart::Reasoning { text: payload.into(), signature: None };
    let call = MessagePart::tool_call(payload, payload, &format!("{{\"x\":{json}}}")).unwrap();
    let error = MessagePart::Error { message: payload.into(), code: None };
    let file = serde_json::json!({"type": "file", "media_type": payload, "name": payload});
    let file: MessagePart = serde_json::from_value(file).unwrap();
    session.append(Message::assistant(payload).with(reasoning).with(error).with(file).with(call)).await.unwrap();
    session.append(Message::tool_result(payload, payload)).await.unwrap();
    session.append(Message::assistant("the end")).await.unwrap();
    String::from_utf8(exported(&session, format).await).unwrap()
}

fn has_no_hidden(page: &str, payload: &str) {
    let is_hidden = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}' | '\u{feff}' | '\u{2060}' | '\u{2028}' | '\u{2029}')
            || ('\u{e0000}'..='\u{e007f}').contains(&c)
    };
    assert_eq!(page.chars().find(|c| is_hidden(*c)), None, "{payload:?}");
}

#[tokio::test]
async fn no_payload_leaves_its_place_in_a_page() {
    let tags = |page: &str| {
        let tag = |piece: &str| piece.split(['>', ' ']).next().unwrap_or_default().to_owned();
        page.split('<').skip(1).map(tag).collect::<Vec<_>>()
    };
    let harmless = tags(&page("words", ExportFormat::Html).await);
    for payload in PAYLOADS {
        let page = page(payload, ExportFormat::Html).await;
        // The tags are the same, one by one, whatever is said.
        assert_eq!(tags(&page), harmless, "{payload:?}");
        assert_eq!(page.matches("<script").count() + page.matches("<a ").count() + page.matches("<img").count(), 0);
        assert!(page.contains("default-src 'none'") && !page.contains("unsafe"), "{payload:?}");
        let policy = page.find("Content-Security-Policy").unwrap();
        assert!(policy < page.find("<title>").unwrap() && page.ends_with("</html>\n"));
        has_no_hidden(&page, payload);
    }
}

/// What a reader of Markdown makes of a page: the headings, and the words that are no code. Fences at the left edge and backticks on one
/// line are code; a backslash makes a mark a word.
fn read(page: &str) -> (Vec<String>, String) {
    let (mut headings, mut words, mut fence) = (Vec::new(), String::new(), None::<String>);
    let mut before = "";
    for line in page.lines() {
        let mark: String =
            line.chars().take_while(|c| *c == line.chars().next().unwrap() && matches!(c, '`' | '~')).collect();
        if let Some(open) = &fence {
            let bare = line.trim_start_matches(' ').trim_end();
            if line.len() - line.trim_start_matches(' ').len() <= 3
                && bare.len() >= open.len()
                && bare.chars().all(|c| open.starts_with(c))
            {
                fence = None;
            }
            continue;
        }
        if mark.len() >= 3 && !(mark.starts_with('`') && line[mark.len()..].contains('`')) {
            fence = Some(mark);
            continue;
        }
        let is_underline = !line.trim().is_empty() && line.trim().chars().all(|c| matches!(c, '=' | '-'));
        if line.trim_start().starts_with('#') || (is_underline && !before.trim().is_empty()) {
            headings.push(line.to_owned());
        }
        before = line;
        words.push_str(line);
        words.push('\n');
    }
    assert_eq!(fence, None, "a fence is left open");
    let mut bare = String::new();
    let characters: Vec<char> = words.chars().collect();
    let mut at = 0;
    while at < characters.len() {
        match characters[at] {
            '\\' => at += 1,
            '`' => {
                let run = characters[at..].iter().take_while(|c| **c == '`').count();
                let mut end = at + run;
                while end < characters.len() {
                    let length = characters[end..].iter().take_while(|c| **c == '`').count();
                    if length == run {
                        break;
                    }
                    end += length.max(1);
                }
                assert!(end < characters.len(), "backticks without an end");
                at = end + run - 1;
            }
            c => bare.push(c),
        }
        at += 1;
    }
    (headings, bare)
}

#[tokio::test]
async fn no_payload_leaves_its_place_in_markdown() {
    let (harmless, _) = read(&page("words", ExportFormat::Markdown).await);
    for payload in PAYLOADS {
        let page = page(payload, ExportFormat::Markdown).await;
        let (headings, words) = read(&page);
        let roles = |headings: &[String]| headings.iter().skip(1).cloned().collect::<Vec<_>>();
        assert_eq!(roles(&headings), roles(&harmless), "{payload:?}\n{page}");
        for mark in ["<", "[", "]", "&", "~~~"] {
            assert!(!words.contains(mark), "{payload:?} leaves {mark}\n{page}");
        }
        has_no_hidden(&page, payload);
    }
}

#[tokio::test]
async fn a_page_says_who_said_what_and_when() {
    let session = session_of(&host(1), &fixture("claude-tools.jsonl")).await;
    let page = String::from_utf8(exported(&session, ExportFormat::Markdown).await).unwrap();
    assert!(page.contains("\n## user · 2026-") && page.contains("\n## tool · 2026-"), "{page}");
    assert!(page.contains("*calls* `") && page.contains("```json\n{") && page.contains("*result of* `"), "{page}");
    let html = String::from_utf8(exported(&session, ExportFormat::Html).await).unwrap();
    assert!(html.contains("<time datetime=\"2026-") && html.contains("<summary><bdi>calls "), "{html}");
}

#[tokio::test]
async fn real_transcripts_make_pages() {
    for program in ["claude-code", "codex", "pi"] {
        for path in real_files(program) {
            let session = session_of(&host(1), &std::fs::read(&path).unwrap()).await;
            let markdown = String::from_utf8(exported(&session, ExportFormat::Markdown).await).unwrap();
            let (headings, words) = read(&markdown);
            assert_eq!(
                headings.iter().filter(|heading| heading.starts_with("## ")).count() as u64,
                session.fresh_view().await.unwrap().depth(),
                "{}",
                path.display()
            );
            assert!(!words.contains('<'), "{}", path.display());
            let html = String::from_utf8(exported(&session, ExportFormat::Html).await).unwrap();
            assert_eq!(html.matches("<article").count(), html.matches("</article>").count());
            has_no_hidden(&html, "a real one");
        }
    }
}

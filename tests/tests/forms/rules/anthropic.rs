//! The rules of Anthropic's messages.
//!
//! Must not know: the code that builds requests.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    Api, Body, Knows, Request, Rule,
    blocks::{all, base64, inner, is_foreign, size},
    read::{has_half_pair, is, is_blank, is_name, kind, parts, picture, text, unknown},
};

const SDK: &str = "anthropics/anthropic-sdk-python, src/anthropic/types";
const DAY: &str = "schema, 2026-08-07";
const THREAD: &str = "thread";
const MANUAL: &str = "manual";
const NEWEST: Knows = Knows::newest(Api::Anthropic);

const fn rule(
    id: &'static str,
    says: &'static str,
    source: &'static str,
    since: &'static str,
    check: fn(&Request) -> Vec<String>,
    breaks: &'static [&'static str],
    holds: &'static [&'static str],
) -> Rule {
    Rule { api: Api::Anthropic, id, says, source, since, check, breaks, holds, knows: None }
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "A2",
        "There is at least one message, and at most 100,000.",
        SDK,
        DAY,
        a2,
        &[r#"{"messages":[]}"#],
        &[r#"{"messages":[{"role":"user","content":"a"}]}"#],
    ),
    rule(
        "A4",
        "The first message is the user's.",
        "lobehub/lobehub#1601, anthropics/anthropic-sdk-typescript#622",
        "thread; the first-party API has become lenient",
        a4,
        &[r#"{"messages":[{"role":"assistant","content":"Hi"}]}"#],
        &[r#"{"messages":[{"role":"user","content":"Hi"}]}"#],
    ),
    rule(
        "A5",
        "Instructions stand beside the messages, unless the model knows them inside.",
        "platform.claude.com, mid-conversation system messages",
        MANUAL,
        a5,
        &[r#"{"messages":[{"role":"user","content":"y"},{"role":"system","content":"x"}]}"#],
        &[r#"{"system":"x","messages":[{"role":"user","content":"y"}]}"#],
    ),
    Rule {
        knows: Some(Knows { system_inside: true, ..NEWEST }),
        ..rule(
            "A6",
            "Where a model knows instructions inside, they stand behind a user's message, and last or before an answer; they are texts.",
            "platform.claude.com, mid-conversation system messages; pydantic/pydantic-ai#6765",
            MANUAL,
            a6,
            &[
                r#"{"messages":[{"role":"system","content":"x"},{"role":"user","content":"y"}]}"#,
                r#"{"messages":[{"role":"user","content":"y"},{"role":"system","content":"x"},{"role":"user","content":"y"}]}"#,
                r#"{"messages":[{"role":"user","content":"y"},{"role":"assistant","content":"y"},{"role":"system","content":"x"}]}"#,
                r#"{"messages":[{"role":"user","content":"y"},{"role":"system","content":"x"},{"role":"system","content":"x"}]}"#,
            ],
            &[
                r#"{"messages":[{"role":"user","content":"y"},{"role":"system","content":"x"}]}"#,
                r#"{"messages":[{"role":"user","content":"y"},{"role":"system","content":"x"},{"role":"assistant","content":"y"}]}"#,
            ],
        )
    },
    rule(
        "A7",
        "A role is `user` or `assistant` (or `system` by the rules above).",
        SDK,
        DAY,
        a7,
        &[r#"{"messages":[{"role":"tool","content":"x"}]}"#],
        &[r#"{"messages":[{"role":"assistant","content":"x"}]}"#],
    ),
    rule(
        "A8",
        "No message is empty, the last answer aside.",
        "anthropics/claude-code#3196",
        THREAD,
        a8,
        &[
            r#"{"messages":[{"role":"user","content":""}]}"#,
            r#"{"messages":[{"role":"user","content":[]}]}"#,
            r#"{"messages":[{"role":"user"}]}"#,
        ],
        &[r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":""}]}"#],
    ),
    rule(
        "A9",
        "A text block is not empty.",
        "anthropics/claude-code#59812, anthropics/anthropic-sdk-python#461",
        THREAD,
        a9,
        &[r#"{"messages":[{"role":"user","content":[{"type":"text","text":""}]}]}"#],
        &[r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]}"#],
    ),
    rule(
        "A10",
        "A text has something else than blanks.",
        "anthropics/claude-code#23369, anthropics/claude-code#23440",
        THREAD,
        a10,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":" \n"}]}]}"#,
            r#"{"messages":[{"role":"user","content":"\t"}]}"#,
        ],
        &[r#"{"messages":[{"role":"user","content":[{"type":"text","text":" a"}]}]}"#],
    ),
    rule(
        "A11",
        "The instructions follow the same two rules.",
        "anthropics/claude-code#59812",
        "thread, inferred",
        a11,
        &[
            r#"{"system":[{"type":"text","text":""}],"messages":[]}"#,
            r#"{"system":" ","messages":[]}"#,
            r#"{"system":[],"messages":[]}"#,
        ],
        &[r#"{"system":"a","messages":[]}"#, r#"{"system":[{"type":"text","text":"a"}],"messages":[]}"#],
    ),
    Rule {
        knows: Some(Knows { prefill: true, ..NEWEST }),
        ..rule(
            "A12",
            "An answer that the model goes on with does not end with blanks.",
            "tailcallhq/forgecode#1872, aaif-goose/goose#5967",
            THREAD,
            a12,
            &[
                r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"Answer: "}]}"#,
                r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"text","text":"Answer:\n"}]}]}"#,
            ],
            &[
                r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"Answer:"}]}"#,
                r#"{"messages":[{"role":"user","content":"a "}]}"#,
            ],
        )
    },
    rule(
        "A13",
        "The conversation ends with the user, unless the model goes on with answers.",
        "Tarquinen/opencode-dynamic-context-pruning#520, vybestack/llxprt-code#3695",
        THREAD,
        a13,
        &[r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#],
        &[r#"{"messages":[{"role":"user","content":"a"}]}"#],
    ),
    rule(
        "A14",
        "Every call is answered in the very next message.",
        "OpenHands/OpenHands#7512, anthropics/claude-code#8210",
        MANUAL,
        a14,
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1"}]},{"role":"user","content":"go on"}]}"#,
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1"}]}]}"#,
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1"},{"type":"tool_use","id":"t2"}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"}]},{"role":"assistant","content":"x"},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t2"}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1"},{"type":"tool_use","id":"t2"}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t2"},{"type":"tool_result","tool_use_id":"t1"}]}]}"#,
        ],
    ),
    rule(
        "A15",
        "The results of an answer's calls all stand in one message.",
        "platform.claude.com, handle tool calls",
        MANUAL,
        a15,
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1"},{"type":"tool_use","id":"t2"}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t2"}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1"},{"type":"tool_use","id":"t2"}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"},{"type":"tool_result","tool_use_id":"t2"}]}]}"#,
        ],
    ),
    rule(
        "A16",
        "In a user's message results come first.",
        "platform.claude.com, handle tool calls; anthropics/anthropic-sdk-typescript#653",
        MANUAL,
        a16,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"tool_result","tool_use_id":"t1"}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"},{"type":"text","text":"x"}]}]}"#,
        ],
    ),
    rule(
        "A17",
        "A result names a call of the message before.",
        "anthropics/claude-code#13460",
        THREAD,
        a17,
        &[
            r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"x"},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t9"}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t9"}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1"}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"}]}]}"#,
        ],
    ),
    rule(
        "A18",
        "A call has one result.",
        "Kilo-Org/kilocode#3772",
        "thread, the text from memory",
        a18,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"},{"type":"tool_result","tool_use_id":"t1"}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"},{"type":"tool_result","tool_use_id":"t2"}]}]}"#,
        ],
    ),
    rule(
        "A19",
        "The ids of calls differ in the whole request.",
        "anthropics/claude-code#28515, BerriAI/litellm#23510",
        THREAD,
        a19,
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1"}]},{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"t1"}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1"},{"type":"tool_use","id":"t2"}]}]}"#,
        ],
    ),
    rule(
        "A20",
        "A call's id has 1 to 64 letters, digits, underscores and hyphens.",
        "RooCodeInc/Roo-Code#10649, anomalyco/opencode#1279",
        "thread; the length is ours",
        a20,
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"call:1|x"}]}]}"#,
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"<<x*65>>"}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a b"}]}]}"#,
        ],
        &[r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"toolu_01-x"}]}]}"#],
    ),
    rule(
        "A21",
        "A tool's name has 1 to 64 of the same characters.",
        "home-assistant/core#147760, anthropics/claude-code#96152 (which says 128)",
        THREAD,
        a21,
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"files.read"}]}]}"#,
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":""}]}]}"#,
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"<<x*65>>"}]}]}"#,
        ],
        &[r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"read_file"}]}]}"#],
    ),
    rule(
        "A22",
        "A call's input is an object.",
        "anthropics/anthropic-sdk-typescript#648",
        DAY,
        a22,
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"f","input":[]}]}]}"#,
            r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"f"}]}]}"#,
        ],
        &[r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"f","input":{}}]}]}"#],
    ),
    rule(
        "A23",
        "Calls and reasoning stand in answers only, results, pictures and documents in the user's messages only.",
        SDK,
        "schema, in parts",
        a23,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"tool_use","id":"t1"}]}]}"#,
            r#"{"messages":[{"role":"assistant","content":[{"type":"image","source":{}}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"thinking","thinking":"a"}]}]}"#,
        ],
        &[r#"{"messages":[{"role":"user","content":[{"type":"image","source":{}}]}]}"#],
    ),
    rule(
        "A24",
        "A result's content is a string or a list of texts, pictures and documents, and no text of it is blank.",
        SDK,
        "schema; the blank case inferred",
        a24,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":""}]}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":""}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"tool_use"}]}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[]}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"},{"type":"tool_result","tool_use_id":"t2","content":[{"type":"text","text":"a"}]}]}]}"#,
        ],
    ),
    rule(
        "A25",
        "A failed result holds texts only.",
        "vellum-ai/vellum-assistant#18387, caozhiyuan/copilot-api#196",
        THREAD,
        a25,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","is_error":true,"content":[{"type":"image","source":{}}]}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","is_error":true,"content":[{"type":"text","text":"no"}]}]}]}"#,
        ],
    ),
    rule(
        "A27",
        "No field and no block is sent that the API does not know.",
        "RooCodeInc/Roo-Code#11429, anthropics/claude-code#4378",
        THREAD,
        a27,
        &[
            r#"{"messages":[{"role":"assistant","content":"x","reasoning_details":[]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x","id":1}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]}]}"#,
        ],
    ),
    rule(
        "A28",
        "Reasoning has a signature, hidden reasoning its data. Its text may be empty.",
        SDK,
        DAY,
        a28,
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"hm"}]}]}"#,
            r#"{"messages":[{"role":"assistant","content":[{"type":"redacted_thinking"}]}]}"#,
            r#"{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":""}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"Eq"},{"type":"redacted_thinking","data":"x"}]}]}"#,
        ],
    ),
    Rule {
        knows: Some(Knows { thought: true, ..NEWEST }),
        ..rule(
            "A32",
            "The last answer with calls keeps its reasoning, whatever stands beside their results.",
            "anomalyco/opencode#3077, Kilo-Org/kilocode#5219, deepset-ai/haystack-core-integrations#2146",
            "thread; where reasoning is on",
            a32,
            &[
                r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"x"},{"type":"text","text":"and hurry"}]}]}"#,
            ],
            &[
                r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"b"},{"type":"tool_use","id":"c","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"x"}]}]}"#,
                r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]}"#,
            ],
        )
    },
    Rule {
        knows: Some(Knows { prefill: true, ..NEWEST }),
        ..rule(
            "A33",
            "An answer that the model goes on with has no reasoning.",
            "tailcallhq/forgecode#1853",
            "thread; where reasoning is off",
            a33,
            &[
                r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"b"},{"type":"text","text":"b"}]}]}"#,
            ],
            &[
                r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"b"},{"type":"text","text":"b"}]},{"role":"user","content":"a"}]}"#,
            ],
        )
    },
    rule(
        "A40",
        "There are at most 4 marks for the cache.",
        "tghamm/Anthropic.SDK#50",
        THREAD,
        a40,
        &[
            r#"{"messages":[{"role":"user","content":[<<5,{"type":"text","text":"a#","cache_control":{"type":"ephemeral"}}>>]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[<<4,{"type":"text","text":"a#","cache_control":{"type":"ephemeral"}}>>]}]}"#,
        ],
    ),
    rule(
        "A41",
        "No mark for the cache is on an empty text.",
        "anthropics/claude-code#55302",
        THREAD,
        a41,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"","cache_control":{"type":"ephemeral"}}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]}]}"#,
        ],
    ),
    rule(
        "A42",
        "No mark for the cache is on reasoning.",
        "inspect_ai#3967",
        THREAD,
        a42,
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"b","cache_control":{"type":"ephemeral"}}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"b"}]},{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]}]}"#,
        ],
    ),
    rule(
        "A43",
        "A mark for the cache is `ephemeral`, of 5m or 1h, and none of 1h stands behind one of 5m.",
        "headroomlabs-ai/headroom#2939, vellum-ai/vellum-assistant#22191",
        THREAD,
        a43,
        &[
            r#"{"system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"5m"}}],"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"1h"}}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"forever"}}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"2h"}}]}]}"#,
        ],
        &[
            r#"{"system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral","ttl":"1h"}}],"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]}]}"#,
        ],
    ),
    rule(
        "A44",
        "A picture is jpeg, png, gif or webp.",
        "anthropics/claude-code#8184",
        DAY,
        a44,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/svg+xml","data":"AAAA"}}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}"#,
        ],
    ),
    rule(
        "A45",
        "A picture's bytes are of the type that it says.",
        "home-assistant/core#167208",
        THREAD,
        a45,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"/9j/"}}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"/9j/"}}]}]}"#,
        ],
    ),
    rule(
        "A46",
        "A picture has at most 5 MiB of base64.",
        "anthropics/claude-code#10612; platform.claude.com, vision",
        MANUAL,
        a46,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"<<A*5242881>>"}}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"<<A*100>>"}}]}]}"#,
        ],
    ),
    rule(
        "A47",
        "A picture has at most 8000 pixels a side, and 2000 where there are more than 20 (looked at in png and gif).",
        "anthropics/claude-code#4778; platform.claude.com, vision",
        MANUAL,
        a47,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/gif","data":"R0lGODlhQR8BAAAA"}}]}]}"#,
            r#"{"messages":[{"role":"user","content":[<<21,{"type":"image","source":{"type":"base64","media_type":"image/gif","data":"R0lGODlh0QcBAAAA"}}>>]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgoAAAANSUhEUgAAH0EAAAABCAYAAAAf"}}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/gif","data":"R0lGODlhQB8BAAAA"}}]}]}"#,
        ],
    ),
    rule(
        "A48",
        "There are at most 100 pictures.",
        "platform.claude.com, vision",
        MANUAL,
        a48,
        &[
            r#"{"messages":[{"role":"user","content":[<<101,{"type":"image","source":{"type":"url","url":"https://x/#.png"}}>>]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[<<100,{"type":"image","source":{"type":"url","url":"https://x/#.png"}}>>]}]}"#,
        ],
    ),
    rule(
        "A49",
        "A picture's source is base64, an https address or a file's id.",
        "platform.claude.com, vision",
        MANUAL,
        a49,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"http://localhost/x.png"}}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"text","data":"a"}}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"a b"}}]}]}"#,
        ],
        &[r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"file","file_id":"file_1"}}]}]}"#],
    ),
    rule(
        "A50",
        "A document is base64 of a PDF, plain text, at an https address, or a file's id.",
        SDK,
        DAY,
        a50,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"base64","media_type":"text/csv","data":"AAAA"}}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AAAA"}},{"type":"document","source":{"type":"url","url":"https://x/a.pdf"}}]}]}"#,
        ],
    ),
    rule(
        "A51",
        "The body has at most 32 MB.",
        "platform.claude.com, errors",
        MANUAL,
        a51,
        &[r#"{"messages":[{"role":"user","content":"<<x*32000001>>"}]}"#],
        &[r#"{"messages":[{"role":"user","content":"<<x*1000>>"}]}"#],
    ),
    rule(
        "A52",
        "The body is JSON without half of a surrogate pair.",
        "anthropics/claude-code#2108, anomalyco/opencode#14630",
        THREAD,
        a52,
        &[r#"{"messages":[{"role":"user","content":"\ud83d"}]}"#],
        &[r#"{"messages":[{"role":"user","content":"\ud83d\ude00 \\ud83d"}]}"#],
    ),
    rule(
        "A56",
        "Roles alternate.",
        "ours: the API joins neighbours itself",
        "ours",
        a56,
        &[r#"{"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]}"#],
        &[
            r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]}"#,
        ],
    ),
    rule(
        "A57",
        "Behind a call stands nothing but calls.",
        "ours: models write them so",
        "ours",
        a57,
        &[r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a"},{"type":"text","text":"b"}]}]}"#],
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"text","text":"b"},{"type":"tool_use","id":"a"},{"type":"tool_use","id":"c"}]}]}"#,
        ],
    ),
    rule(
        "A58",
        "An answer with reasoning begins with it.",
        "anomalyco/opencode#3077, Kilo-Org/kilocode#5219",
        "ours; the API asks for it in the last answer of a turn",
        a58,
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"text","text":"b"},{"type":"thinking","thinking":"a","signature":"b"}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"b"},{"type":"text","text":"b"},{"type":"thinking","thinking":"a","signature":"b"}]}]}"#,
        ],
    ),
    Rule {
        knows: Some(Knows { system: false, ..NEWEST }),
        ..rule(
            "A59",
            "Where a model takes no instructions, none are sent.",
            "ours: Anthropic's own models take them",
            "ours",
            a59,
            &[
                r#"{"system":"x","messages":[{"role":"user","content":"a"}]}"#,
                r#"{"messages":[{"role":"user","content":"a"},{"role":"system","content":"x"}]}"#,
            ],
            &[r#"{"messages":[{"role":"user","content":"a"}]}"#],
        )
    },
    rule(
        "A60",
        "The last answer is not empty either.",
        "ours: the API takes it",
        "ours",
        a60,
        &[r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":""}]}"#],
        &[r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#],
    ),
];

fn each(request: &Request, mut check: impl FnMut(&Value) -> Option<&'static str>) -> Vec<String> {
    let found = |(at, message): (String, &Value)| check(message).map(|what| format!("{at}: {what}"));
    request.body.messages().into_iter().filter_map(found).collect()
}

fn each_block(request: &Request, mut check: impl FnMut(&Value) -> Option<&'static str>) -> Vec<String> {
    each(request, |message| all(message).into_iter().find_map(&mut check))
}

fn one(found: bool, what: &str) -> Vec<String> {
    found.then(|| what.to_owned()).into_iter().collect()
}

/// The content of a string, or of the text blocks.
fn texts(value: &Value) -> Vec<&str> {
    let blocks = value.as_array().into_iter().flatten().filter(|block| kind(block) == "text");
    value.as_str().into_iter().chain(blocks.map(|block| text(block, "text"))).collect()
}

fn last(request: &Request) -> Option<&Value> {
    request.body["messages"].as_array()?.last()
}

fn a2(request: &Request) -> Vec<String> {
    one(!(1..=100_000).contains(&request.body.messages().len()), "no messages, or too many")
}

fn a4(request: &Request) -> Vec<String> {
    one(request.body.messages().first().is_some_and(|(_, first)| !is(first, "user")), "not the user's")
}

fn a5(request: &Request) -> Vec<String> {
    each(request, |message| (is(message, "system") && !request.knows.system_inside).then_some("instructions inside"))
}

fn a6(request: &Request) -> Vec<String> {
    let messages = request.body.messages();
    let role = |at: Option<usize>| at.and_then(|at| messages.get(at)).map(|(_, message)| text(message, "role"));
    let wrong = |at: usize| {
        let next = role(Some(at + 1));
        role(at.checked_sub(1)) != Some("user") || !(next.is_none() || next == Some("assistant"))
    };
    let systems = messages.iter().enumerate().filter(|(_, (_, message))| is(message, "system"));
    let no_text = |message: &Value| parts(message).iter().any(|block| kind(block) != "text");
    systems.filter(|(at, (_, message))| wrong(*at) || no_text(message)).map(|(_, (at, _))| at.clone()).collect()
}

fn a7(request: &Request) -> Vec<String> {
    let roles = ["user", "assistant", "system"];
    each(request, |message| (!roles.contains(&text(message, "role"))).then_some("unknown role"))
}

fn a8(request: &Request) -> Vec<String> {
    let is_last = |message: &Value| last(request).is_some_and(|last| std::ptr::eq(last, message));
    each(request, |message| {
        let content = &message["content"];
        let is_empty = content.as_str().map_or_else(|| parts(message).is_empty(), str::is_empty);
        (is_empty && !(is(message, "assistant") && is_last(message))).then_some("no content")
    })
}

fn a9(request: &Request) -> Vec<String> {
    each_block(request, |block| (kind(block) == "text" && text(block, "text").is_empty()).then_some("an empty text"))
}

fn a10(request: &Request) -> Vec<String> {
    each(request, |message| {
        texts(&message["content"]).into_iter().any(|text| !text.is_empty() && is_blank(text)).then_some("a blank text")
    })
}

fn a11(request: &Request) -> Vec<String> {
    let system = &request.body["system"];
    let is_wrong = |block: &Value| kind(block) != "text";
    let blocks = system.as_array();
    let broken = texts(system).into_iter().any(is_blank)
        || blocks.is_some_and(|blocks| blocks.is_empty() || blocks.iter().any(is_wrong));
    one(broken, "instructions that are blank, or no text")
}

fn a12(request: &Request) -> Vec<String> {
    let Some(last) = last(request).filter(|last| is(last, "assistant")) else { return Vec::new() };
    let content = &last["content"];
    let end =
        content.as_array().map_or(content.as_str(), |blocks| blocks.last().and_then(|block| block["text"].as_str()));
    one(end.and_then(|end| end.chars().last()).is_some_and(|end| is_blank(&end.to_string())), "blanks at the end")
}

fn a13(request: &Request) -> Vec<String> {
    one(!request.knows.prefill && last(request).is_some_and(|last| is(last, "assistant")), "an answer at the end")
}

fn ids<'a>(message: &'a Value, of: &str, field: &str) -> Vec<&'a str> {
    parts(message).into_iter().filter(|block| kind(block) == of).map(|block| text(block, field)).collect()
}

fn a14(request: &Request) -> Vec<String> {
    let messages = request.body.messages();
    let mut found = Vec::new();
    for (number, (at, message)) in messages.iter().enumerate() {
        let answered =
            messages.get(number + 1).map(|(_, next)| ids(next, "tool_result", "tool_use_id")).unwrap_or_default();
        let open = ids(message, "tool_use", "id").into_iter().filter(|id| !answered.contains(id));
        found.extend(open.map(|id| format!("{at}: {id} is not answered")));
    }
    found
}

fn a15(request: &Request) -> Vec<String> {
    let messages = request.body.messages();
    let (mut called, mut before): (HashSet<&str>, Vec<&str>) = Default::default();
    let mut found = Vec::new();
    for (at, message) in &messages {
        let apart = |id: &&str| called.contains(*id) && !before.contains(id);
        let results = ids(message, "tool_result", "tool_use_id");
        found.extend(results.iter().filter(|id| apart(id)).map(|id| format!("{at}: the result of {id} stands apart")));
        before = ids(message, "tool_use", "id");
        called.extend(before.iter().copied());
    }
    found
}

fn a16(request: &Request) -> Vec<String> {
    each(request, |message| {
        let mut blocks = parts(message).into_iter().skip_while(|block| kind(block) == "tool_result");
        blocks.any(|block| kind(block) == "tool_result").then_some("a result behind something else")
    })
}

fn a17(request: &Request) -> Vec<String> {
    let messages = request.body.messages();
    let mut found = Vec::new();
    let mut named: Vec<&str> = Vec::new();
    for (at, message) in &messages {
        let results = ids(message, "tool_result", "tool_use_id");
        found
            .extend(results.into_iter().filter(|id| !named.contains(id)).map(|id| format!("{at}: nobody called {id}")));
        named = ids(message, "tool_use", "id");
    }
    found
}

fn a18(request: &Request) -> Vec<String> {
    each(request, |message| {
        let mut seen = HashSet::new();
        ids(message, "tool_result", "tool_use_id")
            .into_iter()
            .any(|id| !seen.insert(id))
            .then_some("two results of a call")
    })
}

fn a19(request: &Request) -> Vec<String> {
    let mut seen: HashSet<String> = HashSet::new();
    each(request, |message| {
        let doubled = ids(message, "tool_use", "id").into_iter().filter(|id| !seen.insert((*id).to_owned())).count();
        (doubled > 0).then_some("an id twice")
    })
}

fn a20(request: &Request) -> Vec<String> {
    each_block(request, |block| {
        let id = match kind(block) {
            "tool_use" => block.get("id"),
            "tool_result" => block.get("tool_use_id"),
            _ => None,
        };
        id.is_some_and(|id| !id.as_str().is_some_and(|id| is_name(id, 64))).then_some("an id with other characters")
    })
}

fn a21(request: &Request) -> Vec<String> {
    each_block(request, |block| {
        let name = block.get("name").filter(|_| kind(block) == "tool_use")?;
        (!name.as_str().is_some_and(|name| is_name(name, 64))).then_some("a name with other characters")
    })
}

fn a22(request: &Request) -> Vec<String> {
    each_block(request, |block| {
        (kind(block) == "tool_use" && block["name"].is_string() && !block["input"].is_object()).then_some("no object")
    })
}

fn a23(request: &Request) -> Vec<String> {
    each(request, |message| {
        let wrong: &[&str] = match text(message, "role") {
            "assistant" => &["tool_result", "image", "document"],
            _ => &["tool_use", "thinking", "redacted_thinking"],
        };
        parts(message).into_iter().any(|block| wrong.contains(&kind(block))).then_some("a block of the other side")
    })
}

fn results(message: &Value) -> Vec<&Value> {
    parts(message).into_iter().filter(|block| kind(block) == "tool_result").collect()
}

fn a24(request: &Request) -> Vec<String> {
    let known = ["text", "image", "document"];
    let wrong = |result: &Value| {
        let content = &result["content"];
        let has_form =
            content.is_null() || content.is_string() || content.as_array().is_some_and(|list| !list.is_empty());
        !has_form
            || texts(content).into_iter().any(is_blank)
            || inner(result).iter().any(|block| !known.contains(&kind(block)))
    };
    each(request, |message| results(message).into_iter().any(wrong).then_some("a result's content"))
}

fn a25(request: &Request) -> Vec<String> {
    let wrong = |result: &Value| result["is_error"] == true && inner(result).iter().any(|block| kind(block) != "text");
    each(request, |message| results(message).into_iter().any(wrong).then_some("more than texts"))
}

fn a27(request: &Request) -> Vec<String> {
    each(request, |message| {
        let found = !unknown(message, &["role", "content"]).is_empty() || all(message).into_iter().any(is_foreign);
        found.then_some("an unknown field or block")
    })
}

fn a28(request: &Request) -> Vec<String> {
    let said = |block: &Value, field: &str| !text(block, field).is_empty();
    each_block(request, |block| {
        let whole = match kind(block) {
            "thinking" => block["thinking"].is_string() && said(block, "signature"),
            "redacted_thinking" => said(block, "data"),
            _ => true,
        };
        (!whole).then_some("reasoning that is not signed")
    })
}

fn is_thought(block: &Value) -> bool {
    matches!(kind(block), "thinking" | "redacted_thinking")
}

fn a32(request: &Request) -> Vec<String> {
    let last = request.body["messages"].as_array().into_iter().flatten().rfind(|message| is(message, "assistant"));
    let blocks = last.map(parts).unwrap_or_default();
    let is_open = blocks.iter().any(|block| kind(block) == "tool_use");
    let wrong = request.knows.thought && is_open && !blocks.first().is_some_and(|first| is_thought(first));
    one(wrong, "calls without the reasoning before them")
}

fn a33(request: &Request) -> Vec<String> {
    let last = last(request).filter(|last| is(last, "assistant"));
    one(last.is_some_and(|last| parts(last).into_iter().any(is_thought)), "reasoning at the end")
}

fn marked(request: &Request) -> Vec<&Value> {
    let system = request.body["system"].as_array().into_iter().flatten();
    let blocks = request.body["messages"].as_array().into_iter().flatten().flat_map(all);
    system.chain(blocks).filter(|block| block.get("cache_control").is_some()).collect()
}

fn a40(request: &Request) -> Vec<String> {
    one(marked(request).len() > 4, "too many marks")
}

fn a41(request: &Request) -> Vec<String> {
    let wrong = |block: &Value| kind(block) == "text" && text(block, "text").is_empty();
    one(marked(request).into_iter().any(wrong), "a mark where none may be")
}

fn a42(request: &Request) -> Vec<String> {
    one(marked(request).into_iter().any(is_thought), "a mark on reasoning")
}

fn a43(request: &Request) -> Vec<String> {
    let marks: Vec<&Value> = marked(request).into_iter().map(|block| &block["cache_control"]).collect();
    let times = marks.iter().map(|mark| mark.get("ttl").map_or("5m", |ttl| ttl.as_str().unwrap_or_default()));
    let times: Vec<&str> = times.collect();
    let known =
        marks.iter().all(|mark| kind(mark) == "ephemeral") && times.iter().all(|time| matches!(*time, "5m" | "1h"));
    one(!known || times.windows(2).any(|two| two == ["5m", "1h"]), "marks that the API does not take")
}

fn pictures(request: &Request) -> Vec<&Value> {
    let blocks = request.body["messages"].as_array().into_iter().flatten().flat_map(all);
    blocks.filter(|block| kind(block) == "image").collect()
}

fn each_picture(request: &Request, wrong: impl Fn(&str, &str) -> bool, what: &str) -> Vec<String> {
    let found = pictures(request).into_iter().filter_map(base64).any(|(kind, data)| wrong(kind, data));
    one(found, what)
}

fn a44(request: &Request) -> Vec<String> {
    let known = ["image/jpeg", "image/png", "image/gif", "image/webp"];
    each_picture(request, |kind, _| !known.contains(&kind), "a picture of another type")
}

fn a45(request: &Request) -> Vec<String> {
    each_picture(request, |kind, data| picture(data) != Some(kind), "a picture of another type than it says")
}

fn a46(request: &Request) -> Vec<String> {
    each_picture(request, |_, data| data.len() > 5_242_880, "a picture that is too large")
}

fn a47(request: &Request) -> Vec<String> {
    let most = if pictures(request).len() > 20 { 2000 } else { 8000 };
    each_picture(request, |kind, data| size(kind, data).is_some_and(|(x, y)| x.max(y) > most), "too many pixels")
}

fn a48(request: &Request) -> Vec<String> {
    one(pictures(request).len() > 100, "too many pictures")
}

fn is_base64(data: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    !data.is_empty() && data.trim_end_matches('=').chars().all(known)
}

fn has_source(block: &Value, media: &[&str]) -> bool {
    let source = &block["source"];
    match text(source, "type") {
        "base64" => {
            is_base64(text(source, "data")) && (media.is_empty() || media.contains(&text(source, "media_type")))
        }
        "url" => text(source, "url").starts_with("https://"),
        "file" => !text(source, "file_id").is_empty(),
        "text" => media.contains(&"application/pdf") && text(source, "media_type") == "text/plain",
        _ => false,
    }
}

fn a49(request: &Request) -> Vec<String> {
    let wrong = |block: &&Value| {
        block.get("source").is_some_and(|source| source != &serde_json::json!({})) && !has_source(block, &[])
    };
    one(pictures(request).iter().any(wrong), "a picture without a source")
}

fn a50(request: &Request) -> Vec<String> {
    each_block(request, |block| {
        (kind(block) == "document" && !has_source(block, &["application/pdf"])).then_some("a document without a source")
    })
}

fn a51(request: &Request) -> Vec<String> {
    one(request.text.len() > 32_000_000, "the body is too large")
}

fn a52(request: &Request) -> Vec<String> {
    one(has_half_pair(&request.text) || request.body.is_null(), "the body cannot be read")
}

fn a56(request: &Request) -> Vec<String> {
    let mut before = String::new();
    each(request, |message| {
        let role = text(message, "role").to_owned();
        let doubled = role == before;
        before = role;
        doubled.then_some("two of one role")
    })
}

fn a57(request: &Request) -> Vec<String> {
    each(request, |message| {
        let mut blocks = parts(message).into_iter().skip_while(|block| kind(block) != "tool_use");
        blocks.any(|block| kind(block) != "tool_use").then_some("something behind a call")
    })
}

fn a58(request: &Request) -> Vec<String> {
    each(request, |message| {
        let blocks = parts(message);
        let thinks = blocks.iter().any(|block| is_thought(block));
        (thinks && !blocks.first().is_some_and(|first| is_thought(first))).then_some("reasoning behind something else")
    })
}

fn a59(request: &Request) -> Vec<String> {
    let inside = request.body.messages().iter().any(|(_, message)| is(message, "system"));
    one(!request.knows.system && (inside || !request.body["system"].is_null()), "instructions")
}

fn a60(request: &Request) -> Vec<String> {
    let is_empty = |last: &Value| last["content"].as_str().map_or_else(|| parts(last).is_empty(), str::is_empty);
    one(last(request).is_some_and(is_empty), "no content at the end")
}

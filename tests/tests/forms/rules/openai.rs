//! The rules of OpenAI's chat completions.
//!
//! Must not know: the code that builds requests.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    Api, Body, Knows, Request, Rule,
    read::{data, has_half_pair, is, is_blank, is_name, kind, parts, picture, text, unknown},
};

const SCHEMA: &str = "openai/openai-openapi, openapi.json";
const DAY: &str = "schema, 2026-08-21";
const THREAD: &str = "thread";

const fn rule(
    id: &'static str,
    says: &'static str,
    source: &'static str,
    since: &'static str,
    check: fn(&Request) -> Vec<String>,
    breaks: &'static [&'static str],
    holds: &'static [&'static str],
) -> Rule {
    Rule { api: Api::OpenAi, id, says, source, since, check, breaks, holds, knows: None }
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "O1",
        "There is at least one message.",
        "CopilotKit/CopilotKit#529",
        THREAD,
        o1,
        &[r#"{"messages":[]}"#],
        &[r#"{"messages":[{"role":"user","content":"a"}]}"#],
    ),
    rule(
        "O2",
        "A role is `developer`, `system`, `user`, `assistant` or `tool`.",
        SCHEMA,
        DAY,
        o2,
        &[r#"{"messages":[{"role":"model","content":"hi"}]}"#],
        &[
            r#"{"messages":[{"role":"assistant","content":"Hi"},{"role":"user","content":"a"},{"role":"user","content":"b"},{"role":"system","content":"c"},{"role":"assistant","content":"d"}]}"#,
        ],
    ),
    Rule {
        knows: Some(Knows { system: false, ..Knows::newest(Api::OpenAi) }),
        ..rule(
            "O5",
            "Some models take no `system` and no `developer` message.",
            "agno-agi/agno#1621, langchain-ai/langchain#28895",
            THREAD,
            o5,
            &[
                r#"{"messages":[{"role":"system","content":"x"}]}"#,
                r#"{"messages":[{"role":"developer","content":"x"}]}"#,
            ],
            &[r#"{"messages":[{"role":"user","content":"x"}]}"#],
        )
    },
    rule(
        "O6",
        "The content of a system, developer, user or tool message is a string or a list.",
        "langchain-ai/langchainjs#4153, docker/docker-agent#63",
        DAY,
        o6,
        &[r#"{"messages":[{"role":"user","content":null}]}"#, r#"{"messages":[{"role":"system"}]}"#],
        &[r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]}"#],
    ),
    rule(
        "O7",
        "An answer without calls has content.",
        "run-llama/llama_index#17555",
        DAY,
        o7,
        &[r#"{"messages":[{"role":"assistant","content":null}]}"#, r#"{"messages":[{"role":"assistant"}]}"#],
        &[
            r#"{"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":"x"}]}"#,
        ],
    ),
    rule(
        "O8",
        "A list of parts is not empty.",
        SCHEMA,
        DAY,
        o8,
        &[r#"{"messages":[{"role":"user","content":[]}]}"#],
        &[r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]}"#],
    ),
    rule(
        "O10",
        "Every call is answered by a tool message.",
        "BerriAI/litellm#10083, langchain-ai/open_deep_research#164",
        THREAD,
        o10,
        &[
            r#"{"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"user","content":"go on"}]}"#,
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1"},{"id":"c2"}]},{"role":"tool","tool_call_id":"c2","content":"x"}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1"},{"id":"c2"}]},{"role":"tool","tool_call_id":"c2","content":"x"},{"role":"tool","tool_call_id":"c1","content":"x"}]}"#,
        ],
    ),
    rule(
        "O11",
        "Nothing stands between the calls of an answer and the last of their results.",
        "BerriAI/litellm#10083",
        THREAD,
        o11,
        &[
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1"},{"id":"c2"}]},{"role":"tool","tool_call_id":"c1","content":"x"},{"role":"user","content":"wait"},{"role":"tool","tool_call_id":"c2","content":"x"}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1"}]},{"role":"tool","tool_call_id":"c1","content":"x"},{"role":"user","content":"wait"}]}"#,
        ],
    ),
    rule(
        "O12",
        "A tool message follows an answer with calls.",
        "miurla/morphic#136, smarter-sh/smarter#264",
        THREAD,
        o12,
        &[
            r#"{"messages":[{"role":"user","content":"a"},{"role":"tool","tool_call_id":"c1","content":"x"}]}"#,
            r#"{"messages":[{"role":"tool","tool_call_id":"c1","content":"x"}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1"},{"id":"c2"}]},{"role":"tool","tool_call_id":"c1","content":"x"},{"role":"tool","tool_call_id":"c2","content":"x"}]}"#,
        ],
    ),
    rule(
        "O13",
        "A tool message names a call of that answer.",
        "dapr/dapr-agents#145",
        THREAD,
        o13,
        &[
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1"}]},{"role":"tool","tool_call_id":"c1","content":"x"},{"role":"tool","tool_call_id":"c9","content":"x"}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1"}]},{"role":"tool","tool_call_id":"c1","content":"x"}]}"#,
        ],
    ),
    rule(
        "O14",
        "A call is answered once.",
        "agno-agi/agno#5116, anomalyco/opencode#1211",
        THREAD,
        o14,
        &[
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1"}]},{"role":"tool","tool_call_id":"c1","content":"x"},{"role":"tool","tool_call_id":"c1","content":"x"}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1"}]},{"role":"tool","tool_call_id":"c1","content":"x"},{"role":"assistant","tool_calls":[{"id":"c1"}]},{"role":"tool","tool_call_id":"c1","content":"x"}]}"#,
        ],
    ),
    rule(
        "O15",
        "The ids of an answer's calls differ.",
        "agno-agi/agno#5116",
        "thread, inferred",
        o15,
        &[r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1"},{"id":"c1"}]}]}"#],
        &[r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1"},{"id":"c2"}]}]}"#],
    ),
    rule(
        "O17",
        "`tool_calls` is absent or holds 1 to 128 calls.",
        "openai/openai-node#1341, openai/openai-dotnet#317",
        THREAD,
        o17,
        &[
            r#"{"messages":[{"role":"assistant","content":"hi","tool_calls":[]}]}"#,
            r#"{"messages":[{"role":"assistant","content":"hi","tool_calls":[<<129,{"id":"c#"}>>]}]}"#,
        ],
        &[r#"{"messages":[{"role":"assistant","content":"hi","tool_calls":[<<128,{"id":"c#"}>>]}]}"#],
    ),
    rule(
        "O18",
        "A call has an id, the type `function` and a function.",
        SCHEMA,
        DAY,
        o18,
        &[
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1","function":{"name":"f","arguments":"{}"}}]}]}"#,
            r#"{"messages":[{"role":"assistant","tool_calls":[{"type":"function","function":{"name":"f","arguments":"{}"}}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]}]}"#,
        ],
    ),
    rule(
        "O19",
        "The arguments of a call are a string.",
        SCHEMA,
        DAY,
        o19,
        &[
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":{"a":1}}}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"no json"}}]}]}"#,
        ],
    ),
    rule(
        "O20",
        "A call's id has 1 to 40 characters.",
        "microsoft/autogen#6377, anomalyco/opencode#12653",
        THREAD,
        o20,
        &[
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"<<x*41>>"}]}]}"#,
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":""}]}]}"#,
        ],
        &[r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"<<x*40>>"}]}]}"#],
    ),
    rule(
        "O21",
        "A function's name has 1 to 64 letters, digits, underscores and hyphens.",
        "mcp-use/mcp-use#90, continuedev/continue#11645",
        DAY,
        o21,
        &[
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"files.read","arguments":"{}"}}]}]}"#,
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"<<x*65>>","arguments":"{}"}}]}]}"#,
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"","arguments":"{}"}}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"read_file-2","arguments":"{}"}}]}]}"#,
        ],
    ),
    rule(
        "O24",
        "A tool message has a `tool_call_id`.",
        SCHEMA,
        DAY,
        o24,
        &[r#"{"messages":[{"role":"tool","content":"x"}]}"#],
        &[r#"{"messages":[{"role":"tool","tool_call_id":"c1","content":"x"}]}"#],
    ),
    rule(
        "O25",
        "Pictures stand in the user's messages only; one that a tool gave stands in a user's message behind all results.",
        "openai/openai-node#1030, OpenHands/OpenHands#7700",
        THREAD,
        o25,
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"image_url","image_url":{"url":"https://x/a.png"}}]}]}"#,
            r#"{"messages":[{"role":"tool","tool_call_id":"c","content":[{"type":"image_url","image_url":{"url":"https://x/a.png"}}]}]}"#,
        ],
        &[r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/a.png"}}]}]}"#],
    ),
    rule(
        "O26",
        "In lists of system, developer and tool messages stand texts only, in an answer's texts or a refusal.",
        SCHEMA,
        DAY,
        o26,
        &[
            r#"{"messages":[{"role":"system","content":[{"type":"file","file":{}}]}]}"#,
            r#"{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"hm"}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"tool","tool_call_id":"c","content":[{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"refusal","refusal":"no"}]}]}"#,
        ],
    ),
    rule(
        "O27",
        "A part of a user's message is `text`, `image_url`, `input_audio` or `file`.",
        SCHEMA,
        DAY,
        o27,
        &[r#"{"messages":[{"role":"user","content":[{"type":"tool_result","content":"x"}]}]}"#],
        &[r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}"#],
    ),
    rule(
        "O28",
        "`image_url` is an object with an https or data address and perhaps a detail (`auto`, `low`, `high`).",
        SCHEMA,
        DAY,
        o28,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":"https://x/a.png"}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"file:///a.png"}}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/a.png","detail":"low"}}]}]}"#,
        ],
    ),
    rule(
        "O29",
        "A picture is png, jpeg, gif or webp, and is what it says it is.",
        "STranslate/STranslate#277",
        THREAD,
        o29,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/svg+xml;base64,AAAA"}}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,/9j/"}}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}]}"#,
        ],
    ),
    rule(
        "O30",
        "A picture has less than 20 MB.",
        "CosmosShadow/gptpdf#6",
        "thread, old",
        o30,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo<<A*20000001>>"}}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo<<A*100>>"}}]}]}"#,
        ],
    ),
    rule(
        "O31",
        "Audio is base64, wav or mp3.",
        SCHEMA,
        DAY,
        o31,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AAAA","format":"ogg"}}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"format":"wav"}}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]}]}"#,
        ],
    ),
    rule(
        "O32",
        "A file is a `file_id`, or `file_data` with a `filename`; there is no address.",
        SCHEMA,
        DAY,
        o32,
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"file_url":"https://x/a.pdf"}}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"data:application/pdf;base64,AAAA"}}]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"data:application/pdf;base64,AAAA","filename":"a.pdf"}},{"type":"file","file":{"file_id":"file-1"}}]}]}"#,
        ],
    ),
    rule(
        "O33",
        "A refusal is a string beside the content, or its only part.",
        SCHEMA,
        DAY,
        o33,
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"refusal","refusal":"no"},{"type":"text","text":"x"}]}]}"#,
            r#"{"messages":[{"role":"assistant","content":"a","refusal":["no"]}]}"#,
        ],
        &[
            r#"{"messages":[{"role":"assistant","content":[{"type":"refusal","refusal":"no"}]},{"role":"assistant","content":"a","refusal":"no"}]}"#,
        ],
    ),
    rule(
        "O34",
        "A `name` has 1 to 64 letters, digits, underscores and hyphens, and tool messages have none.",
        SCHEMA,
        "schema, 2026-08-21; the pattern from a thread",
        o34,
        &[
            r#"{"messages":[{"role":"user","name":"Ana Maria","content":"x"}]}"#,
            r#"{"messages":[{"role":"tool","name":"f","content":"x"}]}"#,
        ],
        &[r#"{"messages":[{"role":"user","name":"Ana","content":"x"}]}"#],
    ),
    rule(
        "O35",
        "No field is sent that the API does not know.",
        SCHEMA,
        "schema, inferred",
        o35,
        &[
            r#"{"messages":[{"role":"assistant","content":"x","reasoning":"y"}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x","cache_control":{}}]}]}"#,
            r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":""},"index":0}]}]}"#,
        ],
        &[r#"{"messages":[{"role":"assistant","content":"x","refusal":null}]}"#],
    ),
    rule(
        "O36",
        "A text has at most 1,048,576 characters.",
        "gptscript-ai/clio#41",
        "thread; later ones say ten times as many",
        o36,
        &[
            r#"{"messages":[{"role":"user","content":"<<é*1048577>>"}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"<<x*1048577>>"}]}]}"#,
        ],
        &[r#"{"messages":[{"role":"user","content":"<<é*1048576>>"}]}"#],
    ),
    rule(
        "O38",
        "The body is JSON without half of a surrogate pair, and so are arguments (that is ours).",
        "anomalyco/opencode#14630",
        THREAD,
        o38,
        &[
            r#"{"messages":[{"role":"user","content":"\ud83d"}]}"#,
            r#"{"messages":[{"role":"user","content":"\ude00\ud83d"}]}"#,
            r#"{"messages":[{"role":"assistant","tool_calls":[{"function":{"arguments":"{\"a\":\"\\ud83d\"}"}}]}]}"#,
        ],
        &[r#"{"messages":[{"role":"user","content":"\ud83d\ude00 \\ud83d"}]}"#],
    ),
    rule(
        "O43",
        "No content and no text part is blank.",
        "ours: OpenAI itself takes them, servers with the same form do not",
        "ours",
        o43,
        &[
            r#"{"messages":[{"role":"user","content":" \n"}]}"#,
            r#"{"messages":[{"role":"assistant","content":[{"type":"text","text":""}]}]}"#,
        ],
        &[r#"{"messages":[{"role":"user","content":" a"}]}"#],
    ),
    Rule {
        knows: Some(Knows { prefill: false, ..Knows::newest(Api::OpenAi) }),
        ..rule(
            "O44",
            "Where a model does not go on with an answer, none stands at the end.",
            "ours: OpenAI itself takes it and begins a new message",
            "ours",
            o44,
            &[r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#],
            &[r#"{"messages":[{"role":"assistant","content":"b"},{"role":"user","content":"a"}]}"#],
        )
    },
    Rule {
        knows: Some(Knows { system_inside: false, ..Knows::newest(Api::OpenAi) }),
        ..rule(
            "O45",
            "Where a model takes no instructions inside the conversation, they stand before it.",
            "ours: OpenAI itself takes them anywhere, servers with the same form do not",
            "ours",
            o45,
            &[r#"{"messages":[{"role":"user","content":"a"},{"role":"system","content":"b"}]}"#],
            &[
                r#"{"messages":[{"role":"system","content":"b"},{"role":"developer","content":"b"},{"role":"user","content":"a"}]}"#,
            ],
        )
    },
];

fn each(request: &Request, mut check: impl FnMut(&Value) -> Option<&'static str>) -> Vec<String> {
    let found = |(at, message): (String, &Value)| check(message).map(|what| format!("{at}: {what}"));
    request.body.messages().into_iter().filter_map(found).collect()
}

fn each_part(request: &Request, mut check: impl FnMut(&Value, &Value) -> Option<&'static str>) -> Vec<String> {
    each(request, |message| parts(message).into_iter().find_map(|part| check(message, part)))
}

fn calls(message: &Value) -> Vec<&Value> {
    message["tool_calls"].as_array().map(|calls| calls.iter().collect()).unwrap_or_default()
}

fn each_call(request: &Request, mut check: impl FnMut(&Value) -> Option<&'static str>) -> Vec<String> {
    each(request, |message| calls(message).into_iter().find_map(&mut check))
}

fn o1(request: &Request) -> Vec<String> {
    request.body.messages().is_empty().then(|| "no messages".to_owned()).into_iter().collect()
}

fn o2(request: &Request) -> Vec<String> {
    let roles = ["developer", "system", "user", "assistant", "tool"];
    each(request, |message| (!roles.contains(&text(message, "role"))).then_some("unknown role"))
}

fn o5(request: &Request) -> Vec<String> {
    each(request, |message| {
        let is_system = is(message, "system") || is(message, "developer");
        (is_system && !request.knows.system).then_some("the model takes no instructions")
    })
}

fn o6(request: &Request) -> Vec<String> {
    each(request, |message| {
        let content = &message["content"];
        (!is(message, "assistant") && !content.is_string() && !content.is_array()).then_some("no content")
    })
}

fn o7(request: &Request) -> Vec<String> {
    each(request, |message| {
        (is(message, "assistant") && message["content"].is_null() && calls(message).is_empty()).then_some("no content")
    })
}

fn o8(request: &Request) -> Vec<String> {
    each(request, |message| message["content"].as_array().is_some_and(Vec::is_empty).then_some("an empty list"))
}

/// What stands between calls and results, by rule.
fn pairs(request: &Request) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let (mut named, mut open, mut left): (Vec<&str>, Vec<&str>, Vec<&str>) = Default::default();
    let mut is_caller = false;
    for (at, message) in request.body.messages() {
        let id = text(message, "tool_call_id");
        if is(message, "tool") {
            let is_open = open.iter().position(|open| *open == id);
            match is_open {
                Some(place) => drop(open.remove(place)),
                None if left.contains(&id) => found.push(("O11", format!("{at}: the result of {id} stands apart"))),
                None if !is_caller => found.push(("O12", format!("{at}: a result without calls"))),
                None if named.contains(&id) => found.push(("O14", format!("{at}: {id} was answered"))),
                None => found.push(("O13", format!("{at}: {id} was not called"))),
            }
            continue;
        }
        found.extend(open.iter().map(|id| ("O10", format!("{at}: {id} is not answered"))));
        left.append(&mut open);
        named = calls(message).into_iter().map(|call| text(call, "id")).collect();
        open.clone_from(&named);
        is_caller = !named.is_empty();
    }
    found.extend(open.iter().map(|id| ("O10", format!("the end: {id} is not answered"))));
    found
}

fn of(rule: &str, request: &Request) -> Vec<String> {
    pairs(request).into_iter().filter(|(id, _)| *id == rule).map(|(_, what)| what).collect()
}

fn o10(request: &Request) -> Vec<String> {
    of("O10", request)
}

fn o11(request: &Request) -> Vec<String> {
    of("O11", request)
}

fn o12(request: &Request) -> Vec<String> {
    of("O12", request)
}

fn o13(request: &Request) -> Vec<String> {
    of("O13", request)
}

fn o14(request: &Request) -> Vec<String> {
    of("O14", request)
}

fn o15(request: &Request) -> Vec<String> {
    each(request, |message| {
        let mut ids = HashSet::new();
        calls(message).into_iter().any(|call| !ids.insert(text(call, "id"))).then_some("an id twice")
    })
}

fn o17(request: &Request) -> Vec<String> {
    each(request, |message| {
        let is_listed = message.get("tool_calls").is_some();
        (is_listed && !(1..=128).contains(&calls(message).len())).then_some("not 1 to 128 calls")
    })
}

fn o18(request: &Request) -> Vec<String> {
    each_call(request, |call| {
        let whole = call["id"].is_string() && kind(call) == "function" && call["function"].is_object();
        (!whole).then_some("a call without id, type or function")
    })
}

fn o19(request: &Request) -> Vec<String> {
    each_call(request, |call| {
        (call["function"].is_object() && !call["function"]["arguments"].is_string())
            .then_some("arguments are no string")
    })
}

fn o20(request: &Request) -> Vec<String> {
    let fits = |id: &Value| id.as_str().is_none_or(|id| (1..=40).contains(&id.chars().count()));
    each_call(request, |call| (!fits(&call["id"])).then_some("an id that is too long, or empty"))
}

fn o21(request: &Request) -> Vec<String> {
    each_call(request, |call| {
        (call["function"].is_object() && !is_name(text(&call["function"], "name"), 64)).then_some("no name")
    })
}

fn o24(request: &Request) -> Vec<String> {
    each(request, |message| (is(message, "tool") && !message["tool_call_id"].is_string()).then_some("no call is named"))
}

fn o25(request: &Request) -> Vec<String> {
    each_part(request, |message, part| (kind(part) == "image_url" && !is(message, "user")).then_some("a picture"))
}

fn o26(request: &Request) -> Vec<String> {
    each_part(request, |message, part| {
        let is_known = match text(message, "role") {
            "user" => true,
            "assistant" => matches!(kind(part), "text" | "refusal"),
            _ => kind(part) == "text",
        };
        (!is_known).then_some("a part that is no text")
    })
}

fn o27(request: &Request) -> Vec<String> {
    let known = ["text", "image_url", "input_audio", "file"];
    each_part(request, |message, part| (is(message, "user") && !known.contains(&kind(part))).then_some("unknown part"))
}

fn each_picture(request: &Request, mut check: impl FnMut(&Value) -> Option<&'static str>) -> Vec<String> {
    each_part(request, |_, part| if kind(part) == "image_url" { check(&part["image_url"]) } else { None })
}

fn o28(request: &Request) -> Vec<String> {
    each_picture(request, |picture| {
        let url = text(picture, "url");
        let detail = picture["detail"].as_str().is_none_or(|detail| ["auto", "low", "high"].contains(&detail));
        (!detail || !(url.starts_with("https://") || url.starts_with("data:"))).then_some("no picture's address")
    })
}

fn o29(request: &Request) -> Vec<String> {
    each_picture(request, |url| {
        let (kind, data) = data(text(url, "url"))?;
        (picture(data) != Some(kind)).then_some("a picture of another kind")
    })
}

fn o30(request: &Request) -> Vec<String> {
    each_picture(request, |picture| {
        data(text(picture, "url")).is_some_and(|(_, data)| data.len() > 20_000_000).then_some("too large")
    })
}

fn o31(request: &Request) -> Vec<String> {
    each_part(request, |_, part| {
        let audio = &part["input_audio"];
        let whole = audio["data"].is_string() && matches!(text(audio, "format"), "wav" | "mp3");
        (kind(part) == "input_audio" && !whole).then_some("no audio that is known")
    })
}

fn o32(request: &Request) -> Vec<String> {
    each_part(request, |_, part| {
        let file = &part["file"];
        let whole = file["file_id"].is_string() || (file["file_data"].is_string() && file["filename"].is_string());
        (kind(part) == "file" && !(whole && unknown(file, &["file_id", "file_data", "filename"]).is_empty()))
            .then_some("no file")
    })
}

fn o33(request: &Request) -> Vec<String> {
    each(request, |message| {
        let parts = parts(message);
        let refused = parts.iter().any(|part| kind(part) == "refusal");
        let is_string = message["refusal"].is_null() || message["refusal"].is_string();
        ((refused && parts.len() != 1) || !is_string).then_some("a refusal among other parts, or no string")
    })
}

fn o34(request: &Request) -> Vec<String> {
    each(request, |message| {
        let name = message.get("name")?;
        (is(message, "tool") || !name.as_str().is_some_and(|name| is_name(name, 64))).then_some("a name")
    })
}

fn o35(request: &Request) -> Vec<String> {
    each(request, |message| {
        let known: &[&str] = match text(message, "role") {
            "assistant" => &["role", "content", "name", "refusal", "tool_calls"],
            "tool" => &["role", "content", "tool_call_id", "name"],
            _ => &["role", "content", "name"],
        };
        let of_part = |part: &&Value| !unknown(part, &["type", kind(part)]).is_empty();
        let of_call = |call: &&Value| {
            !unknown(call, &["id", "type", "function"]).is_empty()
                || !unknown(&call["function"], &["name", "arguments"]).is_empty()
        };
        let found = !unknown(message, known).is_empty()
            || parts(message).iter().any(of_part)
            || calls(message).iter().any(of_call);
        found.then_some("an unknown field")
    })
}

/// The texts of a message.
fn texts(message: &Value) -> Vec<&str> {
    let parts = parts(message).into_iter().filter(|part| kind(part) == "text").map(|part| text(part, "text"));
    message["content"].as_str().into_iter().chain(parts).collect()
}

fn o36(request: &Request) -> Vec<String> {
    let long = |text: &str| text.len() > 1_048_576 && text.chars().count() > 1_048_576;
    each(request, |message| texts(message).into_iter().any(long).then_some("a text is too long"))
}

fn o38(request: &Request) -> Vec<String> {
    let within = each_call(request, |call| has_half_pair(text(&call["function"], "arguments")).then_some("arguments"));
    let found = has_half_pair(&request.text) || request.body.is_null() || !within.is_empty();
    found.then(|| "the body cannot be read".to_owned()).into_iter().collect()
}

fn o43(request: &Request) -> Vec<String> {
    each(request, |message| texts(message).into_iter().any(is_blank).then_some("a blank text"))
}

fn o44(request: &Request) -> Vec<String> {
    let messages = request.body.messages();
    let last = messages.last().filter(|(_, last)| is(last, "assistant") && !request.knows.prefill);
    last.map(|(at, _)| format!("{at}: an answer at the end")).into_iter().collect()
}

fn o45(request: &Request) -> Vec<String> {
    let is_system = |message: &Value| is(message, "system") || is(message, "developer");
    let mut is_inside = false;
    each(request, |message| {
        is_inside |= !is_system(message);
        (is_inside && is_system(message) && !request.knows.system_inside).then_some("instructions inside")
    })
}

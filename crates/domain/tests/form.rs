//! What becomes of messages in the forms of providers, as a table: what goes in, what is sent, and what is said to have changed.
//!
//! Must not know: how it is done.

#[cfg(test)]
mod form_tables {
    use sessions_domain::{
        Json, Message, MessageMetadata, MessagePart, MessageRole,
        form::{self, Form, FormRules, ReasoningBack, Target},
        pairing::Repair,
    };

    const TARGET: Target<'_> = Target { provider: "anthropic", model: "m", aliases: &[], unchanged_since: Some(0) };

    /// Messages from a list of `["role", part…]`, where a part is a text or its JSON. Answers are the model's.
    fn messages(list: &str) -> Vec<(Option<u64>, Message)> {
        let list: Vec<Vec<Json>> = serde_json::from_str(list).unwrap();
        let message = |(at, said): (usize, &Vec<Json>)| {
            let role: MessageRole = said[0].decode().unwrap();
            let part = |json: &Json| match json.decode::<String>() {
                Ok(text) => MessagePart::Text(text),
                Err(_) => json.decode().unwrap(),
            };
            let (provider, model) = (Some("anthropic".to_owned()), Some("m".to_owned()));
            let metadata = MessageMetadata { provider, model, ..MessageMetadata::default() };
            (Some(at as u64 + 1), Message { role, parts: said[1..].iter().map(part).collect(), metadata })
        };
        list.iter().enumerate().map(message).collect()
    }

    /// What is sent, and the names of what was changed.
    fn sent(list: &str, form: Form, rules: &FormRules, target: &Target<'_>) -> (String, Vec<String>) {
        let shaped = form::shape(messages(list), form, rules, target);
        let body = form::render(shaped.messages.iter().map(|(_, message)| message), form, rules).unwrap();
        let system = body.system.map_or_else(String::new, |system| format!("{} ", system.as_str()));
        let name = |repair: &Repair| {
            let json = serde_json::to_value(repair).unwrap();
            let seq = json["seq"].as_u64().map_or_else(String::new, |seq| format!(" {seq}"));
            format!("{}{seq}", json["repair"].as_str().unwrap())
        };
        (format!("{system}{}", body.messages.as_str()), shaped.repairs.iter().map(name).collect())
    }

    fn check(form: Form, cases: &[(&str, &str, &[&str])]) {
        for (list, expected, repairs) in cases {
            let (sent, changed) = sent(list, form, &FormRules::of(form), &TARGET);
            assert_eq!(sent, *expected, "{list}");
            assert_eq!(changed, *repairs, "{list}");
        }
    }

    const CALL: &str = r#"{"type":"tool-call","call_id":"c1","name":"f","input":{"n":1.0}}"#;

    #[test]
    fn messages_in_openais_form() {
        check(
            Form::OpenAi,
            &[
                (
                    r#"[["system","Be brief."],["user","Hi"],["assistant","Yes?"]]"#,
                    r#"[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},{"role":"assistant","content":"Yes?"}]"#,
                    &[],
                ),
                (
                    &format!(
                        r#"[["user","a","b"],["assistant",{CALL}],["tool",{{"type":"tool-result","call_id":"c1","content":"x"}}]]"#
                    ),
                    r#"[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"n\":1.0}"}}]},{"role":"tool","tool_call_id":"c1","content":"x"}]"#,
                    &[],
                ),
                (
                    &format!(
                        r#"[["user","a"],["assistant",{CALL}],["tool",{{"type":"tool-result","call_id":"c1","content":[{{"type":"text","text":"found"}},{{"type":"row","n":1.0}}]}}]]"#
                    ),
                    r#"[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"n\":1.0}"}}]},{"role":"tool","tool_call_id":"c1","content":[{"type":"text","text":"found"},{"type":"text","text":"{\"type\":\"row\",\"n\":1.0}"}]}]"#,
                    &["custom-as-text 3"],
                ),
                (
                    &format!(
                        r#"[["assistant",{CALL},"behind"],["tool",{{"type":"tool-result","call_id":"c1","content":" ","is_error":true}}]]"#
                    ),
                    r#"[{"role":"assistant","content":"behind","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"n\":1.0}"}}]},{"role":"tool","tool_call_id":"c1","content":"[error] (no output)"}]"#,
                    &["part-moved 1", "result-empty 2", "error-marked 2"],
                ),
                (
                    &format!(
                        r#"[["assistant",{CALL}],["tool",{{"type":"tool-result","call_id":"c1","content":[{{"type":"text","text":"see"}},{{"type":"file","media_type":"image/png","name":"a.png","url":"https://x.org/a.png"}}]}}],["user","And?"]]"#
                    ),
                    r#"[{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"n\":1.0}"}}]},{"role":"tool","tool_call_id":"c1","content":[{"type":"text","text":"see"},{"type":"text","text":"[file a.png (image/png) follows]"}]},{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x.org/a.png"}}]},{"role":"user","content":"And?"}]"#,
                    &["file-moved 2"],
                ),
                (
                    r#"[["user",{"type":"file","media_type":"text/csv","name":"a.csv","url":"https://x.org/a.csv"},{"type":"file","media_type":"application/pdf","url":"data:application/pdf;base64,JVBERg=="}]]"#,
                    r#"[{"role":"user","content":[{"type":"text","text":"[file a.csv (text/csv) is not sent]"},{"type":"file","file":{"filename":"document.pdf","file_data":"data:application/pdf;base64,JVBERg=="}}]}]"#,
                    &["file-left-out 1"],
                ),
                (
                    r#"[["user","a"],["assistant",{"type":"reasoning","text":"hm","signature":"s"},"b"],["assistant",{"type":"reasoning","text":"hm","signature":"s"}],["assistant"," "]]"#,
                    r#"[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]"#,
                    &[
                        "blank-text 4",
                        "empty-message 4",
                        "reasoning-left-out 2",
                        "reasoning-left-out 3",
                        "empty-message 3",
                    ],
                ),
                (
                    r#"[["user",{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}},{"type":"mystery"}]]"#,
                    r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}]"#,
                    &["file-translated 1", "custom-left-out 1"],
                ),
                (
                    r#"[["user",{"type":"error","message":"overloaded","code":"529"}],["assistant",{"type":"refusal","refusal":"no"}],["assistant","a",{"type":"refusal","refusal":"no"}],["user","b"],["assistant",{"type":"refusal","refusal":"no"},{"type":"refusal","refusal":"never"}]]"#,
                    r#"[{"role":"user","content":"[error 529: overloaded]"},{"role":"assistant","content":[{"type":"refusal","refusal":"no"}]},{"role":"assistant","content":"a","refusal":"no"},{"role":"user","content":"b"},{"role":"assistant","content":[{"type":"refusal","refusal":"no\nnever"}]}]"#,
                    &["error-as-text 1"],
                ),
                ("[]", r#"[{"role":"user","content":"(nothing was said yet)"}]"#, &["opening-supplied"]),
            ],
        );
    }

    #[test]
    fn messages_in_anthropics_form() {
        check(
            Form::Anthropic,
            &[
                (r#"[["system","Be brief."],["user","Hi"]]"#, r#""Be brief." [{"role":"user","content":"Hi"}]"#, &[]),
                (
                    r#"[["system","a"],["system","b"],["user","Hi"],["user","there"]]"#,
                    r#"[{"type":"text","text":"a"},{"type":"text","text":"b"}] [{"role":"user","content":[{"type":"text","text":"Hi"},{"type":"text","text":"there"}]}]"#,
                    &[],
                ),
                (
                    &format!(
                        r#"[["user","a"],["assistant","b"],["assistant",{CALL},{{"type":"tool-call","call_id":"c2","name":"g","input":{{}}}}],["tool",{{"type":"tool-result","call_id":"c2","content":"2"}}],["tool",{{"type":"tool-result","call_id":"c1","content":"1","is_error":true}}],["user","d"]]"#
                    ),
                    r#"[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"text","text":"b"},{"type":"tool_use","id":"c1","name":"f","input":{"n":1.0}},{"type":"tool_use","id":"c2","name":"g","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"1","is_error":true},{"type":"tool_result","tool_use_id":"c2","content":"2"},{"type":"text","text":"d"}]}]"#,
                    &[],
                ),
                (
                    r#"[["assistant","first"],["system","inside"],["assistant","last "]]"#,
                    r#"[{"role":"user","content":"(the conversation begins in its middle)"},{"role":"assistant","content":"first"},{"role":"user","content":"<system>\ninside\n</system>"},{"role":"assistant","content":"last "},{"role":"user","content":"(continue)"}]"#,
                    &["system-as-user 2", "opening-supplied", "closing-supplied"],
                ),
                (
                    r#"[["user","a"],["assistant",{"type":"tool-call","call_id":"a|b","name":"files.read","input":[1.0]}],["tool",{"type":"tool-result","call_id":"a|b","content":""}]]"#,
                    r#"[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"a_b_8c4f9839","name":"files_read","input":{"value":[1.0]}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a_b_8c4f9839","content":"(no output)"}]}]"#,
                    &["input-wrapped 2", "tool-renamed 2", "result-empty 3", "call-renamed 2"],
                ),
                (
                    &format!(
                        r#"[["user","a"],["assistant",{CALL}],["tool",{{"type":"tool-result","call_id":"c1","is_error":true,"content":[{{"type":"file","media_type":"image/png","url":"https://x.org/a.png"}}]}}]]"#
                    ),
                    r#"[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"f","input":{"n":1.0}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":[{"type":"text","text":"[file https://x.org/a.png (image/png) follows]"}],"is_error":true},{"type":"image","source":{"type":"url","url":"https://x.org/a.png"}}]}]"#,
                    &["file-moved 3"],
                ),
                (
                    &format!(
                        r#"[["user","a",{CALL}],["tool",{{"type":"tool-result","call_id":"c1","content":"x"}},"beside"]]"#
                    ),
                    r#"[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"f","input":{"n":1.0}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":[{"type":"text","text":"x"},{"type":"text","text":"beside"}]}]}]"#,
                    &["part-moved 1", "part-moved 2"],
                ),
                (
                    r#"[["user",{"type":"file","media_type":"image/jpeg","name":"a","url":"data:image/jpeg;base64,iVBORw0KGgo="},{"type":"file","media_type":"image/png","artifact":"x1"}]]"#,
                    r#"[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}},{"type":"text","text":"[file x1 (image/png) is not sent]"}]}]"#,
                    &["file-translated 1", "file-left-out 1"],
                ),
            ],
        );
    }

    /// Two turns with reasoning, the second of two answers.
    fn thinking(rules: &FormRules, target: &Target<'_>) -> (Vec<usize>, Vec<String>) {
        let thought = r#"{"type":"reasoning","text":"hm","signature":"s"}"#;
        let hidden = r#"{"type":"redacted_thinking","data":"x"}"#;
        let list = format!(
            r#"[["user","a"],["assistant",{thought},"b"],["user","c"],["assistant",{hidden},{CALL}],["tool",{{"type":"tool-result","call_id":"c1","content":"x"}}],["assistant",{thought},"d",{{"type":"tool-call","call_id":"c2","name":"f","input":{{}}}}],["tool",{{"type":"tool-result","call_id":"c2","content":"x"}}]]"#
        );
        let (sent, repairs) = sent(&list, Form::Anthropic, rules, target);
        let sent: Vec<serde_json::Value> = serde_json::from_str(&sent).unwrap();
        let thinks = |message: &serde_json::Value| message.to_string().contains("thinking");
        (sent.iter().enumerate().filter(|(_, message)| thinks(message)).map(|(at, _)| at).collect(), repairs)
    }

    #[test]
    fn reasoning_goes_back_to_the_model_that_wrote_it_and_as_its_rules_say() {
        let rules = |reasoning| FormRules { reasoning, ..FormRules::of(Form::Anthropic) };
        let own = |reasoning| thinking(&rules(reasoning), &TARGET).0;
        assert_eq!(own(ReasoningBack::Never), [0_usize; 0]);
        assert_eq!(own(ReasoningBack::LastTurn), [3, 5]);
        assert_eq!(own(ReasoningBack::Unchanged), [1, 3, 5]);
        assert_eq!(thinking(&rules(ReasoningBack::Unchanged), &TARGET).1, [""; 0]);
        for target in [
            Target { model: "other", ..TARGET },
            Target { provider: "other", ..TARGET },
            Target { unchanged_since: None, ..TARGET },
        ] {
            assert_eq!(thinking(&rules(ReasoningBack::Unchanged), &target).0, [0_usize; 0]);
        }
        // What was thought before the instructions changed was thought of another conversation; what came behind was not.
        let target = Target { unchanged_since: Some(4), ..TARGET };
        let (kept, repairs) = thinking(&rules(ReasoningBack::Unchanged), &target);
        assert_eq!((kept, repairs), (vec![3, 5], vec!["reasoning-left-out 2".to_owned()]));
        // Where some was left out, what comes behind it was not thought of what is sent.
        let rules = rules(ReasoningBack::Unchanged);
        let unsigned = r#"{"type":"reasoning","text":"hm"}"#;
        let signed = r#"{"type":"reasoning","text":"hm","signature":"s"}"#;
        let list = format!(
            r#"[["user","a"],["assistant",{unsigned},"b"],["user","c"],["assistant",{signed},"d"],["user","e"]]"#
        );
        let repairs = sent(&list, Form::Anthropic, &rules, &TARGET).1;
        assert_eq!(repairs, ["reasoning-left-out 2", "reasoning-left-out 4"]);
        // A name that had to be changed before it, and what is sent is not what was thought of.
        let rules = FormRules { longest_call_id: 1, longest_name: 4, ..rules };
        let thought = r#"{"type":"reasoning","text":"","signature":"s"}"#;
        let list = format!(
            r#"[["user","a"],["assistant",{thought},"b"],["user"," ","c"],["assistant",{thought},"d"],["user","e"]]"#
        );
        let (sent, repairs) = sent(&list, Form::Anthropic, &rules, &TARGET);
        assert_eq!(sent.matches("thinking\",").count(), 1, "{sent}");
        assert_eq!(repairs, ["blank-text 3", "reasoning-left-out 4"]);
    }

    #[test]
    fn files_of_text_are_sent_as_what_they_say() {
        let plain =
            r#"{"type":"file","media_type":"text/plain","name":"a.txt","url":"data:text/plain;base64,aGVsbG8="}"#;
        let foreign =
            r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"50%"},"title":"b"}"#;
        let result = format!(r#"{{"type":"tool-result","call_id":"c1","content":[{plain}],"is_error":true}}"#);
        let list = format!(r#"[["user",{plain},{foreign}],["assistant",{CALL},{plain}],["tool",{result}]]"#);
        for form in [Form::OpenAi, Form::Anthropic] {
            let (sent, repairs) = sent(&list, form, &FormRules::of(form), &TARGET);
            assert_eq!(sent.matches("[file a.txt (text/plain)]\\nhello").count(), 2, "{sent}");
            assert!(sent.contains("[file b (text/plain)]\\n50%\""), "{sent}");
            assert!(sent.contains("[file a.txt (text/plain) is not sent]"), "an answer holds no files: {sent}");
            assert_eq!(repairs.iter().filter(|repair| repair.starts_with("file-translated")).count(), 4, "{repairs:?}");
        }
    }

    #[test]
    fn a_model_knows_its_reasoning_under_each_of_its_names() {
        let rules = FormRules::of(Form::Anthropic);
        let aliases = ["m".to_owned()];
        let of = |model, aliases| thinking(&rules, &Target { model, aliases, ..TARGET }).0;
        assert_eq!(of("m-20250929", &[]), [3, 5], "a snapshot of the one that answered");
        assert_eq!(of("house", &aliases), [3, 5], "an alias");
        for other in ["m-2", "m-20251332", "m-2025-09-29", "house"] {
            assert_eq!(of(other, &[]), [0_usize; 0], "{other}");
        }
        let dated = |model: &str, of: &str| {
            let thought = MessagePart::Reasoning { text: "hm".into(), signature: Some("s".into()) };
            let mut answer = Message::assistant("b");
            answer.parts.insert(0, thought);
            answer.metadata.model = Some(of.to_owned());
            let said = vec![(Some(1), Message::user("a")), (Some(2), answer), (Some(3), Message::user("c"))];
            let rules = FormRules { reasoning: ReasoningBack::Unchanged, ..rules.clone() };
            form::shape(said, Form::Anthropic, &rules, &Target { model, ..TARGET }).repairs.is_empty()
        };
        assert!(dated("m", "m-20250929") && dated("m-20250929", "m-20250929"));
        assert!(!dated("m-20251101", "m-20250929"), "two snapshots are two models");
    }

    #[test]
    fn the_last_answer_with_calls_keeps_its_reasoning() {
        let thought = r#"{"type":"reasoning","text":"hm","signature":"s"}"#;
        let result = |rest: &str| format!(r#"["tool",{{"type":"tool-result","call_id":"c1","content":"x"{rest}}}]"#);
        let picture = r#"{"type":"file","media_type":"image/png","url":"https://x.org/a.png"}"#;
        let failed =
            format!(r#"["tool",{{"type":"tool-result","call_id":"c1","is_error":true,"content":[{picture}]}}]"#);
        let done = r#"["assistant","done"]"#;
        let (plain, hurry) = (result(""), r#"["user","and hurry"]"#);
        // Which of the answers 2 (an older turn), 4 and 6 (the last one, with a call) keep their reasoning.
        let cases: [(&[&str], &[u64]); 8] = [
            (&[&plain], &[4, 6]),
            (&[&plain, hurry], &[4, 6]),
            (&[&plain, hurry, r#"["user","please"]"#], &[4, 6]),
            (&[&failed], &[4, 6]),
            (&[&failed, hurry], &[4, 6]),
            (&[&plain, r#"["system","be brief"]"#], &[4, 6]),
            (&[&plain, done], &[4, 6]),
            (&[&plain, done, hurry], &[]),
        ];
        for (tail, kept) in cases {
            let call = |id: &str| format!(r#"{{"type":"tool-call","call_id":"{id}","name":"f","input":{{}}}}"#);
            let list = format!(
                r#"[["user","a"],["assistant",{thought},"b"],["user","c"],["assistant",{thought},{}],["tool",{{"type":"tool-result","call_id":"c0","content":"x"}}],["assistant",{thought},{}],{}]"#,
                call("c0"),
                call("c1"),
                tail.join(",")
            );
            let rules = FormRules::of(Form::Anthropic);
            let shaped = form::shape(messages(&list), Form::Anthropic, &rules, &TARGET);
            let thinks = |message: &Message| message.parts.iter().any(|part| part.type_name() == "reasoning");
            let seqs: Vec<u64> =
                shaped.messages.iter().filter(|(_, message)| thinks(message)).filter_map(|(seq, _)| *seq).collect();
            assert_eq!(seqs, kept, "{tail:?}");
            let again = form::shape(shaped.messages.clone(), Form::Anthropic, &rules, &TARGET);
            assert_eq!((again.messages, again.repairs), (shaped.messages, vec![]), "{tail:?}");
        }
    }

    #[test]
    fn too_much_is_left_out_or_split() {
        let many: Vec<String> =
            (0..130).map(|n| format!(r#"{{"type":"tool-call","call_id":"c{n}","name":"f","input":{{}}}}"#)).collect();
        let results: Vec<String> =
            (0..130).rev().map(|n| format!(r#"{{"type":"tool-result","call_id":"c{n}","content":"{n}"}}"#)).collect();
        let list = format!(r#"[["assistant","a",{}],["tool",{}]]"#, many.join(","), results.join(","));
        let (sent_, repairs) = sent(&list, Form::OpenAi, &FormRules::of(Form::OpenAi), &TARGET);
        let sent_: Vec<serde_json::Value> = serde_json::from_str(&sent_).unwrap();
        let calls: Vec<usize> =
            sent_.iter().filter_map(|message| message["tool_calls"].as_array()).map(Vec::len).collect();
        assert_eq!((calls, repairs), (vec![128, 2], vec!["calls-split 1".to_owned()]));
        assert_eq!(sent_[1]["content"], "0");
        assert_eq!((&sent_[129]["role"], &sent_[130]["tool_call_id"]), (&"assistant".into(), &"c128".into()));

        let pictures: Vec<String> = (0..102)
            .map(|n| format!(r#"{{"type":"file","media_type":"image/png","name":"{n}","url":"https://x.org/{n}"}}"#))
            .collect();
        let list = format!(r#"[["user",{}]]"#, pictures.join(","));
        let (text, repairs) = sent(&list, Form::Anthropic, &FormRules::of(Form::Anthropic), &TARGET);
        assert_eq!(text.matches("\"image\"").count(), 100);
        assert!(text.contains("[file 1 (image/png) is not sent]") && !text.contains("[file 2 "), "the oldest go first");
        assert_eq!(repairs, ["file-left-out 1"; 2]);
    }

    #[test]
    fn the_neutral_form_is_what_there_is() {
        let list = r#"[["assistant"," "],["user"]]"#;
        let shaped = form::shape(messages(list), Form::Neutral, &FormRules::of(Form::Neutral), &TARGET);
        assert_eq!((shaped.messages, shaped.repairs), (messages(list), vec![]));
        assert_eq!(form::reserve(Form::Neutral, &FormRules::of(Form::Neutral)), [""; 0]);
    }
}

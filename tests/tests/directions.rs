//! The directions between the crates, as a table: what each may depend on, inside the workspace and outside, and why.
//!
//! `domain ← ports ← { app | infra } ← api ← cli`. App and infra do not see each other. Whoever adds a dependency adds it here too, with
//! its reason; the reason goes into review, which is the point. What is not in the table fails, and so does a crate without a row.
//!
//! Must not know: any crate's code.

/// What one crate may depend on when it is built (`[dependencies]` and `[build-dependencies]`).
struct Row {
    name: &'static str,
    /// Crates of this workspace.
    internal: &'static [&'static str],
    /// Crates of this workspace that its tests, examples and benchmarks may use besides.
    internal_in_tests: &'static [&'static str],
    /// Crates from outside, each with the reason for it.
    external: &'static [(&'static str, &'static str)],
}

const TABLE: &[Row] = &[
    // Pure: no async runtime, no I/O, no clock (chrono only names moments), no randomness (ulid only names things).
    Row {
        name: "sessions-domain",
        internal: &[],
        internal_in_tests: &[],
        external: &[
            ("chrono", "moments and their written form"),
            ("ring", "SHA-256 of the commit chain; the crate that seals later, so that there is one of its kind"),
            ("serde", "one message and one event type from host to codec"),
            ("serde_json", "bodies are JSON"),
            ("strsim", "the known name nearest to one that is not known; clap has it already"),
            ("thiserror", "typed errors"),
            ("ulid", "the form of ids"),
        ],
    },
    // Contracts only: whoever writes a backend compiles this and the domain, nothing more.
    Row {
        name: "sessions-ports",
        internal: &["sessions-domain"],
        internal_in_tests: &[],
        external: &[
            ("async-trait", "ports are used as `dyn`"),
            ("bytes", "payloads are handed on without copies"),
            ("serde", "levels of durability stand in receipts and configuration"),
            ("serde_json", "what a key provider has to know to unwrap"),
            ("thiserror", "typed errors"),
            ("zeroize", "secrets are wiped when they are dropped"),
        ],
    },
    // Use cases over ports. Never infra, and nothing that speaks to a disk or a network.
    Row {
        name: "sessions-app",
        internal: &["sessions-domain", "sessions-ports"],
        internal_in_tests: &["sessions-infra", "sessions-testkit"],
        external: &[
            ("async-trait", "its ports are used as `dyn`"),
            ("bytes", "payloads are handed on without copies"),
            ("ring", "keyed hashes of keys and payloads"),
            ("serde", "import, export"),
            ("serde_json", "import, export"),
            ("thiserror", "typed errors"),
            ("tokio", "lanes: locks, channels, tasks"),
        ],
    },
    // Adapters. Never app. What is heavy is optional, one feature each.
    Row {
        name: "sessions-infra",
        internal: &["sessions-domain", "sessions-ports"],
        internal_in_tests: &["sessions-testkit"],
        external: &[
            ("argon2", "keys from passphrases; only with its feature"),
            ("async-trait", "implements ports"),
            ("base64", "as a key service writes bytes; only with its feature"),
            ("bpe-openai", "tokens as OpenAI's models count them; only with its feature"),
            ("bytes", "payloads are handed on without copies"),
            ("crc32c", "frames of segments"),
            ("foldhash", "the ledger is asked for a session several times with each append"),
            ("http-body-util", "bodies of hyper's requests and answers; only with its feature"),
            ("httparse", "answers of a key service; only with its feature"),
            ("hyper", "HTTP/1.1 to a provider of models, without redirects, proxies and logs; only with its feature"),
            ("hyper-util", "hyper over tokio's streams; only with its feature"),
            ("ring", "digests of frames and blobs, random bytes"),
            (
                "rustls",
                "the way to a key service, with the same cryptography as everything else; only with its feature",
            ),
            ("sled", "the index; only with its feature"),
            ("thiserror", "typed errors"),
            ("tokio", "the writer's queue, blocking reads off the runtime"),
            ("tokio-rustls", "rustls over tokio's streams; only with its feature"),
            ("serde", "counters of a store as a host hands them on"),
            ("serde_json", "what is stored beside a wrapped key"),
            ("tracing", "spans without content"),
            ("zeroize", "secrets are wiped when they are dropped"),
        ],
    },
    // The only library crate that sees both sides; it wires.
    Row {
        name: "sessions-api",
        internal: &["sessions-domain", "sessions-ports", "sessions-app", "sessions-infra"],
        internal_in_tests: &[],
        external: &[
            ("async-trait", "hosts implement tools and providers with it"),
            ("saphyr-parser", "a configuration's YAML, with the place of everything; only with its feature"),
            ("serde", "counters as a host hands them on"),
            ("thiserror", "typed errors of the configuration"),
            ("tokio", "opens stores off the runtime"),
        ],
    },
    // For authors of backends: as small as the contracts it checks. Infra and app use it in their tests, so it uses neither.
    Row {
        name: "sessions-testkit",
        internal: &["sessions-domain", "sessions-ports"],
        internal_in_tests: &["sessions-infra"],
        external: &[
            ("async-trait", "fakes implement ports"),
            ("bytes", "payloads are handed on without copies"),
            ("futures-util", "racing futures, and dropping them"),
            ("serde", "the report as JSON"),
            ("serde_json", "the report as JSON"),
            ("tokio", "racing writers"),
        ],
    },
    // A thin host: what it can do, any host can do, so it sees the facade alone.
    Row {
        name: "sessions-cli",
        internal: &["sessions-api"],
        // Its stubs of providers, which `chat` talks to.
        internal_in_tests: &["sessions-testkit"],
        external: &[
            ("clap", "arguments"),
            ("clap_complete", "completions, from the definitions of the arguments"),
            ("clap_mangen", "manual pages, from the same"),
            ("rpassword", "a passphrase is typed unseen"),
            ("indicatif", "progress on a terminal"),
            ("rustyline", "what is said in `chat` is edited, without a file of its history"),
            (
                "rustix",
                "core dumps are switched off, and a terminal's echo while an answer comes; tempfile has it already",
            ),
            ("serde", "results as JSON"),
            ("serde_json", "results as JSON"),
            ("tempfile", "the folder in which `demo` works"),
            ("terminal_size", "tables as wide as the terminal; clap has it already"),
            ("tokio", "the runtime, and Ctrl-C"),
            ("unicode-width", "aligned columns, whatever the script"),
            ("zeroize", "secrets are wiped when they are dropped"),
        ],
    },
    // Its program is a process to be killed; it opens the default store as a host without the facade does.
    Row {
        name: "sessions-tests",
        internal: &["sessions-domain", "sessions-ports", "sessions-app", "sessions-infra", "sessions-testkit"],
        internal_in_tests: &["sessions-api"],
        external: &[
            ("async-trait", "the provider and the tools of a turn that is killed"),
            ("tokio", "the runtime of the process to be killed"),
        ],
    },
    // Measures below the facade, so that a figure is of the use cases and a store and nothing else.
    Row {
        name: "sessions-bench",
        internal: &["sessions-domain", "sessions-ports", "sessions-app", "sessions-infra", "sessions-testkit"],
        internal_in_tests: &[],
        external: &[
            ("serde_json", "planted costs of a passphrase, texts for another program's counts"),
            ("tokio", "the runtime, and writers side by side"),
        ],
    },
    // Compiles within seconds on a fresh machine, because it needs nothing.
    Row { name: "xtask", internal: &[], internal_in_tests: &[], external: &[] },
];

/// What the facade must not pull in unless asked: stores on disk, clients of the network, and what takes memory on purpose.
const NOT_WITHOUT_FEATURES: &[&str] =
    &["sled", "argon2", "bpe-openai", "httparse", "reqwest", "hyper", "ureq", "rustls", "native-tls", "sqlx", "redis"];

#[cfg(test)]
mod directions {
    use std::collections::BTreeSet;
    use std::process::Command;

    use serde_json::Value;

    use super::{NOT_WITHOUT_FEATURES, Row, TABLE};

    /// One dependency of one crate, as its manifest says.
    #[derive(Clone, Debug)]
    struct Edge {
        from: String,
        to: String,
        internal: bool,
        in_tests: bool,
    }

    fn cargo(arguments: &[&str]) -> String {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The workspace's crates and their dependencies, from what `cargo metadata` prints.
    fn workspace(metadata: &str) -> (BTreeSet<String>, Vec<Edge>) {
        let metadata: Value = serde_json::from_str(metadata).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let crates: BTreeSet<String> = packages.iter().map(|package| text(&package["name"])).collect();
        let mut edges = Vec::new();
        for package in packages {
            for dependency in package["dependencies"].as_array().unwrap() {
                let to = text(&dependency["name"]);
                edges.push(Edge {
                    from: text(&package["name"]),
                    internal: crates.contains(&to),
                    in_tests: dependency["kind"].as_str() == Some("dev"),
                    to,
                });
            }
        }
        (crates, edges)
    }

    /// Each edge that the table does not allow. What tests take from outside the workspace is free.
    fn forbidden(table: &[Row], edges: &[Edge]) -> Vec<String> {
        let allows = |row: &Row, edge: &Edge| match (edge.internal, edge.in_tests) {
            (true, false) => row.internal.contains(&edge.to.as_str()),
            (true, true) => [row.internal, row.internal_in_tests].concat().contains(&edge.to.as_str()),
            (false, false) => row.external.iter().any(|(name, _)| *name == edge.to),
            (false, true) => true,
        };
        let unlisted = |edge: &&Edge| !table.iter().any(|row| row.name == edge.from && allows(row, edge));
        edges.iter().filter(unlisted).map(|edge| format!("{} must not depend on {}", edge.from, edge.to)).collect()
    }

    /// Each dependency that the table allows and no crate has.
    fn unused(table: &[Row], edges: &[Edge]) -> Vec<String> {
        let has = |from: &str, to: &str| edges.iter().any(|edge| edge.from == from && edge.to == to);
        let names = |row: &Row| {
            let external = row.external.iter().map(|(name, _)| *name);
            row.internal.iter().chain(row.internal_in_tests).copied().chain(external).collect::<Vec<_>>()
        };
        let unused = |row: &Row| {
            let (from, names) = (row.name, names(row));
            names.into_iter().filter(|to| !has(from, to)).map(|to| format!("{from} has no {to}")).collect::<Vec<_>>()
        };
        table.iter().flat_map(unused).collect()
    }

    /// A workspace as `cargo metadata` would print it: one crate `from` with one dependency beside all crates of the table.
    fn workspace_with(from: &str, to: &str, kind: Value) -> (BTreeSet<String>, Vec<Edge>) {
        let package = |name: &str| {
            let dependencies =
                if name == from { serde_json::json!([{ "name": to, "kind": kind }]) } else { serde_json::json!([]) };
            serde_json::json!({ "name": name, "dependencies": dependencies })
        };
        let packages: Vec<Value> = TABLE.iter().map(|row| package(row.name)).collect();
        workspace(&serde_json::json!({ "packages": packages }).to_string())
    }

    #[test]
    fn every_dependency_is_in_the_table() {
        let (crates, edges) = workspace(&cargo(&["metadata", "--format-version", "1", "--no-deps"]));
        let rows: BTreeSet<String> = TABLE.iter().map(|row| row.name.to_owned()).collect();
        assert_eq!(crates, rows, "each crate of the workspace has one row, and each row its crate");
        assert_eq!(rows.len(), TABLE.len(), "a crate has two rows");
        assert!(edges.len() > 10, "cargo metadata shows hardly any dependency: is it read rightly?");
        assert_eq!(forbidden(TABLE, &edges), Vec::<String>::new());
        assert_eq!(unused(TABLE, &edges), Vec::<String>::new(), "the table is about what is there");
    }

    #[test]
    fn the_table_itself_has_no_way_back_up() {
        // What a crate may see, and what that may see in turn, as far as it goes.
        fn sees(from: &str) -> BTreeSet<&'static str> {
            let direct = TABLE.iter().filter(|row| row.name == from).flat_map(|row| row.internal);
            direct.flat_map(|to| sees(to).into_iter().chain([*to])).collect()
        }
        assert_eq!(sees("sessions-domain"), BTreeSet::new());
        assert_eq!(sees("sessions-ports"), BTreeSet::from(["sessions-domain"]));
        for sibling in ["sessions-app", "sessions-infra", "sessions-testkit"] {
            assert_eq!(sees(sibling), BTreeSet::from(["sessions-domain", "sessions-ports"]), "{sibling}");
        }
        assert!(!sees("sessions-api").contains("sessions-cli"));
    }

    #[test]
    fn the_rule_finds_each_kind_of_wrong_edge() {
        let cases = [
            ("sessions-app", "sessions-infra", Value::Null, false),
            ("sessions-app", "sessions-infra", "dev".into(), true),
            ("sessions-infra", "sessions-app", Value::Null, false),
            ("sessions-infra", "sessions-app", "dev".into(), false),
            ("sessions-domain", "sessions-ports", Value::Null, false),
            ("sessions-domain", "tokio", Value::Null, false),
            ("sessions-domain", "cc", "build".into(), false),
            ("sessions-domain", "proptest", "dev".into(), true),
            ("sessions-ports", "sessions-domain", Value::Null, true),
            ("sessions-cli", "sessions-infra", Value::Null, false),
            ("sessions-cli", "sessions-api", Value::Null, true),
        ];
        for (from, to, kind, allowed) in cases {
            let (_, edges) = workspace_with(from, to, kind.clone());
            assert_eq!(edges.len(), 1);
            assert_eq!(forbidden(TABLE, &edges).is_empty(), allowed, "{from} -> {to}, {kind}");
        }
    }

    #[test]
    fn the_facade_without_features_has_neither_sled_nor_a_network() {
        let tree = cargo(&[
            "tree",
            "--package=sessions-api",
            "--no-default-features",
            "--edges=normal",
            "--prefix=none",
            "--format={p}",
            "--locked",
        ]);
        let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(names.contains("sessions-api"), "{tree}");
        let found: Vec<&&str> = NOT_WITHOUT_FEATURES.iter().filter(|name| names.contains(**name)).collect();
        assert!(found.is_empty(), "{found:?} in\n{tree}");
    }
}

//! What the program says of itself: completions and manual pages.

use std::{fs, process::Command};

use crate::Desk;

#[test]
fn each_shell_gets_completions_that_know_the_commands() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = desk.run(&["completions", shell]);
        assert_eq!(ran.code, 0, "{ran:?}");
        for word in ["checkpoint", "restore", "once"] {
            assert!(ran.stdout.contains(word), "{shell} knows nothing of {word}");
        }
    }
    desk.run(&["completions", "csh", "--json"]).refused(2, "usage");
    assert!(!desk.store().exists(), "no store is opened for it");
}

#[test]
fn bash_takes_its_completions() {
    let desk = Desk::new();
    let script = desk.path("sessions.bash");
    fs::write(&script, desk.run(&["completions", "bash"]).stdout).unwrap();
    let asked = format!(
        ". {}; COMP_WORDS=(sessions che); COMP_CWORD=1; _sessions sessions che sessions; echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let output = Command::new("bash").args(["-c", &asked]).output().unwrap();
    let words = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(words.split_whitespace().collect::<Vec<_>>(), ["checkout", "checkpoint"], "{output:?}");
}

#[test]
fn there_is_a_page_for_each_command() {
    let desk = Desk::new();
    assert!(desk.run(&["man"]).stdout.contains(".TH"));
    let folder = desk.path("man");
    assert_eq!(desk.run(&["man", "--dir", folder.to_str().unwrap()]).code, 0);
    let mut names: Vec<String> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    for name in ["sessions.1", "sessions-append.1", "sessions-state-set.1", "sessions-restore.1"] {
        assert!(names.iter().any(|known| known == name), "{name} is not among {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("reference") || name.contains("help")), "{names:?}");
    let page = fs::read_to_string(folder.join("sessions-append.1")).unwrap();
    assert!(page.contains("sessions\\-append") && page.contains("once"), "{page}");
    fs::write(desk.path("file"), "mine").unwrap();
    assert!(desk.run(&["man", "--dir", "file/man", "--json"]).code > 0);
}

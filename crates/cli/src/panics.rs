//! What is told of a panic: nothing, where the library contains it and says itself what it did about it.
//!
//! Must not know: what was damaged.

use std::{panic, path::Path};

/// The engine of the index panics over damage, which the library takes for damage: it makes the index anew, and tells so. What the engine
/// says before is no result, no error and no JSON. All other panics are bugs, and are told as always.
pub(crate) fn leave_out_the_engine() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        let is_engine = panicked.location().is_some_and(|place| is_of_engine(place.file()));
        if !is_engine {
            tell(panicked);
        }
    }));
}

/// Whether a file of source is one of the engine's, whose folder has its name and version.
fn is_of_engine(file: &str) -> bool {
    let is_folder = |part: &str| part.strip_prefix("sled-").is_some_and(|version| version.starts_with("0."));
    Path::new(file).iter().filter_map(|part| part.to_str()).any(is_folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_engines_files_are_its() {
        assert!(is_of_engine("/home/ada/.cargo/registry/src/index-1/sled-0.34.7/src/serialization.rs"));
        for ours in
            ["crates/infra/src/sled/index.rs", "/src/sessions/crates/cli/src/main.rs", "/src/sled-tools/main.rs"]
        {
            assert!(!is_of_engine(ours), "{ours}");
        }
    }
}

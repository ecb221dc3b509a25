//! What a kill leaves behind: the files as they are.
//!
//! Must not know: whose they are.

use std::{fs, path::Path};

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            // A file that its owner is done with may go meanwhile.
            let _copied = fs::copy(entry.path(), to);
        }
    }
}

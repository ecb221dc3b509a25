//! Manual pages: `man`.
//!
//! Must not know: what the commands do.

use std::{fs, path::Path};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::{arguments::Arguments, failure::Failure, program::Program, table::counted};

/// `man`
pub(crate) fn man(program: &Program, folder: Option<&Path>) -> Result<(), Failure> {
    let mut all = Arguments::command();
    all.build();
    let Some(folder) = folder else { return program.out.bytes(&page(all)?) };
    let mut pages = Vec::new();
    collect(&all, &mut pages)?;
    fs::create_dir_all(folder).map_err(|error| Failure::from(error).about(folder))?;
    let count = pages.len() as u64;
    for (name, page) in pages {
        let path = folder.join(name);
        fs::write(&path, page).map_err(|error| Failure::from(error).about(&path))?;
    }
    program.out.line(&format!("{} in {}", counted(count, "page"), folder.display()))
}

/// The page of a command, and those of its own commands, each with the name of its file.
fn collect(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
    pages.push((Man::new(command.clone()).get_filename(), page(command.clone())?));
    let shown = |inner: &&Command| !inner.is_hide_set() && inner.get_name() != "help";
    command.get_subcommands().filter(shown).try_for_each(|inner| collect(inner, pages))
}

fn page(command: Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}

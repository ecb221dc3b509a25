//! A shell's completions: `completions`.
//!
//! They are made of the definitions alone. A SESSION is not completed: that would open the store at a press of a key, and one process
//! owns it at a time.
//!
//! Must not know: what the commands do.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::{arguments::Arguments, failure::Failure, program::Program};

/// `completions`
pub(crate) fn print(program: &Program, shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "sessions", &mut script);
    program.out.bytes(&script)
}

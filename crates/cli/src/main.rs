//! The `sessions` program: a thin host over the public facade. What it can do, any host can do.
//!
//! Must not know: rules, or how anything is stored. Each group of commands is a file; what they print goes through [`output`].

mod agents;
mod append;
mod arguments;
mod backup;
mod bench;
mod demo;
mod failure;
mod found;
mod life;
mod lines;
mod moves;
mod output;
mod panics;
mod program;
mod progress;
mod reading;
mod table;
mod transfer;
mod upkeep;
mod visible;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use failure::Failure;
use output::Output;
use program::Program;

fn main() -> ExitCode {
    panics::leave_out_the_engine();
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(refused) => return refused.answer(),
    };
    let output = Output::new(arguments.json);
    let program = Program::new(output, arguments.store, arguments.durability);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return program.out.finish(Err(Failure::from(error))),
    };
    let outcome = runtime.block_on(run(&program, arguments.command));
    // Work on threads that wait for a disk or for standard input is not waited for; all that was acknowledged is written.
    runtime.shutdown_background();
    program.out.finish(outcome)
}

async fn run(program: &Program, command: Command) -> Result<(), Failure> {
    match command {
        Command::New(wish) => life::new(program, wish).await,
        Command::List(wish) => life::list(program, wish).await,
        Command::Info(one) => life::info(program, &one.session).await,
        Command::Append(wish) => append::append(program, wish).await,
        Command::Show(wish) => reading::show(program, wish).await,
        Command::Follow(wish) => reading::follow(program, wish).await,
        Command::Undo(wish) => moves::undo(program, wish).await,
        Command::Redo(wish) => moves::redo(program, wish).await,
        Command::Clear(one) => moves::clear(program, &one.session).await,
        Command::Branches(one) => moves::branches(program, &one.session).await,
        Command::Checkout(wish) => moves::checkout(program, wish).await,
        Command::Fork(wish) => moves::fork(program, wish).await,
        Command::Import(wish) => transfer::import(program, wish).await,
        Command::Export(wish) => transfer::export(program, wish).await,
        Command::Demo(wish) => demo::demo(program, wish).await,
        Command::Verify(wish) => upkeep::verify(program, wish).await,
        Command::Repair(wish) => upkeep::repair(program, wish.dry_run).await,
        Command::Backup(wish) => backup::backup(program, wish.file).await,
        Command::RestoreBackup(wish) => backup::restore(program, wish.file).await,
        Command::Doctor => upkeep::doctor(program).await,
        Command::Bench(wish) => bench::bench(program, wish).await,
    }
}

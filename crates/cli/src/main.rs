//! The `sessions` program: a thin host over the public facade. What it can do, any host can do.
//!
//! Must not know: rules, or how anything is stored. Each group of commands is a file; what they print goes through [`output`].

mod about;
mod agents;
mod answering;
mod append;
mod arguments;
mod auditing;
mod backup;
mod bench;
mod chat;
mod cleanup;
mod completions;
mod config;
mod context;
mod core_dumps;
mod creation;
mod demo;
mod failure;
mod found;
mod input;
mod key_advice;
mod keyhole;
mod keys;
mod life;
mod lines;
mod listing;
mod manual;
mod marks;
mod moment;
mod moves;
mod output;
mod panics;
mod place;
mod program;
mod progress;
mod reading;
mod reference;
mod sealing;
mod secret;
mod state;
mod streaming;
mod table;
mod transfer;
mod trash;
mod upkeep;
mod visible;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use failure::Failure;
use output::Output;
use program::Program;

fn main() -> ExitCode {
    // Before anything is read that may be a secret, from the environment too.
    let core_dumps = core_dumps::forbid();
    panics::leave_out_the_engine();
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(refused) => return refused.answer(),
    };
    let output = Output::new(arguments.json);
    let configuration = match config::of(&arguments, &output) {
        Ok(configuration) => configuration,
        Err(wrong) => return output.finish(Err(wrong)),
    };
    let program = Program::new(output, &arguments, configuration);
    if let Err(error) = core_dumps {
        program.out.notice(&format!("core dumps could not be switched off: {error}"));
    }
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
        Command::New(wish) => creation::new(program, wish).await,
        Command::List(wish) => listing::list(program, wish).await,
        Command::Info(one) => about::info(program, &one.session).await,
        Command::Lineage(one) => about::lineage(program, &one.session).await,
        Command::Status(wish) => life::status(program, wish).await,
        Command::Rename(wish) => life::rename(program, wish).await,
        Command::Describe(wish) => life::describe(program, wish).await,
        Command::Tag(wish) => life::tag(program, wish).await,
        Command::Touch(wish) => life::touch(program, wish).await,
        Command::State(wish) => state::state(program, wish.what).await,
        Command::Delete(wish) => trash::delete(program, wish).await,
        Command::Restore(one) => trash::restore(program, &one.session).await,
        Command::Cleanup(wish) => cleanup::cleanup(program, wish).await,
        Command::Append(wish) => append::append(program, wish).await,
        Command::Show(wish) => reading::show(program, wish).await,
        Command::Follow(wish) => reading::follow(program, wish).await,
        Command::Undo(wish) => moves::undo(program, wish).await,
        Command::Redo(wish) => moves::redo(program, wish).await,
        Command::Clear(wish) => moves::clear(program, wish).await,
        Command::Branches(one) => moves::branches(program, &one.session).await,
        Command::Checkout(wish) => moves::checkout(program, wish).await,
        Command::Fork(wish) => moves::fork(program, wish).await,
        Command::Edit(wish) => marks::edit(program, wish).await,
        Command::Pin(wish) => marks::pin(program, wish, true).await,
        Command::Unpin(wish) => marks::pin(program, wish, false).await,
        Command::Checkpoint(wish) => marks::checkpoint(program, wish).await,
        Command::Context(wish) => context::context(program, wish).await,
        Command::Compact(wish) => context::compact(program, wish).await,
        Command::Uncompact(wish) => context::uncompact(program, wish).await,
        Command::Instruct(wish) => context::instruct(program, wish).await,
        Command::Tokens(wish) => context::tokens(program, wish).await,
        Command::Chat(wish) => chat::chat(program, wish).await,
        Command::Import(wish) => transfer::import(program, wish).await,
        Command::Export(wish) => transfer::export(program, wish).await,
        Command::Demo(wish) => demo::demo(program, wish).await,
        Command::Verify(wish) => upkeep::verify(program, wish).await,
        Command::Repair(wish) => upkeep::repair(program, wish.dry_run).await,
        Command::Reclaim => upkeep::reclaim(program).await,
        Command::Keys(wish) => keys::keys(program, wish).await,
        Command::Backup(wish) => backup::backup(program, wish.file).await,
        Command::RestoreBackup(wish) => backup::restore(program, wish.file).await,
        Command::Doctor => upkeep::doctor(program).await,
        Command::Bench(wish) => bench::bench(program, wish).await,
        Command::Config(wish) => config::config(program, &wish),
        Command::Completions(wish) => completions::print(program, wish.shell),
        Command::Man(wish) => manual::man(program, wish.dir.as_deref()),
        Command::Reference => reference::print(program),
    }
}

//! Talking to a model: `chat`.
//!
//! No tool is built in: what may run on a machine is for its host to decide, and a program that keeps conversations is none. Hosts give an agent
//! tools and a gate ([`sessions_api::Agent`]).
//!
//! Must not know: how a model is asked, or what a turn keeps; the library does.

mod command;
mod echo;
mod input;
mod room;
mod screen;
mod wrap;

use std::{
    io::{self, IsTerminal},
    pin::pin,
    time::{Duration, Instant},
};

use serde::Serialize;
use sessions_api::{
    Budget, Message, ModelError, SessionError, SessionId, SessionManager, StopReason, StoredMessage, Turn, TurnOutcome,
    TurnProblem,
};

use self::{
    command::{COMMANDS, Order, Typed},
    echo::{Found, Line, Quiet, Suspensions},
    input::{Given, Input, PROMPT},
    room::Room,
    screen::{Kind, Screen, Told},
};
use crate::{
    arguments::Chat,
    context::{self, Window},
    failure::Failure,
    marks, moves,
    output::Style,
    program::{Program, quoted},
    progress::interrupted,
    reading::role_name,
    table::{counted, cut, folded},
    visible,
};

/// So many messages of a session that is gone on with are shown.
const SHOWN: usize = 4;
/// So much of each.
const BRIEF: usize = 300;
/// So wide are the names of commands in the help.
const NAMES: usize = 18;
/// Between a role and what is shown of its message.
const GAP: usize = 2;
/// How often it is looked whether anything came.
const TICK: Duration = Duration::from_secs(1);

/// `chat`
pub(crate) async fn chat(program: &Program, wish: Chat) -> Result<(), Failure> {
    if let Some(model) = wish.model.as_deref() {
        // Told before a store is made.
        program.configuration.connected(Some(model)).map_err(SessionError::from)?;
    }
    let is_old = wish.session.is_some() && !wish.new;
    let work = async |sessions: &SessionManager| talk(program, sessions, &wish).await;
    if is_old { program.with_sessions(work).await } else { program.with_new_or_old(work).await }
}

async fn talk(program: &Program, sessions: &SessionManager, wish: &Chat) -> Result<(), Failure> {
    let (_backups, _cleaning) = (program.backups(sessions)?, program.cleaning(sessions)?);
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let kind = match (program.out.is_json(), is_terminal) {
        (true, _) => Kind::Json,
        (false, true) => Kind::Terminal,
        (false, false) => Kind::Text,
    };
    let found = if kind == Kind::Terminal { Found::now() } else { None };
    let (line, mut suspensions) = (Line::default(), Suspensions::of(found.as_ref()));
    let mut input = if kind == Kind::Terminal { Input::of_terminal(&line)? } else { Input::of_lines()? };
    let mut talk = Talk {
        room: Room::enter(program, sessions, wish).await?,
        screen: Screen::new(&program.out, kind),
        code: 0,
        failed: None,
        unread: None,
    };
    let ended = {
        let (mut ended, mut held) = (pin!(echo::ended()), pin!(talk.held(&mut input)));
        loop {
            tokio::select! {
                // In this order, so that it is listened for before the first word. What a signal ends goes the way of what is dropped.
                biased;
                code = &mut ended, if found.is_some() => break Err(code),
                () = suspensions.next() => {
                    if let Some(found) = &found {
                        echo::suspend(found, &line, PROMPT, &program.out);
                    }
                }
                done = &mut held => break Ok(done),
            }
        }
    };
    let code = match ended {
        Ok(done) => {
            let left = talk.leave();
            return done.and(left);
        }
        Err(code) => code,
    };
    drop(found);
    program.out.end_edit();
    talk.leave()?;
    Err(Failure::told(code))
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Line,
    Leave,
}

#[derive(Serialize)]
struct Counted {
    messages: u64,
    tokens: u64,
    estimate: bool,
}

#[derive(Serialize)]
struct Answers<'a> {
    model: &'a str,
    provider: &'a str,
    script: bool,
}

#[derive(Serialize)]
struct Titled<'a> {
    id: Option<SessionId>,
    title: &'a str,
}

/// A chat that is held.
struct Talk<'a> {
    room: Room<'a>,
    screen: Screen<'a>,
    /// The exit code of the last turn's end.
    code: u8,
    /// That of the last line, where it came to no turn or change.
    failed: Option<u8>,
    /// That of the last one that nobody could read.
    unread: Option<u8>,
}

impl Talk<'_> {
    fn program(&self) -> &Program {
        self.room.program
    }

    /// All of it.
    async fn held(&mut self, input: &mut Input) -> Result<(), Failure> {
        self.greet().await?;
        self.until_left(input).await
    }

    /// Says who answers, and where the conversation stands.
    async fn greet(&mut self) -> Result<(), Failure> {
        let out = &self.room.program.out;
        if self.room.model.is_script {
            out.notice(
                "a script answers, which is no model: name one with --model, or with `model` and `providers` in the configuration \
                 (docs/configuration.md)",
            );
        }
        self.tell_session(false)?;
        if self.screen.kind != Kind::Terminal {
            return Ok(());
        }
        let model = &self.room.model;
        let who = format!("{} of {}", model.profile.name, model.provider.name());
        match &self.room.session {
            None => out.aside(&format!(
                "{who} · a new session, kept from the first thing that you say · /help, Ctrl-D leaves"
            )),
            Some(session) => {
                let summary = session.summary().await?;
                let title = summary.title.unwrap_or_default();
                let messages = counted(summary.messages, "message");
                out.aside(&format!("{who} · session {}, {messages} · /help, Ctrl-D leaves", session.id()));
                out.styled(&[(Style::Strong, &cut(&visible::on_one_line(&title), BRIEF))])?;
                session.last(SHOWN).await?.iter().try_for_each(|message| self.show_briefly(message))?;
            }
        }
        if self.room.is_cut_off().await? {
            out.aside("the last turn did not come to its end: /retry goes on with it");
        }
        Ok(())
    }

    fn show_briefly(&self, message: &StoredMessage) -> Result<(), Failure> {
        let (out, role) = (&self.room.program.out, role_name(message.role));
        let text = message.text();
        let text = match text.trim() {
            "" => counted(message.parts.len() as u64, "part"),
            text => cut(&visible::on_one_line(&text.replace('\n', " ")), BRIEF),
        };
        let width = out.width().unwrap_or(usize::MAX).saturating_sub(role.len() + GAP).max(NAMES);
        let blank = " ".repeat(role.len());
        let names = [(Style::Name, role)].into_iter().chain(std::iter::repeat((Style::Plain, blank.as_str())));
        let mut lines = folded(&text, width).into_iter().zip(names);
        lines.try_for_each(|(line, name)| out.styled(&[name, (Style::Plain, "  "), (Style::Faint, &line)]))
    }

    fn tell_session(&self, created: bool) -> Result<(), Failure> {
        let Some(session) = &self.room.session else { return Ok(()) };
        let model = &self.room.model;
        let (id, provider) = (session.id(), model.provider.name());
        self.screen.tell(&Told::Session { id, created, provider, model: &model.profile.name, script: model.is_script })
    }

    async fn until_left(&mut self, input: &mut Input) -> Result<(), Failure> {
        let mut is_leaving = false;
        loop {
            self.program().out.flush()?;
            let line = match input.next().await? {
                Given::End => return Ok(()),
                Given::Dropped { was_empty: true } if is_leaving => return Ok(()),
                Given::Dropped { was_empty } => {
                    is_leaving = was_empty;
                    if was_empty {
                        self.program().out.aside("Ctrl-C again, Ctrl-D or /exit leaves");
                    }
                    continue;
                }
                Given::Unreadable(failure) => {
                    self.refuse(&failure)?;
                    self.unread = Some(failure.code());
                    continue;
                }
                Given::Line(line) => line,
            };
            is_leaving = false;
            match self.take(&line).await {
                Ok(Next::Line) => self.failed = None,
                Ok(Next::Leave) => return Ok(()),
                Err(failure) if failure.ends_the_input() || failure.is_silent() => return Err(failure),
                Err(failure) => {
                    self.refuse(&failure)?;
                    self.failed = Some(failure.code());
                }
            }
            // Who pressed Ctrl-C in a pipe meant all of it.
            if self.exit_code() == Failure::STOPPED && self.screen.kind != Kind::Terminal {
                return Ok(());
            }
        }
    }

    /// Tells what went wrong, and goes on.
    fn refuse(&mut self, failure: &Failure) -> Result<(), Failure> {
        self.screen.end_line()?;
        self.program().out.flush()?;
        self.program().out.failure(failure);
        Ok(())
    }

    fn exit_code(&self) -> u8 {
        match self.failed.unwrap_or(self.code) {
            0 => self.unread.unwrap_or(0),
            code => code,
        }
    }

    /// On a terminal: what is typed is not shown as long as this is held.
    fn quiet(&self) -> Option<Quiet> {
        if self.screen.kind == Kind::Terminal { Quiet::begin() } else { None }
    }

    /// The end: a person is told where it goes on, and a pipe how the last turn ended.
    fn leave(&self) -> Result<(), Failure> {
        if self.screen.kind != Kind::Terminal {
            return if self.exit_code() == 0 { Ok(()) } else { Err(Failure::told(self.exit_code())) };
        }
        if let Some(session) = &self.room.session {
            let name = self.room.name.clone().unwrap_or_else(|| session.id().to_string());
            let again = self.program().again.iter().map(|option| format!(" {option}")).collect::<String>();
            self.program().out.aside(&format!("kept: `sessions chat {}{again}` goes on", quoted(&name)));
        }
        Ok(())
    }

    async fn take(&mut self, line: &str) -> Result<Next, Failure> {
        match command::read(line)? {
            Typed::Nothing => Ok(Next::Line),
            Typed::Do(Order::Exit) => Ok(Next::Leave),
            Typed::Do(order) => self.follow(order).await.map(|()| Next::Line),
            Typed::Said(text) => {
                let (session, created) = self.room.begun(&text).await?;
                if created {
                    self.tell_session(true)?;
                    if self.screen.kind == Kind::Text {
                        self.program().out.notice(&format!("this is kept as session {}", session.id()));
                    }
                }
                let turn = session.turn(&self.room.model.agent(), Message::user(text));
                self.run(turn).await.map(|()| Next::Line)
            }
        }
    }

    /// Does what a command says.
    async fn follow(&mut self, order: Order) -> Result<(), Failure> {
        let program = self.room.program;
        match order {
            Order::Retry => {
                let turn = self.room.known()?.resumed_turn(&self.room.model.agent());
                self.run(turn).await
            }
            Order::Undo(turns) => moves::moved(program, "undone", &self.room.known()?.undo_turns(turns).await?),
            Order::Redo(turns) => moves::moved(program, "redone", &self.room.known()?.redo_turns(turns).await?),
            Order::Clear => moves::moved(program, "cleared", &self.room.known()?.clear().await?),
            Order::Branches => moves::print_branches(program, self.room.known()?).await,
            Order::Checkout(name) => {
                let branch = moves::branch_named(&name)?;
                moves::moved(program, "checked out", &self.room.known()?.checkout(branch).await?)
            }
            Order::Fork => {
                moves::forked(program, &self.room.fork().await?)?;
                self.tell_session(true)
            }
            Order::Count => self.count().await,
            Order::Tokens => {
                let session = self.room.known()?;
                context::spent(program, session, Some(Window::of(session, &self.room.model.profile).await?)).await
            }
            Order::Compact(most) => self.compact(most).await,
            Order::Uncompact => context::taken_away(program, self.room.known()?.uncompact().await?),
            Order::Pin(message) => {
                let session = self.room.known()?;
                let last = session.last(1).await?.pop().map(|message| message.id);
                let message = message.or(last);
                let nothing = || Failure::usage("there is no message to pin", "say something first");
                marks::set_pin(program, session, message.ok_or_else(nothing)?, true).await
            }
            Order::Model(name) => self.ask(name.as_deref()).await,
            Order::Title(title) => {
                self.room.entitle(title.clone()).await?;
                if program.out.is_json() {
                    let id = self.room.session.as_ref().map(sessions_api::Session::id);
                    return program.out.object(&Titled { id, title: &title });
                }
                program.out.line(&format!("renamed: {title}"))
            }
            Order::Help => self.help(),
            Order::Exit => Ok(()),
        }
    }

    async fn count(&self) -> Result<(), Failure> {
        let session = self.room.known()?;
        let messages = session.summary().await?.messages;
        let window = Window::of(session, &self.room.model.profile).await?;
        let (tokens, estimate) = (window.tokens, window.estimate);
        if self.program().out.is_json() {
            return self.program().out.object(&Counted { messages, tokens, estimate });
        }
        let about = if estimate { "about " } else { "" };
        let line = format!("{}, {about}{}", counted(messages, "message"), counted(tokens, "token"));
        self.program().out.line(&line)
    }

    async fn compact(&self, most: Option<u64>) -> Result<(), Failure> {
        let session = self.room.known()?;
        let wish = most.into_iter().fold(self.room.compaction(), |wish, most| wish.down_to(Budget::tokens(most)));
        let quiet = self.quiet();
        let report = match context::written(self.program(), session.compact(wish)).await {
            Err(failure) if failure.code() == Failure::STOPPED && quiet.is_some() => {
                self.program().out.aside("  stopped; the conversation is as it was");
                return Ok(());
            }
            done => done?,
        };
        context::compacted(self.program(), &report)
    }

    async fn ask(&mut self, name: Option<&str>) -> Result<(), Failure> {
        if let Some(name) = name {
            self.room.ask_another(name).await?;
        }
        let (out, model) = (&self.room.program.out, &self.room.model);
        let (provider, script) = (model.provider.name(), model.is_script);
        if out.is_json() {
            return out.object(&Answers { model: &model.profile.name, provider, script });
        }
        out.line(&format!("{} of {provider} answers", model.profile.name))
    }

    fn help(&self) -> Result<(), Failure> {
        let out = &self.room.program.out;
        if out.is_json() {
            let names: Vec<String> = COMMANDS.iter().map(|row| format!("/{} {}", row.name, row.with)).collect();
            return out.object(&serde_json::json!({"commands": names}));
        }
        let width = out.width().unwrap_or(usize::MAX);
        for row in COMMANDS {
            let typed = format!("/{} {}", row.name, row.with);
            let lines = folded(row.does, width.saturating_sub(NAMES).max(NAMES));
            for (line, name) in lines.iter().zip([typed.as_str()].into_iter().chain(std::iter::repeat(""))) {
                out.styled(&[(Style::Name, &format!("{name:<NAMES$}")), (Style::Plain, line)])?;
            }
        }
        let text = "A line that ends in \\ goes on in the next one. // says something that begins with /. Ctrl-C ends a turn and keeps what came.";
        folded(text, width).iter().try_for_each(|line| out.line(line))
    }

    /// Shows a turn to its end. Ctrl-C ends the turn, and what came of it is kept.
    async fn run(&mut self, mut turn: Turn) -> Result<(), Failure> {
        let canceller = turn.canceller();
        let mut interrupt = std::pin::pin!(interrupted());
        let (mut is_over, mut shown) = (false, Ok(()));
        let (mut ticks, mut heard) = (tokio::time::interval(TICK), Instant::now());
        let quiet = self.quiet();
        self.screen.begin();
        loop {
            let event = tokio::select! {
                // In this order, so that it is listened for before the turn is waited for.
                biased;
                () = &mut interrupt, if !is_over => {
                    is_over = true;
                    canceller.cancel();
                    continue;
                }
                event = turn.next_event() => event,
                _ = ticks.tick(), if shown.is_ok() => {
                    shown = self.screen.wait(heard.elapsed());
                    if shown.is_err() {
                        canceller.cancel();
                    }
                    continue;
                }
            };
            let Some(event) = event else { break };
            heard = Instant::now();
            if shown.is_ok() {
                shown = self.screen.show(event);
                if shown.is_err() {
                    // Nobody reads any more.
                    canceller.cancel();
                }
            }
        }
        let outcome = turn.outcome().await.map_err(screen::not_begun)?;
        drop(quiet);
        shown?;
        self.code = code_of(&outcome);
        let window = match &self.room.session {
            Some(session) => Window::of(session, &self.room.model.profile).await.ok(),
            None => None,
        };
        self.screen.end(&outcome, window.as_ref())
    }
}

/// The exit code of a turn's end.
fn code_of(outcome: &TurnOutcome) -> u8 {
    match (outcome.stop_reason, &outcome.problem) {
        (StopReason::EndTurn, _) => 0,
        (StopReason::Cancelled, _) => Failure::STOPPED,
        (_, Some(TurnProblem::Model(ModelError::Denied))) => Failure::NOT_ALLOWED,
        _ => Failure::FAILED,
    }
}

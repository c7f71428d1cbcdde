//! The live screen on a real terminal: keys in, frames out, and the terminal as it was at the end, whatever the end is.
//!
//! Called by [`super::run`]. Looks are taken by a thread of their own: a daemon that does not answer holds up no key.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result};
use ratatui::DefaultTerminal;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::layout::{Position, Rect};
use tokio::signal::unix::{SignalKind, signal};

use super::Source;
use crate::cli::exit;
use crate::model::{Observation, Watch};
use crate::render::{Key, Screen, Ui};

/// Longest time until a look that has come is drawn, and until a signal is followed.
const TICK: Duration = Duration::from_millis(50);

/// What a look brought: looks at the mounts that answered, and one line about those that did not.
type Looked = (Vec<Observation>, Option<String>);

/// Shows the screen until the user or a signal ends it.
pub(super) fn run(source: Source, interval: Duration, colour: bool, first: Vec<Observation>) -> Result<()> {
    let is_over = listen_to_signals()?;
    let (looks, stop) = start_looking(source, interval)?;
    let mut terminal = Restored::enter()?;
    let mut state = State { colour, ..State::default() };
    state.watch.take(first);
    while !is_over.load(Relaxed) {
        terminal.draw(&mut state)?;
        if state.wait(&looks)? {
            break;
        }
    }
    drop(stop);
    Ok(())
}

/// The terminal in raw mode, on its other screen; as it was before when this is dropped, and before a panic is told.
struct Restored(DefaultTerminal);

impl Restored {
    fn enter() -> Result<Self> {
        // The hook of ratatui restores all but the cursor; the program may end without dropping anything.
        let terminal = ratatui::try_init().context("cannot use the terminal: try --once")?;
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
        Ok(Self(terminal))
    }

    fn draw(&mut self, state: &mut State) -> io::Result<()> {
        if std::mem::take(&mut state.is_stale) {
            // Not `clear`: it asks the terminal where the cursor is, and not every one answers.
            let size = self.0.size()?;
            self.0.resize(Rect::from((Position::ORIGIN, size)))?;
        }
        let State { watch, ui, trouble, colour, .. } = state;
        let screen = Screen { watch, ui, trouble: trouble.as_deref(), colour: *colour };
        self.0.draw(|frame| frame.render_widget(screen, frame.area()))?;
        Ok(())
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let _ = ratatui::try_restore();
    let _ = execute!(io::stdout(), Show);
}

#[derive(Default)]
struct State {
    watch: Watch,
    ui: Ui,
    trouble: Option<String>,
    colour: bool,
    /// The terminal may show something else than was drawn: it had another size, if only for a moment.
    is_stale: bool,
}

impl State {
    /// Waits a moment for a key or a look; true if the user ends it.
    fn wait(&mut self, looks: &Receiver<Looked>) -> io::Result<bool> {
        if event::poll(TICK)? {
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release && self.press(key) => return Ok(true),
                Event::Resize(..) => self.is_stale = true,
                _ => (),
            }
        }
        while let Ok((looks, trouble)) = looks.try_recv() {
            // Where nobody answers, the last figures stay.
            if !looks.is_empty() && !self.ui.is_paused() {
                self.watch.take(looks);
            }
            self.trouble = trouble.map(|trouble| format!("the figures are old: {trouble}; trying again, q ends"));
        }
        Ok(false)
    }

    /// True if the key ends it.
    fn press(&mut self, key: KeyEvent) -> bool {
        is_interrupt(key) || key_of(key.code).is_some_and(|key| self.ui.press(key, &self.watch))
    }
}

/// Ctrl-C is a key like others in raw mode.
fn is_interrupt(key: KeyEvent) -> bool {
    key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c' | 'd'))
}

fn key_of(code: KeyCode) -> Option<Key> {
    Some(match code {
        KeyCode::Char(character) => Key::Char(character),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

/// Takes a look every interval, until the sender that it gives is dropped.
fn start_looking(source: Source, interval: Duration) -> io::Result<(Receiver<Looked>, Sender<()>)> {
    let (looks, received): (SyncSender<Looked>, _) = sync_channel(4);
    let (stop, stopped) = channel();
    std::thread::Builder::new().name("looks".into()).spawn(move || {
        while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            let looked = match source.looks() {
                Ok((looks, silent)) => (looks, silent.map(|error| exit::line_of(&error))),
                Err(error) => (Vec::new(), Some(exit::line_of(&error))),
            };
            if looks.send(looked).is_err() {
                return;
            }
        }
    })?;
    Ok((received, stop))
}

/// Becomes true with SIGTERM, SIGINT, SIGHUP or SIGQUIT.
fn listen_to_signals() -> io::Result<Arc<AtomicBool>> {
    let is_over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_over);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()];
    let mut signals = kinds.into_iter().map(signal).collect::<io::Result<Vec<_>>>()?;
    drop(guard);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let any = std::future::poll_fn(|context| {
            let is_ready = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if is_ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        });
        runtime.block_on(any);
        told.store(true, Relaxed);
    })?;
    Ok(is_over)
}

//! A program on a pseudo-terminal, and what a user would see there. Called by the tests of the live screen.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// The longest that a program may take to end.
const LIMIT: Duration = Duration::from_secs(30);

/// A terminal with a program on it; the program ends with the value.
pub struct Terminal {
    child: Child,
    master: OwnedFd,
    keys: File,
    screen: Arc<Mutex<vt100::Parser>>,
    /// The terminal is looked at after the program has ended, and lives as long as somebody has it open.
    slave: File,
}

impl Terminal {
    /// Runs a program on a terminal of a size.
    ///
    /// # Panics
    /// If there is no terminal, or the program cannot be started.
    pub fn run(command: &Command, columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = ptsname(&master, Vec::new()).expect("a name").into_string().expect("plain");
        let slave = File::options().read(true).write(true).open(&name).expect("the other end");
        tcsetwinsize(&master, size(columns, rows)).expect("a size");
        // setsid makes it the program's own terminal, and becomes the program.
        let mut wrapped = Command::new("setsid");
        wrapped.arg("--ctty").arg(command.get_program()).args(command.get_args()).env("TERM", "xterm-256color");
        for (key, value) in command.get_envs() {
            wrapped.env(key, value.unwrap_or_default());
        }
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let child = wrapped.stdin(end()).stdout(end()).stderr(end()).spawn().expect("setsid runs");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let keys = File::from(master.try_clone().expect("a descriptor"));
        let mut output = keys.try_clone().expect("a descriptor");
        let seen = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                seen.lock().unwrap_or_else(PoisonError::into_inner).process(&buffer[..length]);
            }
        });
        Self { child, master, keys, screen, slave }
    }

    /// Types.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// Gives it another size, as a user does who pulls at the corner.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).screen_mut().set_size(rows, columns);
        tcsetwinsize(&self.master, size(columns, rows)).expect("a size");
    }

    /// What is to be seen now.
    pub fn text(&self) -> String {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).screen().contents()
    }

    /// Waits until something is to be seen.
    ///
    /// # Panics
    /// If it does not come.
    pub fn expect(&self, text: &str) {
        let begun = Instant::now();
        while !self.text().contains(text) {
            assert!(begun.elapsed() < LIMIT, "`{text}` is not to be seen:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal to the program.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the program runs");
    }

    /// Whether the program uses the terminal for itself: its other screen, keys as they come, no cursor.
    pub fn is_taken(&self) -> [bool; 3] {
        let seen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        let modes = tcgetattr(&self.slave).expect("the terminal is there").local_modes;
        [
            seen.screen().alternate_screen(),
            !modes.contains(LocalModes::ICANON | LocalModes::ECHO),
            seen.screen().hide_cursor(),
        ]
    }

    /// Whether any cell has a colour.
    pub fn has_colour(&self) -> bool {
        let seen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        let (rows, columns) = seen.screen().size();
        let is_plain = |colour| colour == vt100::Color::Default;
        let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        cells
            .filter_map(|(row, column)| seen.screen().cell(row, column))
            .any(|cell| !is_plain(cell.fgcolor()) || !is_plain(cell.bgcolor()))
    }

    /// Waits for the program's end.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            assert!(begun.elapsed() < LIMIT, "the program does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

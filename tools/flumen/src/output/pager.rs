//! A result on the terminal, a page at a time.
//!
//! A result that fits the terminal is written to it as it is. One that does not goes to the program that `$PAGER` names,
//! or is shown page by page here. Whoever has seen enough leaves: writing then fails as to a closed pipe, and
//! [`Pager::was_left`] tells that from other failures.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Child, Command, Stdio};

use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, read};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};

use crate::say;

/// Rows and columns where the terminal does not say.
const USUAL_ROWS: usize = 24;

/// See the module.
pub(crate) struct Pager {
    /// What has been written as long as it fits.
    held: Vec<u8>,
    /// Lines in it.
    lines: usize,
    /// Lines that fit.
    room: usize,
    program: Option<OsString>,
    shown: Shown,
}

enum Shown {
    Nothing,
    Program(Child),
    Pages(Pages),
    /// Somebody has seen enough.
    Left,
}

impl Pager {
    /// For one result on a terminal of this height.
    pub(crate) fn new(height: Option<usize>, program: Option<OsString>) -> Self {
        let room = height.unwrap_or(USUAL_ROWS).saturating_sub(1).max(1);
        let program = program.filter(|program| !program.is_empty());
        Self { held: Vec::new(), lines: 0, room, program, shown: Shown::Nothing }
    }

    /// Whether a program or a page is on the terminal now.
    pub(crate) fn has_terminal(&self) -> bool {
        !matches!(self.shown, Shown::Nothing)
    }

    /// Whether somebody has seen enough.
    pub(crate) fn was_left(&self) -> bool {
        matches!(self.shown, Shown::Left)
    }

    fn open(&mut self) -> io::Result<()> {
        let Some(program) = &self.program else {
            self.shown = Shown::Pages(Pages { left: self.room, room: self.room });
            return Ok(());
        };
        let mut command = Command::new("sh");
        command.arg("-c").arg(program).stdin(Stdio::piped());
        if std::env::var_os("LESS").is_none() {
            // Wide lines are not folded, colours are.
            command.env("LESS", "-SRX");
        }
        self.shown = Shown::Program(command.spawn()?);
        Ok(())
    }

    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        let passed = match &mut self.shown {
            Shown::Program(child) => child.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(bytes)),
            Shown::Pages(pages) => pages.show(bytes, &mut io::stdout(), &mut ask),
            Shown::Nothing | Shown::Left => Err(io::ErrorKind::BrokenPipe.into()),
        };
        if passed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            self.close()?;
            self.shown = Shown::Left;
        }
        passed
    }

    /// Waits until a program has ended.
    fn close(&mut self) -> io::Result<()> {
        let Shown::Program(child) = &mut self.shown else { return Ok(()) };
        drop(child.stdin.take());
        let status = child.wait()?;
        if let (Some(126 | 127), Some(program)) = (status.code(), &self.program) {
            say::warning(&format!(
                "the pager {:?} cannot be run; set PAGER to another, or leave pages with .pager off",
                program.to_string_lossy()
            ));
        }
        Ok(())
    }

    /// Writes what fits, or waits until all has been looked at.
    ///
    /// # Errors
    /// If the terminal cannot be written to.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        match &self.shown {
            Shown::Nothing => {
                let mut out = io::stdout();
                out.write_all(&self.held)?;
                out.flush()
            }
            _ => self.close(),
        }
    }
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.has_terminal() {
            self.pass(bytes)?;
            return Ok(bytes.len());
        }
        self.held.extend_from_slice(bytes);
        self.lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        if self.lines > self.room {
            self.open()?;
            let held = std::mem::take(&mut self.held);
            self.pass(&held)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.shown {
            Shown::Program(child) => child.stdin.as_mut().map_or(Ok(()), Write::flush),
            _ => Ok(()),
        }
    }
}

/// What somebody wants to see next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Line,
    Page,
    Rest,
    Nothing,
}

/// The pager that is built in.
struct Pages {
    /// Lines until somebody is asked.
    left: usize,
    room: usize,
}

impl Pages {
    /// Writes text, and asks after each page.
    fn show(&mut self, text: &[u8], out: &mut dyn Write, ask: &mut dyn FnMut() -> io::Result<Wish>) -> io::Result<()> {
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            if self.left == 0 {
                out.flush()?;
                self.left = match ask()? {
                    Wish::Line => 1,
                    Wish::Page => self.room,
                    Wish::Rest => usize::MAX,
                    Wish::Nothing => return Err(io::ErrorKind::BrokenPipe.into()),
                };
            }
            out.write_all(line)?;
            self.left -= usize::from(line.ends_with(b"\n"));
        }
        out.flush()
    }
}

/// Asks at the keyboard.
fn ask() -> io::Result<Wish> {
    let mut errors = io::stderr();
    write!(errors, "\x1b[7m more \x1b[0m Space: a page · Enter: a line · g: the rest · q: no more")?;
    errors.flush()?;
    enable_raw_mode()?;
    let wish = loop {
        match read() {
            Ok(event) => {
                if let Some(wish) = wish(&event) {
                    break Ok(wish);
                }
            }
            Err(error) => break Err(error),
        }
    };
    disable_raw_mode()?;
    write!(errors, "\r\x1b[K")?;
    wish
}

fn wish(event: &Event) -> Option<Wish> {
    let Event::Key(key) = event else { return None };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    Some(match key.code {
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Wish::Nothing,
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Wish::Nothing,
        KeyCode::Char(' ' | 'f') | KeyCode::PageDown => Wish::Page,
        KeyCode::Enter | KeyCode::Char('j') | KeyCode::Down => Wish::Line,
        KeyCode::Char('g' | 'G') | KeyCode::End => Wish::Rest,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn pages_are_shown_as_they_are_asked_for() {
        let text: String = (0..10).map(|line| format!("{line}\n")).collect();
        for (wishes, shown, was_left) in [
            (vec![Wish::Page, Wish::Page, Wish::Page], "0123456789", false),
            (vec![Wish::Line, Wish::Line, Wish::Nothing], "01234", true),
            (vec![Wish::Line, Wish::Rest], "0123456789", false),
            (vec![Wish::Nothing], "012", true),
        ] {
            // In pieces that end anywhere.
            for piece in [1, 3, 7, text.len()] {
                let mut pages = Pages { left: 3, room: 3 };
                let mut wishes = wishes.iter();
                let mut out = Vec::new();
                let mut ask = || Ok(*wishes.next().expect("asked too often"));
                let result = text.as_bytes().chunks(piece).try_for_each(|piece| pages.show(piece, &mut out, &mut ask));
                assert_eq!(result.is_err(), was_left);
                assert_eq!(String::from_utf8(out).unwrap().replace('\n', ""), shown);
                assert_eq!(wishes.len(), 0);
            }
        }
    }

    #[test]
    fn keys_are_wishes() {
        let key = |code, modifiers| wish(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(key(KeyCode::Char(' '), KeyModifiers::NONE), Some(Wish::Page));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Wish::Nothing));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(key(KeyCode::Char('G'), KeyModifiers::SHIFT), Some(Wish::Rest));
        assert_eq!(wish(&Event::FocusGained), None);
    }

    #[test]
    fn a_program_that_leaves_is_told_from_one_that_reads() {
        let mut read = Pager::new(Some(3), Some("cat > /dev/null".into()));
        let line = [b"x".as_slice(), b"\n"].concat();
        for _ in 0..100 {
            read.write_all(&line).unwrap();
        }
        assert!(read.has_terminal() && !read.was_left());
        read.finish().unwrap();
        let mut left = Pager::new(Some(3), Some("exit 0".into()));
        let mut result = Ok(());
        // More than a pipe takes.
        for _ in 0..1_000_000 {
            result = left.write_all(&line);
            if result.is_err() {
                break;
            }
        }
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(left.was_left());
    }
}

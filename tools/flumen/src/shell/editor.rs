//! Where lines come from: a terminal, or a script.
//!
//! The terminal's own line editing is used, so any terminal will do. Ctrl-C at the prompt comes as an interrupt of the
//! process ([`Interrupts`]); the lines of an unfinished statement are forgotten with it.

use std::io::{self, BufRead, Write};

use super::validate::is_complete;
use crate::interrupt::Interrupts;

/// What stands before a line.
pub(crate) const PROMPT: &str = "flumen> ";
/// What stands before the lines that go on with it.
const MORE: &str = "   ...> ";

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Lines that are complete.
    Text(String),
    /// Ctrl-D, or the end of the input.
    End,
}

/// Gives lines, one after another.
pub(crate) trait LineEditor {
    /// The next one.
    ///
    /// # Errors
    /// If the terminal fails.
    fn read(&mut self) -> io::Result<Line>;
}

/// Reads the lines that a terminal gives.
pub(crate) struct LinesOfTerminal<R> {
    input: R,
    interrupts: Interrupts,
}

impl<R: BufRead> LinesOfTerminal<R> {
    pub(crate) fn new(input: R, interrupts: Interrupts) -> Self {
        Self { input, interrupts }
    }
}

impl<R: BufRead> LineEditor for LinesOfTerminal<R> {
    fn read(&mut self) -> io::Result<Line> {
        let mut text = String::new();
        loop {
            let mut errors = io::stderr();
            let prompt = if text.is_empty() { PROMPT } else { MORE };
            let _ = write!(errors, "{prompt}").and_then(|()| errors.flush());
            let mut line = String::new();
            let is_end = self.input.read_line(&mut line)? == 0;
            if self.interrupts.take_of_prompt() {
                text.clear();
            }
            text.push_str(&line);
            if is_end {
                // What is not complete is tried: the error says what is missing.
                return Ok(if text.trim().is_empty() { Line::End } else { Line::Text(text) });
            }
            if is_complete(&text) {
                return Ok(Line::Text(text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: impl BufRead, interrupts: Interrupts) -> Vec<String> {
        let mut editor = LinesOfTerminal::new(input, interrupts);
        let mut lines = Vec::new();
        while let Line::Text(text) = editor.read().unwrap() {
            lines.push(text);
        }
        lines
    }

    #[test]
    fn lines_are_read_until_they_are_complete() {
        let input = "SELECT 1;\n\nSELECT\n ';\n';\n.tables\nSELECT 2";
        let expected = ["SELECT 1;\n", "\n", "SELECT\n ';\n';\n", ".tables\n", "SELECT 2"];
        assert_eq!(lines(input.as_bytes(), Interrupts::new(|| {})), expected);
    }

    /// Interrupts before the line of this number is read.
    struct Pressed {
        lines: Vec<&'static str>,
        at: usize,
        interrupts: Interrupts,
    }

    impl io::Read for Pressed {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.lines.len() == self.at {
                self.interrupts.interrupt();
            }
            let Some(line) = self.lines.pop() else { return Ok(0) };
            buffer[..line.len()].copy_from_slice(line.as_bytes());
            Ok(line.len())
        }
    }

    #[test]
    fn an_interrupt_forgets_what_is_unfinished() {
        let interrupts = Interrupts::new(|| {});
        interrupts.in_shell();
        let lines_backwards = vec!["SELECT 2;\n", "SELECT 'half\n", "SELECT 1;\n"];
        let input = Pressed { lines: lines_backwards, at: 1, interrupts: interrupts.clone() };
        assert_eq!(lines(io::BufReader::new(input), interrupts), ["SELECT 1;\n", "SELECT 2;\n"]);
    }
}

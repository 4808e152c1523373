//! Where lines come from: a terminal with an editor, a terminal without one, or a script.
//!
//! The editor is reedline; what it is told about SQL are the plain functions beside this module. While it reads, the
//! terminal gives Ctrl-C as a key; without it, Ctrl-C at the prompt comes as an interrupt of the process ([`Interrupts`]).
//! Either way the lines of an unfinished statement are forgotten. A terminal that does not answer an editor's questions is
//! read line by line.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Stdin, Write};
use std::path::Path;

use nu_ansi_term::{Color, Style};
use reedline::{
    ColumnarMenu, Completer, CompletionResult, Emacs, Highlighter, KeyCode, KeyModifiers, MenuBuilder, Prompt,
    PromptEditMode, PromptHistorySearch, PromptHistorySearchStatus, Reedline, ReedlineEvent, ReedlineMenu, Signal,
    Span, StyledText, Suggestion, ValidationResult, Validator, default_emacs_keybindings,
};

use super::complete::{Candidate, Names, complete};
use super::highlight::{Class, classify};
use super::history;
use super::validate::is_complete;
use crate::interrupt::Interrupts;
use crate::say;

/// What stands before a line.
pub(crate) const PROMPT: &str = "flumen> ";
/// What stands before the lines that go on with it.
const MORE: &str = "   ...> ";

/// The menu of completions.
const MENU: &str = "completions";

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

/// Reads the lines that a terminal gives, which edits them itself.
pub(crate) struct LinesOfTerminal<R> {
    input: R,
    interrupts: Interrupts,
}

impl<R: BufRead> LinesOfTerminal<R> {
    pub(crate) fn new(input: R, interrupts: Interrupts) -> Self {
        interrupts.in_shell(Some(PROMPT));
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

/// Edits lines on a terminal whose cursor can be moved.
pub(crate) struct TerminalEditor {
    reedline: Reedline,
    interrupts: Interrupts,
    /// In place of the editor, on a terminal that it cannot work with.
    lines: Option<LinesOfTerminal<BufReader<Stdin>>>,
}

impl TerminalEditor {
    /// An editor with a history and names to complete. A history that cannot be kept is said and done without.
    pub(crate) fn new(
        names: impl Names + Send + 'static,
        history: Option<&Path>,
        color: bool,
        interrupts: Interrupts,
    ) -> Self {
        interrupts.in_shell(None);
        let menu = ReedlineMenu::EngineCompleter(Box::new(ColumnarMenu::default().with_name(MENU)));
        let mut keys = default_emacs_keybindings();
        let next = vec![ReedlineEvent::Menu(MENU.to_owned()), ReedlineEvent::MenuNext];
        keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, ReedlineEvent::UntilFound(next));
        keys.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
        let mut reedline = Reedline::create()
            .with_edit_mode(Box::new(Emacs::new(keys)))
            .with_validator(Box::new(Statements))
            .with_highlighter(Box::new(Colors { enabled: color }))
            .with_completer(Box::new(Completions(names)))
            .with_menu(menu)
            .with_quick_completions(true)
            .with_partial_completions(true)
            .with_ansi_colors(color)
            .with_history_exclusion_prefix(Some(" ".to_owned()))
            .use_bracketed_paste(true);
        if let Some(path) = history {
            match history::open(path) {
                Ok(history) => reedline = reedline.with_history(Box::new(history)),
                Err(error) => say::warning(&format!(
                    "there is no history: {} cannot be kept ({error}); {} names another file, or `off`",
                    path.display(),
                    history::VARIABLE
                )),
            }
        }
        Self { reedline, interrupts, lines: None }
    }
}

impl LineEditor for TerminalEditor {
    fn read(&mut self) -> io::Result<Line> {
        loop {
            if let Some(lines) = &mut self.lines {
                return lines.read();
            }
            match self.reedline.read_line(&SqlPrompt) {
                Ok(Signal::Success(text)) => {
                    // A process that is killed in a statement has its line in the history. That a disk is full is no
                    // reason to end.
                    let _ = self.reedline.sync_history();
                    return Ok(Line::Text(text));
                }
                Ok(Signal::CtrlC) => {}
                Ok(_) => return Ok(Line::End),
                Err(error) => {
                    say::warning(&format!("lines cannot be edited on this terminal ({error})"));
                    self.lines = Some(LinesOfTerminal::new(BufReader::new(io::stdin()), self.interrupts.clone()));
                }
            }
        }
    }
}

struct SqlPrompt;

impl Prompt for SqlPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed(PROMPT)
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed(MORE)
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        let failing = if matches!(search.status, PromptHistorySearchStatus::Failing) { "nothing for " } else { "" };
        Cow::Owned(format!("({failing}{:?}) ", search.term))
    }

    fn get_prompt_color(&self) -> Color {
        Color::Default
    }

    fn get_prompt_multiline_color(&self) -> Color {
        Color::Default
    }
}

struct Statements;

impl Validator for Statements {
    fn validate(&self, line: &str) -> ValidationResult {
        if is_complete(line) { ValidationResult::Complete } else { ValidationResult::Incomplete }
    }
}

struct Colors {
    enabled: bool,
}

fn style(class: Class) -> Style {
    match class {
        Class::Plain => Style::new(),
        Class::Keyword => Color::Blue.bold(),
        Class::Function => Color::Cyan.normal(),
        Class::Text => Color::Green.normal(),
        Class::Name => Color::Yellow.normal(),
        Class::Number => Color::Purple.normal(),
        Class::Comment => Style::new().dimmed(),
        Class::Command => Color::Cyan.bold(),
        Class::Unknown => Color::Red.normal(),
    }
}

impl Highlighter for Colors {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        let mut styled = StyledText::new();
        for (range, class) in classify(line) {
            let style = if self.enabled { style(class) } else { Style::new() };
            styled.push((style, line.get(range).unwrap_or_default().to_owned()));
        }
        styled
    }
}

struct Completions<N>(N);

impl<N: Names + Send> Completer for Completions<N> {
    fn complete(&mut self, line: &str, cursor: usize) -> CompletionResult {
        let completion = complete(line, cursor, &mut self.0);
        let suggestion = |candidate: Candidate| Suggestion {
            value: candidate.text,
            description: Some(candidate.note).filter(|note| !note.is_empty()),
            span: Span::new(completion.start, cursor.max(completion.start)),
            append_whitespace: false,
            ..Suggestion::default()
        };
        CompletionResult::fresh(completion.candidates.into_iter().map(suggestion).collect::<Vec<_>>())
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
        let lines_backwards = vec!["SELECT 2;\n", "SELECT 'half\n", "SELECT 1;\n"];
        let input = Pressed { lines: lines_backwards, at: 1, interrupts: interrupts.clone() };
        assert_eq!(lines(io::BufReader::new(input), interrupts), ["SELECT 1;\n", "SELECT 2;\n"]);
    }
}

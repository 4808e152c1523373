//! Words to people, on standard error.
//!
//! Unlike `eprintln!` none of this panics when nobody reads standard error any more.

use std::io::Write;
use std::sync::OnceLock;

use nu_ansi_term::{Color, Style};

use crate::terminal::{ColorChoice, Terminal};

static COLOR: OnceLock<bool> = OnceLock::new();

/// Decides about colours, once; without this call the environment does.
pub(crate) fn use_color(color: bool) {
    let _ = COLOR.set(color);
}

fn colored() -> bool {
    *COLOR.get_or_init(|| Terminal::of_errors(ColorChoice::Auto).color)
}

/// A line of its own.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A line that can be done without.
pub(crate) fn aside(text: &str) {
    if colored() {
        line(&Style::new().dimmed().paint(text).to_string());
    } else {
        line(text);
    }
}

/// What went wrong.
pub(crate) fn error(text: &str) {
    labelled("error:", Color::Red, text);
}

/// What went on in spite of something.
pub(crate) fn warning(text: &str) {
    labelled("warning:", Color::Yellow, text);
}

fn labelled(label: &str, color: Color, text: &str) {
    if colored() {
        line(&format!("{} {text}", color.bold().paint(label)));
    } else {
        line(&format!("{label} {text}"));
    }
}

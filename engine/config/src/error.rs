//! The crate's error: every variant names the key, the value where it may be shown, and where it came from.

use crate::configuration::Origin;

/// The result of reading configuration.
pub type Result<T, E = ConfigError> = std::result::Result<T, E>;

/// What can go wrong with configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No option has this key.
    #[error("unknown option '{key}' in {origin}{}", did_you_mean(nearest))]
    UnknownKey {
        /// The key as it was given; for an environment variable, the key it stands for.
        key: String,
        /// Where it was given.
        origin: Origin,
        /// Keys that look like it, nearest first.
        nearest: Vec<String>,
    },
    /// The value is not of the option's type or outside its range.
    #[error("invalid value '{value}' for option '{key}' in {origin}: expected {expected}")]
    InvalidValue {
        /// The option.
        key: String,
        /// The value, or asterisks for a secret.
        value: String,
        /// Where it was given.
        origin: Origin,
        /// What it should look like.
        expected: String,
    },
    /// The file is not TOML.
    #[error("{origin} is not valid TOML: {reason}")]
    Syntax {
        /// The file and line.
        origin: Origin,
        /// The parser's words.
        reason: String,
    },
    /// A flag is not of the form `key=value`.
    #[error("'{text}' is not of the form key=value, such as execution.batch-size=1024")]
    MalformedFlag {
        /// What was given.
        text: String,
    },
    /// Two options of the program share a key: a bug, not a user's mistake.
    #[error("option '{key}' is declared twice")]
    DuplicateOption {
        /// The key.
        key: &'static str,
    },
    /// An option of the program contradicts itself: a bug, not a user's mistake.
    #[error("option '{key}' is declared wrongly: {reason}")]
    BadDeclaration {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}

fn did_you_mean(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        [one] => format!("; did you mean '{one}'?"),
        [first, rest @ ..] => {
            rest.iter().fold(format!("; did you mean one of '{first}'"), |text, key| format!("{text}, '{key}'")) + "?"
        }
    }
}

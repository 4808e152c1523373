//! The one error of this crate: what is wrong, where in the statement, and what to try.
//!
//! `Display` prints the message alone, on one line; [`SqlError::render`] adds the line of SQL with a caret under the
//! place, and the hint. Positions are found from the tokens of the statement, so they are exact even where the parser
//! and binder do not keep spans.

use std::fmt;

use datafusion_common::{DataFusionError, SchemaError, Span};
use datafusion_sql::sqlparser::tokenizer::TokenWithSpan;

use crate::subject::Subject;
use crate::wording;

/// A place in SQL text; lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column.
    pub column: u64,
    /// Characters that the caret underlines.
    pub length: u64,
}

/// What kind of mistake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqlErrorKind {
    /// The text is not SQL.
    Syntax,
    /// The text names a table, column, function or option that there is not.
    Unknown,
    /// The statement is understood but makes no sense (types, duplicates, grouping).
    Invalid,
    /// The statement makes sense and the engine cannot do it yet.
    Unsupported,
    /// A limit on the size of statements.
    Limit,
    /// A connector refused.
    Connector,
    /// A broken invariant of the planner.
    Internal,
}

/// An error in a statement.
#[derive(Debug)]
pub struct SqlError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: SqlErrorKind,
    message: String,
    position: Option<Position>,
    line_text: Option<String>,
    hint: Option<String>,
    /// What to look for in the tokens to find the position.
    subject: Option<Subject>,
    /// Where the binder says that the subject is. It is so if the word is there: what comes from the text of a view is
    /// counted in that text.
    likely: Option<Position>,
}

/// Result of this crate.
pub type Result<T, E = SqlError> = std::result::Result<T, E>;

impl SqlError {
    /// An error without a position.
    pub fn new(kind: SqlErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            position: None,
            line_text: None,
            hint: None,
            subject: None,
            likely: None,
        }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(SqlErrorKind::Invalid, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(SqlErrorKind::Internal, message)
    }

    /// `not supported yet: <what>`.
    pub(crate) fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(SqlErrorKind::Unsupported, format!("not supported yet: {what}"))
    }

    pub(crate) fn at(mut self, position: Position) -> Self {
        self.0.position.get_or_insert(position);
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Names the word of the statement that the error is about; the position follows from it.
    pub(crate) fn about(self, word: impl Into<String>) -> Self {
        self.about_subject(Subject::Word(word.into()))
    }

    /// Says what part of the statement the error is about.
    pub(crate) fn about_subject(mut self, subject: Subject) -> Self {
        self.0.subject = Some(subject);
        self
    }

    /// Where the binder saw the word that the error is about.
    pub(crate) fn likely_at(mut self, span: Option<Span>) -> Self {
        self.0.likely = span.map(|span| Position {
            line: span.start.line,
            column: span.start.column,
            length: span.end.column.saturating_sub(span.start.column).max(1),
        });
        self
    }

    fn likely_unless_known(self, span: Option<Span>) -> Self {
        if self.0.likely.is_some() { self } else { self.likely_at(span) }
    }

    /// What kind of mistake it is.
    #[must_use]
    pub fn kind(&self) -> SqlErrorKind {
        self.0.kind
    }

    /// Where it is.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.0.position
    }

    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The message, the place with its line and a caret, and the hint.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.0.message.clone();
        if let (Some(position), Some(line)) = (self.0.position, &self.0.line_text) {
            // A very long line is cut to a window around the place.
            const WINDOW: usize = 100;
            let chars: Vec<char> = line.chars().map(|c| if c == '\t' { ' ' } else { c }).collect();
            let column = usize::try_from(position.column.saturating_sub(1)).unwrap_or(usize::MAX).min(chars.len());
            let start = if chars.len() > WINDOW { column.saturating_sub(WINDOW / 2) } else { 0 };
            let end = (start + WINDOW).min(chars.len());
            let shown: String = chars[start..end].iter().collect();
            let (before, after) = (if start > 0 { "..." } else { "" }, if end < chars.len() { "..." } else { "" });
            let label = position.line.to_string();
            let carets = usize::try_from(position.length.max(1)).unwrap_or(1).min((end - column.min(end)).max(1));
            let pad = before.len() + column - start;
            text.push_str(&format!(
                "\n  at line {}, column {}\n {label} | {before}{shown}{after}\n {} | {}{}",
                position.line,
                position.column,
                " ".repeat(label.len()),
                " ".repeat(pad),
                "^".repeat(carets)
            ));
        }
        if let Some(hint) = &self.0.hint {
            text.push_str("\n  hint: ");
            text.push_str(hint);
        }
        text
    }

    /// Fills in position and line from the statement's tokens and text.
    pub(crate) fn locate(mut self, tokens: &[TokenWithSpan], source: &str) -> Self {
        if self.0.position.is_none()
            && let Some(subject) = &self.0.subject
        {
            self.0.position = subject.find(tokens, self.0.likely);
        }
        if self.0.line_text.is_none()
            && let Some(position) = self.0.position
        {
            let index = usize::try_from(position.line.saturating_sub(1)).unwrap_or(usize::MAX);
            self.0.line_text = source.lines().nth(index).map(str::to_owned);
        }
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for SqlError {}

/// The front-end library carries it to where it is taken out again.
impl From<SqlError> for DataFusionError {
    fn from(error: SqlError) -> Self {
        Self::External(Box::new(error))
    }
}

/// The names nearest to `name` by edit distance, nearest first, at most three.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let name = name.to_lowercase();
    let limit = match name.chars().count() {
        0..=3 => 1,
        length => (length / 3).max(2),
    };
    let mut scored: Vec<(usize, String)> = candidates
        .into_iter()
        .filter_map(|candidate| {
            let lower = candidate.to_lowercase();
            let mut distance = strsim::damerau_levenshtein(&name, &lower);
            // A missing or wrong prefix (`shipdate` for `l_shipdate`) is a common slip, farther than letters are.
            if name.len() >= 3 && (lower.contains(&name) || name.contains(&lower) && lower.len() >= 3) {
                distance = distance.min(2);
            }
            (distance <= limit).then(|| (distance, candidate.to_owned()))
        })
        .collect();
    scored.sort();
    scored.dedup();
    // Beside a near hit the far ones are noise.
    if let Some(&(best @ 0..=1, _)) = scored.first() {
        scored.retain(|(distance, _)| *distance == best);
    }
    scored.truncate(3);
    scored.into_iter().map(|(_, candidate)| candidate).collect()
}

/// `did you mean "a" or "b"?`, if anything is near.
pub(crate) fn did_you_mean(names: &[String]) -> Option<String> {
    let quoted: Vec<String> = names.iter().map(|n| format!("{n:?}")).collect();
    match quoted.as_slice() {
        [] => None,
        [one] => Some(format!("did you mean {one}?")),
        [rest @ .., last] => Some(format!("did you mean {} or {last}?", rest.join(", "))),
    }
}

/// Names that an error message may offer, in their written case.
pub(crate) struct Suggestions<'a> {
    /// A column as its table has it.
    pub(crate) written: &'a dyn Fn(&str) -> String,
    /// A word as the statement has it.
    pub(crate) in_statement: &'a dyn Fn(&str) -> String,
    pub(crate) functions: &'a dyn Fn() -> Vec<String>,
}

/// Turns an error of the front end into ours.
pub(crate) fn from_datafusion(error: DataFusionError, suggestions: &Suggestions<'_>) -> SqlError {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<SqlError>() {
            Ok(own) => *own,
            Err(other) => SqlError::invalid(other.to_string()),
        },
        DataFusionError::Diagnostic(diagnostic, inner) => {
            from_datafusion(*inner, suggestions).likely_unless_known(diagnostic.span)
        }
        DataFusionError::Context(_, inner) => from_datafusion(*inner, suggestions),
        DataFusionError::Collection(mut all) if !all.is_empty() => from_datafusion(all.swap_remove(0), suggestions),
        DataFusionError::SchemaError(inner, _) => from_schema_error(*inner, suggestions),
        DataFusionError::NotImplemented(message) => {
            wording::not_implemented(message.lines().next().unwrap_or_default().trim_end_matches('.'))
        }
        // A function's arguments are the statement's fault, whatever the library calls it.
        DataFusionError::Internal(message) if message.contains("failed to match any signature") => {
            wording::reworded(message.lines().next().unwrap_or_default())
        }
        DataFusionError::Internal(message) => SqlError::internal(message.lines().next().unwrap_or_default().to_owned()),
        DataFusionError::SQL(parser, _) => crate::parse::syntax_error(&parser.to_string()),
        other => {
            let message = other.strip_backtrace();
            let message = ["Error during planning: ", "Execution error: ", "Arrow error: "]
                .iter()
                .fold(message.as_str(), |m, prefix| m.strip_prefix(prefix).unwrap_or(m));
            if let Some(name) = message.strip_prefix("Invalid function '").and_then(|m| m.split('\'').next()) {
                return unknown_function(name, suggestions);
            }
            wording::reworded(message.lines().next().unwrap_or_default())
        }
    }
}

fn unknown_function(name: &str, suggestions: &Suggestions<'_>) -> SqlError {
    if let Some(refusal) = wording::planned_function(name) {
        return refusal;
    }
    let known = (suggestions.functions)();
    let error = SqlError::new(SqlErrorKind::Unknown, format!("there is no function {name:?}"));
    let error = error.about_subject(Subject::call(name));
    match did_you_mean(&nearest(name, known.iter().map(String::as_str))) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn from_schema_error(error: SchemaError, suggestions: &Suggestions<'_>) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let span = field.spans().first();
            let name_written = (suggestions.in_statement)(&field.name);
            let known: Vec<String> = valid_fields.iter().map(|c| (suggestions.written)(&c.name)).collect();
            let (name, subject) = match &field.relation {
                Some(relation) => (format!("{relation}.{name_written}"), format!("{relation}.{}", field.name)),
                None => (name_written, field.name.clone()),
            };
            if let Some(relation) = &field.relation {
                let relations: Vec<String> =
                    valid_fields.iter().filter_map(|c| c.relation.as_ref().map(ToString::to_string)).collect();
                if !relations.iter().any(|r| r == &relation.to_string()) {
                    let mut error =
                        SqlError::new(SqlErrorKind::Unknown, format!("there is no table {relation} in this FROM"))
                            .about_subject(Subject::Qualifier(relation.to_string()));
                    if let Some(hint) =
                        did_you_mean(&nearest(&relation.to_string(), relations.iter().map(String::as_str)))
                    {
                        error = error.with_hint(hint);
                    } else if !relations.is_empty() {
                        let mut here = relations;
                        here.sort_unstable();
                        here.dedup();
                        error = error.with_hint(format!("the tables here are {}", here.join(", ")));
                    }
                    return error;
                }
            }
            let error = SqlError::new(SqlErrorKind::Unknown, format!("there is no column {name:?}"));
            let error = error.about_subject(Subject::Column(subject)).likely_at(span);
            let near = nearest(&field.name, known.iter().map(String::as_str));
            if let Some(hint) = did_you_mean(&near) {
                return error.with_hint(hint);
            }
            if known.is_empty() {
                return error.with_hint("no columns are visible here; a text value is written in single quotes");
            }
            let shown: Vec<&str> = known.iter().take(12).map(String::as_str).collect();
            let more = if known.len() > shown.len() { ", ..." } else { "" };
            error.with_hint(format!("the columns are {}{more}", shown.join(", ")))
        }
        SchemaError::AmbiguousReference { field } => SqlError::invalid(format!("column {:?} is ambiguous", field.name))
            .about_subject(Subject::Column(field.name.clone()))
            .likely_at(field.spans().first())
            .with_hint("put the table's name and a dot before it"),
        SchemaError::DuplicateQualifiedField { qualifier, name } => {
            SqlError::invalid(format!("table {qualifier} has column {name:?} twice in this FROM"))
                .about_subject(Subject::Second(qualifier.to_string()))
                .with_hint("give one of the tables another name with AS")
        }
        SchemaError::DuplicateUnqualifiedField { name } => {
            SqlError::invalid(format!("two columns have the name {name:?}")).about(name)
        }
    }
}

pub(crate) fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    match chars.next() {
        // SQL keywords and type names at the front keep their capitals.
        Some(first) if !chars.clone().next().is_some_and(char::is_uppercase) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => message.to_owned(),
    }
}

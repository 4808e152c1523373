//! What could stand where the cursor is.
//!
//! The place decides what is looked for: a command and its argument, a file inside of single quotes, a setting after
//! `SET`, a table after `FROM` and its like, the columns of one table after `t.`, and else columns of the tables that the
//! statement names, tables, functions and keywords, in that order. [`Names`] says what there is.

use super::commands::{self, Argument, COMMANDS};
use super::keywords::{KEYWORDS, is_keyword};
use super::scan::{Kind, Token, scan};
use crate::output::Format;
use clap::ValueEnum;

/// What there is to name. Asked while someone waits for a key to have its effect.
pub(super) trait Names {
    /// Tables of the session.
    fn tables(&mut self) -> Vec<String>;
    /// Names and types of the columns of a table or of a file; none if there is no such thing.
    fn columns(&mut self, table: &str) -> Vec<(String, String)>;
    /// Functions, and whether they take many rows.
    fn functions(&mut self) -> &[(String, bool)];
    /// Keys of settings, and what they are for.
    fn settings(&mut self) -> &[(String, String)];
    /// What is in a directory, and whether it is one itself.
    fn files(&mut self, directory: &str) -> Vec<(String, bool)>;
}

/// Something that could stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// What would be written.
    pub(super) text: String,
    /// A word about it.
    pub(super) note: String,
}

/// More than this are no help.
const CANDIDATES_MAX: usize = 500;

/// Candidates, and where in the line (a byte) what they replace begins. It ends at the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Completion {
    pub(super) start: usize,
    pub(super) candidates: Vec<Candidate>,
}

/// Collects the candidates that go on as what was typed begins, in any case, each once.
struct Collector<'a> {
    typed: &'a str,
    candidates: Vec<Candidate>,
}

impl Collector<'_> {
    fn add(&mut self, text: impl Into<String>, note: impl Into<String>) {
        let text = text.into();
        let mut characters = text.chars();
        let mut goes_on = |typed: char| characters.next().is_some_and(|c| c.to_lowercase().eq(typed.to_lowercase()));
        let begins = self.typed.chars().all(&mut goes_on);
        if begins && self.candidates.len() < CANDIDATES_MAX && !self.candidates.iter().any(|known| known.text == text) {
            self.candidates.push(Candidate { text, note: note.into() });
        }
    }
}

/// Completes what stands before the cursor.
pub(super) fn complete(line: &str, cursor: usize, names: &mut dyn Names) -> Completion {
    let cursor = (0..=cursor.min(line.len())).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    let before = &line[..cursor];
    if before.trim_start().starts_with(['.', '\\']) {
        return command(before, names);
    }
    let tokens = scan(before);
    let from = tokens.iter().rposition(|t| t.kind == Kind::Semicolon).map_or(0, |at| at + 1);
    let statement = &tokens[from..];
    match tokens.last() {
        Some(Token { kind: Kind::Text, range, is_open: true }) if before[range.start..].starts_with('\'') => {
            let typed = &before[range.start + 1..];
            if is_setting(before, statement) {
                settings(before, range.start + 1, names)
            } else {
                files(typed, cursor, names)
            }
        }
        Some(token) if token.is_open || token.kind == Kind::Comment => Completion { start: cursor, candidates: vec![] },
        _ => sql(line, before, statement, names),
    }
}

fn command(before: &str, names: &mut dyn Names) -> Completion {
    let begin = before.len() - before.trim_start().len();
    let Some(blank) = before[begin..].find(char::is_whitespace) else {
        let mut found = Collector { typed: &before[begin..], candidates: Vec::new() };
        for command in COMMANDS {
            command.names.iter().for_each(|name| found.add(*name, command.text));
        }
        return Completion { start: begin, candidates: found.candidates };
    };
    let rest = &before[begin + blank..];
    let start = before.len() - rest.trim_start().len();
    let argument = commands::find(&before[begin..begin + blank]).map_or(Argument::Nothing, |found| found.argument);
    let mut found = Collector { typed: &before[start..], candidates: Vec::new() };
    match argument {
        Argument::Nothing | Argument::Number => {}
        Argument::Table => names.tables().into_iter().for_each(|table| found.add(table, "table")),
        Argument::Word => names.functions().iter().for_each(|(name, _)| found.add(name, "function")),
        Argument::Switch => ["on", "off"].iter().for_each(|word| found.add(*word, "")),
        Argument::Format => Format::value_variants().iter().for_each(|format| found.add(format.name(), "")),
        Argument::File => {
            let quote = usize::from(before[start..].starts_with(['\'', '"']));
            return files(&before[start + quote..], before.len(), names);
        }
    }
    Completion { start, candidates: found.candidates }
}

/// Files whose path goes on as `typed` begins, which ends at the cursor.
fn files(typed: &str, cursor: usize, names: &mut dyn Names) -> Completion {
    let (directory, name) = typed.rfind('/').map_or(("", typed), |slash| typed.split_at(slash + 1));
    let mut found = Collector { typed: name, candidates: Vec::new() };
    for (file, is_directory) in names.files(directory) {
        // Hidden files are shown to those who ask for them.
        if file.starts_with('.') && !name.starts_with('.') {
            continue;
        }
        if is_directory {
            found.add(format!("{file}/"), "directory");
        } else {
            found.add(file, "file");
        }
    }
    Completion { start: cursor - name.len(), candidates: found.candidates }
}

fn is_setting(text: &str, statement: &[Token]) -> bool {
    let mut significant = statement.iter().filter(|token| token.is_significant());
    let first = significant.next().map(|token| &text[token.range.clone()]);
    let is_first = significant.next().is_none_or(|second| second.range.end == text.len());
    first.is_some_and(|word| word.eq_ignore_ascii_case("set") || word.eq_ignore_ascii_case("reset")) && is_first
}

fn settings(before: &str, start: usize, names: &mut dyn Names) -> Completion {
    let mut found = Collector { typed: &before[start..], candidates: Vec::new() };
    names.settings().iter().for_each(|(key, text)| found.add(key, text));
    Completion { start, candidates: found.candidates }
}

fn sql(line: &str, before: &str, statement: &[Token], names: &mut dyn Names) -> Completion {
    let word = statement.last().filter(|token| matches!(token.kind, Kind::Word | Kind::Number));
    let start = word.map_or(before.len(), |word| word.range.start);
    let typed = &before[start..];
    let earlier: Vec<&Token> = statement.iter().filter(|t| t.is_significant() && t.range.end <= start).collect();
    let text = |token: &Token| &before[token.range.clone()];
    let mut found = Collector { typed, candidates: Vec::new() };
    if let [set, rest @ ..] = &earlier[..]
        && ["SET", "RESET"].iter().any(|word| text(set).eq_ignore_ascii_case(word))
        && !rest.iter().any(|token| text(token) == "=")
    {
        // Keys have dots and dashes in them.
        return settings(before, rest.first().map_or(start, |key| key.range.start), names);
    }
    if let [.., table, dot] = earlier[..]
        && text(dot) == "."
        && matches!(table.kind, Kind::Word | Kind::Name)
    {
        let alias = unquoted(text(table));
        let named = tables_of(line, before.len());
        let table =
            named.iter().find(|(_, known)| known.eq_ignore_ascii_case(&alias)).map_or(alias, |(t, _)| t.clone());
        names.columns(&table).into_iter().for_each(|(name, data_type)| found.add(quoted(name), data_type));
        return Completion { start, candidates: found.candidates };
    }
    let previous = earlier.last().map(|token| text(token).to_ascii_uppercase()).unwrap_or_default();
    // Nothing is typed and nothing is asked for: a list of everything helps nobody.
    if typed.is_empty() && !expects_table(&previous) && !expects_column(&previous) {
        return Completion { start, candidates: Vec::new() };
    }
    if expects_table(&previous) {
        names.tables().into_iter().for_each(|table| found.add(quoted(table), "table"));
        return Completion { start, candidates: found.candidates };
    }
    for (table, _) in tables_of(line, before.len()) {
        names.columns(&table).into_iter().for_each(|(name, data_type)| found.add(quoted(name), data_type));
    }
    if typed.is_empty() {
        return Completion { start, candidates: found.candidates };
    }
    names.tables().into_iter().for_each(|table| found.add(quoted(table), "table"));
    for (name, is_aggregate) in names.functions() {
        found.add(format!("{name}("), if *is_aggregate { "aggregate" } else { "function" });
    }
    let is_lower = typed.chars().all(|c| c.is_lowercase() || !c.is_alphabetic());
    for keyword in KEYWORDS {
        found.add(if is_lower { keyword.to_ascii_lowercase() } else { (*keyword).to_owned() }, "keyword");
    }
    Completion { start, candidates: found.candidates }
}

fn expects_table(previous: &str) -> bool {
    matches!(previous, "FROM" | "JOIN" | "INTO" | "TABLE" | "DESCRIBE" | "DESC")
}

fn expects_column(previous: &str) -> bool {
    matches!(previous, "SELECT" | "WHERE" | "BY" | "ON" | "AND" | "OR" | "HAVING" | "," | "(")
}

/// Tables and files that the statement at this place of the line names, each with its alias or once more its name.
fn tables_of(line: &str, at: usize) -> Vec<(String, String)> {
    // The whole statement: what stands after the cursor names tables, too.
    let tokens = scan(line);
    let end = tokens.iter().position(|t| t.kind == Kind::Semicolon && t.range.start >= at).unwrap_or(tokens.len());
    let start = tokens[..end].iter().rposition(|t| t.kind == Kind::Semicolon).map_or(0, |semicolon| semicolon + 1);
    let significant: Vec<&Token> = tokens[start..end].iter().filter(|t| t.is_significant()).collect();
    let text = |token: &Token| &line[token.range.clone()];
    let mut tables = Vec::new();
    let mut in_from = false;
    for (index, token) in significant.iter().enumerate() {
        let word = text(token).to_ascii_uppercase();
        if token.kind == Kind::Word && is_keyword(&word) {
            in_from = matches!(word.as_str(), "FROM" | "JOIN" | "INTO" | "TABLE") || (in_from && word == "AS");
            continue;
        }
        // After FROM, after JOIN, and after a comma between tables.
        let previous = index.checked_sub(1).map(|before| text(significant[before]).to_ascii_uppercase());
        let is_place = previous.is_some_and(|previous| expects_table(&previous) || previous == ",");
        let names_table = matches!(token.kind, Kind::Word | Kind::Name | Kind::Text);
        if !(in_from && is_place && names_table) || token.range.end == at {
            continue;
        }
        let name = unquoted(text(token));
        let mut after = significant[index + 1..].iter();
        let mut alias = after.next();
        if alias.is_some_and(|token| text(token).eq_ignore_ascii_case("as")) {
            alias = after.next();
        }
        let alias = alias.filter(|token| {
            let is_name = matches!(token.kind, Kind::Word | Kind::Name);
            is_name && !is_keyword(text(token))
        });
        tables.push((name.clone(), alias.map_or(name, |alias| unquoted(text(alias)))));
    }
    tables
}

/// A name or text without its quotes.
fn unquoted(text: &str) -> String {
    let Some(quote) = text.chars().next().filter(|c| ['\'', '"', '`'].contains(c)) else { return text.to_owned() };
    let inner = text[1..].strip_suffix(quote).unwrap_or(&text[1..]);
    inner.replace(&format!("{quote}{quote}"), &quote.to_string())
}

/// A name as it is written in SQL: in quotes if it needs them.
fn quoted(name: String) -> String {
    let is_plain = name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_numeric())
        && !is_keyword(&name);
    if is_plain && !name.is_empty() { name } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known {
        functions: Vec<(String, bool)>,
        settings: Vec<(String, String)>,
    }

    impl Known {
        fn new() -> Self {
            let functions = [("substr", false), ("sum", true), ("trim", false)];
            let settings = [("parallelism.default", "Parallel instances."), ("pipeline.name", "Name of the job.")];
            Self {
                functions: functions.map(|(name, many)| (name.to_owned(), many)).into(),
                settings: settings.map(|(key, text)| (key.to_owned(), text.to_owned())).into(),
            }
        }
    }

    impl Names for Known {
        fn tables(&mut self) -> Vec<String> {
            ["orders", "customers", "my table"].map(str::to_owned).into()
        }

        fn columns(&mut self, table: &str) -> Vec<(String, String)> {
            let columns: &[(&str, &str)] = match table {
                "orders" => &[("id", "BIGINT"), ("price", "DOUBLE"), ("order", "VARCHAR")],
                "customers" => &[("id", "BIGINT"), ("name", "VARCHAR")],
                "data/trips.csv" => &[("tip", "DOUBLE"), ("trip id", "BIGINT")],
                _ => &[],
            };
            columns.iter().map(|(name, data_type)| ((*name).to_owned(), (*data_type).to_owned())).collect()
        }

        fn functions(&mut self) -> &[(String, bool)] {
            &self.functions
        }

        fn settings(&mut self) -> &[(String, String)] {
            &self.settings
        }

        fn files(&mut self, directory: &str) -> Vec<(String, bool)> {
            let files: &[(&str, bool)] = match directory {
                "" => &[("data", true), ("dates.csv", false), (".hidden", false)],
                "data/" => &[("trips.csv", false), ("more", true)],
                _ => &[],
            };
            files.iter().map(|(name, directory)| ((*name).to_owned(), *directory)).collect()
        }
    }

    /// The cursor is at the bar.
    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        let cursor = line.find('|').unwrap();
        let line = line.replacen('|', "", 1);
        let completion = complete(&line, cursor, &mut Known::new());
        let texts: Vec<&str> = completion.candidates.iter().map(|c| c.text.as_str()).collect();
        assert_eq!(texts, expected, "{line}");
        assert!(completion.start <= cursor);
    }

    #[test]
    fn tables_follow_from() {
        check("SELECT * FROM |", &["orders", "customers", "\"my table\""]);
        check("SELECT * FROM orders JOIN cu|", &["customers"]);
        check("insert into o|", &["orders"]);
        check("DESCRIBE c|", &["customers"]);
    }

    #[test]
    fn columns_are_those_of_the_statements_tables() {
        check("SELECT | FROM orders", &["id", "price", "\"order\""]);
        check("SELECT p| FROM orders", &["price", "partition", "pivot", "preceding"]);
        check(
            "SELECT 1 FROM customers; SELECT n| FROM orders; SELECT 1 FROM customers",
            &["natural", "not", "null", "nulls"],
        );
        check("SELECT * FROM orders o, customers AS c WHERE c.|", &["id", "name"]);
        check("SELECT o.p| FROM orders o", &["price"]);
        check("SELECT ti| FROM 'data/trips.csv'", &["tip", "time", "timestamp", "tinyint"]);
        check("SELECT tri| FROM 'data/trips.csv'", &["trim("]);
        check("SELECT t.\"| FROM 'data/trips.csv' t", &[]);
        check("FROM 'data/trips.csv' AS t SELECT t.|", &["tip", "\"trip id\""]);
    }

    #[test]
    fn words_are_completed_in_their_own_case() {
        check("sel|", &["select"]);
        check("SEL|", &["SELECT"]);
        check("SELECT su|", &["substr(", "sum(", "summarize"]);
        check("SELECT SUB|", &["substr("]);
        check("|", &[]);
        check("SELECT 1 |", &[]);
    }

    #[test]
    fn files_are_found_inside_of_quotes() {
        check("SELECT * FROM '|", &["data/", "dates.csv"]);
        check("SELECT * FROM 'da|", &["data/", "dates.csv"]);
        check("SELECT * FROM 'data/t|", &["trips.csv"]);
        check("SELECT * FROM '.|", &[".hidden"]);
        check("SELECT * FROM 'nowhere/|", &[]);
        // What is replaced begins behind the last slash.
        assert_eq!(complete("FROM 'data/t", 12, &mut Known::new()).start, 11);
    }

    #[test]
    fn settings_follow_set() {
        check("SET p|", &["parallelism.default", "pipeline.name"]);
        check("SET parallelism.d|", &["parallelism.default"]);
        check("SET 'par|", &["parallelism.default"]);
        check("RESET 'pi|", &["pipeline.name"]);
        check("SET 'pipeline.name' = 'd|", &["data/", "dates.csv"]);
    }

    #[test]
    fn commands_have_arguments_of_their_own() {
        check(".t|", &[".tables", ".timer"]);
        check("\\d|", &["\\dt", "\\d", "\\df"]);
        check(".schema o|", &["orders"]);
        check(".format js|", &["json", "jsonl"]);
        check(".timer |", &["on", "off"]);
        check(".read da|", &["data/", "dates.csv"]);
        check(".output 'data/|", &["trips.csv", "more/"]);
        check(".tables |", &[]);
    }

    #[test]
    fn comments_and_texts_are_left_alone() {
        check("SELECT 1 -- sel|", &[]);
        check("SELECT $$sel|", &[]);
        check("SELECT \"sel|", &[]);
    }
}

//! What an error is about, and where that is in a statement.
//!
//! The binder and the rules after it speak of names, not of places. A place is found here from the tokens: the first one
//! that can be what is meant, so a column is no alias before a dot and no function. Where the binder has kept a place, that
//! is taken, if the word is there.

use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::Position;
use crate::parse::place;

/// A part of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A word, text or number; an operator that there is once; `a.b`.
    Word(String),
    /// A column, maybe `table.column`.
    Column(String),
    /// The name before a dot.
    Qualifier(String),
    /// A word where it stands for the second time, not before a dot.
    Second(String),
    /// The first call of one of these functions after a word, or anywhere.
    Call { functions: Vec<String>, after: Option<&'static str> },
    /// The function before an OVER, after a word if there is one there.
    WindowCall { after: &'static str },
    /// A name behind a word.
    After { word: &'static str, name: String },
    /// What the first NOT is about that negates a value.
    Negated,
}

impl Subject {
    /// A call of this function.
    pub(crate) fn call(function: &str) -> Self {
        Self::Call { functions: vec![function.to_owned()], after: None }
    }

    /// Where it is; `likely` if the word is there.
    pub(crate) fn find(&self, tokens: &[TokenWithSpan], likely: Option<Position>) -> Option<Position> {
        let tokens: Vec<&TokenWithSpan> = tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
        let index = likely.and_then(|at| self.index_at(&tokens, at)).or_else(|| self.index(&tokens))?;
        Some(place(tokens[index]))
    }

    /// The token at a place, if it is the word in question; of `a.b` it is b.
    fn index_at(&self, tokens: &[&TokenWithSpan], at: Position) -> Option<usize> {
        let (Self::Word(name) | Self::Column(name) | Self::Qualifier(name) | Self::Second(name)) = self else {
            return None;
        };
        let first = tokens.iter().position(|t| (t.span.start.line, t.span.start.column) == (at.line, at.column))?;
        let last = name.rsplit('.').next().unwrap_or(name);
        // A qualified name begins at its table.
        (first..tokens.len().min(first + 5))
            .step_by(2)
            .take_while(|i| *i == first || tokens[i - 1].token == Token::Period)
            .find(|i| is_word(tokens[*i], last))
    }

    fn index(&self, tokens: &[&TokenWithSpan]) -> Option<usize> {
        let next = |index: usize| tokens.get(index + 1).map(|t| &t.token);
        let before = |index: usize| index.checked_sub(1).map(|i| &tokens[i].token);
        let mut words = 0..tokens.len();
        match self {
            Self::Word(word) => find_word(tokens, word),
            Self::Column(name) if name.contains('.') => find_word(tokens, name),
            Self::Column(name) => words
                .find(|&i| {
                    is_word(tokens[i], name)
                        && before(i) != Some(&Token::Period)
                        && !matches!(next(i), Some(Token::Period | Token::LParen))
                })
                .or_else(|| find_word(tokens, name)),
            Self::Qualifier(name) => words
                .find(|&i| is_word(tokens[i], name) && next(i) == Some(&Token::Period))
                .or_else(|| find_word(tokens, name)),
            Self::Second(name) => {
                let mut all = words.filter(|&i| is_word(tokens[i], name) && next(i) != Some(&Token::Period));
                let first = all.next();
                all.next().or(first)
            }
            Self::Call { functions, after } => {
                let start = after.and_then(|after| find_word(tokens, after)).unwrap_or(0);
                let is_call =
                    |i: &usize| functions.iter().any(|f| is_word(tokens[*i], f)) && next(*i) == Some(&Token::LParen);
                let word = after.or_else(|| functions.first().map(String::as_str));
                (start..tokens.len()).find(is_call).or_else(|| find_word(tokens, word?))
            }
            Self::After { word, name } => {
                let start = find_word(tokens, word)?;
                (start + 1..tokens.len()).find(|&i| is_word(tokens[i], name)).or(Some(start))
            }
            Self::WindowCall { after } => {
                let start = find_word(tokens, after).unwrap_or(0);
                let is_over = |i: &usize| is_word(tokens[*i], "OVER");
                let over = (start..tokens.len()).find(is_over).or_else(|| (0..tokens.len()).find(is_over))?;
                Some(function_before(tokens, over).unwrap_or(over))
            }
            Self::Negated => {
                let negates = |i: &usize| {
                    is_word(tokens[*i], "NOT")
                        && !before(*i).is_some_and(|t| t.to_string().eq_ignore_ascii_case("IS"))
                        && !matches!(next(*i), None | Some(Token::LParen))
                        && !["IN", "LIKE", "ILIKE", "BETWEEN", "EXISTS", "SIMILAR", "NULL"]
                            .iter()
                            .any(|w| is_word(tokens[i + 1], w))
                };
                words.find(negates).map(|i| i + 1).or_else(|| find_word(tokens, "NOT"))
            }
        }
    }
}

fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    match &token.token {
        Token::Word(w) => w.value.eq_ignore_ascii_case(word),
        Token::SingleQuotedString(text) => text.eq_ignore_ascii_case(word),
        Token::Number(number, _) => number == word,
        Token::Placeholder(name) => name == word,
        _ => false,
    }
}

/// The first token that is the word, or the last part of a dotted name.
fn find_word(tokens: &[&TokenWithSpan], subject: &str) -> Option<usize> {
    if let Some(index) = tokens.iter().position(|t| is_word(t, subject)) {
        return Some(index);
    }
    // An operator, if there is only one of it.
    if subject.chars().all(|c| c.is_ascii_punctuation()) {
        let mut same = (0..tokens.len()).filter(|i| tokens[*i].token.to_string() == subject);
        return same.next().filter(|_| same.next().is_none());
    }
    let (qualifier, name) = subject.rsplit_once('.')?;
    let dotted = |w: &[&TokenWithSpan]| is_word(w[0], qualifier) && w[1].token == Token::Period && is_word(w[2], name);
    tokens.windows(3).position(dotted).map(|index| index + 2)
}

/// The name before the parentheses that end before a token.
fn function_before(tokens: &[&TokenWithSpan], end: usize) -> Option<usize> {
    let mut depth = 0usize;
    for index in (0..end).rev() {
        match tokens[index].token {
            Token::RParen => depth += 1,
            Token::LParen => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    let name = index.checked_sub(1)?;
                    let is_filter = is_word(tokens[name], "FILTER");
                    return if is_filter { function_before(tokens, name) } else { Some(name) };
                }
            }
            _ => {}
        }
    }
    None
}

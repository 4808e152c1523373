//! LIKE patterns, compiled.
//!
//! `%` stands for any characters, `_` for one, and the escape character (backslash unless another is given) takes the
//! meaning from the next. A pattern without `_` is a prefix, a list of needles found in order, and a suffix; equality,
//! prefix, suffix and contains are its special cases. Only patterns with `_` are matched character by character.

use memchr::memmem::Finder;

use crate::expr::error::ExprError;

/// A compiled pattern.
#[derive(Debug)]
pub(crate) enum Pattern {
    /// No wildcard.
    Equal(Box<[u8]>),
    /// `prefix%needle%...%suffix`, each possibly empty.
    Parts { prefix: Box<[u8]>, needles: Vec<Finder<'static>>, suffix: Box<[u8]>, length_min: usize },
    /// With `_`.
    General(Vec<Token>),
}

/// One step of a general pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Char(char),
    One,
    Many,
}

/// The default escape character (PostgreSQL).
pub(crate) const ESCAPE: char = '\\';

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// If it ends with the escape character.
    pub(crate) fn new(pattern: &str, escape: Option<char>) -> Result<Self, ExprError> {
        let mut tokens = Vec::with_capacity(pattern.len());
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            let token = match c {
                c if Some(c) == escape => Token::Char(chars.next().ok_or_else(|| ExprError::InvalidArgument {
                    function: "like".to_owned(),
                    reason: format!("the pattern {pattern:?} ends with its escape character; double it to match one"),
                })?),
                '%' => Token::Many,
                '_' => Token::One,
                c => Token::Char(c),
            };
            // Two in a row mean the same as one.
            if token != Token::Many || tokens.last() != Some(&Token::Many) {
                tokens.push(token);
            }
        }
        if tokens.contains(&Token::One) {
            return Ok(Self::General(tokens));
        }
        let literals: Vec<String> = tokens
            .split(|t| *t == Token::Many)
            .map(|part| part.iter().filter_map(|t| if let Token::Char(c) = t { Some(*c) } else { None }).collect())
            .collect();
        let bytes = |text: &String| -> Box<[u8]> { text.as_bytes().into() };
        match literals.as_slice() {
            [] => Ok(Self::Equal(Box::default())),
            [only] => Ok(Self::Equal(bytes(only))),
            [prefix, needles @ .., suffix] => Ok(Self::Parts {
                prefix: bytes(prefix),
                needles: needles.iter().map(|n| Finder::new(n.as_bytes()).into_owned()).collect(),
                suffix: bytes(suffix),
                length_min: literals.iter().map(String::len).sum(),
            }),
        }
    }

    /// Whether the text matches.
    #[inline]
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Equal(literal) => text == &**literal,
            Self::Parts { prefix, needles, suffix, length_min } => {
                if text.len() < *length_min || !text.starts_with(prefix) || !text.ends_with(suffix) {
                    return false;
                }
                let rest = &text[prefix.len()..text.len() - suffix.len()];
                find_all(needles, rest)
            }
            Self::General(tokens) => std::str::from_utf8(text).is_ok_and(|text| matches_tokens(tokens, text)),
        }
    }

    /// The needles, if they are all there is to the pattern.
    pub(crate) fn needles(&self) -> Option<&[Finder<'static>]> {
        match self {
            Self::Parts { prefix, needles, suffix, .. }
                if prefix.is_empty() && suffix.is_empty() && !needles.is_empty() =>
            {
                Some(needles)
            }
            _ => None,
        }
    }
}

/// Whether the needles occur in this order without overlap.
#[inline]
pub(crate) fn find_all(needles: &[Finder<'_>], mut text: &[u8]) -> bool {
    for needle in needles {
        match needle.find(text) {
            Some(at) => text = &text[at + needle.needle().len()..],
            None => return false,
        }
    }
    true
}

/// The usual two-pointer match: on a mismatch the last `%` takes one character more.
fn matches_tokens(tokens: &[Token], text: &str) -> bool {
    let (mut token, mut rest) = (0, text.chars());
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        match tokens.get(token) {
            Some(Token::Many) => {
                token += 1;
                retry = Some((token, rest.clone()));
                continue;
            }
            None if rest.as_str().is_empty() => return true,
            Some(Token::One) if rest.next().is_some() => {
                token += 1;
                continue;
            }
            Some(Token::Char(wanted)) => {
                let mut next = rest.clone();
                if next.next() == Some(*wanted) {
                    rest = next;
                    token += 1;
                    continue;
                }
            }
            _ => {}
        }
        let Some((after, from)) = &mut retry else { return false };
        if from.next().is_none() {
            return false;
        }
        token = *after;
        rest = from.clone();
    }
}

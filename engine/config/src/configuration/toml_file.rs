//! TOML to keys and texts: nested tables become dotted keys, arrays become lists, and every key keeps its line.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::origin::Origin;
use crate::error::{ConfigError, Result};

/// Every value of the text with its full key, in no particular order.
pub(super) fn flatten(text: &str, path: &Path) -> Result<Vec<(String, String, Origin)>> {
    let at = |offset: usize| Origin::File { path: path.to_path_buf(), line: line_of(text, offset) };
    let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        origin: at(error.span().map_or(0, |span| span.start)),
        reason: error.message().to_owned(),
    })?;
    let mut found = Vec::new();
    // Tables still to be read, with the key they stand for. TOML's parser limits how deep values nest.
    let mut tables = vec![(String::new(), document.into_inner())];
    while let Some((prefix, table)) = tables.pop() {
        for (name, value) in table {
            let origin = at(name.span().start);
            let key =
                if prefix.is_empty() { name.into_inner().into_owned() } else { format!("{prefix}.{}", name.get_ref()) };
            match value.into_inner() {
                DeValue::Table(inner) => tables.push((key, inner)),
                DeValue::Array(items) => {
                    let text = list_text(&items).ok_or_else(|| ConfigError::InvalidValue {
                        key: key.clone(),
                        value: "[...]".to_owned(),
                        origin: origin.clone(),
                        expected: "a list of plain values without ';'".to_owned(),
                    })?;
                    found.push((key, text, origin));
                }
                value => found.extend(scalar_text(&value).map(|text| (key, text, origin))),
            }
        }
    }
    // The first mistake in the file is the one to report.
    found.sort_by_key(|(_, _, origin)| match origin {
        Origin::File { line, .. } => *line,
        _ => 0,
    });
    Ok(found)
}

fn list_text(items: &DeArray<'_>) -> Option<String> {
    let texts: Option<Vec<String>> = items
        .iter()
        .map(Spanned::get_ref)
        .map(|item| scalar_text(item).filter(|text| !text.contains(';') && !text.trim().is_empty()))
        .collect();
    texts.map(|texts| texts.join(";"))
}

/// A value as a user would write it without quotes; `None` for arrays and tables.
fn scalar_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        // One that is too large stays as it is written and is refused by its option.
        DeValue::Integer(number) => Some(
            i128::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| number.as_str().to_owned(), |number| number.to_string()),
        ),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Datetime(time) => Some(time.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count() + 1
}

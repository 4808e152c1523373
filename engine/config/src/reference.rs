//! The reference page: every option as a row of a Markdown table, generated so that it cannot differ from the code.

use std::fmt::Write as _;

use crate::option::AnyOption;
use crate::registry::OptionRegistry;

/// The whole page. One section for each first part of a key, options in order of their keys.
pub fn markdown(registry: &OptionRegistry) -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         Generated from the options in the code. Sources, lowest first: default, `flumen.toml`, environment\n\
         (`FLUMEN_EXECUTION__BATCH_SIZE`), `--set key=value`, SQL `SET`.\n",
    );
    let mut section = "";
    for option in registry.iter() {
        let first = option.key().split('.').next().unwrap_or_default();
        if first != section {
            section = first;
            page += &format!("\n## {section}\n\n| key | default | value | |\n|---|---|---|---|\n");
        }
        let default = match option.default_text() {
            "" => "(none)".to_owned(),
            default => format!("`{}`", cell(default)),
        };
        let (key, form, text) = (option.key(), cell(&form(option)), cell(option.description()));
        writeln!(page, "| `{key}` | {default} | {form} | {text} |").expect("writing to a string does not fail");
    }
    page
}

fn form(option: &dyn AnyOption) -> String {
    if option.is_secret() { format!("{} (secret)", option.expected()) } else { option.expected() }
}

/// A table's cell cannot hold a bar or a line break.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::option::ConfigOption;

    #[test]
    fn the_page_has_a_row_for_each_option() {
        const SIZE: ConfigOption<usize> = ConfigOption::new("b.size", "7", "Left | right.").at_least("1");
        const KEY: ConfigOption<String> = ConfigOption::new("a.api-key", "", "Opens it.");
        const TIME: ConfigOption<std::time::Duration> = ConfigOption::new("b.time", "30 s", "Waits.");
        let registry = OptionRegistry::collect(&[&[&SIZE, &KEY, &TIME]]).unwrap();
        let page = markdown(&registry);
        let (_, tables) = page.split_once("\n## ").unwrap();
        assert_eq!(
            tables,
            "a\n\n| key | default | value | |\n|---|---|---|---|\n\
             | `a.api-key` | (none) | text (secret) | Opens it. |\n\
             \n## b\n\n| key | default | value | |\n|---|---|---|---|\n\
             | `b.size` | `7` | a whole number that is not negative, at least 1 | Left \\| right. |\n\
             | `b.time` | `30 s` | a time such as '100 ms', '30 s' or '1 min' | Waits. |\n"
        );
    }
}

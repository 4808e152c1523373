//! Whether what has been typed is finished, so that Enter runs it instead of beginning another line.

use super::commands;
use super::scan::{Kind, scan};

/// A command of the shell ends with its line. A statement ends with a semicolon outside of quotes and comments; nothing
/// at all is finished, too.
pub(crate) fn is_complete(text: &str) -> bool {
    if commands::is_command(text) {
        return true;
    }
    let tokens = scan(text);
    if tokens.iter().any(|token| token.is_open) {
        return false;
    }
    tokens.iter().rev().find(|token| token.is_significant()).is_none_or(|last| last.kind == Kind::Semicolon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_with_a_semicolon_that_is_one() {
        for complete in [
            "",
            "  \n",
            "SELECT 1;",
            "SELECT 1; -- done",
            "SELECT ';';\n",
            "SELECT 1;\nSELECT 2;",
            "SELECT $$;$$;",
            "-- only a comment",
            ".tables",
            "\\dt",
            "quit",
            " exit ",
        ] {
            assert!(is_complete(complete), "{complete:?}");
        }
        for incomplete in [
            "SELECT 1",
            "SELECT ';",
            "SELECT ';'",
            "SELECT 1 -- ;",
            "SELECT 1 /* ; */",
            "SELECT 1; SELECT 2",
            "SELECT \";",
            "SELECT $$;",
            "SELECT $a$;$$;",
            "/* a ;",
            "quit now",
        ] {
            assert!(!is_complete(incomplete), "{incomplete:?}");
        }
    }
}

//! What types an option may have, and how each is written.
//!
//! Values come in as text from every source (TOML's numbers and booleans too), so a type is a parser, a printer and a
//! phrase that says what was expected.

use std::path::PathBuf;
use std::time::Duration;

use crate::byte_size::ByteSize;

/// A type that an option may have.
pub trait ConfigValue: Sized {
    /// What a value looks like, as it follows "expected" in an error: "a whole number".
    fn expected() -> String;

    /// Reads a value; `None` if the text is not one.
    fn parse(text: &str) -> Option<Self>;

    /// Writes a value so that it reads back the same.
    fn display(&self) -> String;
}

macro_rules! from_str_values {
    ($($type:ty => $expected:literal),+ $(,)?) => {$(
        impl ConfigValue for $type {
            fn expected() -> String {
                $expected.to_owned()
            }

            fn parse(text: &str) -> Option<Self> {
                text.trim().parse().ok()
            }

            fn display(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

from_str_values! {
    u16 => "a whole number from 0 to 65535",
    u32 => "a whole number that is not negative",
    u64 => "a whole number that is not negative",
    usize => "a whole number that is not negative",
    i32 => "a whole number",
    i64 => "a whole number",
    ByteSize => "a size such as '64 kb' or '8 GiB'",
}

impl ConfigValue for f64 {
    fn expected() -> String {
        "a number".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok().filter(|number: &Self| number.is_finite())
    }

    fn display(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        match text.trim().to_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    fn display(&self) -> String {
        self.to_string()
    }
}

impl ConfigValue for String {
    fn expected() -> String {
        "text".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn display(&self) -> String {
        self.clone()
    }
}

impl ConfigValue for PathBuf {
    fn expected() -> String {
        "a path".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty() && !text.contains('\0')).then(|| Self::from(text))
    }

    fn display(&self) -> String {
        self.as_path().display().to_string()
    }
}

impl ConfigValue for Duration {
    fn expected() -> String {
        "a time such as '100 ms', '30 s' or '1 min'".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        crate::duration::parse(text)
    }

    fn display(&self) -> String {
        crate::duration::display(*self)
    }
}

/// An option that need not have a value: empty text is `None`.
impl<T: ConfigValue> ConfigValue for Option<T> {
    fn expected() -> String {
        format!("{} or nothing", T::expected())
    }

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() { Some(None) } else { T::parse(text).map(Some) }
    }

    fn display(&self) -> String {
        self.as_ref().map_or_else(String::new, T::display)
    }
}

/// A list, written with semicolons as in Flink, or as an array in TOML. Items cannot contain a semicolon.
impl<T: ConfigValue> ConfigValue for Vec<T> {
    fn expected() -> String {
        format!("a list, separated by ';', of which each is {}", T::expected())
    }

    fn parse(text: &str) -> Option<Self> {
        text.split(';').filter(|item| !item.trim().is_empty()).map(|item| T::parse(item.trim())).collect()
    }

    fn display(&self) -> String {
        self.iter().map(T::display).collect::<Vec<_>>().join(";")
    }
}

/// Defines an enum whose variants are words in a configuration. Case does not matter, nor does `_` for `-`.
///
/// ```
/// flumen_config::config_enum! {
///     /// How bytes are packed.
///     pub enum Compression {
///         /// Not at all.
///         None = "none",
///         /// LZ4 blocks.
///         Lz4 = "lz4",
///     }
/// }
/// assert_eq!(flumen_config::ConfigValue::parse("LZ4"), Some(Compression::Lz4));
/// ```
#[macro_export]
macro_rules! config_enum {
    ($(#[$meta:meta])* $visibility:vis enum $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visibility enum $name {
            $($(#[$variant_meta])* $variant),+
        }

        impl $crate::ConfigValue for $name {
            fn expected() -> String {
                format!("one of {}", [$($word),+].join(", "))
            }

            fn parse(text: &str) -> Option<Self> {
                match text.trim().to_lowercase().replace('_', "-").as_str() {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            fn display(&self) -> String {
                match self {
                    $(Self::$variant => $word.to_owned()),+
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&$crate::ConfigValue::display(self))
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    config_enum! {
        /// Exchange kinds.
        enum Exchange {
            /// At once.
            Pipelined = "pipelined",
            /// Memory first.
            HybridFull = "hybrid-full",
        }
    }

    fn check<T: ConfigValue + PartialEq + std::fmt::Debug>(text: &str, expected: Option<T>) {
        assert_eq!(T::parse(text), expected, "{text:?}");
        if let Some(value) = expected {
            assert_eq!(T::parse(&value.display()), Some(value));
        }
    }

    #[test]
    fn each_type_reads_its_form_and_refuses_others() {
        check("7", Some(7_usize));
        check("-7", None::<usize>);
        check("65536", None::<u16>);
        check("-7", Some(-7_i64));
        check("1e3", None::<i64>);
        check("0.1", Some(0.1));
        check("NaN", None::<f64>);
        check("inf", None::<f64>);
        check("TRUE", Some(true));
        check("yes", None::<bool>);
        check("any thing", Some("any thing".to_owned()));
        check("/tmp/x", Some(PathBuf::from("/tmp/x")));
        check("", None::<PathBuf>);
        check("", Some(None::<PathBuf>));
        check("/x", Some(Some(PathBuf::from("/x"))));
        check("90 s", Some(Duration::from_secs(90)));
        check("1 mb", Some(ByteSize::from_mib(1)));
    }

    #[test]
    fn lists_and_enums() {
        check("a; b;c", Some(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]));
        check("", Some(Vec::<u32>::new()));
        check("1;x", None::<Vec<u32>>);
        check("HYBRID_FULL", Some(Exchange::HybridFull));
        check("pipelined", Some(Exchange::Pipelined));
        check("blocking", None::<Exchange>);
        assert_eq!(Exchange::expected(), "one of pipelined, hybrid-full");
        assert_eq!(Exchange::HybridFull.to_string(), "hybrid-full");
    }
}

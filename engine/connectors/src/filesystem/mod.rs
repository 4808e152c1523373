//! Files as tables: `'connector' = 'filesystem'`.
//!
//! | option | meaning |
//! |---|---|
//! | `path` | a file, a directory, or a pattern with `*`, `**`, `?`, `{a,b}`; for a sink a directory or a file |
//! | `format` | `parquet`, `csv` or `json`; by default told from the file's name, then from its first bytes |
//! | `csv.header` | whether the first line has the names of the columns; `true` by default |
//! | `csv.field-delimiter` | `,` by default |
//!
//! The source lists files and reads footers once, when the job starts; row groups that cannot match are never handed
//! out. Readers fetch one row group ahead of the one they decode.

mod listing;
mod options;
mod parquet_reader;
mod sink;
mod source;
mod split;
#[cfg(test)]
mod tests;
mod text_reader;

pub use sink::FileSink;
pub use source::FileSource;

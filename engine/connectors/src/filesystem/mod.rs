//! Files as tables: `'connector' = 'filesystem'`.
//!
//! | option | meaning |
//! |---|---|
//! | `path` | a file, a directory, or a pattern with `*`, `**`, `?`, `{a,b}`, `[a-z]`; several have a line each; for a sink a directory or a file |
//! | `format` | `parquet`, `csv`, `json`, `arrow` (an IPC file) or `arrows` (a stream); by default told from the file's name, then from its first bytes |
//! | `compression` | `gzip`, `zstd`, `bzip2`, `xz` or `none`; by default told from the file's name, then from its first bytes |
//! | `hive-partitioning` | whether directories named `key=value` give columns; `true` by default |
//! | `hive-types` | whether these columns have types other than VARCHAR; `true` by default |
//! | `filename` | whether there is a column `filename` with the path of each row's file; `false` by default |
//! | `sample-rows` | rows of each text file that types are told from, `-1` for all; 20480 by default |
//! | `csv.header` | whether the first line has the names of the columns; told from the file by default |
//! | `csv.field-delimiter` | told from the file by default, `,` where one is written |
//! | `csv.quote-character` | told from the file by default, `"` where one is written; nothing for none |
//! | `csv.escape-character` | stands before a quote inside of quotes; the quote by default |
//! | `csv.null-literal` | what stands for NULL besides nothing |
//! | `csv.ignore-parse-errors` | whether rows that do not fit are left out; `false` by default |
//! | `csv.all-varchar` | whether all columns are VARCHAR; `false` by default |
//!
//! The source lists files and reads footers once, when the job starts; files and row groups that cannot match are never
//! handed out. Readers fetch one row group ahead of the one they decode.
//!
//! | module | holds |
//! |---|---|
//! | [`listing`] | paths and patterns to files |
//! | [`hive`] | columns that come from paths |
//! | [`schema`] | the columns of all files together |
//! | [`source`], [`plan`], [`split`] | the connector, what a scan will read, and its parts |
//! | [`reader`], [`parquet_reader`], [`text_reader`], [`compression`] | reading |
//! | [`sink`] | writing |

mod compression;
#[cfg(test)]
mod directory_tests;
mod hive;
mod listing;
mod options;
mod parquet_reader;
mod plan;
mod reader;
mod schema;
mod sink;
mod source;
mod split;
#[cfg(test)]
mod tests;
mod text_reader;

pub use sink::FileSink;
pub use source::FileSource;

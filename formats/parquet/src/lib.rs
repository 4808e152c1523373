//! Parquet: row groups to batches, and batches to files.
//!
//! The scan interface is cut so that its inside may change without its users noticing: a file is opened once and its
//! footer shared ([`ParquetFile`]), row groups are left out by statistics ([`RowGroupPruner`]), the bytes of the
//! columns that are wanted are fetched in a few large reads ([`RowGroupPlan`], on a thread that may block), and decoded
//! into the engine's own carriers piece by piece ([`RowGroupReader`], on the task's worker). Columns that a filter is over
//! are decoded first and the rest only where rows are left ([`ScanFilter`]). Flat columns in the usual encodings are
//! decoded by our own code ([`decode`]), the others by the `parquet` crate beside it.
//!
//! Bytes come from outside. Lengths are checked against what is there before anything is allocated by them
//! ([`thrift`]), and whatever the library underneath panics about becomes an error that names file and row group.
//!
//! Cost: a fetched byte costs 0.13 ns (page cache), a decoded value 0.2 to 15 ns by encoding ([`decode`]); a row group
//! about 10 us of set-up, a batch under 1 us beyond its values.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@file`] | footers, and the cache of footers |
//! | [`schema`] | Parquet types to the engine's, and table columns to file columns |
//! | [`statistics`] | what footers say of columns |
//! | [`prune`] | row groups in which no row can match |
//! | [`fetch`], [`buffers`] | which bytes are needed, getting them, and into what |
//! | [`page_map`] | where pages lie, for row groups that are fetched in pieces |
//! | [`reader`] | bytes to batches |
//! | [`columns`] | filtered columns first, the rest where rows are left |
//! | [`decode`] | pages to arrays |
//! | [`filter`] | conditions that are applied while decoding |
//! | [`encoder`] | batches to files |
//! | [`thrift`] | lengths checked before the library trusts them |
//!
//! Source: apache/parquet-format (README.md, Compression.md, Encodings.md, src/main/thrift/parquet.thrift).

mod buffers;
mod columns;
mod decode;
pub mod encoder;
pub mod error;
pub mod fetch;
pub mod file;
pub mod filter;
pub mod page_map;
pub mod prune;
pub mod reader;
pub mod schema;
pub mod statistics;
pub mod thrift;

pub use buffers::FetchBuffers;
pub use encoder::{ParquetCompression, ParquetEncoder, ParquetOptions};
pub use error::ParquetError;
pub use fetch::{RowGroupChunks, RowGroupPlan};
pub use file::{FooterCache, ParquetFile};
pub use filter::ScanFilter;
pub use page_map::PageMap;
pub use prune::{Bounds, RowGroupPruner};
pub use reader::RowGroupReader;
pub use schema::ColumnBinding;

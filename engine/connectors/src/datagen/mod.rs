//! Rows made up by a function of their number: `'connector' = 'datagen'`.
//!
//! | option | meaning |
//! |---|---|
//! | `number-of-rows` | rows in all; without it, and without an `end`, the table never ends |
//! | `rows-per-second` | rows of all subtasks together in a second; without it as fast as they are taken |
//! | `seed` | what random values start from; 0 by default |
//! | `fields.<column>.kind` | `random` (default), `sequence` (default for timestamps), or `modulo` |
//! | `fields.<column>.start`, `.end` | of a sequence; with `end` it has `end - start + 1` rows |
//! | `fields.<column>.step-ms` | of a sequence of timestamps; 1 by default |
//! | `fields.<column>.modulo` | the `n` of kind `modulo` |
//! | `fields.<column>.min`, `.max` | of random numbers, both included (floating point: `max` excluded) |
//! | `fields.<column>.length` | characters of random text; 16 by default |
//! | `fields.<column>.null-rate` | share of NULLs, 0 to 1 |
//!
//! # The function
//!
//! All arithmetic is of 64-bit words that wrap. `row` counts from 0.
//!
//! ```text
//! mix(z):   z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
//!           z = (z ^ (z >> 27)) * 0x94d049bb133111eb
//!           z ^ (z >> 31)
//! fnv(s):   h = 0xcbf29ce484222325; for each byte b of s: h = (h ^ b) * 0x100000001b3
//! word(s, row) = mix(mix(seed ^ fnv(s)) + (row + 1) * 0x9e3779b97f4a7c15)
//!
//! number(row), by kind:
//!   sequence:  start + row                        modulo:  row mod n
//!   random:    min + (word(column, row) * (max - min + 1)) >> 64      (the product has 128 bits)
//! unit(s, row) = (word(s, row) >> 11) * 2^-53     in [0, 1)
//! ```
//!
//! A value is made of it by the column's type: integers and dates (days) are the number; decimals the number as a whole
//! (random: `min` and `max` are unscaled when written without a point); floating-point numbers the number (random:
//! `min + unit * (max - min)`); booleans whether the number is odd (random: of `word`); text the number in decimal
//! (random: `length` hexadecimal digits, lowest first, of `mix(word + 0)`, `mix(word + 1)`, ... sixteen of each);
//! timestamps `start + row * step-ms` milliseconds (modulo and random: the number of milliseconds). The value is NULL if
//! `unit(column + ".null", row) < null-rate`.
//!
//! # Splits
//!
//! Row numbers are dealt into a fixed number of splits, `row mod 60`; a reader with several reads them in the order of
//! row numbers. So all readers advance through event time together, whatever the parallelism, and rows within a reader
//! are never out of order, also after a restore with another parallelism.

mod field;
mod options;
mod reader;
mod split;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_core::failure::Failure;
use flumen_core::source::{
    Boundedness, ReaderContext, SourceConnector, SourceReader, SplitEnumerator, TableStatistics,
};
use flumen_core::spec::connector::SourceSpec;
use flumen_core::types::Schema;

use options::DatagenOptions;
use reader::DatagenReader;
use split::DatagenEnumerator;

/// Name of the connector.
const NAME: &str = "datagen";

/// Makes rows up.
#[derive(Clone, Copy, Debug, Default)]
pub struct DatagenSource;

impl SourceConnector for DatagenSource {
    fn name(&self) -> &'static str {
        NAME
    }

    fn validate(&self, options: &BTreeMap<String, String>, schema: &Schema) -> Result<Boundedness, Failure> {
        let options = DatagenOptions::read(options, schema)?;
        Ok(if options.rows.is_some() { Boundedness::Bounded } else { Boundedness::Unbounded })
    }

    fn infer_schema(&self, _options: &BTreeMap<String, String>) -> Result<Schema, Failure> {
        Err(Failure::user("a table with connector 'datagen' needs its columns written out"))
    }

    fn statistics(&self, spec: &SourceSpec) -> TableStatistics {
        let rows = DatagenOptions::read(&spec.options, &spec.table_schema).ok().and_then(|o| o.rows);
        TableStatistics { rows, ..TableStatistics::default() }
    }

    fn create_enumerator(
        &self,
        spec: &SourceSpec,
        parallelism: u32,
        state: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>, Failure> {
        DatagenOptions::read(&spec.options, &spec.table_schema)?;
        Ok(Box::new(DatagenEnumerator::new(parallelism, state)?))
    }

    fn create_reader(&self, spec: &SourceSpec, context: ReaderContext) -> Result<Box<dyn SourceReader>, Failure> {
        let options = DatagenOptions::read(&spec.options, &spec.table_schema)?;
        let fields = spec.projection.iter().map(|c| spec.table_schema.fields[*c].clone()).collect();
        let mut schema = Schema::new(fields);
        schema.event_time =
            spec.table_schema.event_time.and_then(|column| spec.projection.iter().position(|p| *p == column));
        Ok(Box::new(DatagenReader::new(&options, &spec.projection, Arc::new(schema), spec.limit, context)))
    }
}

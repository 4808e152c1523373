//! TPC-H: tables as Parquet files, and the texts of the queries.
//!
//! Tables come from the `tpchgen` generator, which makes the same rows as the specification's dbgen.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow, SupplierArrow,
};

/// Rows of a row group: about 16 MiB of `lineitem`.
const ROW_GROUP_ROWS: usize = 122_880;

/// The queries whose texts are here, with the validation parameters of the specification.
pub const QUERIES: [(u32, &str); 5] = [
    (1, include_str!("q1.sql")),
    (3, include_str!("q3.sql")),
    (6, include_str!("q6.sql")),
    (12, include_str!("q12.sql")),
    (18, include_str!("q18.sql")),
];

macro_rules! answers {
    ($scale:literal) => {
        [
            (1, include_str!(concat!("answers/sf", $scale, "-q1.csv"))),
            (3, include_str!(concat!("answers/sf", $scale, "-q3.csv"))),
            (6, include_str!(concat!("answers/sf", $scale, "-q6.csv"))),
            (12, include_str!(concat!("answers/sf", $scale, "-q12.csv"))),
            (18, include_str!(concat!("answers/sf", $scale, "-q18.csv"))),
        ]
    };
}

/// Answers at scale factors 0.1 and 1, from an independent engine (`golden.py` beside this file): comma-separated, with
/// a comment line that names the engine and a header line.
const ANSWERS: [(f64, [(u32, &str); 5]); 2] = [(0.1, answers!("0.1")), (1.0, answers!("1"))];

/// The golden answer of a query at a scale factor, if there is one: its rows, cell by cell.
#[must_use]
pub fn answer(query: u32, scale: f64) -> Option<Vec<Vec<&'static str>>> {
    let (_, answers) = ANSWERS.iter().find(|(s, _)| *s == scale)?;
    let (_, text) = answers.iter().find(|(q, _)| *q == query)?;
    Some(text.lines().skip(2).map(|line| line.split(',').collect()).collect())
}

/// Whether a result is the golden answer, in its order: numbers to a relative 1e-9 (the engine of the golden answers
/// gives averages as doubles), everything else to the letter.
///
/// # Errors
/// With the first difference.
pub fn check_answer(expected: &[Vec<&str>], rows: &[Vec<String>]) -> Result<(), String> {
    if expected.len() != rows.len() {
        return Err(format!("{} rows instead of {}", rows.len(), expected.len()));
    }
    for (index, (expected, row)) in expected.iter().zip(rows).enumerate() {
        let same = expected.len() == row.len() && expected.iter().zip(row).all(|(e, r)| same_value(e, r));
        if !same {
            return Err(format!("row {index} is {row:?} instead of {expected:?}"));
        }
    }
    Ok(())
}

fn same_value(expected: &str, value: &str) -> bool {
    if expected == value {
        return true;
    }
    match (expected.parse::<f64>(), value.parse::<f64>()) {
        // Averages of decimals carry six digits after the point.
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) + 5e-7,
        _ => false,
    }
}

/// The tables.
pub const TABLES: [&str; 8] = ["region", "nation", "supplier", "part", "partsupp", "customer", "orders", "lineitem"];

/// The text of a query with its tables replaced by the files in `directory`.
#[must_use]
pub fn query_over(text: &str, directory: &Path) -> String {
    let directory = directory.display().to_string().replace('\'', "''");
    // Table names stand alone on their lines in the texts.
    text.lines()
        .map(|line| {
            let name = line.trim().trim_end_matches(',');
            if TABLES.contains(&name) {
                line.replace(name, &format!("'{directory}/{name}.parquet' AS {name}"))
            } else {
                line.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Makes the eight tables in `directory`; the number of rows in all.
///
/// # Errors
/// If a file cannot be written.
pub fn generate(directory: &Path, scale: f64) -> anyhow::Result<usize> {
    let write = |name: &str, batches: &mut dyn Iterator<Item = Result<RecordBatch, ArrowError>>| {
        table(directory, name, batches)
    };
    let mut rows = 0;
    rows += write("region", &mut RegionArrow::new(RegionGenerator::new(scale, 1, 1)))?;
    rows += write("nation", &mut NationArrow::new(NationGenerator::new(scale, 1, 1)))?;
    rows += write("supplier", &mut SupplierArrow::new(SupplierGenerator::new(scale, 1, 1)))?;
    rows += write("part", &mut PartArrow::new(PartGenerator::new(scale, 1, 1)))?;
    rows += write("partsupp", &mut PartSuppArrow::new(PartSuppGenerator::new(scale, 1, 1)))?;
    rows += write("customer", &mut CustomerArrow::new(CustomerGenerator::new(scale, 1, 1)))?;
    rows += write("orders", &mut OrderArrow::new(OrderGenerator::new(scale, 1, 1)))?;
    rows += write("lineitem", &mut LineItemArrow::new(LineItemGenerator::new(scale, 1, 1)))?;
    Ok(rows)
}

fn table(
    directory: &Path,
    name: &str,
    batches: &mut dyn Iterator<Item = Result<RecordBatch, ArrowError>>,
) -> anyhow::Result<usize> {
    let path = directory.join(format!("{name}.parquet"));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let mut batches = batches.peekable();
    let schema = match batches.peek() {
        Some(Ok(batch)) => batch.schema(),
        _ => anyhow::bail!("table {name} has no rows at this scale factor"),
    };
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))?;
    let mut rows = 0;
    for batch in batches {
        let batch = batch?;
        rows += batch.num_rows();
        writer.write(&batch)?;
    }
    writer.close()?;
    Ok(rows)
}

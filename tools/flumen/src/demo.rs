//! `flumen demo`: what the engine does, shown on data it makes itself.
//!
//! First TPC-H queries over Parquet files, with their plans. Then a keyed windowed sum over an unbounded stream: the demo
//! runs it in a second process, kills that process with SIGKILL while it runs, resumes it from its latest checkpoint, and
//! checks every window of the output against its closed form.

mod queries;
mod stream;

use std::io::Write;

use anyhow::Context;

use crate::arguments::DemoArguments;

/// Runs the demo.
pub(crate) fn demo(arguments: &DemoArguments) -> anyhow::Result<u8> {
    let temporary;
    let directory = match &arguments.dir {
        Some(directory) => {
            std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
            directory.as_path()
        }
        None => {
            temporary = tempfile::tempdir()?;
            temporary.path()
        }
    };
    let mut out = std::io::stdout();
    writeln!(out, "1. TPC-H data at scale factor {}", arguments.scale)?;
    let rows = flumen::tpch::generate(directory, arguments.scale)?;
    writeln!(out, "   {rows} rows in 8 Parquet files in {}", directory.display())?;
    writeln!(out, "\n2. SQL over the files, through the whole engine")?;
    queries::run(directory, &arguments.settings, &mut out)?;
    writeln!(out, "\n3. A stream that is killed and resumes")?;
    stream::run(directory, &mut out)?;
    writeln!(
        out,
        "\nTry next:\n  flumen -c \"FROM 'your.parquet' LIMIT 10\"\n  flumen -c \"EXPLAIN SELECT ...\"\n  flumen config        all settings\n  flumen demo --dir DIR   keeps this data"
    )?;
    Ok(0)
}

//! The queries of the demo.

use std::io::Write;
use std::path::Path;

use flumen_cluster::{Outcome, Polled, Session};

use crate::arguments::Settings;
use crate::output::{Format, Layout, ResultWriter};
use crate::run::configuration;
use crate::terminal::{ColorChoice, Terminal};

/// Title and text; `{dir}` is the data's directory.
const QUERIES: [(&str, &str); 3] = [
    (
        "Pricing summary (TPC-H query 1)",
        "SELECT l_returnflag, l_linestatus, sum(l_quantity) AS sum_qty, sum(l_extendedprice) AS sum_base_price,\n       sum(l_extendedprice * (1 - l_discount)) AS sum_disc_price, avg(l_discount) AS avg_disc, count(*) AS orders\nFROM '{dir}/lineitem.parquet'\nWHERE l_shipdate <= date '1998-12-01' - interval '90' day\nGROUP BY l_returnflag, l_linestatus ORDER BY l_returnflag, l_linestatus",
    ),
    (
        "Shipping priority (TPC-H query 3)",
        "SELECT l_orderkey, sum(l_extendedprice * (1 - l_discount)) AS revenue, o_orderdate, o_shippriority\nFROM '{dir}/customer.parquet', '{dir}/orders.parquet', '{dir}/lineitem.parquet'\nWHERE c_mktsegment = 'BUILDING' AND c_custkey = o_custkey AND l_orderkey = o_orderkey\n  AND o_orderdate < date '1995-03-15' AND l_shipdate > date '1995-03-15'\nGROUP BY l_orderkey, o_orderdate, o_shippriority ORDER BY revenue DESC, o_orderdate LIMIT 10",
    ),
    (
        "Revenue change (TPC-H query 6)",
        "SELECT sum(l_extendedprice * l_discount) AS revenue\nFROM '{dir}/lineitem.parquet'\nWHERE l_shipdate >= date '1994-01-01' AND l_shipdate < date '1995-01-01'\n  AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24",
    ),
];

/// Plans and runs each query.
pub(crate) fn run(directory: &Path, settings: &Settings, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut session = Session::open(configuration(settings)?)?;
    let directory = directory.display().to_string().replace('\'', "''");
    for (title, text) in QUERIES {
        let text = text.replace("{dir}", &directory);
        writeln!(out, "\n-- {title}\n{text};\n")?;
        one(&mut session, &format!("EXPLAIN {text}"), out)?;
        one(&mut session, &text, out)?;
    }
    Ok(())
}

fn one(session: &mut Session, text: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    for statement in session.parse(text)? {
        match session.execute(&statement)? {
            Outcome::Text(text) => writeln!(out, "{text}")?,
            Outcome::Rows(mut rows) => {
                let layout = Layout::new(&Terminal::of_output(ColorChoice::Auto), None, None);
                let mut writer = ResultWriter::new(Format::Box, rows.schema(), layout);
                loop {
                    match rows.next_within(std::time::Duration::from_secs(1))? {
                        Polled::Batch(batch) => writer.write(&batch, out)?,
                        Polled::Waiting => {}
                        Polled::End => break,
                    }
                }
                let read = rows.progress().rows_read;
                writer.finish(out)?;
                writeln!(out, "{read} rows read, planned in {:.1} ms", rows.plan_time().as_secs_f64() * 1e3)?;
            }
            _ => {}
        }
    }
    Ok(())
}

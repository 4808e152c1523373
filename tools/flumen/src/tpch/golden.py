#!/usr/bin/env python3
"""Writes the golden answers answers/sf*-q*.csv, from an engine that is not Flumen.

    pip install duckdb tpchgen-cli
    python3 golden.py

The data are the tables of `tpchgen-cli` at scale factors 0.1 and 1, the same generator that tests and benchmarks call as
a library; the engine is DuckDB. Each file begins with the versions used. No answer may be empty.
"""

import importlib.metadata
import pathlib
import subprocess
import sys
import tempfile

import duckdb

SCALES = ["0.1", "1"]
TABLES = ["customer", "orders", "lineitem"]
HERE = pathlib.Path(__file__).parent


def main(scale):
    with tempfile.TemporaryDirectory() as data:
        generator = pathlib.Path(sys.executable).with_name("tpchgen-cli")
        subprocess.run([generator, "parquet", "-s", scale, "--output-dir", data], check=True)
        engine = duckdb.connect()
        for table in TABLES:
            engine.execute(f"create view {table} as from '{data}/{table}.parquet'")
        for query in [1, 3, 6, 12, 18]:
            result = engine.execute((HERE / f"q{query}.sql").read_text())
            rows = result.fetchall()
            assert rows, f"query {query} has no answer at scale factor {scale}"
            with (HERE / "answers" / f"sf{scale}-q{query}.csv").open("w") as out:
                print(f"# DuckDB {duckdb.__version__}, tpchgen-cli {importlib.metadata.version('tpchgen-cli')},", end=" ", file=out)
                print(f"scale factor {scale}: python3 golden.py", file=out)
                print(",".join(column[0] for column in result.description), file=out)
                for row in rows:
                    print(",".join(str(value) for value in row), file=out)


for scale in SCALES:
    main(scale)

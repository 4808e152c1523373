#!/usr/bin/env python3
"""Writes the golden answers answers/sf*-q*.csv, from an engine that is not Flumen.

    pip install duckdb tpchgen-cli
    python3 golden.py [scale factor...]

The data are the tables of `tpchgen-cli`, the same generator that tests and benchmarks call as a library; the engine is
DuckDB. Each file begins with the versions used. Text with a comma is in quotes. No answer may be empty or all NULL.
"""

import importlib.metadata
import pathlib
import subprocess
import sys
import tempfile

import duckdb

ALL = range(1, 23)
# At the largest scale one answer alone would be longer than all others.
QUERIES = {"0.01": ALL, "0.1": [1, 3, 6, 9, 12, 13, 18, 21], "1": [query for query in ALL if query != 16]}
HERE = pathlib.Path(__file__).parent


def cell(value):
    text = str(value)
    assert '"' not in text
    return f'"{text}"' if "," in text else text


def main(scale):
    with tempfile.TemporaryDirectory() as data:
        generator = pathlib.Path(sys.executable).with_name("tpchgen-cli")
        subprocess.run([generator, "parquet", "-s", scale, "--output-dir", data], check=True)
        engine = duckdb.connect()
        for table in pathlib.Path(data).glob("*.parquet"):
            engine.execute(f"create view {table.stem} as from '{table}'")
        for query in QUERIES[scale]:
            result = engine.execute((HERE / f"q{query}.sql").read_text())
            rows = result.fetchall()
            says = any(value is not None for row in rows for value in row)
            assert says, f"query {query} has no answer at scale factor {scale}"
            with (HERE / "answers" / f"sf{scale}-q{query}.csv").open("w") as out:
                print(f"# DuckDB {duckdb.__version__}, tpchgen-cli {importlib.metadata.version('tpchgen-cli')},", end=" ", file=out)
                print(f"scale factor {scale}: python3 golden.py", file=out)
                print(",".join(column[0] for column in result.description), file=out)
                for row in rows:
                    print(",".join(cell(value) for value in row), file=out)


for scale in sys.argv[1:] or QUERIES:
    main(scale)

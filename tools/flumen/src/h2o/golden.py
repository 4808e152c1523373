#!/usr/bin/env python3
"""Writes the golden answers answers/*.json, from an engine that is not Flumen.

    pip install duckdb
    python3 golden.py --flumen target/debug/flumen [1e5 1e6 1e7]

The data are the tables that `flumen bench h2o --generate-only` makes; the engine is DuckDB. An answer is what its rows sum
up to (`answers.rs` says how); sums of doubles are exact to the last digits (fsum).
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import duckdb

HERE = pathlib.Path(__file__).parent


def number(name, kind):
    """A column as a number."""
    if kind == "VARCHAR":
        return f"CAST(substr({name}, 3) AS HUGEINT)"
    # The correlation of values that are all the same is NULL in Flumen, as the standard and PostgreSQL have it.
    return f"nullif({name}, 'nan')" if kind == "DOUBLE" else f"CAST({name} AS HUGEINT)"


def total(expression, is_double):
    return f"CAST(coalesce({'fsum' if is_double else 'sum'}({expression}), 0) AS VARCHAR)"


def sums(engine, question):
    columns = [(f'"{name}"', kind) for name, kind, *_ in engine.execute(f"DESCRIBE {question}").fetchall()]
    wanted = ["count(*)"] + [f"count({number(*column)})" for column in columns]
    wanted += [total(number(*column), column[1] == "DOUBLE") for column in columns]
    for left, right in zip(columns, columns[1:]):
        is_double = "DOUBLE" in (left[1], right[1])
        wanted.append(total(f"{number(*left)} * {number(*right)}", is_double))
    row = list(engine.execute(f"SELECT {', '.join(wanted)} FROM ({question})").fetchone())
    count = len(columns)
    assert row[0] > 0
    return {
        "rows": row[0],
        "values": row[1 : 1 + count],
        "sums": row[1 + count : 1 + 2 * count],
        "products": row[1 + 2 * count :],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flumen", default="target/debug/flumen")
    parser.add_argument("--data", help="where tables are kept, in a directory for each size")
    parser.add_argument("sizes", nargs="*", default=["1e5", "1e6", "1e7"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for size in arguments.sizes:
            directory = pathlib.Path(arguments.data or temporary) / size
            command = [arguments.flumen, "bench", "h2o", "--rows", size, "--dir", directory]
            subprocess.run([*command, "--generate-only"], check=True)
            texts = subprocess.run([*command, "--print"], check=True, capture_output=True, text=True).stdout
            engine = duckdb.connect()
            answers = {name: sums(engine, text) for name, text in map(json.loads, texts.splitlines())}
            about = f"DuckDB {duckdb.__version__}: python3 golden.py {size}"
            written = json.dumps({"about": about, "answers": answers}, indent=1)
            (HERE / "answers" / f"{size}.json").write_text(written + "\n")


main()

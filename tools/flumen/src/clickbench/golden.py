#!/usr/bin/env python3
"""Writes the golden answers answers/*.json, from an engine that is not Flumen.

    pip install duckdb
    python3 golden.py --flumen target/debug/flumen [1e5]

The data is the table that `flumen bench clickbench --generate-only` makes; the engine is DuckDB. Orders that the suite
takes for total are checked to be so.
"""

import argparse
import datetime
import json
import pathlib
import subprocess
import tempfile

import duckdb

HERE = pathlib.Path(__file__).parent
# Ordered by a time that is not shown: the first eleven have to differ in it.
BY_TIME = {"q24": "SELECT EventTime FROM {} WHERE SearchPhrase <> '' ORDER BY EventTime LIMIT 11"}


def cell(value):
    assert value is not None
    return value.isoformat() if isinstance(value, (datetime.date, datetime.datetime)) else str(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flumen", default="target/debug/flumen")
    parser.add_argument("--data", help="where tables are kept, in a directory for each size")
    parser.add_argument("sizes", nargs="*", default=["1e5"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for size in arguments.sizes:
            directory = pathlib.Path(arguments.data or temporary) / size
            command = [arguments.flumen, "bench", "clickbench", "--rows", size, "--dir", directory]
            subprocess.run([*command, "--generate-only"], check=True)
            texts = subprocess.run([*command, "--print"], check=True, capture_output=True, text=True).stdout
            engine = duckdb.connect()
            answers = {}
            for name, text in map(json.loads, texts.splitlines()):
                answers[name] = [list(map(cell, row)) for row in engine.execute(text).fetchall()]
                assert answers[name], f"{name} has no rows"
                if name in BY_TIME:
                    times = engine.execute(BY_TIME[name].format(f"'{directory}/hits.parquet'")).fetchall()
                    assert len(set(times)) == len(times), f"{name} has equal rows"
            rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(rows, ensure_ascii=False)}" for name, rows in answers.items())
            about = json.dumps(f"DuckDB {duckdb.__version__}: python3 golden.py {size}")
            written = f'{{\n "about": {about},\n "answers": {{\n{rows}\n }}\n}}\n'
            (HERE / "answers" / f"{size}.json").write_text(written)


main()

#!/usr/bin/env python3
"""Writes the expected rows behind each query of the *.txt files here, from an engine that is not Flumen.

    pip install duckdb
    python3 expected.py

A case is a query, a line of four dashes, and its rows: cells separated by bars, NULL as NULL, rows sorted as text. Cases
are separated by empty lines; lines that begin with # are comments. A query that DuckDB cannot answer stops this.
"""

import pathlib

import duckdb

HERE = pathlib.Path(__file__).parent
TABLES = {
    "l": "k INTEGER, g VARCHAR, v INTEGER, d DECIMAL(8, 2)",
    "r": "k INTEGER, g VARCHAR, w BIGINT",
    "n": "k INTEGER NOT NULL, v INTEGER NOT NULL",
    "e": "k INTEGER, v INTEGER",
}

engine = duckdb.connect()
for name, columns in TABLES.items():
    engine.execute(f"create table {name} ({columns})")
    for part in sorted((HERE / "tables" / name).iterdir()):
        engine.execute(f"copy {name} from '{part}' (header, nullstr '')")


def cell(value):
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def rows(query):
    return sorted("|".join(map(cell, row)) for row in engine.execute(query).fetchall())


for path in sorted(HERE.glob("*.txt")):
    cases = []
    for case in path.read_text().strip().split("\n\n"):
        if not case.startswith("#"):
            query = case.split("\n----")[0]
            case = "\n".join([query, "----", *rows(query)])
        cases.append(case)
    path.write_text("\n\n".join(cases) + "\n")

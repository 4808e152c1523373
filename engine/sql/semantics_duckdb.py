#!/usr/bin/env python3
"""Asks DuckDB the questions of semantics.toml, so that what is expected there is not only our own word.

    pip install duckdb && python engine/sql/semantics_duckdb.py

A row says what DuckDB does: `same` (its answer is the expected one, or an error where one is expected), `differs` (it
gives `duckdb_gives`), or `none` (it cannot be asked). The script fails if a row says otherwise, so a later DuckDB that
changes its mind is noticed. Where DuckDB differs by our choice, `duckdb_note` says who else chooses as we do.
"""

import datetime
import decimal
import math
import pathlib
import re
import sys
import tempfile
import tomllib

import duckdb


def cell(value):
    """A value as semantics.toml writes it."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case float():
            if math.isnan(value):
                return "NaN"
            if math.isinf(value):
                return "Infinity" if value > 0 else "-Infinity"
            return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
        case datetime.datetime():
            digits = "milliseconds" if value.microsecond % 1000 == 0 else "microseconds"
            return value.isoformat(timespec=digits if value.microsecond else "seconds")
        case datetime.date():
            return value.isoformat()
        case decimal.Decimal():
            return f"{value:f}"
        case _:
            return str(value)


def unfolded(text, directory):
    text = re.sub(r"<<(.*?)\*(\d+)>>", lambda m: m.group(1) * int(m.group(2)), text, flags=re.S)
    return text.replace("{dir}", str(directory))


def asked(choice, directory):
    """The rows, or the error, that DuckDB gives."""
    for name, text in choice.get("files", {}).items():
        (directory / name).write_text(text)
    connection = duckdb.connect()
    statements = choice.get("duckdb_setup", []) + [choice.get("duckdb_sql", choice["sql"])]
    try:
        for statement in statements:
            result = connection.execute(unfolded(statement, directory))
        return [" ".join(map(cell, row)) for row in result.fetchall()], None
    except duckdb.Error as error:
        return None, str(error).splitlines()[0]


def verdict(choice, directory):
    """What is wrong with a row; nothing if it is right."""
    kind = choice.get("duckdb")
    if kind == "none":
        return None if choice.get("duckdb_note") else "duckdb_note has to say why DuckDB cannot be asked"
    rows, error = asked(choice, directory)
    ordered = "ORDER BY" in choice["sql"]
    same = lambda expected: rows is not None and (rows == expected if ordered else sorted(rows) == sorted(expected))
    found = error if rows is None else rows
    agrees = same(choice["expected"]) if "expected" in choice else error is not None
    match kind:
        case "same":
            return None if agrees else f"DuckDB does not agree: {found}"
        case "differs":
            gives = choice["duckdb_gives"]
            if not choice.get("duckdb_note"):
                return "duckdb_note has to say why"
            given = same(gives) if rows is not None else error.startswith(gives[0])
            return None if given and not agrees else f"DuckDB gives something else: {found}"
        case _:
            return f"duckdb = {kind!r} is none of same, differs, none"


def main():
    page = tomllib.loads((pathlib.Path(__file__).parent / "semantics.toml").read_text())
    counts, wrong = {}, 0
    for choice in page["choice"]:
        with tempfile.TemporaryDirectory() as directory:
            problem = verdict(choice, pathlib.Path(directory))
        counts[choice.get("duckdb")] = counts.get(choice.get("duckdb"), 0) + 1
        if problem:
            wrong += 1
            print(f"{choice['id']}: {problem}")
    print(f"DuckDB {duckdb.__version__}:", ", ".join(f"{n} {kind}" for kind, n in counts.items()))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

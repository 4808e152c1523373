#!/usr/bin/env python3
"""Writes the expected rows of cases/*.slt from DuckDB, told to do as SEMANTICS.md where it can be told.

    pip install duckdb
    python3 tests/sql/expected.py          # rewrites the rows; then read the difference
    python3 tests/sql/expected.py --check  # fails if DuckDB gives others

A record after `skipif duckdb` is not asked: its rows come from where its comment says. A record that has to be an error has
to be one in DuckDB, too; what it says may be something else.
"""

import datetime
import decimal
import os
import pathlib
import sys
import tempfile

import duckdb

HERE = pathlib.Path(__file__).parent


def cell(value):
    match value:
        case None:
            return "NULL"
        case "":
            return "(empty)"
        case bool():
            return str(value).lower()
        case datetime.datetime():
            digits = "milliseconds" if value.microsecond % 1000 == 0 else "microseconds"
            return value.isoformat(" ", timespec=digits if value.microsecond else "seconds")
        case datetime.date():
            return value.isoformat()
        case decimal.Decimal():
            return f"{value:f}"
        case _:
            return str(value)


class File:
    """A file of records, asked in order."""

    def __init__(self, path, directory):
        self.path, self.directory = path, directory
        self.engine = duckdb.connect()
        self.engine.execute("SET integer_division = true")
        self.engine.execute("SET default_null_order = 'NULLS_LAST_ON_ASC_FIRST_ON_DESC'")
        self.problems = []

    def ask(self, text):
        return self.engine.execute(text.replace("{tmp}", self.directory)).fetchall()

    def record(self, lines):
        """The lines of a record with DuckDB's rows."""
        head = next((i for i, l in enumerate(lines) if l.startswith(("statement", "query"))), None)
        if head is None or any(line.startswith("skipif duckdb") for line in lines[:head]):
            return lines
        end = lines.index("----") if "----" in lines else len(lines)
        text = "\n".join(lines[head + 1 : end])
        try:
            rows = self.ask(text)
        except duckdb.Error as error:
            if not lines[head].startswith("statement error"):
                self.problems.append(f"{text}\n  {str(error).splitlines()[0]}")
            return lines
        if lines[head].startswith("statement error"):
            self.problems.append(f"{text}\n  is no error in DuckDB: {rows}")
        if not lines[head].startswith("query"):
            return lines
        rows = ["\t".join(map(cell, row)) for row in rows]
        if lines[head].endswith(" rowsort"):
            rows.sort()
        return [*lines[:end], "----", *rows]

    def rewritten(self):
        records = self.path.read_text().rstrip("\n").split("\n\n")
        return "\n\n".join("\n".join(self.record(record.split("\n"))) for record in records) + "\n"


def main():
    os.chdir(HERE)
    bad = False
    for path in sorted(HERE.glob("cases/*.slt")):
        with tempfile.TemporaryDirectory() as directory:
            file = File(path, directory)
            text = file.rewritten()
        for problem in file.problems:
            bad = True
            print(f"{path.name}: {problem}")
        if "--check" in sys.argv:
            if text != path.read_text():
                bad = True
                print(f"{path.name}: DuckDB gives other rows")
        else:
            path.write_text(text)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

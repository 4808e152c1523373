#!/usr/bin/env python3
"""Asks DuckDB the queries of window_functions.toml, so that what is expected there is an independent engine's answer.

    pip install duckdb && python tests/engine/tests/it/window_functions.py [--write]

It fails if DuckDB answers otherwise; with --write the answers are put into the file. Types are those of the file's table;
NULLs are largest, as everywhere here.
"""

import importlib.util
import pathlib
import sys
import tomllib

import duckdb

HERE = pathlib.Path(__file__).parent
FILE = HERE / "window_functions.toml"
SEMANTICS = HERE.parents[3] / "engine" / "sql" / "semantics_duckdb.py"


def cell_writer():
    """The function of another script that writes a value as our tests do."""
    spec = importlib.util.spec_from_file_location("semantics_duckdb", SEMANTICS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.cell


def main():
    cell = cell_writer()
    page = tomllib.loads(FILE.read_text())
    connection = duckdb.connect()
    connection.execute("SET default_null_order = 'NULLS_LAST_ON_ASC_FIRST_ON_DESC'")
    connection.execute("SET integer_division = true")
    connection.execute(f"CREATE TABLE t ({page['columns']})")
    for row in page["rows"].strip().splitlines():
        values = [None if value == "" else value for value in row.split(",")]
        connection.execute(f"INSERT INTO t VALUES ({', '.join('?' for _ in values)})", values)
    wrong = 0
    queries = []
    for query in page["query"]:
        rows = connection.execute(query["sql"]).fetchall()
        lines = [" ".join(cell(value) for value in row) for row in rows]
        if not query["sql"].endswith(("LIMIT 7",)):
            lines.sort()
        if lines != query.get("expected"):
            wrong += 1
            print(f"{query['sql']}\n  DuckDB gives {lines}\n  the file says {query.get('expected')}")
        queries.append((query["sql"], lines))
    if "--write" in sys.argv:
        head = FILE.read_text().split("[[query]]")[0]
        quoted = lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        parts = [head]
        for sql, lines in queries:
            body = "".join(f"  {quoted(line)},\n" for line in lines)
            parts.append(f"[[query]]\nsql = {quoted(sql)}\nexpected = [\n{body}]\n\n")
        FILE.write_text("".join(parts).rstrip() + "\n")
    elif wrong:
        sys.exit(f"{wrong} of {len(queries)} queries have other answers")


if __name__ == "__main__":
    main()

"""The tables that queries are about: NULLs, duplicates, skew, an empty one, and one of several row groups.

They depend on nothing but this file, so a query's seed and number say all. DuckDB writes them as Parquet, each in one or
more files, from which both engines read.
"""

import datetime
import decimal
import random
from dataclasses import dataclass

WORDS = ["", "a", "b", "ab", "Ab", "abc", "a b", " b", "b ", "a%c", "a_c", "é", "Éa", "日本", "zz", "a,b,c", "10", "-3"]


@dataclass(frozen=True)
class Table:
    name: str
    columns: dict  # name: (SQL type, type of the grammar, digits after the point)
    rows: int
    files: int


TABLES = [
    Table("item", {
        "id": ("INTEGER", "int", 0),
        "k": ("INTEGER", "int", 0),
        "v": ("INTEGER", "int", 0),
        "q": ("BIGINT", "int", 0),
        "p": ("DECIMAL(9, 2)", "dec", 2),
        "f": ("DOUBLE", "dbl", 0),
        "s": ("VARCHAR", "str", 0),
        "d": ("DATE", "date", 0),
        "t": ("TIMESTAMP", "ts", 0),
        "b": ("BOOLEAN", "bool", 0),
    }, rows=120, files=4),
    Table("part", {
        "id": ("INTEGER", "int", 0),
        "k": ("BIGINT", "int", 0),
        "h": ("SMALLINT", "int", 0),
        "x": ("DECIMAL(12, 4)", "dec", 4),
        "s": ("VARCHAR", "str", 0),
        "d": ("DATE", "date", 0),
        "b": ("BOOLEAN", "bool", 0),
    }, rows=60, files=2),
    Table("few", {
        "id": ("INTEGER", "int", 0),
        "k": ("INTEGER", "int", 0),
        "v": ("INTEGER", "int", 0),
        "s": ("VARCHAR", "str", 0),
        "t": ("TIMESTAMP", "ts", 0),
    }, rows=15, files=1),
    Table("nil", {
        "id": ("INTEGER", "int", 0),
        "k": ("INTEGER", "int", 0),
        "p": ("DECIMAL(9, 2)", "dec", 2),
        "s": ("VARCHAR", "str", 0),
    }, rows=0, files=1),
    Table("fact", {
        "id": ("INTEGER", "int", 0),
        "k": ("INTEGER", "int", 0),
        "j": ("BIGINT", "int", 0),
        "p": ("DECIMAL(15, 2)", "dec", 2),
        "f": ("DOUBLE", "dbl", 0),
        "s": ("VARCHAR", "str", 0),
        "d": ("DATE", "date", 0),
        "t": ("TIMESTAMP", "ts", 0),
    }, rows=5000, files=3),
]  # fmt: skip


def value(random, name, sql, row):
    """A value; one in nine is NULL but in `id`, and small numbers are frequent."""
    if name == "id":
        return row
    if random.random() < 0.11:
        return None
    match sql:
        case "BOOLEAN":
            return random.random() < 0.4
        case "VARCHAR":
            return random.choice(WORDS)
        case "DOUBLE":
            # Quarters, so that sums are exact in any order.
            return random.choice([-0.0, 0.0, 0.25, -1.5, 2.5, 3.5, 1e6, random.randrange(-400, 400) / 4])
        case "DATE":
            return datetime.date(1969, 12, 25) + datetime.timedelta(days=random.choice([0, 7, 8, 9, 37, 19782, 19783]))
        case "TIMESTAMP":
            days, seconds = random.choice([0, 6, 7, 19782, 19783]), random.choice([0, 1, 3600, 43200, 86399])
            return datetime.datetime(1969, 12, 25) + datetime.timedelta(
                days=days, seconds=seconds, microseconds=random.choice([0, 0, 500000, 123456])
            )
    if sql.startswith("DECIMAL"):
        digits = int(sql[-2])
        near = [0, 1, -1, 150, 12345, random.randrange(-99999, 99999)]
        return decimal.Decimal(random.choice(near)).scaleb(-digits)
    if name == "k":
        # Half of the rows have one key.
        return 3 if random.random() < 0.4 else random.randrange(0, 12)
    if sql == "BIGINT":
        return random.choice([0, 1, 7, -7, random.randrange(-1000, 1000), 3_000_000_000])
    return random.choice([0, 1, 2, -1, random.randrange(-20, 60)])


def make(connection, directory):
    """Writes all tables below the directory, as `name/0.parquet` and so on."""
    draw = random.Random("tables")
    for table in TABLES:
        columns = ", ".join(f"{name} {sql}" for name, (sql, *_) in table.columns.items())
        connection.execute(f"CREATE OR REPLACE TEMP TABLE made ({columns})")
        rows = [[value(draw, n, sql, row) for n, (sql, *_) in table.columns.items()] for row in range(table.rows)]
        if rows:
            marks = ", ".join("?" * len(table.columns))
            connection.executemany(f"INSERT INTO made VALUES ({marks})", rows)
        (directory / table.name).mkdir(parents=True)
        for part in range(table.files):
            path = directory / table.name / f"{part}.parquet"
            chosen = f"SELECT * FROM made WHERE id % {table.files} = {part} ORDER BY id"
            connection.execute(f"COPY ({chosen}) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE 2048)")
    connection.execute("DROP TABLE made")


def views(directory):
    """Statements, good in both engines, that give the tables their names."""
    return [f"CREATE VIEW {t.name} AS SELECT * FROM '{directory}/{t.name}/*.parquet'" for t in TABLES]

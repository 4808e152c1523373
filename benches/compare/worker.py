#!/usr/bin/env python3
"""One engine in one process, answering queries: a JSON string a line on stdin, a JSON object a line on stdout.

    python3 worker.py ENGINE THREADS DIRECTORY

The first line of output names the version. An answer is {"wall_s", "cpu_s", "rows"}; both times run from the text to the
last row in this process, CPU time is user and system time of the whole process by the clock that Flumen reads for itself
(CLOCK_PROCESS_CPUTIME_ID). Rows are turned into text after the clocks have stopped. `flumen bench queries` is the same
thing for Flumen.

Settings: every engine reads the same Parquet files on each run, with as many threads as it is told and its defaults
otherwise. Polars runs SQL on its streaming engine, the faster one here.
"""

import json
import os
import sys
import time


def duckdb(threads, tables):
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"set threads = {threads}")
    for name, path in tables.items():
        connection.execute(f"create view {name} as from read_parquet('{path}')")

    def run(sql):
        return connection.execute(sql).fetchall()

    return duckdb.__version__, run, lambda rows: rows


def polars(threads, tables):
    os.environ["POLARS_MAX_THREADS"] = str(threads)
    import polars

    context = polars.SQLContext({name: polars.scan_parquet(path) for name, path in tables.items()})

    def run(sql):
        return context.execute(sql, eager=False).collect(engine="streaming")

    return polars.__version__, run, lambda frame: frame.rows()


def datafusion(threads, tables):
    import datafusion

    context = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(threads))
    for name, path in tables.items():
        context.register_parquet(name, path)

    def run(sql):
        return context.sql(sql).collect()

    def rows(batches):
        return [row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns))]

    return datafusion.__version__, run, rows


def main():
    engine, threads, directory = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    # Whatever an engine prints goes to stderr.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    names = [name.removesuffix(".parquet") for name in os.listdir(directory) if name.endswith(".parquet")]
    tables = {name: os.path.join(directory, name + ".parquet") for name in names}
    version, run, rows = {"duckdb": duckdb, "polars": polars, "datafusion": datafusion}[engine](threads, tables)

    def say(message):
        out.write(json.dumps(message, default=str) + "\n")
        out.flush()

    say({"version": version})
    for line in sys.stdin:
        sql = json.loads(line)
        wall, cpu = time.perf_counter(), time.process_time()
        result = run(sql)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        say({"wall_s": wall, "cpu_s": cpu, "rows": [[str(cell) for cell in row] for row in rows(result)]})
    out.flush()
    os._exit(0)


main()

#!/usr/bin/env python3
"""A suite of `flumen bench` beside DuckDB: same texts, same files, one session.

    python3 benches/compare/suite.py h2o --rows 1e7 --flumen target/debug/flumen [--threads 1] [--queries g1,j5]

needs `pip install duckdb pyarrow`. For each query DuckDB runs first, then Flumen, then DuckDB again, each of them once
without being counted and --runs times counted; DuckDB has the lesser of its two medians. Both give their rows as Arrow
batches, which are taken and dropped. Flumen's answers are checked by the suite itself. CPU time is user and system time of
the process.
"""

import argparse
import json
import resource
import statistics
import subprocess
import time

import duckdb


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def of_duckdb(engine, text, runs):
    """Medians of wall and CPU seconds."""
    walls, cpus = [], []
    for _ in range(runs + 1):
        wall, busy = time.perf_counter(), cpu()
        for _ in engine.sql(text).to_arrow_reader(122_880):
            pass
        walls.append(time.perf_counter() - wall)
        cpus.append(cpu() - busy)
    return statistics.median(walls[1:]), statistics.median(cpus[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", choices=["h2o", "clickbench"])
    parser.add_argument("--rows", default="1e7")
    parser.add_argument("--flumen", default="target/debug/flumen")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--queries", default="")
    parser.add_argument("--dir", help="directory of the tables")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for Flumen")
    arguments = parser.parse_args()
    command = [arguments.flumen, "bench", arguments.suite, "--rows", arguments.rows]
    command += ["--dir", arguments.dir] if arguments.dir else []
    subprocess.run([*command, "--generate-only"], check=True)
    chosen = ["--queries", arguments.queries] if arguments.queries else []
    texts = subprocess.run([*command, *chosen, "--print"], check=True, capture_output=True, text=True).stdout
    command += ["--threads", str(arguments.threads), "--runs", str(arguments.runs), "--json"]
    command += [part for setting in arguments.set for part in ("--set", setting)]
    engine = duckdb.connect(config={"threads": arguments.threads})
    plural = "s" if arguments.threads > 1 else ""
    print(f"| {arguments.suite}, {arguments.rows} rows, {arguments.threads} thread{plural} | DuckDB {duckdb.__version__} | Flumen | CPU, Flumen / DuckDB |")
    print("|---|---|---|---|", flush=True)
    for name, text in map(json.loads, texts.splitlines()):
        before = of_duckdb(engine, text, arguments.runs)
        ran = subprocess.run([*command, "--queries", name], capture_output=True, text=True)
        measured = json.loads(ran.stdout)
        wall, busy = map(min, before, of_duckdb(engine, text, arguments.runs))
        cells = f"| {name} | {busy * 1e3:.0f} ({wall * 1e3:.0f}) |"
        if measured["outcome"] in ("right", "unchecked"):
            ours, ours_wall = measured["hot_cpu_s"], measured["hot_s"]
            print(f"{cells} {ours * 1e3:.0f} ({ours_wall * 1e3:.0f}) | {ours / busy:.2f} |", flush=True)
        else:
            print(f"{cells} {measured['outcome']}: {measured['message'].splitlines()[0]} | |", flush=True)
    print(f"\nCPU ms (wall ms), medians of {arguments.runs} hot runs.")


main()

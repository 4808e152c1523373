#!/usr/bin/env python3
"""The TPC-H queries that Flumen runs, beside DuckDB, Polars and DataFusion: same files, same session, interleaved rounds.

    python3 benches/compare/compare.py --flumen target/debug/flumen [--data DIR] [--python VENV/bin/python]

Without --data the tables are made at --scale by tpchgen-cli, without --python a virtual environment with
requirements.txt; both under --work (default: benches/compare/.work). Each engine is a process of its own that stays
(`worker.py`, `flumen bench queries`), so every measured run is hot; one more run comes first and is not counted. In a
round every engine runs every query once, engine after engine for each query, and the order of engines turns from round
to round: what disturbs the machine disturbs all of them. With one thread a process is pinned to one core.

Every answer of every round is compared with DuckDB's. The table has medians over the rounds; CPU time is user and system
time of the process. Exit code 1 if answers differ; goals that are missed are said, not failed.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
QUERIES = HERE.parent.parent / "tools" / "flumen" / "src" / "tpch"
NUMBERS = [1, 3, 6, 12, 18]
ENGINES = ["duckdb", "polars", "datafusion", "flumen"]
GOAL = 1.05


class Worker:
    """A process that answers queries line by line."""

    def __init__(self, engine, threads, arguments, data):
        self.engine = engine
        if engine == "flumen":
            command = [arguments.flumen, "bench", "queries", "--threads", str(threads)]
            command += [part for setting in arguments.set for part in ("--set", setting)]
        else:
            command = [arguments.python, HERE / "worker.py", engine, str(threads), data]
        cores = sorted(os.sched_getaffinity(0))[:threads]
        environment = dict(os.environ, POLARS_MAX_THREADS=str(threads))
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        self.version = self.receive()["version"]

    def receive(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.engine} ended with code {self.process.wait()}; its message is above")
        return json.loads(line)

    def run(self, sql):
        self.process.stdin.write(json.dumps(sql) + "\n")
        self.process.stdin.flush()
        return self.receive()

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


def texts_over_files(flumen, data):
    """The queries by number, with files where the others know tables."""
    command = [flumen, "bench", "tpch", "--dir", data, "--print"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {int(name.removeprefix("q")): text for name, text in map(json.loads, lines)}


def text(number, engine, arguments):
    return arguments.texts[number] if engine == "flumen" else (QUERIES / f"q{number}.sql").read_text()


def same(left, right):
    """Whether two cells are the same value; averages differ in type and scale from engine to engine."""
    if left == right:
        return True
    try:
        a, b = float(left), float(right)
    except ValueError:
        # A date, with or without a time of midnight.
        return left.removesuffix(" 00:00:00") == right.removesuffix(" 00:00:00")
    return abs(a - b) <= 1e-9 * max(abs(a), abs(b)) + 1e-6


def difference(expected, rows):
    """The first difference between two answers in their order, or None."""
    if len(expected) != len(rows):
        return f"{len(rows)} rows instead of {len(expected)}"
    for index, (left, right) in enumerate(zip(expected, rows)):
        if len(left) != len(right) or not all(map(same, left, right)):
            return f"row {index} is {right} instead of {left}"
    return None


def session(threads, arguments, data):
    """All rounds at one number of threads: ({engine: version}, {(query, engine): [(wall, cpu)]}, [differences])."""
    workers = [Worker(engine, threads, arguments, data) for engine in arguments.engines]
    times, expected, wrong = {}, {}, []
    for round_number in range(-1, arguments.rounds):
        turn = max(round_number, 0) % len(workers)
        order = workers if round_number < 0 else workers[turn:] + workers[:turn]
        for number in arguments.queries:
            for worker in order:
                answer = worker.run(text(number, worker.engine, arguments))
                rows = expected.setdefault(number, answer["rows"])
                if not rows:
                    wrong.append(f"q{number}: no rows, nothing is compared")
                problem = difference(rows, answer["rows"])
                if problem:
                    wrong.append(f"q{number}, {worker.engine}, {threads} threads: {problem}")
                if round_number >= 0:
                    times.setdefault((number, worker.engine), []).append((answer["wall_s"], answer["cpu_s"]))
    versions = {worker.engine: worker.version for worker in workers}
    for worker in workers:
        worker.close()
    return versions, times, wrong


def table(threads, versions, times, arguments):
    """A Markdown table of one session, and the queries that miss the goal."""
    engines = arguments.engines
    lines = [
        f"| query, {threads} thread{'s' if threads > 1 else ''} | "
        + " | ".join(f"{engine} {versions[engine]}" for engine in engines)
        + " | CPU, Flumen / DataFusion | |",
        "|---|" + "---|" * len(engines) + "---|---|",
    ]
    missed = []
    for number in arguments.queries:
        cells, cpu = [], {}
        for engine in engines:
            walls, cpus = zip(*times[number, engine])
            cpu[engine] = statistics.median(cpus)
            cells.append(f"{cpu[engine] * 1e3:.0f} ({statistics.median(walls) * 1e3:.0f})")
        ratio, verdict = "", ""
        if "flumen" in cpu and "datafusion" in cpu:
            value = cpu["flumen"] / cpu["datafusion"]
            ratio, verdict = f"{value:.2f}", "reached" if value <= GOAL else f"**misses {GOAL}**"
            if value > GOAL:
                missed.append(f"q{number} at {threads} threads: {value:.2f}")
        lines.append(f"| {number} | " + " | ".join(cells) + f" | {ratio} | {verdict} |")
    return "\n".join(lines), missed


def prepare(arguments):
    """The Python of the engines and the directory of the tables, made where they are not given."""
    work = arguments.work
    if arguments.python is None:
        arguments.python = work / "venv" / "bin" / "python"
        if not arguments.python.exists():
            subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
            packages = [arguments.python, "-m", "pip", "install", "--quiet", "-r", HERE / "requirements.txt"]
            subprocess.run(packages, check=True)
    data = arguments.data
    if data is None:
        data = work / f"tpch-{arguments.scale:g}"
        if not (data / "lineitem.parquet").exists():
            generator = pathlib.Path(arguments.python).with_name("tpchgen-cli")
            command = [generator, "parquet", "-s", f"{arguments.scale:g}", "--output-dir", data]
            subprocess.run(command, check=True, stdout=sys.stderr)
    return data.resolve()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flumen", default="target/debug/flumen", help="the binary")
    parser.add_argument("--data", type=pathlib.Path, help="directory of TPC-H tables, NAME.parquet")
    parser.add_argument("--python", help="Python that has the engines")
    parser.add_argument("--work", type=pathlib.Path, default=HERE / ".work", help="where an environment and tables are made")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--queries", default=",".join(map(str, NUMBERS)))
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for Flumen")
    parser.add_argument("--json", type=pathlib.Path, help="also write every measurement here")
    arguments = parser.parse_args()
    arguments.queries = [int(query) for query in arguments.queries.split(",")]
    arguments.engines = arguments.engines.split(",")
    data = prepare(arguments)
    arguments.texts = texts_over_files(arguments.flumen, data) if "flumen" in arguments.engines else {}
    wrong, missed, raw = [], [], []
    for threads in map(int, arguments.threads.split(",")):
        versions, times, differences = session(threads, arguments, data)
        wrong += differences
        rendered, misses = table(threads, versions, times, arguments)
        missed += misses
        print(rendered + "\n")
        for (query, engine), runs in times.items():
            raw += [{"threads": threads, "query": query, "engine": engine, "wall_s": w, "cpu_s": c} for w, c in runs]
    print(f"CPU ms (wall ms), medians of {arguments.rounds} interleaved hot runs.", end=" ")
    print("All answers agree." if not wrong else "ANSWERS DIFFER: " + "; ".join(dict.fromkeys(wrong)))
    print(f"\nGoal {GOAL} missed: " + "; ".join(missed) if missed else f"\nGoal {GOAL} reached everywhere.")
    if arguments.json:
        arguments.json.write_text("\n".join(map(json.dumps, raw)) + "\n")
    sys.exit(1 if wrong else 0)


main()

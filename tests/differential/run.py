#!/usr/bin/env python3
"""Puts generated queries to Flumen and to DuckDB and looks for differences.

    pip install duckdb
    cargo build --workspace && python3 tests/differential/run.py --queries 10000 --seed 1

Each query has a number and depends on it and the seed alone, as do the settings it runs under (parallelism, batch size,
kind of exchange). A query that differs is made smaller while it does, and printed with the line that runs it again:

    python3 tests/differential/run.py --seed 1 --only 4711

What is counted: the same answer; both refuse; only DuckDB refuses (mostly an overflow in a place that Flumen need not
reach), which says nothing; what Flumen does not support yet, by message; and differences: other rows, an error of
Flumen's alone, a crash, a process that is silent. Differences that are known stand in known.toml, with a
reason and an example, and are counted apart. The exit code is 1 if a difference is open.
"""

import argparse
import pathlib
import re
import sys
import tempfile
import time
import tomllib
from collections import Counter

import engines
import queries
import tables
from comparing import difference
from reducing import reduced
from tree import DUCKDB, FLUMEN

BATCH = 100


def verdict(flumen, duckdb, ordered):
    """The kind of outcome and, for differences, what it is in words that stay the same for the same fault."""
    if flumen.kind in ("crash", "hang"):
        return flumen.kind, flumen.text
    if flumen.kind == "error" and "not supported yet" in flumen.first_line:
        return "unsupported", flumen.first_line
    if duckdb.kind == "error":
        return ("both refuse" if flumen.kind == "error" else "only DuckDB refuses"), duckdb.first_line
    if flumen.kind == "error":
        return "error", flumen.text
    found = difference(flumen.rows, duckdb.rows, ordered)
    return ("rows", found) if found else ("same", "")


def general(message):
    """A message without what is particular to a query."""
    message = re.sub(r"'[^']*'|\"[^\"]*\"", "...", message.split("\n")[0])
    message = re.sub(r"\b[rwc]\d+(\.\w+)?\b", "x", message)
    return re.sub(r"-?\d+(\.\d+)?", "0", message)


class Run:
    def __init__(self, arguments, directory):
        self.seed = arguments.seed
        views = tables.views(directory)
        maker = engines.DuckDB()
        tables.make(maker.connection, directory)
        self.duckdb = engines.DuckDB(views)
        self.flumen = engines.Flumen(arguments.binary, views)
        self.counts, self.unsupported, self.refused = Counter(), Counter(), Counter()
        self.known = read_known()
        self.met = Counter()
        self.open = []

    def queries(self, numbers):
        """The outcome of each query of a batch, in order."""
        made = [(n, *queries.Queries(self.seed, n).statement()) for n in numbers]
        asked = [(tree.render(FLUMEN), queries.settings(self.seed, n)) for n, tree, _ in made]
        for (number, tree, ordered), flumen in zip(made, self.flumen.ask(asked)):
            duckdb = self.duckdb.ask(tree.render(DUCKDB))
            yield number, tree, ordered, *verdict(flumen, duckdb, ordered)

    def take(self, number, tree, ordered, kind, text):
        """Counts an outcome; true if it is an open difference."""
        if kind == "unsupported":
            self.unsupported[general(text)] += 1
        if kind in ("both refuse", "only DuckDB refuses"):
            self.refused[kind, general(text)] += 1
        if kind in ("rows", "error", "crash", "hang"):
            entry = next((k for k in self.known if is_known(k, kind, text, tree.render(FLUMEN))), None)
            if entry:
                self.met[entry["id"]] += 1
                kind = "known difference"
        self.counts[kind] += 1
        return kind in ("rows", "error", "crash", "hang")

    def report(self, number, tree, ordered, kind, text, reduce):
        """Prints a difference, made small."""
        settings = queries.settings(self.seed, number)
        replay = f"python3 tests/differential/run.py --seed {self.seed} --only {number}"
        print(f"\n== {kind}, query {number}: {replay}")
        print("   " + " ".join(f"--set {k}={v}" for k, v in settings.items()))
        if reduce:
            tree, text, plain = reduced(self, tree, ordered, kind, text, settings)
            if plain:
                print("   with the default settings, too")
        print(f"-- Flumen\n{tree.render(FLUMEN)}")
        if tree.render(DUCKDB) != tree.render(FLUMEN):
            print(f"-- DuckDB\n{tree.render(DUCKDB)}")
        print(f"-- {text}", flush=True)
        self.open.append((number, kind, general(text)))

    def summary(self, seconds):
        total = sum(self.counts.values())
        print(f"\n{total} queries, seed {self.seed}, {seconds:.0f} s, DuckDB {engines.duckdb.__version__}")
        for kind, count in self.counts.most_common():
            print(f"{count:7} {kind}")
        for title, counter in (("not supported yet", self.unsupported), ("refused", self.refused), ("known", self.met)):
            if counter:
                print(f"{title}:")
            for message, count in counter.most_common(40):
                print(f"{count:7} {message if isinstance(message, str) else ': '.join(message)}")


def read_known():
    page = pathlib.Path(__file__).with_name("known.toml")
    return tomllib.loads(page.read_text()).get("difference", []) if page.exists() else []


def is_known(entry, kind, text, statement):
    return (
        entry["kind"] == kind
        and re.search(entry.get("text", ""), text) is not None
        and re.search(entry.get("statement", ""), statement) is not None
    )


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=1000, help="how many, from number 0 or --start on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--only", type=int, help="run the query of this number alone, and show both answers")
    parser.add_argument("--binary", default=engines.binary(), help="default: DIFFERENTIAL_BINARY, or what cargo has built")
    parser.add_argument("--no-reduce", action="store_true", help="print differences as they are")
    parser.add_argument("--stop-after", type=int, default=25, help="open differences after which the run ends")
    parser.add_argument("--print", action="store_true", help="print the queries and ask nobody")
    return parser.parse_args()


def main():
    arguments = parsed()
    numbers = range(arguments.start, arguments.start + arguments.queries)
    if arguments.only is not None:
        numbers = range(arguments.only, arguments.only + 1)
    if arguments.print:
        for number in numbers:
            print(f"-- {number}\n{queries.Queries(arguments.seed, number).statement()[0].render(FLUMEN)};")
        return 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        run = Run(arguments, pathlib.Path(directory))
        for first in range(0, len(numbers), BATCH):
            for outcome in run.queries(numbers[first : first + BATCH]):
                if arguments.only is not None:
                    print(outcome[1].render(FLUMEN), f"\n-- {outcome[3]}: {outcome[4]}")
                if run.take(*outcome) and len(run.open) < arguments.stop_after:
                    run.report(*outcome, reduce=not arguments.no_reduce)
            if len(run.open) >= arguments.stop_after:
                print(f"\n{arguments.stop_after} differences are open; the rest was not asked")
                break
        run.summary(time.monotonic() - began)
    return 1 if run.open else 0


if __name__ == "__main__":
    sys.exit(main())

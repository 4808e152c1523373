#!/usr/bin/env python3
"""Writes the tables of RESULTS.md from what the benches have left: tables.py --criterion DIR --figures DIR RESULTS.md

A table stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; everything else in the file is left alone. Floors are
what the memory and instructions of a step cost at least, from measurements of such steps alone (loops without an engine
around them) on a machine of this class; where a floor is a range, its upper end counts.
"""

import argparse
import json
import pathlib
import platform
import re
import subprocess

# Group, function, what it is, floor: (low, high) in ns, and where the floor comes from.
KERNELS = [
    ("segment", "magazine", "segment acquired and released, thread's magazine", (20, 40), "per pair"),
    ("segment", "shared list", "the same, 512 at a time through the shared list", (20, 40), "per pair"),
    ("segment", "local pool", "the same, through a local buffer pool", (20, 40), "per pair"),
    ("segment", "run of 32 pages", "a run of 2 MiB acquired and released", None, "takes the lock; no floor"),
    ("hash", "i64", "hash, `BIGINT`", (0.34, 0.63), "two vector multiplies; one folded multiply"),
    ("hash", "string view of 12 bytes", "hash, string view of 12 bytes", (1.0, 1.5), "two loads and a folded multiply"),
    ("hash", "i64 and string view", "hash, both columns", (1.34, 2.1), "their sum"),
    ("grouping", "4 groups", "grouping, 4 groups", (1, 1.2), "index by code"),
    ("grouping", "1 K groups", "grouping, 1 K groups", (6.1, 6.3), "linear probe in cache"),
    ("grouping", "500 K groups", "grouping, 500 K groups", (6.3, 14.7), "between the caches"),
    ("grouping", "10 M groups", "grouping, 10 M groups", (15, 25), "a directory and a key line from memory"),
    ("keyed update", "1 K keys", "keyed `SUM`, 1 K keys, with hash", (8.0, 8.3), "hash, probe, scattered sums"),
    ("keyed update", "100 K keys", "keyed `SUM`, 100 K keys, with hash", (8.0, 11.4), "the same, sums from the next cache"),
    ("keyed update", "10 M keys", "keyed `SUM`, 10 M keys, with hash", (20, 30), "probe out of cache, sums from memory"),
    ("join probe", "hashed, 10 K build rows", "join probe, hashed, in cache", (3, 6), "directory, tag, key"),
    ("join probe", "hashed, 8 M build rows", "join probe, hashed, out of cache", (12, 20), "one line for directory, one for key"),
    ("join probe", "direct, 10 K build rows", "join probe, direct, in cache", (0.3, 2.4), "one gather"),
    ("join probe", "direct, 8 M build rows", "join probe, direct, 32 MiB of directory", (2.4, 11), "one gather"),
    ("join probe", "ranked, 150 K build rows of 6 M values", "join probe, ranked, 1.4 MiB of words", (0.44, 2.4), "one gather"),
    ("scatter of five columns", "2 targets", "scatter of five columns, 2 targets", (4.1, 5.3), "counting sort and gather, buffers at hand"),
    ("scatter of five columns", "16 targets", "scatter of five columns, 16 targets", (4.1, 5.3), "the same"),
    ("scatter of five columns", "128 targets", "scatter of five columns, 128 targets", (4.1, 5.3), "the same"),
    ("selection", "filter, 1 % stay, per row in", "filter to a selection, 1 % stay", (0.19, 0.37), "AVX-512; scalar"),
    ("selection", "filter, 50 % stay, per row in", "filter to a selection, 50 % stay", (0.19, 0.37), "the same"),
    ("selection", "filter, 99 % stay, per row in", "filter to a selection, 99 % stay", (0.19, 0.37), "the same"),
    ("selection", "gather, 1 % stay, per row out", "gather by it, 1 %, per row gathered", (0.23, 0.44), "fixed cost of a batch over 80 rows on top"),
    ("selection", "gather, 50 % stay, per row out", "gather by it, 50 %, per row gathered", (0.23, 0.44), "gather in L1 or L2"),
    ("selection", "gather, 99 % stay, per row out", "gather by it, 99 %, per row gathered", (0.23, 0.44), "the same"),
    ("parquet", "int32, 12-bit codes, stored, ours", "Parquet, INT32 in 12-bit codes", (0.4, 0.5), "unpack, look up, write"),
    ("parquet", "int32, 12-bit codes, stored, library", "the same by the parquet crate", (0.4, 0.5), "the same"),
    ("parquet", "int64, plain, snappy, ours", "Parquet, INT64 plain in Snappy", (4, 5.5), "decompression at 2 to 1.5 GB/s"),
    ("parquet", "int64, plain, snappy, library", "the same by the parquet crate", (4, 5.5), "the same"),
    ("parquet", "text of 7 kinds, snappy, ours", "Parquet, text of 7 kinds", (0.2, 0.4), "codes, unpacked and checked"),
    ("parquet", "text of 7 kinds, snappy, library", "the same by the parquet crate", (0.2, 0.4), "the same"),
    ("sort", "prefix, 1 key", "sort prefix, 1 key", (1, 1), "estimate; 16 bytes written per row"),
    ("sort", "prefix, 2 keys", "sort prefix, 2 keys", (2, 2), "the same"),
    ("sort", "sort of 1 M rows, 1 key", "sort of 1 M dates", (8, 12), "3-5 radix passes"),
    ("sort", "sort of 1 M rows, 2 keys", "sort of 1 M dates and prices", (8, 12), "for one key; the second is a tie-break"),
    ("window functions", "rows sorted, nothing computed", "1 M rows in 1 K partitions, sorted", None, "two keys, three columns gathered"),
    ("window functions", "row_number", "the same, with `row_number`", None, ""),
    ("window functions", "running sum", "the same, with a running sum", None, ""),
    ("window functions", "min of the last 100 rows", "the same, with the least of the last 100 rows", None, ""),
]


def estimates(directory):
    """Median and 95 % interval in ns per element by (group, function)."""
    found = {}
    for path in directory.glob("*/*/new/benchmark.json"):
        benchmark = json.loads(path.read_text())
        median = json.loads((path.parent / "estimates.json").read_text())["median"]
        throughput = benchmark.get("throughput") or {}
        elements = throughput.get("Elements", 1) if isinstance(throughput, dict) else 1
        found[benchmark["group_id"], benchmark["function_id"]] = (median["point_estimate"] / elements, elements)
    return found


def number(value):
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def kernels(found):
    lines = ["| part | ns | floor, ns | over the floor | floor is |", "|---|---|---|---|---|"]
    for group, function, what, floor, why in KERNELS:
        if (group, function) not in found:
            continue
        value = found[group, function][0]
        if floor is None:
            lines.append(f"| {what} | {number(value)} | | | {why} |")
            continue
        low, high = floor
        verdict = "at it" if value <= high else f"**{value / high:.1f} times**" if value > 2 * high else f"{value / high:.1f} times"
        floor = f"{low:g}-{high:g}" if low < high else f"{low:g}"
        lines.append(f"| {what} | {number(value)} | {floor} | {verdict} | {why} |")
    return "\n".join(lines)


def goals(found, figures):
    """What has a goal in milliseconds."""
    lines = ["| what | measured | goal | |", "|---|---|---|---|"]

    def row(what, milliseconds, goal):
        verdict = "reached" if milliseconds <= goal else "**missed**"
        lines.append(f"| {what} | {milliseconds:.2f} ms | {goal} ms | {verdict} |")

    def value(group, function, what, goal):
        if (group, function) in found:
            each, elements = found[group, function]
            row(what, each * elements / 1e6, goal)

    value("execution graph", "2000 x 2000, per subtask", "ExecutionGraph of 2000 x 2000 all-to-all, built and scheduled", 20)
    value("snapshot", "synchronous part at 1 GiB", "synchronous part of a snapshot at 1 GiB of state", 5)
    value("session", "SELECT 1, wall", "`SELECT 1` inside a running session (wall)", 5)
    table = "\n".join(lines)
    startup = figures / "startup.md"
    if startup.exists():
        table += "\n\n" + startup.read_text().strip()
    return table


def linear(found):
    lines = ["| subtasks | ms | ns per subtask |", "|---|---|---|"]
    for parallelism in [500, 1000, 2000, 4000]:
        key = ("execution graph", f"{parallelism} x {parallelism}, per subtask")
        if key in found:
            each, elements = found[key]
            lines.append(f"| {elements} | {each * elements / 1e6:.2f} | {each:.0f} |")
    return "\n".join(lines)


def reads(found):
    lines = ["| memory | pages of 4 KiB, ns | segments, ns |", "|---|---|---|"]
    for size in ["256 KiB", "8 MiB", "64 MiB", "256 MiB"]:
        cells = [found.get(("random reads", f"{size}, {kind}")) for kind in ["pages of 4 KiB", "segments"]]
        if all(cells):
            lines.append(f"| {size} | " + " | ".join(number(cell[0]) for cell in cells) + " |")
    return "\n".join(lines)


def machine(figures):
    model = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    load = (figures / "load").read_text().strip() if (figures / "load").exists() else "not known"
    return (
        f"2-core virtual machine, 24 GiB, {model[1] if model else platform.machine()}; at commit {commit}. "
        f"Load average when the run began: {load}."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--criterion", type=pathlib.Path, required=True)
    parser.add_argument("--figures", type=pathlib.Path, required=True)
    parser.add_argument("results", type=pathlib.Path)
    arguments = parser.parse_args()
    found = estimates(arguments.criterion)
    compare = arguments.figures / "compare.md"
    tables = {
        "machine": machine(arguments.figures),
        "kernels": kernels(found),
        "goals": goals(found, arguments.figures),
        "linear": linear(found),
        "reads": reads(found),
        "compare": compare.read_text().strip() if compare.exists() else "(not run)",
    }
    text = arguments.results.read_text()
    for name, table in tables.items():
        block = re.compile(f"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if not block.search(text):
            raise SystemExit(f"{arguments.results} has no place for the table {name!r}")
        text = block.sub(lambda match: f"{match[1]}{table}\n{match[2]}", text)
    arguments.results.write_text(text)


main()

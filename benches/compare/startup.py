#!/usr/bin/env python3
"""How long `flumen -c 'SELECT 1'` takes as a process: wall and CPU time from fork to exit, medians. A Markdown table."""

import argparse
import os
import statistics
import subprocess
import time

GOAL_MS = 60


def run(command):
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0 and output.split()[-1] == "1", f"code {process.returncode}, {output!r}"
    return wall * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flumen", default="target/debug/flumen")
    parser.add_argument("--runs", type=int, default=40)
    arguments = parser.parse_args()
    command = [arguments.flumen, "-c", "SELECT 1", "--format", "csv"]
    for _ in range(3):
        run(command)
    walls, cpus = zip(*(run(command) for _ in range(arguments.runs)))
    median, p90 = statistics.median(walls), statistics.quantiles(walls, n=10)[-1]
    verdict = "reached" if median <= GOAL_MS else "**missed**"
    print("| process | median ms | 90th percentile ms | CPU ms | goal |\n|---|---|---|---|---|")
    print(f"| `flumen -c 'SELECT 1'` | {median:.1f} | {p90:.1f} | {statistics.median(cpus):.1f} | {GOAL_MS} ms: {verdict} |")


main()

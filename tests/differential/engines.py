"""The two engines: Flumen as a process that answers many statements, DuckDB as a library in this one.

A process of Flumen gets each statement as a text of its own (`-c`), after settings and a marker, so that neither a syntax
error nor a failure hurts the ones after it; output and errors come in one pipe, in order. If the process ends or is silent
for too long, the statement after the last marker is at fault and the rest is given to another process.
"""

import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from decimal import Decimal

import duckdb

MARKER = "@@statement "
SECONDS_MAX = 60


@dataclass
class Answer:
    """Rows, or an error: `kind` is rows, error, crash or hang."""

    kind: str
    rows: list = field(default_factory=list)
    text: str = ""

    @property
    def first_line(self):
        return self.text.splitlines()[0] if self.text else ""


class Flumen:
    def __init__(self, binary, views):
        self.binary, self.views = binary, views
        self.directory = tempfile.TemporaryDirectory()

    def ask(self, statements):
        """The answers to (statement, settings) pairs, in order."""
        answers = []
        while len(answers) < len(statements):
            answers += self.ask_process(statements[len(answers) :])
        return answers

    def arguments(self, statements):
        commands = list(self.views)
        current = {}
        for index, (statement, settings) in enumerate(statements):
            commands += [f"SET '{key}' = '{value}'" for key, value in settings.items() if current.get(key) != value]
            current = settings
            commands += [f"SELECT '{MARKER}{index}' AS marker", statement]
        commands.append(f"SELECT '{MARKER}end' AS marker")
        return [self.binary, "--format", "jsonl", "--quiet", "--keep-going", *(a for c in commands for a in ("-c", c))]

    def ask_process(self, statements):
        """The answers of one process; fewer than asked for if it did not live to give them all."""
        process = subprocess.Popen(
            self.arguments(statements), cwd=self.directory.name, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        lines = queue.Queue()

        def read():
            for line in process.stdout:
                lines.put(line.rstrip("\n"))
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        answers, held, kind, begun, ended = [], [], "crash", False, False
        while True:
            try:
                line = lines.get(timeout=SECONDS_MAX)
            except queue.Empty:
                kind = "hang"
                process.kill()
                break
            if line is None:
                break
            if line.startswith('{"marker":"' + MARKER):
                if begun:
                    answers.append(answer(held))
                elif held:
                    raise RuntimeError("the tables cannot be read:\n" + "\n".join(held))
                begun, held = True, []
                if line.endswith(MARKER + 'end"}'):
                    ended = True
            else:
                held.append(line)
        status = process.wait()
        if not ended:
            if not begun:
                raise RuntimeError(f"{self.binary} ended with {status}:\n" + "\n".join(held))
            reason = f"ended with {signal.Signals(-status).name if status < 0 else status}"
            said = "\n".join(held[-30:])
            answers.append(Answer(kind, text=f"{kind}: {'silent for too long' if kind == 'hang' else reason}\n{said}"))
        return answers


def answer(lines):
    text = "\n".join(lines)
    panicked = [line for line in lines if "panicked at" in line]
    if panicked:
        return Answer("crash", text="crash: " + text)
    rows, complaint = [], []
    for line in lines:
        if complaint or line.startswith("error: "):
            complaint.append(line)
        else:
            try:
                row = json.loads(line, parse_float=Decimal)
            except ValueError:
                return Answer("error", text="no JSON: " + text)
            rows.append(tuple(row.values()))
    return Answer("error", text="\n".join(complaint).removeprefix("error: ")) if complaint else Answer("rows", rows)


class DuckDB:
    """DuckDB, told to do as SEMANTICS.md where it can be."""

    def __init__(self, views=()):
        self.connection = duckdb.connect()
        for statement in (
            "SET integer_division = true",
            "SET default_null_order = 'NULLS_LAST_ON_ASC_FIRST_ON_DESC'",
            "SET threads = 1",
            "SET memory_limit = '1GB'",
            *views,
        ):
            self.connection.execute(statement)

    def ask(self, statement, seconds=20):
        timer = threading.Timer(seconds, self.connection.interrupt)
        timer.start()
        try:
            return Answer("rows", self.connection.execute(statement).fetchall())
        except duckdb.Error as error:
            return Answer("error", text=str(error))
        except (OverflowError, ValueError) as error:
            # A value that Python has no type for, such as a date before the year 1.
            return Answer("error", text=f"cannot be read: {error}")
        finally:
            timer.cancel()


def binary():
    """The binary to ask: DIFFERENTIAL_BINARY, or what cargo has built."""
    if given := os.environ.get("DIFFERENTIAL_BINARY"):
        return given
    here = os.path.dirname(os.path.abspath(__file__))
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(here, "..", "..", "target"))
    return os.path.join(target, "debug", "flumen")

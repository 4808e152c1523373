"""Whether two answers are the same.

Values are the same if they are equal as what they are; numbers also if one is loose and they differ in the last digits of a
double, or after the sixth digit of a decimal (an average or quotient of decimals is a DOUBLE in DuckDB). Rows count as
often as they come, in any order unless the statement gives one.
"""

import datetime
import math
from collections import Counter
from decimal import Decimal


def plain(value):
    """DuckDB's value as Flumen's JSON has it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no such number
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="microseconds" if value.microsecond else "seconds")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return value


def ours(value, theirs):
    """Flumen's value, with a time's zeros cut as `plain` cuts them."""
    if isinstance(value, str) and isinstance(theirs, datetime.datetime):
        try:
            return plain(datetime.datetime.fromisoformat(value))
        except ValueError:
            return value
    return value


def is_number(value):
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def key(value):
    """Equal for what is equal: 1, 1.0 and 1.00, but neither TRUE nor '1'."""
    if is_number(value):
        return ("number", Decimal(repr(value)) if isinstance(value, float) else Decimal(value))
    return (type(value).__name__, value)


def is_same(a, b):
    if key(a) == key(b):
        return True
    if not (is_number(a) and is_number(b)):
        return False
    if isinstance(a, int) and isinstance(b, int):
        return False
    a, b = float(a), float(b)
    return abs(a - b) <= 1e-9 * max(abs(a), abs(b)) + 1.01e-6


def is_same_row(a, b):
    return len(a) == len(b) and all(map(is_same, a, b))


def difference(flumen, duckdb, ordered):
    """What differs between two lists of rows, in words; nothing if they are the same."""
    kinds = [next((r[i] for r in duckdb if r[i] is not None), None) for i in range(len(duckdb[0]))] if duckdb else []
    theirs = [tuple(map(plain, row)) for row in duckdb]
    given = [tuple(map(ours, row, kinds)) if len(row) == len(kinds) else row for row in flumen]
    if ordered:
        if len(given) == len(theirs) and all(map(is_same_row, given, theirs)):
            return None
    missing = Counter(tuple(map(key, row)) for row in theirs)
    more = []
    for row in given:
        keyed = tuple(map(key, row))
        if missing[keyed] > 0:
            missing[keyed] -= 1
        else:
            more.append(row)
    left = [tuple(v for _, v in row) for row in missing.elements()]
    # What is not equal may still be close.
    more = [row for row in more if not taken(left, row)]
    if not left and not more:
        return "the same rows in another order" if ordered else None
    return f"{len(given)} rows, {len(theirs)} from DuckDB; only Flumen: {shown(more)}; only DuckDB: {shown(left)}"


def taken(rows, row):
    """Takes a row that is close out of `rows`."""
    for index, other in enumerate(rows):
        if is_same_row(row, other):
            del rows[index]
            return True
    return False


def shown(rows, count=4):
    text = ", ".join("(" + ", ".join(str(v) if v is not None else "NULL" for v in row) + ")" for row in rows[:count])
    return text + (", ..." if len(rows) > count else "") if rows else "none"

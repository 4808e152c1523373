"""Random expressions of a type over the columns that are visible.

What engines are free to answer as they like is not written: a division by zero, text that is no number, a sum whose order
shows (doubles are multiples of a quarter). What SEMANTICS.md decides otherwise than DuckDB is written for each of the
two (`Dialect`), or is `loose`, so that only its first digits are compared.
"""

from dataclasses import dataclass

from tables import WORDS
from tree import Clause, Dialect, Expression, Listing

TYPES = ["int", "dec", "dbl", "str", "date", "ts", "bool"]
COMPARISONS = ["=", "=", "<>", "<", "<=", ">", ">="]
PATTERNS = ["a%", "%b", "_b%", "%", "", "a_", "%é%", "A%", "%a%c", "a\\%c", "_", "%,%"]


@dataclass(frozen=True)
class Column:
    """How it is named, its type, and digits after its point."""

    node: Expression

    @property
    def type(self):
        return self.node.type


def column(text, type, scale=0):
    return Column(Expression(type, text, scale=scale))


class Expressions:
    """Draws expressions from `random` over `columns`."""

    def __init__(self, random, columns, loose=False, subquery=None):
        self.random, self.columns, self.loose = random, columns, loose
        # Makes a condition with a subquery, where one may be.
        self.subquery = subquery

    def chance(self, probability):
        return self.random.random() < probability

    def pick(self, *choices):
        return self.random.choice(choices)

    def column(self, type):
        """A column of the type, or nothing."""
        of_type = [c for c in self.columns if c.type == type and not c.node.loose]
        return self.random.choice(of_type).node if of_type else None

    def types(self):
        return sorted({c.type for c in self.columns if not c.node.loose})

    def some_type(self):
        """A type, more often one that there are columns of."""
        types = self.types()
        return self.random.choice(types) if types and self.chance(0.9) else self.random.choice(TYPES)

    def literal(self, type):
        draw = self.random
        if type == "bool":
            return Expression("bool", self.pick("TRUE", "FALSE"))
        if type == "int":
            number = self.pick(0, 1, 2, 3, 3, 5, 7, -1, -7, 12, draw.randrange(-20, 60))
            return Expression("int", str(number) if number >= 0 else f"({number})")
        if type == "dec":
            return Expression("dec", self.pick("0.00", "1.50", "123.45", "0.01", "(-1.00)", "10.5"), scale=2)
        if type == "dbl":
            return Expression("dbl", self.pick("0e0", "2.5e0", "1e6", "(-1.5e0)", "0.25e0"))
        if type == "str":
            return Expression("str", "'" + draw.choice(WORDS) + "'")
        if type == "date":
            return Expression("date", f"DATE '{self.pick('1970-01-01', '1969-12-25', '2024-02-29', '2024-02-28')}'")
        when = self.pick("1970-01-01 00:00:00", "1969-12-31 23:59:59", "2024-02-29 12:00:00", "2024-02-28 00:00:00.5")
        return Expression("ts", f"TIMESTAMP '{when}'")

    def value(self, type, depth):
        """An expression of the type."""
        if depth <= 0 or self.chance(0.25):
            if self.chance(0.04):
                sql = {"int": "INTEGER", "dec": "DECIMAL(9, 2)", "dbl": "DOUBLE", "str": "VARCHAR", "date": "DATE",
                       "ts": "TIMESTAMP", "bool": "BOOLEAN"}[type]  # fmt: skip
                return Expression(type, f"CAST(NULL AS {sql})", scale=2 if type == "dec" else 0)
            return self.chance(0.85) and self.column(type) or self.literal(type)
        if self.chance(0.18):
            return self.of_any_type(type, depth - 1)
        return getattr(self, type)(depth - 1)

    def of_any_type(self, type, depth):
        one = lambda: self.value(type, depth)
        values = [one() for _ in range(self.pick(2, 2, 3))]
        scale = max(v.scale for v in values)
        match self.pick("case", "case", "simple", "coalesce", "nullif", "greatest"):
            case "case":
                arms = [part for v in values[:-1] for part in (" WHEN ", self.condition(depth), " THEN ", v)]
                return Expression(type, "CASE", *arms, Clause(" ELSE ", values[-1]), " END", scale=scale)
            case "simple":
                on = self.some_type()
                whens = [p for v in values[:-1] for p in (" WHEN ", self.literal(on), " THEN ", v)]
                return Expression(type, "CASE ", self.value(on, 0), *whens, Clause(" ELSE ", values[-1]), " END", scale=scale)
            case "coalesce":
                return Expression(type, "COALESCE(", Listing(values), ")", scale=scale)
            case "nullif":
                return Expression(type, "NULLIF(", values[0], ", ", values[1], ")", scale=values[0].scale)
            case _:
                if type == "bool":
                    return one()
                return Expression(type, self.pick("GREATEST", "LEAST"), "(", Listing(values), ")", scale=scale)

    def int(self, depth):
        one = lambda type="int": self.value(type, depth)
        small = lambda: self.column("int") or self.literal("int")
        match self.pick("add", "add", "multiply", "divide", "negate", "text", "extract", "days", "cast", "round", "position", "bits", "part"):
            case "add":
                return Expression("int", "(", one(), self.pick(" + ", " - "), one(), ")")
            case "multiply":
                return Expression("int", "(", small(), " * ", self.literal("int"), ")")
            case "divide":
                divisor = Expression("int", "NULLIF(", one(), ", 0)") if self.chance(0.5) else self.pick("3", "(-7)")
                return Expression("int", "(", one(), self.pick(" / ", " % "), divisor, ")")
            case "negate":
                return Expression("int", self.pick("abs(", "(- "), one(), ")")
            case "text":
                return Expression("int", "length(", one("str"), ")")
            case "extract":
                source = self.pick("date", "ts")
                fields = ["year", "month", "day", "quarter", "dow", "doy", "week"]
                fields += ["hour", "minute"] if source == "ts" else []
                return Expression("int", f"CAST(extract({self.random.choice(fields)} FROM ", one(source), ") AS INTEGER)")
            case "days":
                return Expression("int", "(", one("date"), " - ", one("date"), ")")
            case "cast":
                return Expression("int", "CAST(", one(self.pick("dec", "dbl", "bool")), " AS INTEGER)")
            case "bits":
                match self.pick("and", "xor", "not", "right", "left", "sign", "divide"):
                    case "xor":
                        return Expression("int", "xor(", one(), ", ", one(), ")")
                    case "not":
                        return Expression("int", "(~", one(), ")")
                    case "right":
                        return Expression("int", "(", one(), f" >> {self.pick(0, 1, 3, 31)})")
                    case "left":
                        # DuckDB shifts no negative number.
                        return Expression("int", "((", small(), " & 255)", f" << {self.pick(0, 1, 5)})")
                    case "sign":
                        return Expression("int", "CAST(sign(", one(self.pick("int", "dec", "dbl")), ") AS INTEGER)")
                    case "divide":
                        return Expression("int", "(", one(), f" // {self.pick('3', '(-7)')})")
                    case _:
                        return Expression("int", "(", one(), self.pick(" & ", " | "), one(), ")")
            case "part":
                part = self.pick("year", "month", "day", "quarter", "dayofweek", "isodow", "dayofyear", "week")
                return Expression("int", f"CAST({part}(", one(self.pick("date", "ts")), ") AS INTEGER)")
            case "round":
                return Expression("int", "CAST(", self.pick("floor(", "ceil(", "round("), one("dec"), ") AS INTEGER)")
            case _:
                return Expression("int", "strpos(", one("str"), ", ", self.literal("str"), ")")

    def dec(self, depth):
        one = lambda type="dec": self.value(type, depth)
        match self.pick("add", "add", "multiply", "with int", "abs", "cast", "remainder"):
            case "add":
                left, right = one(), one()
                return Expression("dec", "(", left, self.pick(" + ", " - "), right, ")", scale=max(left.scale, right.scale))
            case "multiply":
                left, right = self.value("dec", 0), self.value("dec", 0)
                return Expression("dec", "(", left, " * ", right, ")", scale=left.scale + right.scale)
            case "with int":
                left = one()
                return Expression("dec", "(", left, self.pick(" + ", " - ", " * "), self.value("int", 0), ")", scale=left.scale)
            case "abs":
                inner = one()
                return Expression("dec", self.pick("abs(", "(- "), inner, ")", scale=inner.scale)
            case "cast":
                digits = self.pick(0, 1, 2, 4)
                return Expression("dec", "CAST(", one(self.pick("int", "dec")), f" AS DECIMAL(18, {digits}))", scale=digits)
            case _:
                left = one()
                return Expression("dec", "(", left, " % ", self.pick("0.70", "3.00", "7"), ")", scale=max(left.scale, 2))

    def dbl(self, depth):
        one = lambda type="dbl": self.value(type, depth)
        match self.pick("add", "add", "multiply", "abs", "cast", "floor"):
            case "add":
                return Expression("dbl", "(", one(), self.pick(" + ", " - "), one(), ")")
            case "multiply":
                return Expression("dbl", "(", self.value("dbl", 0), " * ", self.value("dbl", 0), ")")
            case "abs":
                return Expression("dbl", self.pick("abs(", "(- "), one(), ")")
            case "cast":
                return Expression("dbl", "CAST(", one("int"), " AS DOUBLE)")
            case _:
                return Expression("dbl", self.pick("floor(", "ceil("), one(), ")")

    def str(self, depth):
        one = lambda type="str": self.value(type, depth)
        number = lambda *numbers: str(self.random.choice(numbers))
        match self.random.randrange(13):
            case 0 | 1:
                return Expression("str", self.pick("upper(", "lower(", "reverse(", "trim(", "ltrim(", "rtrim("), one(), ")")
            case 2:
                return Expression("str", "(", one(), " || ", one(), ")")
            case 3:
                return Expression("str", "concat(", Listing([one(), one(), one(self.pick("str", "int"))]), ")")
            case 4:
                end = "" if self.chance(0.4) else f", {number(0, 1, 2, 5)}"
                return Expression("str", "substr(", one(), f", {number(1, 2, 3)}{end})")
            case 5:
                return Expression("str", self.pick("left(", "right("), one(), f", {number(0, 1, 2, -1)})")
            case 6:
                return Expression("str", "replace(", one(), ", 'a', ", self.literal("str"), ")")
            case 7:
                padded, filling = self.pick("lpad(", "rpad("), self.pick("'x'", "'ab'")
                return Expression("str", padded, one(), f", {number(0, 1, 3, 5)}, {filling})")
            case 8:
                between = self.pick("','", "'a'", "' '")
                return Expression("str", "split_part(", one(), f", {between}, {number(1, 2, 3)})")
            case 9:
                return Expression("str", "repeat(", one(), f", {number(0, 1, 2)})")
            case 10:
                return Expression("str", "concat_ws('-', ", Listing([one(), one()]), ")")
            case 11:
                start, length = number(1, 2), number(0, 2)
                return Expression("str", "substring(", one(), f" FROM {start} FOR {length})")
            case _:
                return Expression("str", "CAST(", one(self.pick("int", "date", "bool")), " AS VARCHAR)")

    def date(self, depth):
        one = lambda type="date": self.value(type, depth)
        match self.pick("interval", "interval", "cast", "trunc"):
            case "interval":
                step = f"INTERVAL '{self.pick(1, 3, 12, -1)}' {self.pick('DAY', 'MONTH', 'YEAR', 'WEEK')}"
                moved = ("(", one(), self.pick(" + ", " - "), step, ")")
                return Expression("date", Dialect(moved, ("CAST(", *moved, " AS DATE)")))
            case "cast":
                return Expression("date", "CAST(", one("ts"), " AS DATE)")
            case _:
                unit = self.pick("year", "month", "week", "quarter")
                return Expression("date", f"CAST(date_trunc('{unit}', ", one(), ") AS DATE)")

    def ts(self, depth):
        one = lambda type="ts": self.value(type, depth)
        match self.pick("interval", "interval", "cast", "trunc"):
            case "interval":
                step = f"INTERVAL '{self.pick(1, 30, 12, -1)}' {self.pick('SECOND', 'MINUTE', 'HOUR', 'DAY', 'MONTH', 'YEAR')}"
                return Expression("ts", "(", one(), self.pick(" + ", " - "), step, ")")
            case "cast":
                return Expression("ts", "CAST(", one("date"), " AS TIMESTAMP)")
            case _:
                unit = self.pick("year", "month", "day", "hour", "minute", "second", "week", "quarter")
                return Expression("ts", f"date_trunc('{unit}', ", one(), ")")

    def bool(self, depth):
        one = lambda type="bool": self.value(type, depth)
        match self.random.randrange(15):
            case 14:
                # DuckDB compares rows as structs, in which NULL is a value.
                types = [self.some_type() for _ in range(2)]
                (a, b), (c, d) = ([one(t) for t in types] for _ in range(2))
                if self.chance(0.5):
                    return Expression("bool", Dialect(("((", a, ", ", b, ") = (", c, ", ", d, "))"), ("(", a, " = ", c, " AND ", b, " = ", d, ")")))
                ours = ("((", a, ", ", b, ") IN ((", c, ", ", d, "), (", a, ", ", d, ")))")
                theirs = ("((", a, " = ", c, " AND ", b, " = ", d, ") OR (", a, " = ", a, " AND ", b, " = ", d, "))")
                return Expression("bool", Dialect(ours, theirs))
            case 0 | 1 | 2 | 3:
                type = self.some_type()
                return Expression("bool", "(", one(type), f" {self.random.choice(COMPARISONS)} ", one(type), ")")
            case 4:
                return Expression("bool", "(", one("int"), f" {self.random.choice(COMPARISONS)} ", one("dec"), ")")
            case 5 | 6:
                return Expression("bool", "(", one(), self.pick(" AND ", " OR "), one(), ")")
            case 7:
                return Expression("bool", "(NOT ", one(), ")")
            case 8:
                return Expression("bool", "(", one(self.some_type()), self.pick(" IS NULL", " IS NOT NULL"), ")")
            case 9:
                type = self.some_type()
                values = [self.literal(type) for _ in range(self.pick(1, 2, 4))]
                if self.chance(0.15):
                    values.append("NULL")
                return Expression("bool", "(", one(type), self.pick(" IN (", " NOT IN ("), Listing(values), "))")
            case 10:
                type = self.pick("int", "dec", "date", "ts", "str")
                between = self.pick(" BETWEEN ", " NOT BETWEEN ")
                return Expression("bool", "(", one(type), between, one(type), " AND ", one(type), ")")
            case 11:
                like = self.pick(" LIKE ", " NOT LIKE ", " ILIKE ")
                pattern = self.random.choice(PATTERNS)
                escape = " ESCAPE '\\'" if "\\" in pattern else ""
                return Expression("bool", "(", one("str"), f"{like}'{pattern}'{escape})")
            case 12:
                type = self.some_type()
                distinct = self.pick(" IS DISTINCT FROM ", " IS NOT DISTINCT FROM ")
                return Expression("bool", "(", one(type), distinct, one(type), ")")
            case _:
                if self.chance(0.5):
                    return Expression("bool", "(", one(), self.pick(" IS TRUE)", " IS NOT FALSE)", " IS NOT TRUE)"))
                return Expression("bool", "starts_with(", one("str"), ", ", self.literal("str"), ")")

    def condition(self, depth):
        """A condition; now and then with a subquery, where one may be."""
        if self.subquery and self.chance(0.3):
            return self.subquery()
        return self.bool(max(depth - 1, 0)) if depth > 0 or self.chance(0.7) else self.value("bool", 0)

    def loosely(self):
        """A number of which only the first digits are the same."""
        one = lambda type: self.value(type, 1)
        match self.pick("divide", "divide double", "function"):
            case "divide":
                return Expression("xdbl", "(", one("dec"), " / ", self.pick("3.00", "7"), ")", loose=True)
            case "divide double":
                return Expression("xdbl", "(", one("dbl"), " / ", self.pick("3e0", "7"), ")", loose=True)
            case _:
                return Expression("xdbl", self.pick("sqrt(abs(", "exp(0.001e0 * (", "atan(("), one("dbl"), "))", loose=True)

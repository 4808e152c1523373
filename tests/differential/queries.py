"""The grammar of queries: relations, joins, grouping, windows, set operations, CTEs, subqueries.

Every SELECT calls its columns c0, c1, ... and every relation of a statement has a name of its own, so a part can stand
for the whole when a query is made smaller. Whatever takes some rows of many (LIMIT, ROW_NUMBER, a frame of ROWS) is
ordered by so much that its answer is one; in a relation that has no unique column that is all of its columns.
"""

import random
from dataclasses import dataclass

from expressions import COMPARISONS, TYPES, Column, Expressions, column
from tables import TABLES
from tree import Choice, Clause, Dialect, Expression, Listing, Node, Query, WholeOrder

ROWS_MAX = 30_000


@dataclass
class Relation:
    """Columns that can be named, those that tell rows apart, and how many rows at most."""

    columns: list
    key: list
    rows: int
    # Whether no two rows have the same key: else two orders may number equal rows differently.
    unique: bool = False


def joined(left, right, rows):
    return Relation(left.columns + right.columns, left.key + right.key, rows, left.unique and right.unique)


class Queries:
    def __init__(self, seed, number):
        self.random = random.Random(f"{seed}:{number}")
        self.names = 0
        self.ctes = []
        self.facts = 0
        # How many set operations are around what is made now.
        self.sets = 0

    def chance(self, probability):
        return self.random.random() < probability

    def pick(self, *choices):
        return self.random.choice(choices)

    def name(self):
        self.names += 1
        return f"r{self.names}"

    # Statements.

    def statement(self):
        """A query with all that may be around it, and whether its rows come in one order."""
        ctes = []
        for _ in range(self.pick(0, 0, 0, 0, 1, 1, 2)):
            name, query = f"w{len(ctes)}", self.query(1)
            ctes.append(Node(f"{name} AS (", query, ")"))
            self.ctes.append((name, query))
        query = self.query(2, top=True)
        ordered = getattr(query, "ordered", False)
        if ctes:
            query = Choice(Clause("WITH ", Listing(ctes), " "), query)
        return query, ordered

    def query(self, depth, types=None, top=False):
        """A SELECT, a set operation or VALUES, maybe ordered and cut."""
        draw = self.random.random()
        if depth > 0 and draw < 0.2:
            body, items = self.set_operation(depth, types)
        elif not types and draw < 0.24:
            body, items = self.values()
        else:
            body, items = self.select(depth, types, loose=top and not types)
        loose = any(c.loose for c in body.columns)
        ordered = not loose and self.chance(0.35 if top else 0.12)
        if ordered:
            directions = [self.pick("", " DESC", " ASC NULLS FIRST", " DESC NULLS LAST", "", " NULLS LAST") for _ in range(3)]
            cut = ()
            if not top or self.chance(0.6):
                limit = f" LIMIT {self.pick(0, 1, 2, 5, 10, 50, 1000)}" if self.chance(0.9) else ""
                cut = (Clause(limit), Clause(f" OFFSET {self.pick(0, 1, 3, 20)}") if self.chance(0.3) or not limit else "")
            order = WholeOrder(items, directions)
            # LIMIT goes before ORDER BY does.
            whole = Query(body, Clause(order, *cut), columns=body.columns, become=(body,))
            whole.ordered = True
            return whole
        if top and self.chance(0.15):
            # An order that is not total shows nothing but that it is understood.
            return Query(body, Clause(f" ORDER BY 1{self.pick('', ' DESC')}"), columns=body.columns, become=(body,))
        return body

    def set_operation(self, depth, types):
        self.sets += 1
        left = self.query_without_order(depth - 1, types)
        wanted = [c.type for c in left.columns]
        right = self.query_without_order(depth - 1, wanted)
        self.sets -= 1
        operation = self.pick("UNION", "UNION ALL", "UNION ALL", "INTERSECT", "INTERSECT ALL", "EXCEPT", "EXCEPT ALL")
        columns = [
            Expression(a.type, f"c{i}", scale=max(a.scale, b.scale))
            for i, (a, b) in enumerate(zip(left.columns, right.columns))
        ]
        parts = ("(", left, f") {operation} (", right, ")")
        return Query(*parts, columns=columns, become=(left, right)), len(columns)

    def query_without_order(self, depth, types):
        if depth > 0 and self.chance(0.2):
            return self.set_operation(depth, types)[0]
        return self.select(depth, types)[0]

    def values(self):
        expressions = Expressions(self.random, [])
        types = [self.pick(*TYPES) for _ in range(self.pick(1, 2, 3))]
        cells = lambda: [expressions.literal(t) if i or self.chance(0.8) else typed_null(t) for i, t in enumerate(types)]
        rows = [Node("(", *interleaved(cells()), ")") for _ in range(self.pick(1, 2, 5))]
        columns = [Expression(t, f"c{i}", scale=2 if t == "dec" else 0) for i, t in enumerate(types)]
        names = ", ".join(f"c{i}" for i in range(len(types)))
        query = Query("SELECT * FROM (VALUES ", Listing(rows), f") AS {self.name()}({names})", columns=columns)
        query.rows = len(rows)
        return query, len(types)

    # FROM.

    def base(self, tables=None):
        weights = {"item": 8, "part": 6, "few": 4, "nil": 1, "fact": 3 if self.facts == 0 else 0}
        allowed = [t for t in TABLES if tables is None or t.name in tables]
        table = self.random.choices(allowed, [weights[t.name] for t in allowed])[0]
        self.facts += table.name == "fact"
        alias = self.name()
        columns = [column(f"{alias}.{n}", type, digits) for n, (_, type, digits) in table.columns.items()]
        return Node(f"{table.name} AS {alias}"), Relation(columns, [f"{alias}.id"], table.rows, True), table, alias

    def relation(self, depth):
        draw = self.random.random()
        if depth > 0 and draw < 0.22:
            query = self.query(depth - 1)
            return self.derived(Node("(", query, ")"), query)
        if self.ctes and draw < 0.5:
            name, query = self.random.choice(self.ctes)
            return self.derived(Node(name), query)
        node, relation, *_ = self.base()
        return node, relation

    def derived(self, node, query):
        alias = self.name()
        columns = [column(f"{alias}.c{i}", c.type, c.scale) for i, c in enumerate(query.columns)]
        rows = getattr(query, "rows", 200)
        return Node(node, f" AS {alias}"), Relation(columns, [f"{alias}.c{i}" for i in range(len(columns))], rows)

    def source(self, depth):
        """What comes after FROM."""
        if self.chance(0.08):
            return self.using()
        node, relation = self.relation(depth)
        for _ in range(self.pick(0, 0, 0, 1, 1, 1, 2)):
            other, right = self.relation(depth - 1)
            node, relation = self.join(node, relation, other, right)
            # JOIN binds more than a comma: what came before the comma cannot be named after it.
            if ", " in node.parts:
                break
        return node, relation

    def join(self, node, left, other, right):
        product = left.rows * right.rows
        pairs = [
            (a, b)
            for a in left.columns
            for b in right.columns
            if a.type == b.type and a.type in ("int", "str", "date", "ts", "bool", "dec") and (a.type != "bool" or product < 9000)
        ]
        keyed = [p for p in pairs if p[0].type in ("int", "str", "date")] or pairs
        kind = self.pick("JOIN", "JOIN", "JOIN", "INNER JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS", ",", "half", "asof")
        if kind == "asof" and (nearest := self.asof(node, left, other, right)):
            return nearest
        half = kind == "half"
        if kind in ("half", "asof"):
            kind = self.pick("SEMI JOIN", "ANTI JOIN") if half else "JOIN"
        # Keys are skewed; only `id` is unique.
        both = joined(left, right, min(product, max(left.rows, right.rows, product // 3)))
        if kind in ("CROSS", ",") and (product < ROWS_MAX / 4):
            text = " CROSS JOIN " if kind == "CROSS" else ", "
            both.rows = product
            return Choice(node, text, other, become=(node, other)), both
        if kind in ("CROSS", ","):
            kind = "JOIN"
        expressions = Expressions(self.random, both.columns)
        conditions = []
        unique = [p for p in keyed if any(c.node.render("flumen").endswith(".id") for c in p)]
        if product > ROWS_MAX and keyed:
            keyed = unique
        if keyed and (self.chance(0.8) or product > ROWS_MAX / 4):
            if keyed is unique:
                both.rows = max(left.rows, right.rows)
            for _ in range(self.pick(1, 1, 1, 2)):
                a, b = self.random.choice(keyed)
                sides = [a.node, b.node] if self.chance(0.7) else [b.node, a.node]
                equals = " IS NOT DISTINCT FROM " if self.chance(0.06) else " = "
                conditions.append(Node(sides[0], equals, sides[1]))
            if self.chance(0.3):
                conditions.append(expressions.bool(1))
        elif product > ROWS_MAX / 4:
            # Never true, so that the rows of a chain of joins stay few.
            both.rows = max(left.rows, right.rows)
            conditions.append(Node(left.columns[0].node, " IS NULL AND ", left.columns[0].node, " IN (", left.columns[0].node, ")"))
        else:
            both.rows = product
            conditions.append(expressions.bool(1))
        on = Listing(conditions, " AND ")
        if half and kind.endswith(("SEMI JOIN", "ANTI JOIN")):
            return Choice(node, f" {kind} ", other, " ON ", on, become=(node,)), left
        return Choice(node, f" {kind} ", other, " ON ", on, become=(node, other)), both

    def asof(self, node, left, other, right):
        """An ASOF join by a column of the right side in which no two rows agree, so that there is one nearest."""
        if not right.unique or len(right.key) != 1:
            return None
        position = next(c for c in right.columns if c.node.render("flumen") == right.key[0])
        mine = [c for c in left.columns if c.type == position.type and not c.node.loose]
        if not mine:
            return None
        kind = self.pick("ASOF JOIN", "ASOF JOIN", "ASOF LEFT JOIN")
        conditions = [Node(self.random.choice(mine).node, f" {self.pick('>=', '>=', '>', '<=', '<')} ", position.node)]
        keys = [(a, b) for a in left.columns for b in right.columns if a.type == b.type and a.type in ("int", "str", "date")]
        if keys and self.chance(0.6):
            a, b = self.random.choice(keys)
            conditions.insert(0, Node(a.node, " = ", b.node, " AND "))
        # Of a left row there is one at most.
        both = Relation(left.columns + right.columns, left.key, left.rows, left.unique)
        return Choice(node, f" {kind} ", other, " ON ", *conditions, become=(node, other)), both

    def using(self):
        """Two tables joined by names."""
        first, left, a, _ = self.base(["item", "part", "few", "nil"])
        second, right, b, _ = self.base(["item", "part", "few", "nil"])
        shared = [n for n in a.columns if n in b.columns and n in ("id", "k", "s") and a.columns[n][1] == b.columns[n][1]]
        names = self.random.sample(shared, self.pick(1, 1, 2) if len(shared) > 1 else 1)
        kind = self.pick("JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
        bare = lambda c: c.node.parts[0].split(".")[1]
        columns = [column(n, a.columns[n][1]) for n in names]
        columns += [c for c in left.columns + right.columns if bare(c) not in names]
        keys = [k for k in left.key + right.key if k.split(".")[1] not in names] + names
        node = Choice(first, f" {kind} ", second, f" USING ({', '.join(names)})", become=(first, second))
        return node, Relation(columns, keys, left.rows * 12)

    # SELECT.

    def select(self, depth, types=None, loose=False):
        if not types and self.chance(0.03):
            expressions = Expressions(self.random, [])
            items = [expressions.value(self.pick(*TYPES), 2) for _ in range(self.pick(1, 2))]
            return self.finished("", items, (), None)
        node, relation = self.source(depth)
        subquery = lambda: self.subquery(depth, relation)
        expressions = Expressions(self.random, relation.columns, loose, subquery if depth > 0 else None)
        where = Clause(" WHERE ", expressions.condition(2)) if self.chance(0.55) else ""
        if self.chance(0.33):
            return self.grouped(node, relation, where, expressions, types, loose, depth)
        items = [expressions.value(t, self.pick(0, 1, 2, 3)) for t in types or self.item_types(expressions)]
        if not types and self.chance(0.2):
            items = [c.node for c in relation.columns[: self.pick(2, 3, 30)]]
        if not types and depth > 0 and self.chance(0.03):
            items.append(self.scalar(relation))
        tail = ()
        windows = not types and self.chance(0.28)
        if windows:
            count = self.pick(1, 1, 2) if relation.unique else 1
            items = items[:4] + [self.window(expressions, relation.key, loose) for _ in range(count)]
            if relation.unique and self.chance(0.15):
                rank = self.pick("row_number()", "rank()", "dense_rank()")
                over = self.over(expressions, relation.key, total=True)
                tail = (Clause(f" QUALIFY {rank} OVER (", over, f") <= {self.pick(1, 2, 5)}"),)
        elif loose and self.chance(0.15):
            items.append(expressions.loosely())
        distinct = "DISTINCT " if not any(i.loose for i in items) and self.chance(0.1) else ""
        return self.finished(distinct, items, (" FROM ", node, where, *tail), relation)

    def item_types(self, expressions):
        return [expressions.some_type() for _ in range(self.pick(1, 2, 2, 3, 4))]

    def finished(self, distinct, items, tail, relation):
        if self.sets:
            # DuckDB rounds decimals of different scales to what fits into 38 digits with the longest of both.
            even = lambda i: Expression("dec", "CAST(", i, " AS DECIMAL(18, 4))", scale=4) if i.type == "dec" else i
            items = [even(item) for item in items]
        named = [Node(item, f" AS c{i}") for i, item in enumerate(items)]
        listing = Listing(named)
        columns = [Expression(i.type, f"c{n}", loose=i.loose, scale=i.scale) for n, i in enumerate(items)]
        query = Query("SELECT ", Clause(distinct) if distinct else "", listing, *tail, columns=columns)
        query.rows = relation.rows if relation else 1
        return query, listing

    # Groups.

    def grouped(self, node, relation, where, expressions, types, loose, depth):
        keys = []
        for _ in range(self.pick(0, 1, 1, 1, 2, 2, 3)):
            type = expressions.some_type()
            key = expressions.column(type)
            if key is not None and self.chance(0.25) and type in ("int", "str", "date", "ts"):
                made = {"int": ("(", key, " % 3)"), "str": ("upper(", key, ")"), "date": ("CAST(extract(month FROM ", key, ") AS INTEGER)"),
                        "ts": ("CAST(", key, " AS DATE)")}[type]  # fmt: skip
                key = Expression({"date": "int", "ts": "date"}.get(type, type), *made)
            if key is not None and not any(key is other for other in keys):
                keys.append(key)
        aggregates = [self.aggregate(expressions, loose) for _ in range(self.pick(1, 2, 3))]
        over = Expressions(self.random, [Column(e) for e in keys + aggregates], loose)
        sets = len(keys) > 0 and self.chance(0.25)
        if types:
            items = [over.value(t, self.pick(0, 1, 2)) for t in types]
        else:
            items = keys + aggregates
            if self.chance(0.3):
                items.append(over.value(over.some_type(), 2))
            if sets and self.chance(0.4):
                items.append(Expression("int", "GROUPING(", Listing(self.random.sample(keys, self.pick(1, len(keys)))), ")"))
            if not sets and self.chance(0.12):
                items.append(self.window(over, keys, loose))
        by = ""
        if keys and sets:
            by = Clause(" GROUP BY ", self.grouping_sets(keys))
        elif keys:
            plain = not types and all(not i.loose for i in items) and items[: len(keys)] == keys
            if plain and len(items) == len(keys) + len(aggregates) and self.chance(0.2):
                by = self.pick(" GROUP BY ALL", f" GROUP BY {', '.join(str(i + 1) for i in range(len(keys)))}")
            else:
                by = Clause(" GROUP BY ", Listing(keys))
        having = ""
        if self.chance(0.2):
            counted = Expression("bool", self.pick("count(*)", "count(*)", f"avg({self.number(expressions)})"), f" > {self.pick(1, 3)}")
            having = Clause(" HAVING ", self.pick(counted, over.bool(1)))
            if depth > 0 and self.chance(0.15):
                having = Clause(" HAVING count(*) >= ", self.scalar(relation, count=True))
        return self.finished("", items, (" FROM ", node, where, by, having), relation)

    def number(self, expressions):
        found = expressions.column("int")
        return found.parts[0] if found is not None and isinstance(found.parts[0], str) and len(found.parts) == 1 else "1"

    def grouping_sets(self, keys):
        kind = self.pick("ROLLUP", "CUBE", "GROUPING SETS", "GROUPING SETS", "mixed")
        if kind in ("ROLLUP", "CUBE"):
            if self.chance(0.15):
                # A key twice, or two in brackets.
                more = Node("(", keys[0], ", ", keys[-1], ")") if self.chance(0.5) else keys[0]
                return Node(f"{kind} (", Listing([*keys, more]), ")")
            return Node(f"{kind} (", Listing(keys), ")")
        if kind == "mixed" and len(keys) > 1:
            return Node(keys[0], f", {self.pick('ROLLUP', 'CUBE')} (", Listing(keys[1:]), ")")
        chosen = []
        for _ in range(self.pick(1, 2, 3)):
            some = self.random.sample(keys, self.random.randrange(len(keys) + 1))
            chosen.append(Node("(", Listing(some), ")") if some else Node("()"))
        # Each key is in one set at least, else it could not be selected.
        chosen.append(Node("(", Listing(keys), ")"))
        return Node("GROUPING SETS (", Listing(chosen), ")")

    def aggregate(self, expressions, loose, window=False):
        depth = self.pick(0, 0, 1, 2)
        plain = Expressions(self.random, expressions.columns)
        one = lambda type: plain.value(type, depth)
        argument, type, scale, is_loose = None, "int", 0, False
        distinct = "DISTINCT " if self.chance(0.2) and not window else ""
        match self.pick("count", "count", "count of", "sum int", "sum int", "sum dec", "sum dbl", "extreme", "extreme", "extreme", "bool", "avg", "bits", "texts", "first"):
            case "count":
                call = ("count(*)",)
            case "count of":
                call = ("count(", distinct, one(plain.some_type()), ")")
            case "sum int":
                call = ("sum(", distinct, one("int"), ")")
            case "sum dec":
                argument = one("dec")
                call, type, scale = ("sum(", distinct, argument, ")"), "dec", argument.scale
            case "sum dbl":
                call, type = ("sum(", distinct, one("dbl"), ")"), "dbl"
            case "bits":
                call = (self.pick("bit_and(", "bit_or(", "bit_xor("), one("int"), ")")
            case "texts" if not window:
                argument = one("str")
                # In its own order there is one answer.
                call, type = ("string_agg(", distinct, argument, self.pick(", ','", ", ''", ", ' - '"), " ORDER BY ", argument, self.pick("", " DESC"), ")"), "str"
            case "first" if not window:
                argument = one(plain.some_type())
                call, type, scale = (self.pick("first(", "last("), argument, " ORDER BY ", argument, self.pick("", " DESC", " NULLS FIRST"), ")"), argument.type, argument.scale
            case "extreme":
                argument = one(plain.some_type())
                call, type, scale = (self.pick("min(", "max("), argument, ")"), argument.type, argument.scale
            case "bool":
                call, type = (self.pick("bool_and(", "bool_or("), one("bool"), ")"), "bool"
            case _:
                if not loose:
                    call = ("count(*)",)
                else:
                    function = self.pick("avg(", "avg(", "stddev(", "var_pop(", "covar_pop(", "regr_avgx(", "regr_sxy(")
                    pairs = function.startswith(("covar", "regr"))
                    second = (one(self.pick("int", "dec", "dbl")), ", ") if pairs else ()
                    call = (function, *second, distinct if function == "avg(" else "", one(self.pick("int", "dec", "dbl")), ")")
                    type, is_loose = "xdbl", True
        if not window and self.chance(0.15):
            call = (*call, Clause(" FILTER (WHERE ", plain.bool(1), ")"))
        if window:
            return call, type, scale, is_loose
        if call[0] == "sum(" and type == "int":
            # The sum of BIGINT has another type in each engine.
            call = ("CAST(", *call, " AS BIGINT)")
        if call[0] == "sum(" and type == "dec":
            call = ("CAST(", *call, f" AS DECIMAL(18, {scale}))")
        return Expression(type, *call, loose=is_loose, scale=scale)

    # Windows.

    def over(self, expressions, key, total, offset_key=None):
        """What is in the parentheses after OVER, but for the frame."""
        parts = []
        if self.chance(0.55):
            by = [expressions.value(expressions.some_type(), self.pick(0, 0, 1)) for _ in range(self.pick(1, 1, 2))]
            parts.append(Clause("PARTITION BY ", Listing(by)))
        direction = lambda: self.pick("", "", " DESC", " NULLS FIRST", " DESC NULLS LAST")
        if offset_key is not None:
            parts.append(Node(" ORDER BY ", offset_key, direction()))
        elif total:
            first = [Node(expressions.value(expressions.some_type(), 0), direction())] if self.chance(0.5) else []
            rest = [Node(k, direction()) if isinstance(k, Node) else f"{k}{direction()}" for k in key]
            parts.append(Node(" ORDER BY ", *interleaved(first + rest)))
        elif self.chance(0.7):
            by = [Node(expressions.value(expressions.some_type(), 0), direction()) for _ in range(self.pick(1, 1, 2))]
            parts.append(Clause(" ORDER BY ", Listing(by)))
        return Node(*parts)

    def bounds(self, offset):
        ends = ["UNBOUNDED PRECEDING", f"{offset()} PRECEDING", "CURRENT ROW", f"{offset()} FOLLOWING", "UNBOUNDED FOLLOWING"]
        low, high = sorted(self.random.sample(range(5), 2))
        if self.chance(0.2):
            low = high = self.pick(1, 2, 3)
        return f"BETWEEN {ends[low]} AND {ends[high]}"

    def exclude(self):
        """What a frame leaves out, now and then."""
        return self.pick(" EXCLUDE CURRENT ROW", " EXCLUDE GROUP", " EXCLUDE TIES", " EXCLUDE NO OTHERS") if self.chance(0.2) else ""

    def window(self, expressions, key, loose):
        """A window function."""
        key = [k for k in key] or []
        kind = self.pick("rank", "rank", "row_number", "ntile", "lag", "lag", "value", "value", "total", "total", "total", "peers", "range")
        if not key and kind in ("row_number", "ntile", "lag", "value", "total"):
            kind = "peers"
        value = lambda: expressions.value(expressions.some_type(), self.pick(0, 0, 1))
        number = lambda: self.pick(0, 1, 1, 2, 3, 10)
        if kind == "rank":
            function = self.pick("rank()", "dense_rank()", "percent_rank()", "cume_dist()") if loose else self.pick("rank()", "dense_rank()")
            type = "xdbl" if function in ("percent_rank()", "cume_dist()") else "int"
            return Expression(type, f"{function} OVER (", self.over(expressions, key, self.chance(0.2) and bool(key)), ")", loose=type == "xdbl")
        if kind in ("row_number", "ntile"):
            function = "row_number()" if kind == "row_number" else f"ntile({self.pick(1, 2, 3, 7)})"
            return Expression("int", f"{function} OVER (", self.over(expressions, key, True), ")")
        if kind == "lag":
            argument = value()
            rest = self.pick("", f", {self.pick(0, 1, 2, 5)}")
            default = (", ", expressions.literal(argument.type)) if rest and argument.type != "dec" and self.chance(0.4) else ()
            ignore = " IGNORE NULLS" if self.chance(0.15) else ""
            call = (self.pick("lag(", "lead("), argument, rest, *default, ")")
            return self.with_nulls_ignored(argument, call, ignore, self.over(expressions, key, True), "")
        if kind == "value":
            argument = value()
            frame = f" {self.pick('ROWS', 'ROWS', 'GROUPS')} {self.bounds(number)}{self.exclude()}" if self.chance(0.6) else ""
            call = (self.pick("first_value(", "last_value("), argument, ")")
            if self.chance(0.3):
                call = ("nth_value(", argument, f", {self.pick(1, 2, 3)})")
            ignore = " IGNORE NULLS" if self.chance(0.15) else ""
            return self.with_nulls_ignored(argument, call, ignore, self.over(expressions, key, True), frame)
        call, type, scale, is_loose = self.aggregate(expressions, loose, window=True)
        if kind == "range":
            over, frame = self.range(expressions, key)
        else:
            total = kind == "total"
            over = self.over(expressions, key, total)
            # An aggregate among the partition keys may have an order of its own.
            ordered = total or any(isinstance(part, Clause) and part.parts[0] == " ORDER BY " for part in over.parts)
            frame = ""
            if ordered and self.chance(0.7):
                frame = f" {self.pick('ROWS', 'ROWS', 'GROUPS') if total else 'GROUPS'} {self.bounds(number)}{self.exclude()}"
        whole = (*call, " OVER (", over, Clause(frame) if frame else "", ")")
        if type == "int" and call[0] == "sum(":
            whole = ("CAST(", *whole, " AS BIGINT)")
        return Expression(type, *whole, loose=is_loose, scale=scale)

    def with_nulls_ignored(self, argument, call, ignore, over, frame):
        # DuckDB writes IGNORE NULLS before the parenthesis closes.
        if ignore:
            inner = (*call[:-1], call[-1][:-1] + ignore + ")") if call[-1].endswith(")") else call
            call = (Dialect((*call, ignore), inner),)
        return Expression(argument.type, *call, " OVER (", over, Clause(frame) if frame else "", ")", scale=argument.scale)

    def range(self, expressions, key):
        """A frame of values around the current row's."""
        type = self.pick("int", "int", "dec", "date", "ts")
        found = expressions.column(type)
        if found is None:
            return self.over(expressions, key, False), ""
        offset = {
            "int": lambda: str(self.pick(0, 1, 3, 10)),
            "dec": lambda: self.pick("0.50", "1.5", "10") if found.scale >= 2 else "1",
            "date": lambda: f"INTERVAL '{self.pick(1, 7, 40)}' DAY",
            "ts": lambda: f"INTERVAL '{self.pick(1, 7, 40)}' {self.pick('HOUR', 'DAY', 'MONTH')}",
        }[type]
        return self.over(expressions, key, False, offset_key=found), f" RANGE {self.bounds(offset)}"

    # Subqueries.

    def subquery(self, depth, outer):
        """A condition on `outer` with a query inside."""
        expressions = Expressions(self.random, outer.columns)
        kind = self.pick("exists", "exists", "in", "in", "in query", "scalar", "scalar")
        if kind == "in query" and outer.rows <= 200:
            type = expressions.some_type()
            query = self.query(depth - 1, [type])
            return Expression("bool", "(", expressions.value(type, 0), self.pick(" IN (", " NOT IN ("), query, "))")
        node, inner, *_ = self.base(["item", "part", "few", "nil"])
        conditions = []
        if self.chance(0.65):
            conditions += self.correlation(outer, inner)
        within = Expressions(self.random, inner.columns)
        if self.chance(0.4):
            conditions.append(within.bool(1))
        where = Clause(" WHERE ", Listing(conditions, " AND ")) if conditions else ""
        if kind == "exists":
            negated = self.pick("", "", "NOT ")
            return Expression("bool", f"({negated}EXISTS (SELECT {self.pick('1', '*')} FROM ", node, where, "))")
        if kind.startswith("in"):
            type = self.pick(*[t for t in expressions.types() if t != "bool"] or ["int"])
            return Expression(
                "bool", "(", expressions.value(type, 1), self.pick(" IN ", " NOT IN "), "(SELECT ", within.value(type, self.pick(0, 0, 1)),
                " FROM ", node, where, "))")  # fmt: skip
        call = self.aggregate(within, False)
        if call.type not in expressions.types():
            call = Expression("int", "count(*)")
        compared = expressions.value(call.type, 1)
        return Expression("bool", "(", compared, f" {self.random.choice(COMPARISONS)} (SELECT ", call, " FROM ", node, where, "))")

    def correlation(self, outer, inner):
        pairs = [(a, b) for a in outer.columns for b in inner.columns if a.type == b.type and a.type in ("int", "str", "date")]
        if not pairs:
            return []
        chosen = [self.random.choice(pairs)]
        found = [Node(b.node, " = ", a.node) for a, b in chosen]
        if self.chance(0.2):
            a, b = self.random.choice(pairs)
            found.append(Node(b.node, f" {self.random.choice(COMPARISONS)} ", a.node))
        return found

    def scalar(self, outer, count=False):
        """A query of one row and column, as a value."""
        node, inner, *_ = self.base(["item", "part", "few", "nil"])
        within = Expressions(self.random, inner.columns)
        call = Expression("int", "count(*)") if count else self.aggregate(within, False)
        conditions = [within.bool(1)] if self.chance(0.4) else []
        if not count and self.chance(0.5):
            conditions += self.correlation(outer, inner)
        where = Clause(" WHERE ", Listing(conditions, " AND ")) if conditions else ""
        return Expression(call.type, "(SELECT ", call, " FROM ", node, where, ")", scale=call.scale)


def typed_null(type):
    sql = {"int": "INTEGER", "dec": "DECIMAL(9, 2)", "dbl": "DOUBLE", "str": "VARCHAR", "date": "DATE",
           "ts": "TIMESTAMP", "bool": "BOOLEAN"}[type]  # fmt: skip
    return Expression(type, f"CAST(NULL AS {sql})", scale=2 if type == "dec" else 0)


def interleaved(items, separator=", "):
    parts = []
    for item in items:
        parts += [separator, item] if parts else [item]
    return parts


def settings(seed, number):
    """How Flumen is set for a query."""
    draw = random.Random(f"settings {seed}:{number}")
    exchange = draw.choice(["pipelined", "blocking", "hybrid-full", "hybrid-selective"])
    return {
        "parallelism.default": draw.choice(["1", "2", "7"]),
        "execution.batch-size": draw.choice(["1", "5", "100", "8192"]),
        "execution.batch-shuffle-mode": f"all-exchanges-{exchange}",
    }

"""Queries as trees whose parts can be dropped or replaced while a difference stays.

A part of a tree is text, a node, or a `Dialect` with a part for each engine. What may happen to a node when a query is made
smaller is said by its class: an `Expression` becomes a smaller one of its type, a `Clause` goes, a `Listing` loses an
item, a `Choice` becomes one of its alternatives. A change that makes no sense (the column is needed elsewhere) is not
kept from happening: both engines refuse the query, so the difference is gone and the change is undone.
"""

FLUMEN, DUCKDB = "flumen", "duckdb"


class Dialect:
    """Text that the two engines write differently."""

    def __init__(self, flumen, duckdb):
        self.flumen, self.duckdb = flumen, duckdb

    def parts(self, engine):
        return self.flumen if engine == FLUMEN else self.duckdb


class Node:
    """Parts in order; `instead` is what a change has put in its place."""

    def __init__(self, *parts):
        self.parts = parts
        self.instead = None

    def current(self):
        node = self
        while node.instead is not None:
            node = node.instead
        return node

    def render(self, engine):
        return "".join(rendered(part, engine) for part in self.current().live_parts())

    def live_parts(self):
        return self.parts

    def children(self):
        """The nodes below, once each, though a `Dialect` may name one twice."""
        seen = set()
        for part in self.current().live_parts():
            for node in nodes(part):
                if id(node) not in seen:
                    seen.add(id(node))
                    yield node

    def alternatives(self):
        """What may be put in its place."""
        return ()


def nodes(part):
    if isinstance(part, Node):
        yield part
    elif isinstance(part, Dialect):
        for inner in (*part.flumen, *part.duckdb):
            yield from nodes(inner)


def rendered(part, engine):
    if isinstance(part, str):
        return part
    if isinstance(part, Dialect):
        return "".join(rendered(inner, engine) for inner in part.parts(engine))
    return part.render(engine)


# A value of each type that is not surprising.
PLAIN = {
    "int": "1",
    "dec": "1.50",
    "dbl": "2.5e0",
    "str": "'a'",
    "date": "DATE '2024-02-29'",
    "ts": "TIMESTAMP '2024-02-29 12:30:00'",
    "bool": "TRUE",
}


class Expression(Node):
    """Has a type, and becomes an expression below it of the same type, or a constant.

    `loose` says that the engines agree on it but for its last digits: it may come out of a query, and nothing may depend on
    it. `scale` counts the digits after the point that a decimal has.
    """

    def __init__(self, type, *parts, loose=False, scale=0):
        super().__init__(*parts)
        self.type, self.loose, self.scale = type, loose, scale

    def alternatives(self):
        for below in self.below():
            if below.type == self.type:
                yield below
        plain = PLAIN.get(self.type)
        if plain and self.parts != (plain,):
            yield Expression(self.type, plain)

    def below(self):
        """The nearest expressions below, those of queries left out."""
        found, stack = [], list(self.children())
        while stack:
            node = stack.pop(0).current()
            if isinstance(node, Expression):
                found.append(node)
                if node.type != self.type:
                    stack.extend(node.children())
            elif not isinstance(node, Query):
                stack.extend(node.children())
        return found


class Clause(Node):
    """Can be left out."""

    def alternatives(self):
        if self.parts:
            yield Clause()


class Listing(Node):
    """Items, of which at least one stays."""

    def __init__(self, items, separator=", "):
        super().__init__(*items)
        self.separator = separator

    def live_parts(self):
        spaced = []
        for index, item in enumerate(self.parts):
            spaced += [self.separator, item] if index else [item]
        return spaced

    def alternatives(self):
        count = len(self.parts)
        if count > 3:
            yield Listing(self.parts[: count // 2], self.separator)
            yield Listing(self.parts[count // 2 :], self.separator)
        if count > 1:
            for index in range(count):
                yield Listing(self.parts[:index] + self.parts[index + 1 :], self.separator)


class Choice(Node):
    """Becomes one of its alternatives: a side of a join or of a UNION, a plain scan."""

    def __init__(self, *parts, become=()):
        super().__init__(*parts)
        self.become = become

    def alternatives(self):
        return self.become


class Query(Choice):
    """A query; `columns` are the types of its columns, which are called c0, c1, ..."""

    def __init__(self, *parts, columns, become=()):
        super().__init__(*parts, become=become)
        self.columns = columns


class WholeOrder(Node):
    """ORDER BY all columns of a SELECT that are left, so that any LIMIT after it has one answer."""

    def __init__(self, items, directions):
        super().__init__()
        self.items, self.directions = items, directions

    def live_parts(self):
        count = len(self.items.current().parts) if isinstance(self.items, Node) else self.items
        ordinals = (f"{i + 1}{self.directions[i % len(self.directions)]}" for i in range(count))
        return (" ORDER BY " + ", ".join(ordinals),)


def changes(root):
    """All single changes of a tree, those of large parts first."""
    level = [root]
    while level:
        below = []
        for node in level:
            node = node.current()
            for alternative in node.alternatives():
                yield node, alternative
            below.extend(node.children())
        level = below


def commit(node, alternative):
    node.instead = alternative


def undo(node):
    node.instead = None

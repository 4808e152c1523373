"""Makes a query that differs smaller while it differs in the same way.

Changes of the tree are tried from the largest part down, many at a time in one process of Flumen; the first that keeps the
difference is kept and the search begins anew, until nothing helps. First the settings: a difference that is there
with the defaults is searched with them.
"""

import re

from tree import DUCKDB, FLUMEN, changes, commit, undo

TRIES_AT_ONCE = 24
TRIES_MAX = 3000


def reduced(run, tree, ordered, kind, text, settings):
    """The smaller tree, what differs in it, and whether it does with the default settings."""
    from run import general, verdict

    wanted = (kind, None if kind == "rows" else general(text))

    def still(kind, text):
        return (kind, None if kind == "rows" else general(text)) == wanted

    defaults = {key: default for key, default in zip(settings, ("1", "8192", "all-exchanges-pipelined"))}
    flumen = run.flumen.ask([(tree.render(FLUMEN), defaults)])[0]
    plain = still(*verdict(flumen, run.duckdb.ask(tree.render(DUCKDB)), ordered))
    if plain:
        settings = defaults
    tries = 0
    smaller = True
    while smaller and tries < TRIES_MAX:
        smaller = False
        batch, size = [], len(tree.render(FLUMEN))
        candidates = iter(list(changes(tree)))
        while not smaller:
            batch = take(candidates, tree, size)
            if not batch:
                break
            tries += len(batch)
            answers = run.flumen.ask([(ours, settings) for *_, ours, _ in batch])
            for (node, alternative, _, theirs), flumen in zip(batch, answers):
                found = verdict(flumen, run.duckdb.ask(theirs, 5), ordered and ends_in_order(theirs))
                if still(*found):
                    commit(node, alternative)
                    text, smaller = found[1], True
                    break
    return tree, text, plain


def ends_in_order(text):
    """Whether the order is still there, which may have been dropped."""
    return re.search(r" ORDER BY 1[^()]*$", text) is not None


def take(candidates, tree, size):
    """The next changes that shorten the query, with its text in both dialects."""
    batch = []
    for node, alternative in candidates:
        commit(node, alternative)
        ours, theirs = tree.render(FLUMEN), tree.render(DUCKDB)
        undo(node)
        if len(ours) < size:
            batch.append((node, alternative, ours, theirs))
            if len(batch) == TRIES_AT_ONCE:
                break
    return batch

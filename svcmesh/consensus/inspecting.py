"""What is in a frozen state, counted without building it."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgpack

from svcmesh.consensus.store.state import DELETIONS, ENTRIES, HISTORY, StateReader

KINDS: Final = {ENTRIES: "Keys", DELETIONS: "Deleted keys", HISTORY: "Earlier values"}

Counts = list[tuple[str, int, int]]
"""Kind, how many, and how many bytes they take."""


def count_state(pieces: Iterable[bytes]) -> Counts:
    """Count what is in a state.

    Raises:
        DecodeError: It is none.
    """
    numbers: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    reader = StateReader()
    for piece in pieces:
        for kind, rows in reader.feed_untrusted(piece):
            if not isinstance(rows, list):
                continue
            numbers[kind] += len(rows)
            sizes[kind] += len(msgpack.packb(rows))
    head = reader.finish()
    sessions = head["sessions"]
    return [
        *((name, numbers[kind], sizes[kind]) for kind, name in KINDS.items()),
        ("Sessions", len(sessions), len(msgpack.packb(sessions))),
        ("Sequences", len(head["sequences"]), len(msgpack.packb(head["sequences"]))),
    ]

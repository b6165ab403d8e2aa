"""Whether what clients saw of registers could have come from one copy of each (Herlihy and Wing).

Wing and Gong's search, with memory, by key: an order of the operations that respects real time and
explains every answer. Values are numbers, 0 stands for a key that is not there, and every value is
written once only, so that a compared write may name what it expects by value.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf


@dataclass
class Operation:
    """One thing a client asked for. `returned_at` None: it never learned whether it happened."""

    client: int
    key: str
    kind: str
    """"put", "cas" or "get"."""
    argument: tuple[int, ...]
    """The value to put; of a "cas" the value that it expects, then the new one."""
    asked_at: float
    returned_at: float | None = None
    result: object = None
    """Of a "get" the value, of a "cas" whether it was written."""
    is_refused: bool = False
    """It has certainly not happened."""


def inexplicable_keys(history: Iterable[Operation]) -> list[str]:
    """The keys for which no order explains what clients saw, sorted."""
    by_key: dict[str, list[Operation]] = {}
    for operation in history:
        # A read that nobody answered says nothing.
        if not operation.is_refused and (operation.kind != "get" or operation.returned_at):
            by_key.setdefault(operation.key, []).append(operation)
    return sorted(key for key, operations in by_key.items() if not _has_order(operations))


def _has_order(operations: list[Operation]) -> bool:
    """Try every operation that may be next; remember (done, value) that were seen in vain."""
    order = sorted(operations, key=lambda o: o.asked_at)
    answered = sum(1 << n for n, o in enumerate(order) if o.returned_at is not None)
    seen: set[tuple[int, int]] = set()
    stack: list[tuple[int, int]] = [(0, 0)]
    while stack:
        done, value = stack.pop()
        if done & answered == answered:
            return True
        if (done, value) in seen:
            continue
        seen.add((done, value))
        stack += [
            (done | 1 << n, after)
            for n in _next_ones(order, done)
            if (after := _after(order[n], value)) is not None
        ]
    return False


def _next_ones(order: list[Operation], done: int) -> list[int]:
    """Operations not done that began before any of those not done had returned.

    The likeliest comes last: what was answered before what was not, and of the answered the first.
    """
    found: list[int] = []
    first_return = inf
    for n in range((~done & (done + 1)).bit_length() - 1, len(order)):
        if done >> n & 1:
            continue
        if order[n].asked_at > first_return:
            break
        found.append(n)
        first_return = min(first_return, _returned_at(order[n]))
    return sorted(
        (n for n in found if order[n].asked_at <= first_return),
        key=lambda n: _returned_at(order[n]),
        reverse=True,
    )


def _returned_at(operation: Operation) -> float:
    return inf if operation.returned_at is None else operation.returned_at


def _after(operation: Operation, value: int) -> int | None:
    """The value after an operation at a value; None when its result contradicts it."""
    is_known = operation.returned_at is not None
    if operation.kind == "get":
        return value if operation.result == value else None
    if operation.kind == "put":
        return operation.argument[0]
    expected, new = operation.argument
    if is_known and operation.result != (value == expected):
        return None
    return new if value == expected else value

"""Small histories whose verdict can be seen by looking at them."""

import pytest

from svcmesh.simulate.linearizability import Operation, inexplicable_keys


def put(value: int, asked_at: float, returned_at: float | None) -> Operation:
    return Operation(0, "k", "put", (value,), asked_at, returned_at)


def get(value: int, asked_at: float, returned_at: float) -> Operation:
    return Operation(1, "k", "get", (), asked_at, returned_at, value)


def cas(
    expected: int, new: int, asked_at: float, returned_at: float | None, *, is_done: bool
) -> Operation:
    return Operation(2, "k", "cas", (expected, new), asked_at, returned_at, is_done)


SOUND = {
    "one behind the other": [put(1, 1, 2), get(1, 3, 4)],
    "a read beside a write sees the old value": [put(1, 1, 4), get(0, 2, 3)],
    "a write without an answer takes effect late": [put(1, 1, None), get(0, 2, 3), get(1, 4, 5)],
    "a write without an answer never does": [put(1, 1, None), get(0, 2, 3)],
    "compared writes beside each other": [
        put(1, 1, 2), cas(1, 2, 3, 6, is_done=True), cas(1, 3, 3, 6, is_done=False),
    ],
}  # fmt: skip
BROKEN = {
    "an acknowledged write is lost": [put(1, 1, 2), get(0, 3, 4)],
    "a read goes back": [put(1, 1, 6), get(1, 2, 3), get(0, 4, 5)],
    "a value from nowhere": [get(7, 1, 2)],
    "both compared writes succeed": [
        put(1, 1, 2), cas(1, 2, 3, 6, is_done=True), cas(1, 3, 3, 6, is_done=True),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_a_history_that_one_copy_explains_passes(name: str) -> None:
    assert inexplicable_keys(SOUND[name]) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_history_that_nothing_explains_is_named_by_its_key(name: str) -> None:
    assert inexplicable_keys(BROKEN[name]) == ["k"]


def test_many_writes_of_unknown_outcome_do_not_slow_the_search() -> None:
    unknown = [put(100 + n, n, None) for n in range(40)]
    known = [put(1000 + n, 50 + 2 * n, 51 + 2 * n) for n in range(200)]
    reads = [get(1000 + n, 51.2 + 2 * n, 51.8 + 2 * n) for n in range(200)]
    assert inexplicable_keys(unknown + known + reads) == []

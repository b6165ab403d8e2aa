"""A table of rows against a dictionary, and before the garbage collector."""

import gc

from hypothesis import given
from hypothesis import strategies as st

from svcmesh.consensus.store import Row
from svcmesh.consensus.store.table import RowTable

KEYS = st.text(alphabet="abc", max_size=2)
STEPS = st.lists(st.tuples(st.booleans(), KEYS))


def row(key: str, number: int) -> Row:
    return (key, b"", 0, 0, "", 0, number)


@given(STEPS, KEYS, KEYS)
def test_it_holds_what_a_dictionary_holds_in_order(
    steps: list[tuple[bool, str]], low: str, high: str
) -> None:
    table, model = RowTable(), dict[str, Row]()
    for number, (is_put, key) in enumerate(steps):
        if is_put:
            table[key] = model[key] = row(key, number)
        else:
            assert table.pop(key) == model.pop(key, None)
        assert (table.get(key), key in table) == (model.get(key), key in model)
    assert len(table) == len(model)
    assert list(table.irange(None, None, (True, True))) == sorted(model)
    between = [key for key in sorted(model) if low <= key < high]
    assert list(table.irange(low, high, (True, False))) == between
    assert [table[key] for key in between] == [model[key] for key in between]


def test_what_was_frozen_is_not_gone_over_again_when_it_grows() -> None:
    table = RowTable()
    for number in range(1000):
        table[f"old {number}"] = row(f"old {number}", number)
    gc.collect()
    gc.freeze()
    try:
        for number in range(1000):
            table[f"new {number}"] = row(f"new {number}", number)
        gone_over = [held for held in gc.get_objects() if isinstance(held, dict)]
        assert not any(f"old {number}" in held for held in gone_over for number in range(1000))
    finally:
        gc.unfreeze()

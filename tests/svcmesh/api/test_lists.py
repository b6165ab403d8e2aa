"""Long lists: the same JSON as all at once, in slices, from kept fragments."""

import asyncio
import json
from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmesh.api.lists import SLICE_S, Fragments, Rows, encode_rows

VALUES = st.one_of(
    st.integers(0, 99),
    st.text(max_size=4),
    st.just({}),
    st.dictionaries(st.text(max_size=3), st.lists(st.integers(0, 9), max_size=2), max_size=2),
)


def encoded(rows: Rows, *, pretty: bool = False, fragments: Fragments | None = None) -> str:
    return asyncio.run(encode_rows(rows, pretty=pretty, fragments=fragments)).decode()


def same(value: Any) -> object:  # noqa: ANN401 - any row
    return value


@given(st.lists(VALUES, max_size=5), st.sampled_from(["list", "keyed", "named", "keyed-named"]))
def test_a_list_is_written_as_json_writes_it(values: list[object], form: str) -> None:
    rows: list[tuple[str, object]] = [(str(place), value) for place, value in enumerate(values)]
    is_keyed, is_named = "keyed" in form, "named" in form
    head = {"Node": {"a": []}} if is_named else {}
    listed: object = dict(rows) if is_keyed else values
    whole: object = {**head, "Rows": listed} if is_named else listed
    subject = Rows(
        rows,
        lambda row: row[1],
        key=(lambda row: str(row[0])) if is_keyed else None,
        head=head,
        name="Rows" if is_named else "",
    )
    compact = json.dumps(whole, separators=(",", ":"), ensure_ascii=False)
    assert encoded(subject) == compact
    assert encoded(subject, pretty=True) == json.dumps(whole, indent=4, ensure_ascii=False) + "\n"


@given(st.lists(st.integers(0, 5)), st.integers(0, 5))
def test_rows_are_chosen_then_sorted_stably(values: list[int], least: int) -> None:
    rows = list(enumerate(values))
    subject = Rows(
        rows,
        lambda row: list(row),
        keep=lambda row: row[1] >= least,
        distance=lambda row: float(row[1]),
    )
    expected = sorted((row for row in rows if row[1] >= least), key=lambda row: row[1])
    assert json.loads(encoded(subject)) == [list(row) for row in expected]


def test_entries_are_expanded_into_rows() -> None:
    subject = Rows([2, 0, 3], same, expand=range, keep=lambda row: row != 1)
    assert encoded(subject) == "[0,0,2]"


@pytest.mark.parametrize("distance", [None, float])
def test_others_get_their_turn_while_a_long_list_is_made(
    distance: Callable[[int], float] | None,
) -> None:
    def slow(row: int) -> int:
        ends_at = perf_counter() + SLICE_S / 4
        while perf_counter() < ends_at:
            pass
        return row

    async def main() -> int:
        turns = 0
        rows = Rows(range(40), slow, distance=distance)
        making = asyncio.create_task(encode_rows(rows, pretty=False, fragments=None))
        while not making.done():
            turns += 1
            await asyncio.sleep(0)
        return turns

    # Ten slices' work; a busy machine makes more of it.
    assert asyncio.run(main()) >= 8


def test_a_fragment_is_rendered_once_for_each_stamp() -> None:
    rendered: list[str] = []

    def render(row: str) -> str:
        rendered.append(row)
        return row

    stamps = {"a": 1, "b": 1}
    fragments = Fragments()
    for _ in range(3):
        assert fragments.get(render, stamps.__getitem__, "a") == b'"a"'
        assert fragments.get(render, stamps.__getitem__, "b") == b'"b"'
    stamps["b"] = 2
    assert fragments.get(render, stamps.__getitem__, "b") == b'"b"'
    assert rendered == ["a", "b", "b"]


def test_kept_fragments_are_bounded() -> None:
    rendered: list[int] = []

    def render(row: int) -> str:
        rendered.append(row)
        return "x" * 1000

    fragments = Fragments(bytes_max=10_000)
    for _ in range(2):
        for row in range(100):
            fragments.get(render, lambda _: 0, row)
    assert len(rendered) == 200

"""Long lists as JSON: chosen, sorted and encoded in slices, so that the event loop never stalls.

A row's JSON can be kept between answers: see `Fragments`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

from svcmesh.api.answers import json_bytes, prettify
from svcmesh.catalog.view_rows import CheckRow, NodeRow, ServiceRow

SLICE_S: Final = 0.004
"""How long rows are worked on before the event loop gets its turn."""

FRAGMENTS_BYTES_MAX: Final = 24 * 1024 * 1024
FRAGMENT_OVERHEAD_BYTES: Final = 300

_INDENT: Final = b"    "

# Any: rows of whatever kind the functions beside them take.
Render = Callable[[Any], object]
Stamp = Callable[[Any], Hashable]
RowTest = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Shape:
    """How a row looks as JSON, and what that depends on."""

    render: Render
    stamp: Stamp | None = None
    """Differs whenever `render` would; None: a row's JSON is not worth keeping."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A list to send: rows, and how one of them looks as JSON."""

    rows: Sequence[Any]
    render: Render
    stamp: Stamp | None = None
    """As in `Shape`."""
    expand: Callable[[Any], Iterable[Any]] | None = None
    """With it each of `rows` stands for these rows, which everything below is about."""
    keep: RowTest | None = None
    """Which rows are in the answer; None: all of them."""
    distance: Callable[[Any], float] | None = None
    """Rows are sorted by this, and stay in place where it is equal; None: as they come."""
    key: Callable[[Any], str] | None = None
    """With it the answer is an object: a row under each key."""
    head: Mapping[str, object] = field(default_factory=dict)
    name: str = ""
    """With it the answer is an object: `head`, and the rows under this name."""


def is_shown(row: NodeRow) -> bool:
    """Whether a node is still there: it may go while the list is being made."""
    return row.is_shown


def has_shown_node(row: ServiceRow | CheckRow) -> bool:
    """Whether the node of an instance or check is still there, as in `is_shown`."""
    return row.node.is_shown


class Slices:
    """Turns for the event loop during long work."""

    def __init__(self) -> None:
        self._ends_at = perf_counter() + SLICE_S

    @property
    def is_over(self) -> bool:
        """Whether it is time to `pause`. Cheap enough to ask after every row."""
        return perf_counter() >= self._ends_at

    async def pause(self) -> None:
        """Let the event loop do what waits, then start another slice."""
        await asyncio.sleep(0)
        self._ends_at = perf_counter() + SLICE_S


class Fragments:
    """The JSON of rows, by row and shape, as long as their stamp stays; the oldest go first.

    Bounded by `bytes_max`. A list of ten thousand instances changes in one of them at a time; all
    others are then copied instead of built.
    """

    def __init__(self, bytes_max: int = FRAGMENTS_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._size_bytes = 0
        self._fragments: OrderedDict[tuple[Render, Hashable], tuple[Hashable, bytes]] = (
            OrderedDict()
        )

    def get(self, render: Render, stamp: Stamp, row: Hashable) -> bytes:
        """The JSON of a row."""
        key, current = (render, row), stamp(row)
        held = self._fragments.get(key)
        if held is not None:
            if held[0] == current:
                return held[1]
            self._drop(key)
        fragment = json_bytes(render(row))
        self._fragments[key] = (current, fragment)
        self._size_bytes += len(fragment) + FRAGMENT_OVERHEAD_BYTES
        while self._size_bytes > self._bytes_max:
            self._drop(next(iter(self._fragments)))
        return fragment

    def _drop(self, key: tuple[Render, Hashable]) -> None:
        _, fragment = self._fragments.pop(key)
        self._size_bytes -= len(fragment) + FRAGMENT_OVERHEAD_BYTES


async def encode_rows(value: Rows, *, pretty: bool, fragments: Fragments | None) -> bytes:
    """The JSON of a list."""
    slices = Slices()
    to_item = _item_encoder(value, pretty=pretty, fragments=fragments)
    items = []
    if value.distance is None:
        async for row in _chosen(value, slices):
            items.append(to_item(row))  # noqa: PERF401 - as fast, and reads as the loop below
    else:
        for row in await _sorted(value, value.distance, slices):
            items.append(to_item(row))
            if slices.is_over:
                await slices.pause()
    return _assemble(value, items, pretty=pretty)


async def _chosen(value: Rows, slices: Slices) -> AsyncIterator[Any]:
    keep, expand = value.keep, value.expand
    for entry in value.rows:
        for row in (entry,) if expand is None else expand(entry):
            if keep is None or keep(row):
                yield row
        if slices.is_over:
            await slices.pause()


async def _sorted(value: Rows, distance: Callable[[Any], float], slices: Slices) -> Iterable[Any]:
    rows: list[Any] = []
    distances: list[float] = []
    async for row in _chosen(value, slices):
        rows.append(row)
        distances.append(distance(row))
    # By plain numbers, which is several times faster than by tuples. Stable: see `Rows`.
    order = sorted(range(len(rows)), key=distances.__getitem__)
    return [rows[place] for place in order]


def _item_encoder(
    value: Rows, *, pretty: bool, fragments: Fragments | None
) -> Callable[[Any], bytes]:
    render, stamp, key = value.render, value.stamp, value.key
    depth = 2 if value.name else 1

    def to_item(row: Any) -> bytes:  # noqa: ANN401 - as `Rows`
        if fragments is None or stamp is None:
            item = json_bytes(render(row))
        else:
            item = fragments.get(render, stamp, row)
        if pretty:
            item = _indented(item, depth)
        if key is None:
            return _INDENT * depth + item if pretty else item
        name = json_bytes(key(row))
        return _INDENT * depth + name + b": " + item if pretty else name + b":" + item

    return to_item


def _assemble(value: Rows, items: list[bytes], *, pretty: bool) -> bytes:
    """The items, and what stands around them, in one copy: a long list is many megabytes."""
    opening, closing = ("[", "]") if value.key is None else ("{", "}")
    between, end, colon, outer = (b",\n", "\n", ": ", "    ") if pretty else (b",", "", ":", "")
    before, after = opening, closing
    if pretty and items:
        before, after = f"{opening}\n", f"\n{outer if value.name else ''}{closing}"
    if value.name:
        head = (prettify(json_bytes(value.head)) if pretty else json_bytes(value.head)).decode()
        # Its closing brace goes, and the rows follow as one more field.
        head = head.rstrip()[:-1].rstrip() + ("," if value.head else "") + end
        before = f"{head}{outer}{json_bytes(value.name).decode()}{colon}{before}"
        after = f"{after}{end}}}"
    if not items:
        return (before + after + end).encode()
    items[0] = before.encode() + items[0]
    items[-1] += (after + end).encode()
    return between.join(items)


def _indented(item: bytes, depth: int) -> bytes:
    return prettify(item).rstrip(b"\n").replace(b"\n", b"\n" + _INDENT * depth)

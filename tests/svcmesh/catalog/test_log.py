"""One origin's log against a naive history of numbered writes."""

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from svcmesh.catalog.log import Entry, Log, Origin, RecordKey
from svcmesh.catalog.records import Kind, NodeId

ORIGIN = Origin(NodeId("a" * 8), 1)

History = list[tuple[str, bytes | None]]
histories = st.lists(
    st.tuples(st.sampled_from("abcde"), st.one_of(st.none(), st.binary(max_size=3))), max_size=25
)


def entry(seq: int, key: str, raw: bytes | None, *, received_at: float = 0.0) -> Entry:
    return Entry(RecordKey("", Kind.SERVICE, key), seq, raw, None, received_at=received_at)


def written(history: History) -> Log:
    """A writer's log: it has all of its own writes, in order."""
    log = Log(ORIGIN)
    for seq, (key, raw) in enumerate(history, start=1):
        log.put(entry(seq, key, raw, received_at=float(seq)))
        log.advance(seq - 1, seq)
    return log


def latest(history: History) -> dict[str, tuple[int, bytes | None]]:
    """The naive table: the last write of every key."""
    return {key: (seq, raw) for seq, (key, raw) in enumerate(history, start=1)}


def content(log: Log) -> dict[str, tuple[int, bytes | None]]:
    return {e.key.id: (e.seq, e.raw) for e in log.entries()}


@given(histories)
def test_a_log_holds_the_last_write_of_each_key_in_the_order_of_their_numbers(
    history: History,
) -> None:
    log = written(history)
    table = latest(history)
    assert content(log) == table
    assert [e.seq for e in log.entries()] == sorted(seq for seq, _ in table.values())
    assert log.live == sum(raw is not None for _, raw in table.values())
    assert log.tombstones == sum(raw is None for _, raw in table.values())
    assert log.through == len(history)


@given(histories, st.integers(1, 200))
def test_pages_one_after_the_other_hold_everything_once(history: History, budget: int) -> None:
    log = written(history)
    after, found, pages = 0, [], 0
    while after < log.through:
        entries, through = log.page(after, budget)
        assert all(after < e.seq <= through for e in entries)
        assert len(entries) <= 1 or sum(e.size_bytes for e in entries) <= budget
        found += entries
        after, pages = through, pages + 1
    assert found == list(log.entries())
    assert pages <= len(found) + 1


@settings(max_examples=200)
@given(histories, st.integers(40, 200), st.randoms(use_true_random=False))
def test_pages_in_any_order_with_repetitions_give_the_writers_log(
    history: History, budget: int, order: Random
) -> None:
    source = Log(ORIGIN)
    pages: list[tuple[list[Entry], int, int]] = []
    for seq, (key, raw) in enumerate(history, start=1):
        source.put(entry(seq, key, raw))
        source.advance(seq - 1, seq)
        if order.random() < 0.5:
            after = order.randrange(seq)
            entries, through = source.page(after, budget)
            pages.append((entries, after, through))
    after = 0
    while after < source.through:
        entries, through = source.page(after, budget)
        pages.append((entries, after, through))
        after = through
    pages += order.choices(pages, k=3) if pages else []
    order.shuffle(pages)
    log = Log(ORIGIN)
    for entries, after, through in pages:
        for e in entries:
            log.put(replace(e))
        log.advance(after, through)
    assert content(log) == content(source)
    assert (log.through, log.hash) == (source.through, source.hash)
    assert log.loose == []


def test_what_comes_after_a_gap_is_loose_until_the_gap_is_filled() -> None:
    log = Log(ORIGIN)
    log.put(entry(5, "e", b"5"))
    log.advance(4, 5)
    assert log.through == 0
    assert [e.seq for e in log.loose] == [5]
    assert log.page(0, 1000) == ([], 0)
    log.put(entry(2, "b", b"2"))
    log.advance(0, 3)
    assert log.through == 3
    log.advance(3, 4)
    assert log.through == 5
    assert log.loose == []
    assert log.loose_hash == 0


def test_ranges_past_a_gap_are_remembered_up_to_a_bound() -> None:
    log = Log(ORIGIN)
    for start in range(10, 10_000, 2):
        log.advance(start, start + 1)
    log.advance(0, 10)
    assert 10 < log.through < 10_000


def test_an_older_write_of_a_key_changes_nothing() -> None:
    log = Log(ORIGIN)
    log.put(entry(7, "a", b"new"))
    before = log.hash
    late = entry(3, "a", b"old")
    assert log.put(late) is late
    assert log.put(entry(7, "a", b"other")).raw == b"other"  # type: ignore[union-attr]  # it is returned itself
    assert content(log) == {"a": (7, b"new")}
    assert log.hash == before


@given(histories, histories)
def test_the_hash_is_that_of_the_live_records_whatever_came_before(
    history: History, other: History
) -> None:
    one, two = written(history), written(other)
    live_one = {key: value for key, value in latest(history).items() if value[1] is not None}
    live_two = {key: value for key, value in latest(other).items() if value[1] is not None}
    assert (one.hash == two.hash) == (live_one == live_two)


@given(histories, st.integers(0, 30), st.integers(0, 10))
def test_forgetting_deletes_raises_the_floor_and_leaves_live_records_alone(
    history: History, before: int, keep_max: int
) -> None:
    log = written(history)
    live = {key: value for key, value in content(log).items() if value[1] is not None}
    deleted = sorted(seq for seq, raw in latest(history).values() if raw is None)
    hash_before = log.hash
    forgotten = log.forget_deletes(before=float(before), keep_max=keep_max)
    # Received in the order of their numbers, one a second: the oldest go, and what is too much.
    expected = [seq for n, seq in enumerate(deleted) if seq < before or n < len(deleted) - keep_max]
    assert [e.seq for e in forgotten] == expected
    assert log.floor == max(expected, default=0)
    assert {key: value for key, value in content(log).items() if value[1] is not None} == live
    assert log.tombstones == len(deleted) - len(expected)
    assert log.hash == hash_before


def test_deletes_past_a_gap_are_not_forgotten() -> None:
    log = Log(ORIGIN)
    log.put(entry(5, "a", None))
    assert log.forget_deletes(before=100.0, keep_max=0) == []
    assert log.floor == 0
    assert log.tombstones == 1

"""The key space against a plain dictionary, and its edges."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from svcmesh.consensus.store import CompactedError, KeySpace, KvEntry, Row, walking
from svcmesh.consensus.store import keys as keys_module

TEXTS = st.text(alphabet="ab/\U0010ffff", max_size=4)


def put(keys: KeySpace, key: str, index: int, value: bytes = b"", session: str = "") -> None:
    keys.begin()
    keys.put(KvEntry(key, value, session=session, create_index=index, modify_index=index))
    keys.take_changed()


def delete(keys: KeySpace, key: str, index: int) -> None:
    keys.begin()
    keys.delete(key, index=index)
    keys.take_changed()


def filled(*names: str) -> KeySpace:
    keys = KeySpace()
    for index, name in enumerate(names, start=1):
        put(keys, name, index)
    return keys


def test_keys_come_in_order_and_up_to_the_separator_once() -> None:
    keys = filled("a/c/2", "b", "a/b", "a/c/1")
    assert [entry.key for entry in keys.below("a/")] == ["a/b", "a/c/1", "a/c/2"]
    assert keys.keys_below("a/", "/") == ["a/b", "a/c/"]
    assert keys.keys_below("", "/") == ["a/", "b"]


def test_the_greatest_character_ends_no_prefix() -> None:
    last = "\U0010ffff"
    keys = filled("a", f"a{last}", f"a{last}b", "b", f"{last}{last}x")
    assert keys.keys_below("a") == ["a", f"a{last}", f"a{last}b"]
    assert keys.keys_below(last) == [f"{last}{last}x"]


def test_the_index_of_a_prefix_counts_what_was_deleted_below_it() -> None:
    keys = filled("a/1", "a/2", "b")
    assert keys.prefix_index("a/") == 2
    delete(keys, "a/2", 9)
    assert (keys.prefix_index("a/"), keys.prefix_index("b"), keys.key_index("a/1")) == (9, 3, 1)
    assert keys.prefix_index("none") == keys.key_index("a/2") == 9


def test_a_revision_is_read_as_it_was() -> None:
    keys = KeySpace()
    put(keys, "a", 1, b"one")
    put(keys, "a", 2, b"two")
    delete(keys, "a", 3)
    found = [[e.value for e in keys.at(revision, "a", is_exact=True)] for revision in range(4)]
    assert found == [[], [b"one"], [b"two"], []]


def test_what_is_compacted_is_refused_and_the_rest_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keys_module, "HISTORY_CHANGES_MAX", 3)
    keys = KeySpace()
    for index in range(1, 8):
        put(keys, "a", index, b"%d" % index)
    with pytest.raises(CompactedError):
        keys.at(3, "a", is_exact=True)
    assert [keys.at(r, "a", is_exact=True)[0].value for r in (4, 5, 7)] == [b"4", b"5", b"7"]


def test_whoever_follows_too_late_is_told_unless_nothing_was_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keys_module, "HISTORY_CHANGES_MAX", 2)
    keys = filled("quiet", "busy", "busy", "busy", "busy")
    assert [c[0] for c in keys.changes(3, "busy", is_exact=True)] == [4, 5]
    assert keys.changes(1, "quiet", is_exact=True) == []
    with pytest.raises(CompactedError) as failure:
        keys.changes(1, "", is_exact=False)
    assert failure.value.floor == 3
    delete(keys, "quiet", 6)
    put(keys, "busy", 7)
    put(keys, "busy", 8)
    with pytest.raises(CompactedError):
        keys.changes(1, "quiet", is_exact=True)


def test_many_changes_come_in_turns_and_those_of_one_index_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keys_module, "CHANGES_MAX", 2)
    keys = filled("a")
    keys.begin()
    for key in "bcd":
        keys.put(KvEntry(key, b"", create_index=2, modify_index=2))
    keys.take_changed()
    put(keys, "e", 3)
    assert [c[1] for c in keys.changes(0, "", is_exact=False)] == ["a", "b", "c", "d"]
    assert [c[1] for c in keys.changes(2, "", is_exact=False)] == ["e"]


def test_undoing_leaves_no_trace() -> None:
    keys = filled("a", "b")
    put(keys, "c", 3, session="s")
    delete(keys, "b", 4)

    def state() -> tuple[object, ...]:
        return (list(keys.below("")), keys.index, keys.prefix_index(""), keys.held_by("s"))

    before = state()
    keys.begin()
    keys.put(KvEntry("b", b"x", session="s", modify_index=5))
    keys.put(KvEntry("b", b"y", modify_index=5))
    keys.delete_below("", index=5)
    keys.undo()
    assert state() == before


def test_entries_are_nothing_that_the_garbage_collector_goes_over() -> None:
    keys = KeySpace()
    gc.collect()
    before = len(gc.get_objects())
    for number in range(5000):
        put(keys, f"k{number}", number + 1, b"v")
    gc.collect()
    assert len(gc.get_objects()) - before < 500


def test_the_oldest_deletions_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "TOMBSTONES_MAX", 2)
    keys = filled("a", "b", "c", "d")
    for index, key in enumerate("abc", start=5):
        delete(keys, key, index)
    assert (keys.deletions(), keys.forgotten_index) == ([("b", 6), ("c", 7)], 5)
    # What is written again is no deletion, and makes room.
    put(keys, "b", 8)
    delete(keys, "d", 9)
    assert (keys.deletions(), keys.forgotten_index) == ([("c", 7), ("d", 9)], 5)
    delete(keys, "b", 10)
    assert (keys.deletions(), keys.forgotten_index) == ([("d", 9), ("b", 10)], 7)


def test_what_is_loaded_is_as_it_was_and_history_can_be_forgotten() -> None:
    keys = KeySpace()
    rows = [KvEntry("a", b"2", modify_index=6), KvEntry("c", b"", session="s", modify_index=4)]
    keys.load(row[:] for row in rows)
    keys.load_deletions([("b", 5)])
    keys.load_history([(6, "a", KvEntry("a", b"1", modify_index=2)[:])])
    keys.finish_loading(index=6, floor=4, forgotten=0)
    assert (keys.keys_below(""), keys.held_by("s"), keys.index) == (["a", "c"], ["c"], 6)
    assert keys.at(5, "a", is_exact=True)[0].value == b"1"
    assert keys.prefix_index("") == 6
    with pytest.raises(CompactedError):
        keys.at(3, "", is_exact=False)
    keys.forget_history(index=9)
    assert (keys.index, keys.deletions(), keys.history()) == (9, [], [])
    with pytest.raises(CompactedError):
        keys.at(6, "", is_exact=False)


@dataclass
class Walked:
    parts: Iterator[list[Row]]
    expected: dict[str, bytes]
    """What was there when the walk began."""
    found: list[tuple[str, bytes]] = field(default_factory=list)


class AgainstDictionary(RuleBasedStateMachine):
    """Every past is remembered as a plain dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.keys, self.now = KeySpace(), 0
        self.model: dict[str, bytes] = {}
        self.pasts: list[dict[str, bytes]] = [{}]
        self.walks: list[Walked] = []

    def _step(self) -> None:
        self.pasts.append(dict(self.model))

    @rule(key=TEXTS, value=st.binary(max_size=3))
    def put(self, key: str, value: bytes) -> None:
        self.now += 1
        put(self.keys, key, self.now, value)
        self.model[key] = value
        self._step()

    @rule(prefix=TEXTS, is_undone=st.booleans())
    def delete_below(self, prefix: str, is_undone: bool) -> None:
        self.now += 1
        self.keys.begin()
        gone = self.keys.delete_below(prefix, index=self.now)
        assert gone == sorted(key for key in self.model if key.startswith(prefix))
        if is_undone:
            self.keys.undo()
        else:
            self.keys.take_changed()
            self.model = {k: v for k, v in self.model.items() if not k.startswith(prefix)}
        self._step()

    @rule()
    def begin_walk(self) -> None:
        self.walks.append(Walked(self.keys.walk().parts(), dict(self.model)))

    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        if not self.walks:
            return
        walked = data.draw(st.sampled_from(self.walks))
        part = next(walked.parts, None)
        if part is None:
            assert walked.found == sorted(walked.expected.items())
            self.walks.remove(walked)
        else:
            walked.found += [(row[0], row[1]) for row in part]

    def teardown(self) -> None:
        for walked in self.walks:
            for part in walked.parts:
                walked.found += [(row[0], row[1]) for row in part]
            assert walked.found == sorted(walked.expected.items())

    @rule(prefix=TEXTS, data=st.data())
    def look_back(self, prefix: str, data: st.DataObject) -> None:
        revision = data.draw(st.integers(0, self.now))
        found = {e.key: e.value for e in self.keys.at(revision, prefix, is_exact=False)}
        past = self.pasts[revision]
        assert found == {k: v for k, v in past.items() if k.startswith(prefix)}

    @rule(prefix=TEXTS, data=st.data())
    def follow(self, prefix: str, data: st.DataObject) -> None:
        after = data.draw(st.integers(0, self.now))
        changes = self.keys.changes(after, prefix, is_exact=False)
        for index in range(after, self.now + 1):
            state = {k: v for k, v in self.pasts[after].items() if k.startswith(prefix)}
            for at, key, entry in changes:
                if at <= index:
                    state.pop(key, None)
                    state |= {} if entry is None else {key: entry.value}
            past = self.pasts[index]
            assert state == {k: v for k, v in past.items() if k.startswith(prefix)}

    @invariant()
    def agrees(self) -> None:
        assert [(e.key, e.value) for e in self.keys.below("")] == sorted(self.model.items())


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "ENTRIES_PER_PART", 2)


TestAgainstDictionary = AgainstDictionary.TestCase
TestAgainstDictionary.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)

"""The key space against a plain dictionary, and its edges."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from svcmesh.consensus.store import CompactedError, KeySpace, KvEntry
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


def test_undoing_leaves_no_trace() -> None:
    keys = filled("a", "b")
    put(keys, "c", 3, session="s")
    delete(keys, "b", 4)
    before = (keys.freeze(), keys.index, keys.prefix_index(""), keys.held_by("s"))
    keys.begin()
    keys.put(KvEntry("b", b"x", session="s", modify_index=5))
    keys.put(KvEntry("b", b"y", modify_index=5))
    keys.delete_below("", index=5)
    keys.undo()
    assert (keys.freeze(), keys.index, keys.prefix_index(""), keys.held_by("s")) == before


def test_restoring_replaces_all_and_begins_history_anew() -> None:
    keys = filled("a", "b")
    keys.restore([KvEntry("c", b"", session="s", modify_index=4)], index=7)
    assert (keys.keys_below(""), keys.held_by("s"), keys.index) == (["c"], ["c"], 7)
    with pytest.raises(CompactedError):
        keys.at(6, "", is_exact=False)


class AgainstDictionary(RuleBasedStateMachine):
    """Every past is remembered as a plain dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.keys, self.now = KeySpace(), 0
        self.model: dict[str, bytes] = {}
        self.pasts: list[dict[str, bytes]] = [{}]

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

    @rule(prefix=TEXTS, data=st.data())
    def look_back(self, prefix: str, data: st.DataObject) -> None:
        revision = data.draw(st.integers(0, self.now))
        found = {e.key: e.value for e in self.keys.at(revision, prefix, is_exact=False)}
        past = self.pasts[revision]
        assert found == {k: v for k, v in past.items() if k.startswith(prefix)}

    @invariant()
    def agrees(self) -> None:
        assert [(e.key, e.value) for e in self.keys.below("")] == sorted(self.model.items())


TestAgainstDictionary = AgainstDictionary.TestCase
TestAgainstDictionary.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)

"""Commands by Consul's rules: what they answer, what they change, whom they wake."""

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmesh.consensus.store import (
    SESSIONS,
    VALUE_BYTES_MAX,
    CommandKind,
    KvEntry,
    Session,
    Store,
    Topic,
    encode_command,
)
from svcmesh.consensus.store.store import RESTORE_IDLE_MS
from svcmesh.errors import DecodeError

DELAY_MS = 15_000


class Log:
    """Applies commands one after the other, at a wall clock that the test sets."""

    def __init__(self) -> None:
        self.store, self.index, self.wall_ms = Store(), 0, 1_000_000

    def answer(self, kind: CommandKind, *body: object) -> list[object]:
        self.index += 1
        command = encode_command(kind, list(body), wall_ms=self.wall_ms)
        return self.store.apply(self.index, command)

    def do(self, kind: CommandKind, *body: object) -> object:
        status, value = self.answer(kind, *body)
        assert status == "ok", value
        return value

    def txn(self, *operations: tuple[object, ...]) -> Any:  # noqa: ANN401 -- an answer
        return self.do(CommandKind.TRANSACTION, *map(list, operations))

    def session(self, id_: str = "s", *, behavior: str = "release", node: str = "n") -> None:
        new = Session(id_, "", node, (), (), DELAY_MS * 1_000_000, behavior, "")
        assert self.do(CommandKind.SESSION_CREATE, *new.pack()) == id_

    def entry(self, key: str) -> KvEntry:
        entry = self.store.keys.get(key)
        assert entry is not None
        return entry


@pytest.fixture
def log() -> Log:
    return Log()


def test_compare_and_set_writes_only_at_the_index_it_expects(log: Log) -> None:
    assert log.do(CommandKind.CAS, "k", b"", 0, 5) is False
    assert log.do(CommandKind.CAS, "k", b"a", 0, 0) is True
    assert log.do(CommandKind.CAS, "k", b"b", 0, 0) is False
    assert log.do(CommandKind.CAS, "k", b"b", 0, 2) is True
    assert log.entry("k") == KvEntry("k", b"b", create_index=2, modify_index=4)


def test_a_lock_has_one_holder_and_counts_its_takings(log: Log) -> None:
    log.session("s")
    log.session("t")
    assert log.do(CommandKind.LOCK, "k", b"", 0, "s") is True
    assert log.do(CommandKind.LOCK, "k", b"", 0, "t") is False
    assert log.do(CommandKind.LOCK, "k", b"", 0, "s") is True
    assert (log.entry("k").session, log.entry("k").lock_index) == ("s", 1)
    assert log.do(CommandKind.UNLOCK, "k", b"", 0, "t") is False
    assert log.do(CommandKind.UNLOCK, "k", b"", 0, "s") is True
    assert log.do(CommandKind.LOCK, "k", b"", 0, "t") is True
    assert (log.entry("k").session, log.entry("k").lock_index) == ("t", 2)


def test_what_is_there_already_is_not_written_again(log: Log) -> None:
    log.session()
    assert log.do(CommandKind.LOCK, "k", b"v", 7, "s") is True
    written = log.entry("k")
    assert log.do(CommandKind.LOCK, "k", b"v", 7, "s") is True
    assert log.do(CommandKind.CAS, "n", b"v", 7, 0) is True
    assert log.do(CommandKind.CAS, "n", b"v", 7, 4) is True
    assert log.txn(("set", "n", b"v", 7, 0, "")) == [[[log.entry("n").pack(), False]], []]
    assert log.entry("k") == written
    assert log.entry("n").modify_index == 4
    assert log.store.keys.index == 4


@pytest.mark.parametrize(("value", "flags"), [(b"w", 7), (b"v", 8), (b"v", 7)])
def test_other_bytes_or_flags_or_a_lost_count_of_locks_are_a_change(
    log: Log, value: bytes, flags: int
) -> None:
    log.session()
    log.do(CommandKind.LOCK, "k", b"v", 7, "s")
    log.do(CommandKind.SET, "k", value, flags)
    assert log.entry("k").modify_index == 3


def test_a_key_that_nobody_holds_is_not_unlocked_without_a_session(log: Log) -> None:
    log.do(CommandKind.SET, "k", b"v", 0)
    assert log.txn(("unlock", "k", b"w", 0, 0, "")) == [[], [(0, "missing session")]]


def test_a_plain_write_keeps_the_holder_but_resets_the_count(log: Log) -> None:
    log.session()
    log.do(CommandKind.LOCK, "k", b"", 0, "s")
    log.do(CommandKind.SET, "k", b"x", 0)
    assert (log.entry("k").session, log.entry("k").lock_index) == ("s", 0)


@pytest.mark.parametrize(("behavior", "left"), [("release", [""]), ("delete", [])])
def test_an_ended_session_lets_go_and_its_keys_wait(
    log: Log, behavior: str, left: list[str]
) -> None:
    log.session("s", behavior=behavior)
    log.session("t")
    log.do(CommandKind.LOCK, "k", b"v", 0, "s")
    assert log.do(CommandKind.SESSION_DESTROY, "s", True) is True
    assert [entry.session for entry in log.store.keys.below("")] == left
    assert log.do(CommandKind.LOCK, "k", b"", 0, "t") is False
    log.wall_ms += DELAY_MS
    assert log.do(CommandKind.LOCK, "k", b"", 0, "t") is True
    assert log.do(CommandKind.SESSION_DESTROY, "s", True) is False


def test_a_key_that_waits_is_refused_without_a_look_at_the_session(log: Log) -> None:
    log.session("s")
    log.do(CommandKind.LOCK, "k", b"v", 0, "s")
    log.do(CommandKind.SESSION_DESTROY, "s", True)
    assert log.do(CommandKind.LOCK, "k", b"", 0, "s") is False
    log.wall_ms += DELAY_MS
    assert log.answer(CommandKind.LOCK, "k", b"", 0, "s") == ["error", 'invalid session "s"']


def test_a_session_keeps_its_older_checks_over_a_snapshot(log: Log) -> None:
    new = Session("s", "", "n", ("a",), (("b", ""),), 0, "release", "", older_checks=("c",))
    log.do(CommandKind.SESSION_CREATE, *new.pack())
    (kept,) = restored(b"".join(log.store.freeze())).sessions.all()
    assert (kept.older_checks, kept.check_ids) == (("c",), ("a", "c", "b"))


def test_older_checks_that_are_no_names_are_refused(log: Log) -> None:
    new = Session("s", "", "n", (), (), 0, "release", "").pack()
    assert log.answer(CommandKind.SESSION_CREATE, *new, [1])[0] == "error"
    assert log.answer(CommandKind.SESSION_CREATE, *new, "c")[0] == "error"


def test_a_session_that_leaves_delays_nobody(log: Log) -> None:
    log.session("s")
    log.session("t")
    log.do(CommandKind.LOCK, "k", b"", 0, "s")
    log.do(CommandKind.SESSION_DESTROY, "s", False)
    assert log.do(CommandKind.LOCK, "k", b"", 0, "t") is True


def test_deletes(log: Log) -> None:
    for key in ("a/1", "a/2", "b"):
        log.do(CommandKind.SET, key, b"", 0)
    assert log.do(CommandKind.DELETE_CAS, "b", 1) is False
    assert log.do(CommandKind.DELETE_CAS, "b", 3) is True
    assert log.do(CommandKind.DELETE_CAS, "b", 3) is True
    assert log.do(CommandKind.DELETE_TREE, "a/") is True
    assert log.do(CommandKind.DELETE, "a/1") is True
    assert len(log.store.keys) == 0


def test_a_sequence_rises_and_overwrites_nothing(log: Log) -> None:
    log.do(CommandKind.SET, "q-0000000001", b"by hand", 0)
    assert log.do(CommandKind.SEQUENCE, "q-", b"", 0, "") == "q-0000000000"
    assert log.do(CommandKind.SEQUENCE, "q-", b"", 0, "") == "q-0000000002"
    log.do(CommandKind.DELETE_TREE, "q-")
    assert log.do(CommandKind.SEQUENCE, "q-", b"", 0, "") == "q-0000000003"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (CommandKind.LOCK, ("k", b"", 0, "nobody")),
        (CommandKind.SEQUENCE, ("k", b"", 0, "nobody")),
        (CommandKind.SET, ("k", bytes(VALUE_BYTES_MAX + 1), 0)),
        (CommandKind.SET, ("k",)),
        (CommandKind.RESTORE_END, ("none",)),
    ],
)
def test_a_refused_command_changes_nothing(
    log: Log, kind: CommandKind, body: tuple[object, ...]
) -> None:
    log.do(CommandKind.SET, "k", b"old", 0)
    before = (list(log.store.keys.below("")), log.store.keys.index)
    assert log.answer(kind, *body)[0] == "error"
    assert (list(log.store.keys.below("")), log.store.keys.index) == before


def test_bytes_that_are_no_command_are_refused() -> None:
    store = Store()
    for data in (b"", b"\xc1", msgpack.packb(["new.kind", 0, []]), msgpack.packb(7)):
        assert store.apply(1, data)[0] == "error"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=10) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@given(st.sampled_from(CommandKind), ANYTHING)
def test_a_body_of_any_shape_is_answered_and_leaves_a_state_that_can_be_restored(
    kind: CommandKind, body: object
) -> None:
    store = Store()
    command = encode_command(kind, body, wall_ms=1)
    assert store.apply(1, command)[0] in ("ok", "error")
    restored(b"".join(store.freeze()))


def test_a_transaction_is_all_or_nothing(log: Log) -> None:
    log.do(CommandKind.SET, "a", b"old", 0)
    results, problems = log.txn(
        ("set", "a", b"new", 0, 0, ""), ("get", "a", b"", 0, 0, ""), ("delete", "b", b"", 0, 0, "")
    )
    assert problems == []
    assert [(entry[1], with_value) for entry, with_value in results] == [
        (b"new", False),
        (b"new", True),
    ]
    results, problems = log.txn(
        ("set", "a", b"lost", 0, 0, ""),
        ("cas", "a", b"", 0, 1, ""),
        ("check-not-exists", "a", b"", 0, 0, ""),
    )
    assert [number for number, _ in problems] == [1, 2]
    assert log.entry("a") == KvEntry("a", b"new", create_index=1, modify_index=2)


def fired(log: Log, *topics: Topic) -> list[Topic]:
    """Watch each topic; they are in the list once they fire."""
    seen: list[Topic] = []
    for topic in topics:
        log.store.watch([topic], lambda topic=topic: seen.append(topic))  # type: ignore[misc]  # a default has no type
    return seen


def test_watches_fire_when_due_and_once(log: Log) -> None:
    key, prefix, other = Topic("key", "a/b"), Topic("prefix", "a/"), Topic("prefix", "c")
    seen = fired(log, key, prefix, other, Topic("prefix", ""))
    log.do(CommandKind.SET, "a/b", b"", 0)
    log.do(CommandKind.SET, "a/b", b"x", 0)
    assert sorted(seen) == [key, Topic("prefix", ""), prefix]


def test_what_changes_nothing_wakes_nobody(log: Log) -> None:
    log.do(CommandKind.SET, "a", b"", 0)
    seen = fired(log, Topic("key", "a"), Topic("prefix", ""), SESSIONS)
    log.do(CommandKind.SET, "a", b"", 0)
    log.do(CommandKind.CAS, "a", b"", 0, 1)
    log.do(CommandKind.CAS, "a", b"", 0, 77)
    log.do(CommandKind.DELETE, "none")
    log.txn(("set", "a", b"", 0, 0, ""), ("get", "none", b"", 0, 0, ""))
    log.answer(CommandKind.LOCK, "a", b"", 0, "nobody")
    assert seen == []


def test_the_end_of_a_session_wakes_those_who_wait_for_its_keys(log: Log) -> None:
    log.session()
    log.do(CommandKind.LOCK, "k", b"", 0, "s")
    seen = fired(log, Topic("key", "k"), SESSIONS, Topic("session", "s"), Topic("session", "t"))
    log.do(CommandKind.SESSION_DESTROY, "s", False)
    assert sorted(seen) == [Topic("key", "k"), Topic("session", "s"), SESSIONS]


def rich(log: Log) -> Log:
    log.session("s", node="N")
    log.session("gone")
    log.do(CommandKind.LOCK, "k", b"\xff", 2**64 - 1, "s")
    log.do(CommandKind.LOCK, "d", b"", 0, "gone")
    log.do(CommandKind.SESSION_DESTROY, "gone", True)
    log.do(CommandKind.SEQUENCE, "q", b"", 0, "")
    log.do(CommandKind.AUTOPILOT_SET, {"min_quorum": 3}, None)
    return log


def restored(state: bytes) -> Store:
    store = Store()
    # In pieces that begin and end anywhere.
    store.restore(store.load(state[at : at + 7] for at in range(0, len(state), 7)))
    return store


def test_a_restored_state_is_the_frozen_one(log: Log) -> None:
    log.do(CommandKind.SET, "k", b"before", 0)
    revision = log.index
    parts = rich(log).store.freeze()
    log.do(CommandKind.SET, "a-later", b"", 0)
    log.do(CommandKind.DELETE, "k")
    state = b"".join(parts)
    copy = Log()
    copy.store = restored(state)
    assert b"".join(copy.store.freeze()) == state
    copy.index, copy.wall_ms = log.index, log.wall_ms
    assert copy.store.keys.keys_below("") == ["d", "k", "q0000000000"]
    assert copy.store.keys.at(revision, "k", is_exact=True)[0].value == b"before"
    assert copy.store.sessions.of_node("n")[0].id == "s"
    assert copy.do(CommandKind.LOCK, "d", b"", 0, "s") is False
    assert copy.do(CommandKind.SEQUENCE, "q", b"", 0, "") == "q0000000001"


def test_the_index_of_a_prefix_stands_when_a_server_restarts(log: Log) -> None:
    log.do(CommandKind.SET, "a/1", b"", 0)
    log.do(CommandKind.SET, "a/2", b"", 0)
    log.do(CommandKind.DELETE, "a/2")
    log.do(CommandKind.SET, "b", b"", 0)
    again = restored(b"".join(log.store.freeze()))
    assert again.keys.prefix_index("a/") == log.store.keys.prefix_index("a/") == 3


def test_a_state_of_the_first_format_is_read() -> None:
    head = msgpack.unpackb(next(rich(Log()).store.freeze()))
    del head["history_floor"], head["restoring"]
    head |= {"format": 1, "autopilot": {"min_quorum": 3}}
    state = msgpack.packb(head) + msgpack.packb([["k", b"v", 0, 0, "", 5, 6]])
    store = restored(state)
    assert [(e.key, e.value, e.modify_index) for e in store.keys.below("")] == [("k", b"v", 6)]
    assert store.autopilot["min_quorum"] == 3


def test_a_restoration_by_the_log_replaces_all_and_wakes_all(log: Log) -> None:
    state = b"".join(rich(Log()).store.freeze())
    log.do(CommandKind.SET, "old", b"", 0)
    seen = fired(log, Topic("key", "old"), Topic("prefix", "k"))
    log.do(CommandKind.RESTORE_BEGIN, "r")
    log.do(CommandKind.RESTORE_PART, "r", state[:50])
    assert log.answer(CommandKind.RESTORE_PART, "other", b"")[0] == "error"
    log.do(CommandKind.RESTORE_PART, "r", state[50:])
    log.do(CommandKind.RESTORE_END, "r")
    assert log.store.keys.keys_below("") == ["d", "k", "q0000000000"]
    assert log.store.keys.index == log.index
    assert sorted(seen) == [Topic("key", "old"), Topic("prefix", "k")]


def test_a_server_that_starts_amid_a_restoration_ends_it_like_the_others(log: Log) -> None:
    state = b"".join(rich(Log()).store.freeze())
    log.do(CommandKind.RESTORE_BEGIN, "r")
    log.do(CommandKind.RESTORE_PART, "r", state[:50])
    other = Log()
    other.store = restored(b"".join(log.store.freeze()))
    other.index, other.wall_ms = log.index, log.wall_ms
    for each in (log, other):
        each.do(CommandKind.RESTORE_PART, "r", state[50:])
        each.do(CommandKind.RESTORE_END, "r")
    assert b"".join(other.store.freeze()) == b"".join(log.store.freeze())
    assert len(other.store.keys) == 3


def test_a_restoration_of_something_else_or_of_less_leaves_all_as_it_is(log: Log) -> None:
    state = b"".join(rich(Log()).store.freeze())
    log.do(CommandKind.SET, "old", b"", 0)
    for kept, refused in (
        (state[:-1], CommandKind.RESTORE_END),
        (b"\xc1", CommandKind.RESTORE_PART),
    ):
        log.do(CommandKind.RESTORE_BEGIN, "r")
        if refused is CommandKind.RESTORE_PART:
            assert log.answer(refused, "r", kept)[0] == "error"
        else:
            log.do(CommandKind.RESTORE_PART, "r", kept)
        assert log.answer(CommandKind.RESTORE_END, "r")[0] == "error"
        assert log.store.keys.keys_below("") == ["old"]


def test_a_restoration_that_nobody_goes_on_with_is_dropped(log: Log) -> None:
    log.do(CommandKind.RESTORE_BEGIN, "r")
    log.wall_ms += RESTORE_IDLE_MS + 1
    assert log.answer(CommandKind.RESTORE_PART, "r", b"")[0] == "error"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_state_or_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Store().load([data])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_state_is_taken_whole_or_refused_whole(data: st.DataObject) -> None:
    state = bytearray(b"".join(rich(Log()).store.freeze()))
    place = data.draw(st.integers(0, len(state) - 1))
    state[place] = data.draw(st.integers(0, 255))
    try:
        store = restored(bytes(state))
    except DecodeError:
        return
    b"".join(store.freeze())


@given(st.data())
def test_a_state_that_is_cut_short_within_a_part_is_refused(data: st.DataObject) -> None:
    parts = list(rich(Log()).store.freeze())
    ends = {sum(map(len, parts[:count])) for count in range(1, len(parts) + 1)}
    state = b"".join(parts)
    kept = data.draw(st.integers(0, len(state)).filter(lambda at: at not in ends))
    with pytest.raises(DecodeError):
        Store().load([state[:kept]])


def test_entries_of_another_shape_are_refused() -> None:
    head = msgpack.unpackb(next(Store().freeze()))
    for entry in ([1, b"", 0, 0, "", 1, 1], ["k", "text", 0, 0, "", 1, 1], ["k"]):
        with pytest.raises(DecodeError):
            Store().load([msgpack.packb(head) + msgpack.packb(["k", [entry]])])

"""Raft's files: what was synced is there after any crash, and damage is not taken for one."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmesh.consensus import disk as disk_module
from svcmesh.consensus.disk import (
    CorruptLogError,
    LoadedState,
    RaftDisk,
    frame_of,
)
from svcmesh.consensus.raft import (
    Entry,
    EntryKind,
    HardState,
    LogIndex,
    Membership,
    ServerId,
    SnapshotMeta,
    Term,
)
from svcmesh.consensus.sealing import sealed, sealed_in_memory
from svcmesh.errors import DecodeError

ONE = ServerId("one")


def entry(index: int, term: int = 1, data: bytes = b"x") -> Entry:
    return Entry(LogIndex(index), Term(term), EntryKind.COMMAND, data)


def save(term: int, *entries: Entry) -> bytes:
    return frame_of(HardState(Term(term), ONE), entries)


SAVES = [save(1, entry(1), entry(2)), save(2), save(3, entry(2, 3, b"yy"), entry(3, 3))]


def written(folder: Path) -> Path:
    disk = RaftDisk(folder)
    disk.load()
    for one in SAVES:
        disk.append(one)
    disk.close()
    return folder / "log"


def loaded(folder: Path) -> LoadedState:
    disk = RaftDisk(folder)
    state = disk.load()
    disk.close()
    return state


def test_a_log_that_is_written_anew_has_frames_of_a_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_module, "FRAME_ENTRIES", 3)
    monkeypatch.setattr(disk_module, "FRAME_BYTES", 100)
    sizes = [1, 1, 1, 1, 60, 60, 500, 500, 1]
    entries = [entry(n, data=b"x" * size) for n, size in enumerate(sizes, start=1)]
    frames: list[int] = []

    def noted(state: HardState, of_one: Sequence[Entry]) -> bytes:
        frames.append(len(of_one))
        return frame_of(state, of_one)

    monkeypatch.setattr(disk_module, "frame_of", noted)
    disk = RaftDisk(tmp_path)
    disk.load()
    for kept in ([], entries):
        frames.clear()
        disk.rewrite(HardState(Term(1), ONE), kept)
        assert frames == ([3, 2, 1, 1, 1, 1] if kept else [0])
        assert list(loaded(tmp_path).entries) == kept
    disk.close()


def test_a_later_entry_takes_the_place_of_one_and_of_all_behind_it(tmp_path: Path) -> None:
    written(tmp_path)
    state = loaded(tmp_path)
    assert state.entries == (entry(1), entry(2, 3, b"yy"), entry(3, 3))
    assert state.hard_state == HardState(Term(3), ONE)
    assert state.warnings == ()


def test_a_write_torn_at_any_byte_leaves_what_was_synced_before(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = path.read_bytes()
    ends = []
    for count in range(len(SAVES) + 1):
        folder = tmp_path / f"part{count}"
        disk = RaftDisk(folder)
        disk.load()
        for one in SAVES[:count]:
            disk.append(one)
        disk.close()
        ends.append((len((folder / "log").read_bytes()), loaded(folder)))
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        expected = [state for size, state in ends if size <= cut]
        state = loaded(tmp_path)
        wanted = expected[-1] if expected else LoadedState(HardState(), None, (), ())
        assert (state.hard_state, state.entries) == (wanted.hard_state, wanted.entries), cut
        disk = RaftDisk(tmp_path)
        disk.load()
        disk.append(save(9, entry(len(state.entries) + 1, 9)))
        disk.close()
        assert loaded(tmp_path).entries == (*state.entries, entry(len(state.entries) + 1, 9))


@given(st.data())
def test_damage_in_the_middle_is_refused_with_instructions(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("raft")
    path = written(folder)
    content = bytearray(path.read_bytes())
    last_frame_bytes = len(content) - len(b"".join([content[: content.rfind(b"yy")]]))
    at = data.draw(st.integers(0, len(content) - last_frame_bytes - 60))
    content[at] ^= data.draw(st.sampled_from([1, 16, 128]))
    path.write_bytes(content)
    with pytest.raises(CorruptLogError, match="start it again: it fetches everything"):
        loaded(folder)


def test_a_log_is_written_anew_with_what_is_kept(tmp_path: Path) -> None:
    written(tmp_path)
    disk = RaftDisk(tmp_path)
    disk.load()
    before = disk.log_bytes
    meta = SnapshotMeta(LogIndex(2), Term(3), Membership.of({ONE}))
    disk.write_snapshot(meta, [b"state", b"!"])
    disk.rewrite(HardState(Term(3), ONE), [entry(3, 3)])
    disk.append(save(3, entry(4, 3)))
    assert disk.log_bytes < before
    with disk.open_snapshot() as kept:
        assert (kept.meta, b"".join(kept.state())) == (meta, b"state!")
    disk.close()
    state = loaded(tmp_path)
    assert state.snapshot == meta
    assert state.entries == (entry(3, 3), entry(4, 3))


def test_entries_that_are_missing_behind_the_snapshot_are_noticed(tmp_path: Path) -> None:
    disk = RaftDisk(tmp_path)
    disk.load()
    disk.rewrite(HardState(Term(1)), [entry(7)])
    disk.close()
    with pytest.raises(CorruptLogError, match="from 1 on are missing"):
        loaded(tmp_path)


@given(st.binary(max_size=200))
def test_no_bytes_are_taken_for_a_snapshot(content: bytes) -> None:
    with pytest.raises(DecodeError):
        sealed_in_memory(content)


SNAPSHOT = SnapshotMeta(LogIndex(2), Term(3), Membership.of({ONE}))


@given(st.data())
def test_a_damaged_snapshot_is_noticed_when_its_state_is_read(data: st.DataObject) -> None:
    content = bytearray(b"".join(sealed(SNAPSHOT, [b"state"])))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DecodeError):
        list(sealed_in_memory(bytes(content)).state())


@given(st.data())
def test_a_snapshot_that_is_cut_short_is_noticed(data: st.DataObject) -> None:
    content = b"".join(sealed(SNAPSHOT, [b"state"]))
    kept = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(DecodeError):
        list(sealed_in_memory(content[:kept]).state())


def test_what_is_no_snapshot_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "snapshot").write_bytes(b"something else")
    with pytest.raises(CorruptLogError, match="no snapshot"):
        loaded(tmp_path)

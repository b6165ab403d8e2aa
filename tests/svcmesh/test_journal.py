"""The journal of registrations: what was acknowledged is there, whatever happens in between."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmesh.journal import HEADER, SUPERSEDED_MIN, Journal

CHANGES: list[dict[str, bytes | None]] = [
    {"a": b"1", "b": b'{"name": "x y"}'},
    {"a": None, "c": b"3"},
    {"b": b"2", "d": b"4"},
]


def states() -> list[dict[str, bytes]]:
    """What holds after each number of single changes."""
    found: list[dict[str, bytes]] = [{}]
    for batch in CHANGES:
        for name, value in batch.items():
            state = dict(found[-1])
            if value is None:
                state.pop(name, None)
            else:
                state[name] = value
            found.append(state)
    return found


def written(folder: Path) -> Path:
    path = folder / "journal"
    journal = Journal(path)
    journal.load()
    for batch in CHANGES:
        journal.commit(batch)
    return path


def loaded(path: Path) -> dict[str, bytes]:
    return Journal(path).load()


def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    assert loaded(written(tmp_path)) == states()[-1]


def test_the_first_change_finds_the_file_made(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.load()
    inode = path.stat().st_ino
    journal.commit({"a": b"1"})
    assert path.stat().st_ino == inode
    assert loaded(path) == {"a": b"1"}


def test_a_write_torn_at_any_byte_leaves_whole_changes_and_can_be_continued(
    tmp_path: Path,
) -> None:
    path = written(tmp_path)
    content = path.read_bytes()
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        journal = Journal(path)
        kept = journal.load()
        assert kept in states(), cut
        journal.commit({"later": b"9"})
        assert loaded(path) == {**kept, "later": b"9"}, cut
        assert not (tmp_path / "journal.corrupt").exists(), cut


@given(st.data())
def test_a_damaged_line_loses_itself_only_and_the_file_is_set_aside(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    path = folder / "journal"
    journal = Journal(path)
    journal.load()
    values = {f"n{number}": b"v%d" % number for number in range(10)}
    journal.commit(dict(values))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(len(HEADER), len(content) - 2))
    content[at] ^= data.draw(st.sampled_from([1, 2, 4, 64, 128]))
    path.write_bytes(content)
    again = Journal(path)
    kept = again.load()
    assert kept.items() <= values.items()
    # A flip of a line end joins two lines, or of any other byte to one splits one.
    assert len(kept) >= len(values) - 2
    assert (folder / "journal.corrupt").read_bytes() == bytes(content)
    assert "damaged" in again.warnings[0]
    again.commit({"later": b"9"})
    assert loaded(path) == {**kept, "later": b"9"}


@given(st.binary(max_size=300))
def test_any_bytes_can_be_loaded_and_continued(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    path.write_bytes(content)
    journal = Journal(path)
    kept = journal.load()
    journal.commit({"later": b"9"})
    assert loaded(path) == {**kept, "later": b"9"}


def failing_once(real: Callable[..., int], after: int) -> Callable[..., int]:
    """`os.write` that takes `after` bytes and then finds the disk full, once."""
    state = {"failed": False}

    def write(fd: int, data: bytes) -> int:
        if state["failed"]:
            return real(fd, data)
        if len(data) <= after:
            state["failed"] = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, bytes(data)[:after])

    return write


@pytest.mark.parametrize("after", [1, 7, 20])
def test_a_full_disk_loses_nothing_that_was_kept_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    path = written(tmp_path)
    journal = Journal(path)
    before = journal.load()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing_once(os.write, after))
        with pytest.raises(OSError, match="No space"):
            journal.commit({"e": b"x" * 10})
    assert loaded(path) == before
    journal.commit({"f": b"6"})
    assert loaded(path) == {**before, "f": b"6"}


def test_a_failed_fsync_is_not_trusted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    journal = Journal(path)
    before = journal.load()
    inode = path.stat().st_ino

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError, match="Input/output"):
            journal.commit({"e": b"5"})
    journal.commit({"f": b"6"})
    assert loaded(path) == {**before, "f": b"6"}
    assert path.stat().st_ino != inode


def test_superseded_lines_do_not_pile_up(tmp_path: Path) -> None:
    path = written(tmp_path)
    journal = Journal(path)
    kept = journal.load()
    for number in range(4 * SUPERSEDED_MIN):
        journal.commit({"a": b"%d" % number})
    assert path.read_bytes().count(b"\n") < 2 * SUPERSEDED_MIN
    assert loaded(path) == {**kept, "a": b"%d" % (4 * SUPERSEDED_MIN - 1)}


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    assert written(tmp_path).stat().st_mode & 0o777 == 0o600

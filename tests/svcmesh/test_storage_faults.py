"""The data directory on a disk that fails: at any step, on any byte, for as long as it likes.

`Disk` stands between the code and the system calls that change files. It can stop everything at
the n-th of them, as a crash does, or refuse it, as a full or dying disk does.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from svcmesh.errors import StorageError
from svcmesh.storage import DataDir

CALLS = ("open", "write", "fsync", "fdatasync", "replace", "rename", "unlink", "ftruncate")

OLD = {"node-id": b"old", "epoch": b"1", "serf/peers.json": b"[1]", "services/a": b"{}"}
NEW = {"node-id": b"newer", "epoch": b"22", "serf/peers.json": b"[1, 2]", "services/a": b'{"x": 1}'}


class Crash(BaseException):
    """The process is gone: nothing after it runs, no handler of an error either."""


class Disk:
    """Counts the calls that change files; the one numbered `stop_at` meets `fate`."""

    def __init__(self, stop_at: int, fate: Callable[[], BaseException]) -> None:
        self.calls: list[str] = []
        self._stop_at, self._fate = stop_at, fate

    def wrap(self, name: str) -> Callable[..., object]:
        real = getattr(os, name)

        def call(*args: object, **kwargs: object) -> object:
            self.calls.append(name)
            if len(self.calls) == self._stop_at:
                if name == "write":
                    # Half of it reaches the disk.
                    descriptor, data = args
                    real(descriptor, bytes(data)[: len(data) // 2])  # type: ignore[call-overload,arg-type]
                raise self._fate()
            return real(*args, **kwargs)

        return call


@contextmanager
def failing(disk: Disk) -> Iterator[Disk]:
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, disk.wrap(name))
        yield disk


def read(root: Path) -> dict[str, bytes | None]:
    """What a start would find."""
    data_dir = DataDir(root)
    found = {name: data_dir._read(name) for name in OLD}
    data_dir.close()
    return found


def with_old(root: Path) -> DataDir:
    data_dir = DataDir(root)
    data_dir.commit(dict(OLD))
    return data_dir


def steps(folder: Path) -> int:
    """How many calls a commit makes."""
    data_dir = with_old(folder / "count")
    with failing(Disk(0, Crash)) as disk:
        data_dir.commit(dict(NEW))
    data_dir.close()
    return len(disk.calls)


def test_a_crash_at_any_step_leaves_every_file_old_or_new(tmp_path: Path) -> None:
    for step in range(1, steps(tmp_path) + 1):
        root = tmp_path / str(step)
        data_dir = with_old(root)
        with failing(Disk(step, Crash)) as disk, pytest.raises(Crash):
            data_dir.commit(dict(NEW))
        data_dir.close()
        for name, content in read(root).items():
            assert content in (OLD[name], NEW[name]), (step, disk.calls[-1], name)
        again = DataDir(root)
        again.commit(dict(NEW))
        again.close()
        assert read(root) == NEW, step


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_refuses_any_step_loses_nothing_and_can_be_tried_again(
    tmp_path: Path, number: int
) -> None:
    def refusal() -> OSError:
        return OSError(number, os.strerror(number))

    for step in range(1, steps(tmp_path) + 1):
        root = tmp_path / str(step)
        data_dir = with_old(root)
        with failing(Disk(step, refusal)) as disk, pytest.raises(StorageError) as caught:
            data_dir.commit(dict(NEW))
        assert str(root) in str(caught.value), "the text names the folder"
        assert os.strerror(number) in str(caught.value)
        for name in OLD:
            assert data_dir._read(name) in (OLD[name], NEW[name]), (step, disk.calls[-1], name)
        data_dir.commit(dict(NEW))
        data_dir.close()
        assert read(root) == NEW, (step, disk.calls[-1])


def test_no_name_is_given_to_content_that_is_not_yet_on_disk(tmp_path: Path) -> None:
    data_dir = with_old(tmp_path)
    with failing(Disk(0, Crash)) as disk:
        data_dir.commit({name: NEW[name] for name in ("node-id", "epoch")})
    data_dir.close()
    for at, call in enumerate(disk.calls):
        if call in ("replace", "rename"):
            assert disk.calls[at - 1] == "fsync", disk.calls
    assert disk.calls[-1] == "fsync", "the folder, after the last name in it"


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "data")
    data_dir.commit(dict(OLD))
    data_dir.commit(data_dir.keyring_file([b"k" * 16]))
    data_dir.close()
    for path in (tmp_path / "data").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_a_keyring_that_others_can_read_is_closed_to_them_with_a_warning(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    data_dir.commit(data_dir.keyring_file([b"k" * 16]))
    data_dir.close()
    keyring = tmp_path / "serf" / "local.keyring"
    keyring.chmod(0o644)
    again = DataDir(tmp_path)
    assert again.keyring() == [b"k" * 16]
    assert keyring.stat().st_mode & 0o777 == 0o600
    assert again.warnings == ["serf/local.keyring could be read by others; it is 0600 now"]
    again.close()


def test_a_second_agent_is_told_who_has_the_folder(tmp_path: Path) -> None:
    first = DataDir(tmp_path)
    with pytest.raises(StorageError) as caught:
        DataDir(tmp_path)
    assert str(caught.value) == (
        f"data_dir {tmp_path}: in use by another agent (process {os.getpid()})"
    )
    first.close()
    DataDir(tmp_path).close()

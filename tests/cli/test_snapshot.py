"""Texts are those of a recorded Consul 1.8.7."""

import io
from pathlib import Path

import pytest

from svcmesh.consensus.archive import write_archive
from svcmesh.consensus.raft import LogIndex, Membership, SnapshotMeta, Term
from svcmesh.consensus.store import CommandKind, Store, encode_command
from tests.cli.conftest import Run, StubApi


def archive() -> bytes:
    store = Store()
    store.apply(1, encode_command(CommandKind.SET, ["k", b"v", 0], wall_ms=0))
    file = io.BytesIO()
    meta = SnapshotMeta(LogIndex(12), Term(2), Membership(()))
    write_archive(file, meta, store.freeze(), now_ms=5)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_save(run: Run, api: StubApi, folder: Path) -> None:
    api.answer("/v1/snapshot", archive(), index=12)
    result = run("snapshot", "save", "-stale", "s.snap")
    assert (result.status, result.err) == (0, "")
    assert result.out == "Saved and verified snapshot to index 12\n"
    assert (folder / "s.snap").read_bytes() == archive()
    assert (folder / "s.snap").stat().st_mode & 0o777 == 0o600, "every key is in it"
    assert [path.name for path in folder.iterdir()] == ["s.snap"]
    assert api.paths() == ["/v1/snapshot?stale="]


def test_what_is_no_snapshot_takes_no_file_s_place(run: Run, api: StubApi, folder: Path) -> None:
    (folder / "s.snap").write_bytes(b"older")
    api.answer("/v1/snapshot", archive()[:-20], index=12)
    result = run("snapshot", "save", "s.snap")
    assert result.status == 1
    assert result.err.startswith("Error verifying snapshot file: failed to read snapshot file: ")
    assert (folder / "s.snap").read_bytes() == b"older"


@pytest.mark.parametrize("command", ["save", "restore", "inspect"])
def test_one_file_is_named(run: Run, api: StubApi, command: str) -> None:
    assert run("snapshot", command).err == "Missing FILE argument\n"
    many = run("snapshot", command, "a", "b")
    assert (many.status, many.err) == (1, "Too many arguments (expected 1, got 2)\n")


def test_save_where_nobody_leads_or_nothing_can_be_written(
    run: Run, api: StubApi, folder: Path
) -> None:
    api.answer("/v1/snapshot", "No cluster leader", status=500)
    result = run("snapshot", "save", "s.snap")
    text = "Error saving snapshot: Unexpected response code: 500 (No cluster leader)\n"
    assert (result.status, result.err) == (1, text)
    assert list(folder.iterdir()) == []
    result = run("snapshot", "save", "none/dir/s.snap")
    assert result.err.startswith("Error writing unverified snapshot file: open none/dir/s.snap")
    assert result.err.endswith(": no such file or directory\n")


def test_restore(run: Run, api: StubApi, folder: Path) -> None:
    (folder / "s.snap").write_bytes(b"content")
    api.answer("/v1/snapshot", "")
    result = run("snapshot", "restore", "s.snap")
    assert (result.status, result.out) == (0, "Restored snapshot\n")
    assert (api.requests[0].method, api.requests[0].body) == ("PUT", "content")
    api.answer("/v1/snapshot", "failed to decompress snapshot: gzip: invalid header", status=500)
    assert run("snapshot", "restore", "s.snap").err == (
        "Error restoring snapshot: Unexpected response code: 500 (failed to decompress snapshot: "
        "gzip: invalid header)\n"
    )
    assert run("snapshot", "restore", "none.snap").err == (
        "Error opening snapshot file: open none.snap: no such file or directory\n"
    )


def test_inspect(run: Run, api: StubApi, folder: Path) -> None:
    (folder / "s.snap").write_bytes(archive())
    lines = run("snapshot", "inspect", "s.snap").out.splitlines()
    assert lines[0] == "ID           2-12-5"
    assert lines[2:6] == ["Index        12", "Term         2", "Version      1", ""]
    assert lines[7].split()[:2] == ["Keys", "1"]


def test_inspect_what_is_none(run: Run, api: StubApi, folder: Path) -> None:
    (folder / "x").write_bytes(b"this is no gzip")
    assert run("snapshot", "inspect", "x").err == (
        "Error verifying snapshot: failed to decompress snapshot: gzip: invalid header\n"
    )
    assert run("snapshot", "inspect", "none.snap").err == (
        "Error opening snapshot file: open none.snap: no such file or directory\n"
    )

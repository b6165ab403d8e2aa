"""Snapshot files: whole or refused; the words for what is wrong are those of a Consul 1.8.7."""

import gzip
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmesh.consensus.archive import ArchiveError, read_archive_untrusted, write_archive
from svcmesh.consensus.inspecting import count_state
from svcmesh.consensus.raft import LogIndex, Membership, ServerId, SnapshotMeta, Term
from svcmesh.consensus.store import CommandKind, Store, encode_command

META = SnapshotMeta(LogIndex(12), Term(2), Membership.of({ServerId("a")}, {ServerId("b")}))


def archive(*state: bytes) -> bytes:
    file = io.BytesIO()
    write_archive(file, META, state, now_ms=1795699810902)
    return file.getvalue()


def read(content: bytes) -> bytes:
    with read_archive_untrusted(io.BytesIO(content)) as found:
        return b"".join(found.state())


def tarred(**files: bytes) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name.replace("_", "."))
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def test_what_was_written_is_read() -> None:
    content = archive(b"some ", b"state")
    with read_archive_untrusted(io.BytesIO(content)) as found:
        assert found.meta.id == "2-12-1795699810902"
        assert (found.meta.index, found.meta.term, found.meta.size_bytes) == (12, 2, 10)
        assert (b"".join(found.state()), found.meta.is_ours) == (b"some state", True)


def test_the_layout_is_that_of_consuls_files() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive(b"state")), mode="r:gz") as tar:
        assert tar.getnames() == ["meta.json", "state.bin", "SHA256SUMS"]


@given(st.data())
def test_a_file_that_is_cut_short_is_refused(data: st.DataObject) -> None:
    content = archive(b"state" * 100)
    kept = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(ArchiveError):
        read(content[:kept])


@given(st.data())
def test_a_damaged_file_is_refused_or_says_the_same(data: st.DataObject) -> None:
    content = bytearray(archive(b"state" * 100))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = read(bytes(content))
    except ArchiveError:
        return
    # Some bytes of the header of the compression mean nothing.
    assert found == b"state" * 100


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(content: bytes) -> None:
    for each in (content, gzip.compress(content)):
        with pytest.raises(ArchiveError):
            read(each)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "failed to decompress snapshot: EOF"),
        (b"short", "failed to decompress snapshot: unexpected EOF"),
        (b"this is no gzip", "failed to decompress snapshot: gzip: invalid header"),
        (
            gzip.compress(b"no tar" * 200),
            "failed to read snapshot file: failed reading snapshot: archive/tar: invalid tar "
            "header",
        ),
        (
            archive(b"s")[:60],
            "failed to read snapshot file: failed to read snapshot metadata: unexpected EOF",
        ),
        (
            tarred(meta_json=b"{}", state_bin=b"", SHA256SUMS=b""),
            "failed to read snapshot file: failed checking integrity of snapshot: list missing "
            '"meta.json"',
        ),
        (
            tarred(other=b"x"),
            'failed to read snapshot file: failed reading snapshot: unexpected file "other"',
        ),
    ],
    ids=["empty", "short", "no gzip", "no tar", "cut", "no sums", "other files"],
)
def test_what_is_wrong_is_said(content: bytes, text: str) -> None:
    with pytest.raises(ArchiveError) as failure:
        read(content)
    assert str(failure.value) == text


def test_what_is_inside_is_counted() -> None:
    store = Store()
    for index, body in enumerate((["a", b"1", 0], ["b", b"2", 0], ["a", b"3", 0]), start=1):
        store.apply(index, encode_command(CommandKind.SET, body, wall_ms=0))
    store.apply(4, encode_command(CommandKind.DELETE, ["b"], wall_ms=0))
    counts = {kind: count for kind, count, _ in count_state(store.freeze())}
    assert (counts["Keys"], counts["Deleted keys"], counts["Sessions"]) == (1, 1, 0)

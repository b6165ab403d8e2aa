"""External records on a server's disk: written soon, waited for by who asks, tried again."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest

from svcmesh.catalog import CatalogView, Replica, ReplicaConfig
from svcmesh.catalog.records import NodeId
from svcmesh.errors import StorageError
from svcmesh.healthlog import HealthLog
from svcmesh.runtime import externalfile
from svcmesh.runtime.catalog import CatalogRuntime
from svcmesh.runtime.externalfile import FILE_NAME, ExternalFile
from tests.svcmesh.queries.records import query_record

Work = Callable[[CatalogRuntime, ExternalFile], Awaitable[None]]


def run(folder: Path, work: Work) -> set[str]:
    """Start an agent's part on this folder, do `work`; the names of the queries at the end."""

    async def scenario() -> set[str]:
        loop = asyncio.get_running_loop()
        node_id = NodeId("aaaaaaaa-0000-0000-0000-000000000000")
        view = CatalogView(local_node_id=node_id, datacenter="dc1", index_start=1)
        replica = Replica(
            ReplicaConfig(), name="n1", node_id=node_id, epoch=int(loop.time() * 1000),
            expects_peers=False, now=loop.time(), rng=Random(1),
        )  # fmt: skip
        file = ExternalFile(folder)
        catalog = CatalogRuntime(
            replica, view, send=lambda *_: None, on_fact=lambda _: None,
            health_log=HealthLog(started_utc=0.0), on_unsaved=file.note_change,
        )  # fmt: skip
        try:
            file.start(catalog)
            await work(catalog, file)
        finally:
            catalog.close()
            await file.close()
        return {row.record.name for row in view.queries}

    return asyncio.run(scenario())


async def nothing(_: CatalogRuntime, __: ExternalFile) -> None:
    return


def test_what_was_waited_for_is_on_disk(tmp_path: Path) -> None:
    async def work(catalog: CatalogRuntime, file: ExternalFile) -> None:
        catalog.put_external("", query_record("one"))
        await file.saved()
        assert b" r" in (tmp_path / FILE_NAME).read_bytes()

    run(tmp_path, work)
    assert run(tmp_path, nothing) == {"one"}


def test_what_nobody_waited_for_is_written_at_the_end(tmp_path: Path) -> None:
    async def work(catalog: CatalogRuntime, _: ExternalFile) -> None:
        for number in range(2500):
            catalog.put_external("", query_record(f"q{number}", number=number))

    run(tmp_path, work)
    assert len(run(tmp_path, nothing)) == 2500


def test_many_that_wait_share_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    commit = externalfile.Journal.commit

    def counted(self: externalfile.Journal, changes: dict[str, bytes | None]) -> None:
        writes.append(len(changes))
        commit(self, changes)

    monkeypatch.setattr(externalfile.Journal, "commit", counted)

    async def work(catalog: CatalogRuntime, file: ExternalFile) -> None:
        async def one(number: int) -> None:
            catalog.put_external("", query_record(f"q{number}", number=number))
            await file.saved()

        await asyncio.gather(*map(one, range(200)))

    run(tmp_path, work)
    assert len(writes) <= 3
    assert sum(writes) >= 200


def test_a_disk_that_refuses_is_reported_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    commit = externalfile.Journal.commit

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(externalfile.Journal, "commit", refuse)

    async def work(catalog: CatalogRuntime, file: ExternalFile) -> None:
        catalog.put_external("", query_record("one"))
        with pytest.raises(StorageError, match="No space left on device"):
            await file.saved()
        monkeypatch.setattr(externalfile.Journal, "commit", commit)
        await file.saved()

    with caplog.at_level("INFO"):
        run(tmp_path, work)
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert run(tmp_path, nothing) == {"one"}


def test_damage_in_the_middle_costs_the_damaged_records_only(tmp_path: Path) -> None:
    async def work(catalog: CatalogRuntime, file: ExternalFile) -> None:
        for number in (1, 2, 3):
            catalog.put_external("", query_record(f"q{number}", number=number))
            await file.saved()

    run(tmp_path, work)
    path = tmp_path / FILE_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    assert lines[1].split()[1].startswith(b"r")
    path.write_bytes(b"".join([lines[0], b"x" + lines[1][1:], *lines[2:]]))
    assert run(tmp_path, nothing) == {"q2", "q3"}
    assert (tmp_path / f"{FILE_NAME}.corrupt").exists()

import asyncio
from collections.abc import Mapping

import pytest

from svcmesh.errors import StorageError
from svcmesh.runtime.keeping import StateKeeper
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import DataDir


class Disk(DataDir):
    """Remembers what is written to it, and refuses while it is full."""

    def __init__(self) -> None:
        super().__init__(None)
        self.is_full = False
        self.plans: list[dict[str, bytes | None]] = []

    def commit(self, plan: Mapping[str, bytes | None]) -> None:
        if self.is_full:
            raise StorageError("cannot write below /data: No space left on device")
        self.plans.append(dict(plan))


def test_only_what_has_changed_is_written() -> None:
    async def scenario() -> None:
        disk = Disk()
        keeper = StateKeeper(GroupCommitter(disk))
        assert await keeper.keep({"a": b"1", "b": b"1"})
        assert await keeper.keep({"a": b"1", "b": b"1"})
        assert await keeper.keep({"a": b"1", "b": b"2"})
        assert disk.plans == [{"a": b"1", "b": b"1"}, {"b": b"2"}]

    asyncio.run(scenario())


def test_what_a_full_disk_refused_is_written_when_there_is_room(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        disk = Disk()
        keeper = StateKeeper(GroupCommitter(disk))
        disk.is_full = True
        for _ in range(5):
            assert not await keeper.keep({"a": b"1"})
        disk.is_full = False
        assert await keeper.keep({"a": b"1"})
        assert disk.plans == [{"a": b"1"}]

    with caplog.at_level("INFO"):
        asyncio.run(scenario())
    assert [record.message for record in caplog.records] == [
        "cannot write below /data: No space left on device; the agent goes on and tries again",
        "data_dir can be written again: nothing is lost",
    ]

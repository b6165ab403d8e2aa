import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from gossip.types import Address, MemberName, Peer
from svcmesh.errors import StorageError
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import INCARNATION_MAX, INDEX_BLOCK, DataDir

NODE_ID = "5b6c7d8e-0000-4000-8000-000000000001"


def reopened(data_dir: DataDir) -> DataDir:
    data_dir.close()
    return DataDir(data_dir.root)


def as_object(content: object, where: str) -> dict[str, object]:
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected an object")
    return content


def test_the_node_id_survives_a_restart(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    assert data_dir.node_id() is None
    data_dir.save_node_id(NODE_ID)
    assert reopened(data_dir).node_id() == NODE_ID


def test_every_start_has_a_higher_epoch_even_with_the_clock_behind(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    first = data_dir.next_epoch(wall_ms=1_000_000)
    assert first == 1_000_000
    assert reopened(data_dir).next_epoch(wall_ms=500) == first + 1


def test_every_start_has_a_higher_incarnation_within_the_bound(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    assert data_dir.next_incarnation(wall_s=1000) == 1000
    assert data_dir.next_incarnation(wall_s=10) == 1001
    assert data_dir.next_incarnation(wall_s=2**40) == INCARNATION_MAX


def test_the_index_never_goes_back_below_a_reserved_block(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    assert data_dir.next_index_block(wall_ms=1) == 1
    assert reopened(data_dir).next_index_block(wall_ms=1) == 1 + INDEX_BLOCK


def test_services_are_kept_and_forgotten(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    data_dir.commit(data_dir.service_file("web-1", {"name": "web"}))
    data_dir.commit(data_dir.service_file("db/../1", {"name": "db"}))
    again = reopened(data_dir)
    kept = sorted(str(service["name"]) for service in again.services(as_object))
    assert kept == ["db", "web"]
    again.commit(again.service_file("web-1", None))
    assert [service["name"] for service in reopened(again).services(as_object)] == ["db"]


def test_a_service_that_cannot_be_read_is_set_aside_with_a_message_and_the_rest_loads(
    tmp_path: Path,
) -> None:
    data_dir = DataDir(tmp_path)
    data_dir.commit(data_dir.service_file("web-1", {"name": "web"}))
    data_dir.commit({"services/strange": b"[]"})
    again = reopened(data_dir)
    assert [service["name"] for service in again.services(as_object)] == ["web"]
    assert (tmp_path / "services-strange.corrupt").read_bytes() == b"[]"
    assert len(again.warnings) == 1
    assert "services/strange" in again.warnings[0]
    assert [service["name"] for service in reopened(again).services(as_object)] == ["web"]


def test_a_corrupt_file_is_set_aside_with_a_message(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    (tmp_path / "node-id").write_bytes(b"no uuid")
    assert data_dir.node_id() is None
    assert (tmp_path / "node-id.corrupt").read_bytes() == b"no uuid"
    assert "node-id" in data_dir.warnings[0]


def test_a_half_written_replacement_is_not_seen(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    data_dir.save_node_id(NODE_ID)
    (tmp_path / "node-id.tmp").write_bytes(b"half")
    assert reopened(data_dir).node_id() == NODE_ID


def test_two_agents_cannot_share_a_data_directory(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    with pytest.raises(StorageError, match="in use by another agent"):
        DataDir(tmp_path)
    data_dir.close()
    DataDir(tmp_path).close()


def test_the_keyring_keeps_its_order(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    keys = [bytes(range(32)), bytes(16)]
    data_dir.commit(data_dir.keyring_file(keys))
    assert reopened(data_dir).keyring() == keys


def test_known_peers_keep_their_names_whatever_bytes_those_have(tmp_path: Path) -> None:
    peers = [
        Peer(MemberName("n1"), Address("127.0.0.1", 8301)),
        Peer(MemberName("\udcff\x1b"), Address("::1", 8301)),
    ]
    data_dir = DataDir(tmp_path)
    data_dir.commit(data_dir.peers_file(peers, left=True))
    assert reopened(data_dir).peers() == (peers, True)


@pytest.mark.parametrize(
    "peers", [b"[]", b'{"peers": ["127.0.0.1:8301"]}', b'{"peers": [{"name": "n", "host": "x"}]}']
)
def test_peers_that_cannot_be_read_are_set_aside(tmp_path: Path, peers: bytes) -> None:
    data_dir = DataDir(tmp_path)
    (tmp_path / "serf" / "peers.json").write_bytes(peers)
    assert data_dir.peers() == ([], False)
    assert "serf/peers.json" in data_dir.warnings[0]


def test_in_memory_nothing_is_written_and_the_index_starts_at_the_clock() -> None:
    data_dir = DataDir(None)
    data_dir.save_node_id(NODE_ID)
    assert data_dir.node_id() == NODE_ID
    assert data_dir.next_index_block(wall_ms=1_700_000_000_000) == 1_700_000_000_000
    assert DataDir(None).node_id() is None


class CountingDir(DataDir):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.passes = 0

    def commit(self, plan: Mapping[str, bytes | None]) -> None:
        self.passes += 1
        super().commit(plan)


def test_concurrent_writers_share_a_commit(tmp_path: Path) -> None:
    data_dir = CountingDir(tmp_path)

    async def write_many() -> None:
        writer = GroupCommitter(data_dir)
        await asyncio.gather(
            *(writer.commit(data_dir.service_file(f"s{n}", {"name": f"s{n}"})) for n in range(50))
        )

    asyncio.run(write_many())
    assert len(data_dir.services(as_object)) == 50
    assert data_dir.passes <= 3


def test_a_refused_write_reaches_its_writers_and_keeps_what_was_stored(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    data_dir.save_node_id(NODE_ID)

    async def write_to_a_missing_folder() -> None:
        writer = GroupCommitter(data_dir)
        with pytest.raises(StorageError, match="cannot write"):
            await writer.commit({f"missing{os.sep}file": b"x"})
        await writer.commit({"epoch": b"7"})

    asyncio.run(write_to_a_missing_folder())
    assert data_dir.node_id() == NODE_ID
    assert data_dir.next_epoch(wall_ms=0) == 8

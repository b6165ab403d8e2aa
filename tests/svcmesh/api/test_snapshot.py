"""Snapshots over HTTP."""

from svcmesh.consensus.archive import ArchiveError
from svcmesh.consensus.service import NoLeaderError, ReadMode
from svcmesh.federation import DcPlace
from tests.svcmesh.api.fakes import Client, FakeAgent, run


def test_a_snapshot_is_sent_as_it_comes() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        answer = await client.get("/v1/snapshot?stale")
        assert (answer.status, answer.body, answer.index) == (200, b"onetwo", 7)
        assert answer.headers["Content-Type"] == "application/x-gzip"
        assert answer.headers["X-Consul-LastContact"] == "3"
        assert agent.store.snapshots.modes == [ReadMode.STALE]
        agent.store.snapshots.failure = NoLeaderError()
        answer = await client.get("/v1/snapshot")
        assert (answer.status, answer.text) == (500, "No cluster leader")

    run(scenario)


def test_what_is_restored_is_the_body_whatever_its_size() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        content = b"x" * 1_000_000
        assert (await client.put("/v1/snapshot", data=content)).status == 200
        assert agent.store.snapshots.restored == [content]
        agent.store.snapshots.failure = ArchiveError("failed to decompress snapshot: EOF")
        answer = await client.put("/v1/snapshot", data=b"")
        assert (answer.status, answer.text) == (500, "failed to decompress snapshot: EOF")

    run(scenario)


def test_another_data_center_is_not_asked() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.wan.found = [DcPlace("dc1", ()), DcPlace("Other", ())]
        assert (await client.get("/v1/snapshot?dc=other")).status == 501
        assert (await client.put("/v1/snapshot?dc=other", data=b"")).status == 501
        unknown = await client.get("/v1/snapshot?dc=nowhere")
        assert (unknown.status, unknown.text) == (500, "No path to datacenter")

    run(scenario)

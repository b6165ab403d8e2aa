"""`/v1/agent/metrics` and `/v1/agent/host`."""

import asyncio
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from gossip import WatchedEventLoop
from gossip.serf.events import MemberStatus
from svcmesh.metrics import Metrics, Series
from svcmesh.rpc import Callers
from svcmesh.runtime.metrics import MetricsRuntime
from tests.svcmesh.api.fakes import Client, FakeAgent, member, run


def by_name(rows: list[dict[str, Any]]) -> dict[tuple[str, ...], dict[str, Any]]:
    return {(row["Name"], *row["Labels"].values()): row for row in rows}


def with_members() -> FakeAgent:
    agent = FakeAgent()
    agent.table += [member("n2"), member("n3", MemberStatus.FAILED)]
    return agent


def test_metrics_have_the_shape_of_consuls() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        await client.get("/v1/catalog/service/none")
        answer = (await client.get("/v1/agent/metrics")).json
        assert answer["Timestamp"] == "1970-01-01 00:00:00 +0000 UTC"
        assert answer["Points"] == []
        gauges = by_name(answer["Gauges"])
        assert gauges["consul.state.nodes",]["Value"] == 1
        assert gauges["consul.serf.members", "alive"]["Value"] == 2
        assert gauges["consul.serf.members", "failed"]["Value"] == 1
        assert gauges["consul.rpc.connections", "true"]["Value"] == 2
        assert gauges["consul.rpc.connections", "false"]["Value"] == 1
        assert 3000 < gauges["consul.agent.tls.cert.expiry",]["Value"] <= 3600
        counters = by_name(answer["Counters"])
        assert counters["consul.gossip.dropped", "checksum"] == {
            "Name": "consul.gossip.dropped", "Count": 1, "Rate": 0.9, "Sum": 9, "Min": 9, "Max": 9,
            "Mean": 9, "Stddev": 0, "Labels": {"reason": "checksum"},
        }  # fmt: skip
        samples = by_name(answer["Samples"])
        assert samples["consul.http.GET.v1.catalog.service._",]["Count"] == 1

    agent = with_members()
    agent.calls.found = Callers(3, ("10.0.0.3",))
    agent.calls.certificate_expires_utc = datetime.now(UTC) + timedelta(hours=1)
    run(scenario, agent)


def test_requests_are_measured_by_their_route_kept_answers_too_and_errors_by_status() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        # A third time it would be a hot answer, which is counted elsewhere.
        for _ in range(2):
            await client.get("/v1/health/service/web")
        await client.get("/v1/health/service/web?index=x")
        await client.get("/v1/nothing")
        assert agent.metrics.sampled[Series("http.GET.v1.health.service._")].count == 3
        assert agent.metrics.counted[Series("http.errors", (("status", "400"),))] == 1
        assert agent.metrics.counted[Series("http.errors", (("status", "404"),))] == 1

    run(scenario)


def test_prometheus_can_read_its_format() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        await client.get("/v1/catalog/nodes")
        answer = await client.get("/v1/agent/metrics?format=prometheus")
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        values = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }
        assert values["consul_state_nodes",] == 1
        assert values["consul_serf_members", "alive"] == 2
        assert values["consul_gossip_dropped_total", "checksum"] == 9
        assert values["consul_http_GET_v1_catalog_nodes_count",] == 1

    run(scenario, with_members())


def test_a_stall_of_the_loop_is_measured() -> None:
    async def main() -> None:
        metrics = Metrics(dict, now_utc=0.0)
        runtime = MetricsRuntime(metrics)
        runtime.start()
        await asyncio.sleep(0)
        ends_at = perf_counter() + 0.05
        while perf_counter() < ends_at:
            pass
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        runtime.close()
        assert metrics.sampled[Series("runtime.loop_stall")].most >= 50

    with asyncio.Runner(loop_factory=WatchedEventLoop) as runner:
        runner.run(main())


def test_the_host_is_described_by_consuls_names() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = (await client.get("/v1/agent/host")).json
        assert set(answer) == {"Memory", "CPU", "Host", "Disk", "CollectionTime", "Errors"}
        assert answer["Disk"]["total"] >= answer["Disk"]["used"] > 0

    run(scenario)

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from svcmesh.catalog.records import Body, CheckRecord, HealthStatus, Kind, NodeId, ServiceRecord
from svcmesh.catalog.view import CatalogView
from svcmesh.checks.definition import (
    Alias,
    CheckDefinition,
    GrpcProbe,
    HttpProbe,
    ScriptProbe,
    Source,
    TcpProbe,
    Ttl,
    UdpProbe,
)
from svcmesh.checks.table import CheckConfig
from svcmesh.definitions import DefinitionError, ServiceDefinition
from svcmesh.errors import ScriptsDisabledError, StorageError
from svcmesh.runtime.kept import KeptState, load_kept
from svcmesh.runtime.local import LocalState, ScriptPolicy
from svcmesh.runtime.nodes import CatalogNodes
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import DataDir

RUN = {"interval_s": 30.0, "timeout_s": 3.0}


class Published:
    """What the catalog would show of this agent: ports by service id, statuses by check id."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self.statuses: dict[str, str] = {}

    def publish(self, body: Body) -> None:
        match body:
            case ServiceRecord():
                self.ports[body.id] = body.port
            case CheckRecord():
                self.statuses[body.id] = body.status

    def withdraw(self, kind: Kind, record_id: str) -> None:
        del (self.ports if kind is Kind.SERVICE else self.statuses)[record_id]


def service(name: str, port: int, *checks: CheckDefinition) -> ServiceDefinition:
    return ServiceDefinition(id=name, name=name, port=port, checks=checks)


def ttl(check_id: str, service_id: str = "") -> CheckDefinition:
    return CheckDefinition(check_id, check_id, Ttl(60), service_id=service_id)


def kept(data_dir: DataDir) -> dict[str, int]:
    return {definition.id: definition.port for definition in load_kept(data_dir).services}


def kept_checks(data_dir: DataDir) -> set[str]:
    return {definition.id for definition in load_kept(data_dir).checks}


def local_state(
    data_dir: DataDir, published: Published, scripts: ScriptPolicy | None = None
) -> LocalState:
    view = CatalogView(local_node_id=NodeId("id"), datacenter="dc1", index_start=1)
    return LocalState(
        data_dir,
        GroupCommitter(data_dir),
        publish=published.publish,
        withdraw=published.withdraw,
        check_identity=lambda: None,
        config=CheckConfig(),
        scripts=scripts or ScriptPolicy(),
        rng=Random(1),
        node_checks=CatalogNodes(view, own_name="n1"),
    )


Story = Callable[[LocalState, Published, DataDir], Coroutine[Any, Any, None]]


def play(tmp_path: Path, story: Story) -> None:
    async def scene() -> None:
        data_dir, published = DataDir(tmp_path), Published()
        local = local_state(data_dir, published)
        await story(local, published, data_dir)
        await local.close()
        data_dir.close()

    asyncio.run(scene())


def test_a_registered_service_is_published_and_on_disk(tmp_path: Path) -> None:
    async def story(local: LocalState, published: Published, data_dir: DataDir) -> None:
        await local.register_service(service("web", 80))
        assert published.ports == kept(data_dir) == {"web": 80}
        await local.deregister_service("web")
        assert published.ports == kept(data_dir) == {}

    play(tmp_path, story)


def test_a_service_that_cannot_be_saved_is_not_published(tmp_path: Path) -> None:
    async def story(local: LocalState, published: Published, data_dir: DataDir) -> None:
        (tmp_path / "registrations.journal").unlink()
        (tmp_path / "registrations.journal").mkdir()
        with pytest.raises(StorageError):
            await local.register_service(service("web", 80, ttl("c", "web")))
        assert published.ports == published.statuses == {}
        assert local.services == {}

    play(tmp_path, story)


def test_reloading_replaces_configured_services_and_keeps_registered_ones(tmp_path: Path) -> None:
    async def story(local: LocalState, published: Published, data_dir: DataDir) -> None:
        local.load(KeptState(services=[service("api", 1)]), [service("web", 80), service("db", 5)])
        local.reconfigure([service("web", 81), service("cache", 6)])
        assert published.ports == {"api": 1, "web": 81, "cache": 6}

    play(tmp_path, story)


def test_a_configured_service_wins_over_a_kept_one(tmp_path: Path) -> None:
    async def story(local: LocalState, published: Published, data_dir: DataDir) -> None:
        local.load(KeptState(services=[service("web", 1)]), [service("web", 80)])
        assert published.ports == {"web": 80}

    play(tmp_path, story)


def test_checks_go_with_their_service(tmp_path: Path) -> None:
    async def story(local: LocalState, published: Published, data_dir: DataDir) -> None:
        await local.register_service(service("web", 80, ttl("c1", "web"), ttl("c2", "web")))
        await local.register_check(ttl("node"))
        assert set(published.statuses) == kept_checks(data_dir) == {"c1", "c2", "node"}
        await local.deregister_service("web")
        assert set(published.statuses) == kept_checks(data_dir) == {"node"}

    play(tmp_path, story)


def test_what_a_ttl_check_said_survives_the_end_of_the_process(tmp_path: Path) -> None:
    async def first(local: LocalState, published: Published, data_dir: DataDir) -> None:
        await local.register_service(service("web", 80, ttl("c", "web")))
        await local.report("c", HealthStatus.PASSING, "fine")
        # No closing: this is all that a killed process leaves.
        assert load_kept(data_dir).ttl_states["c"].output == "fine"

    async def second(local: LocalState, published: Published, data_dir: DataDir) -> None:
        local.load(load_kept(data_dir), [])
        assert published.statuses == {"c": "passing"}
        assert local.check_record("c").output == "fine"

    play(tmp_path, first)
    play(tmp_path, second)


def test_what_a_ttl_check_said_too_long_ago_is_not_restored(tmp_path: Path) -> None:
    async def story(local: LocalState, published: Published, data_dir: DataDir) -> None:
        await local.register_check(ttl("c"))
        await local.report("c", HealthStatus.PASSING, "fine")
        old = load_kept(data_dir)
        expired = {"c": old.ttl_states["c"]._replace(expires_utc=1.0)}
        later = Published()
        local_state(data_dir, later).load(KeptState((), old.checks, expired), [])
        assert later.statuses == {"c": "critical"}

    play(tmp_path, story)


def test_a_damaged_check_is_set_aside_and_the_rest_loads(tmp_path: Path) -> None:
    async def story(local: LocalState, published: Published, data_dir: DataDir) -> None:
        await local.register_check(ttl("good"))
        data_dir.commit({"checks/bad": b'{"Name": 5}', "ttl-states/bad": b'{"status": "great"}'})
        assert kept_checks(data_dir) == {"good"}
        assert len(data_dir.warnings) == 2
        assert (tmp_path / "checks-bad.corrupt").exists()

    play(tmp_path, story)


def test_maintenance_survives_a_restart_with_its_reason(tmp_path: Path) -> None:
    async def first(local: LocalState, published: Published, data_dir: DataDir) -> None:
        await local.register_service(service("web", 80))
        await local.set_maintenance("web", "repairs")
        await local.set_maintenance("", "reboot")

    async def second(local: LocalState, published: Published, data_dir: DataDir) -> None:
        local.load(load_kept(data_dir), [])
        assert local.check_record("_service_maintenance:web").notes == "repairs"
        assert local.check_record("_node_maintenance").notes == "reboot"
        await local.set_maintenance("", None)
        assert kept_checks(data_dir) == {"_service_maintenance:web"}

    play(tmp_path, first)
    play(tmp_path, second)


def test_every_kind_of_check_is_kept_as_it_is(tmp_path: Path) -> None:
    sources: list[tuple[Source, dict[str, float]]] = [
        (HttpProbe("http://x/", "PUT", (("A", ("b", "c")),), "body", "name", True), RUN),
        (TcpProbe("x:1"), RUN),
        (UdpProbe("x:1"), RUN),
        (GrpcProbe("x:1/y", True, "name", True), RUN),
        (Ttl(90.5), {}),
        (Alias("web", "n2"), {}),
    ]
    definitions = {
        f"c{number}": CheckDefinition(
            id=f"c{number}",
            name="name",
            source=source,
            notes="notes",
            status=HealthStatus.WARNING,
            success_before_passing=1,
            failures_before_warning=2,
            failures_before_critical=3,
            deregister_after_s=90.0,
            output_bytes_max=5,
            **times,
        )
        for number, (source, times) in enumerate(sources)
    }

    async def story(local: LocalState, published: Published, data_dir: DataDir) -> None:
        for definition in definitions.values():
            await local.register_check(definition)
        assert {one.id: one for one in load_kept(data_dir).checks} == definitions

    play(tmp_path, story)


def test_a_new_service_is_published_after_its_checks(tmp_path: Path) -> None:
    order: list[str] = []

    class Ordered(Published):
        def publish(self, body: Body) -> None:
            super().publish(body)
            assert isinstance(body, (ServiceRecord, CheckRecord))
            order.append(body.id)

    async def scene() -> None:
        data_dir = DataDir(None)
        local = local_state(data_dir, Ordered())
        await local.register_service(service("web", 80, ttl("c", "web")))
        assert order == ["c", "web"]
        # New tags show in a check that was registered before when it is published again.
        await local.register_service(replace(service("web", 80), tags=("v2",)))
        assert order == ["c", "web", "web"]
        assert local.check_record("c").service_tags == ()
        await local.close()

    asyncio.run(scene())


def test_reloading_keeps_the_state_of_configured_checks(tmp_path: Path) -> None:
    async def story(local: LocalState, published: Published, data_dir: DataDir) -> None:
        web = service("web", 80, ttl("c", "web"))
        local.load(KeptState(), [web], [ttl("node"), ttl("gone")])
        await local.report("c", HealthStatus.PASSING, "fine")
        await local.register_check(ttl("http"))
        local.reconfigure([web], [ttl("node"), ttl("new", "web")])
        assert published.statuses == {
            "c": "passing",
            "node": "critical",
            "new": "critical",
            "http": "critical",
        }
        # Those of files are not kept: their files are read again.
        assert kept_checks(data_dir) == {"http"}
        with pytest.raises(DefinitionError, match='ServiceID "nobody" does not exist'):
            local.reconfigure([], [ttl("lost", "nobody")])
        assert "web" in published.ports

    play(tmp_path, story)


def test_scripts_run_only_where_they_are_allowed(tmp_path: Path) -> None:
    script = CheckDefinition("s", "s", ScriptProbe(("/bin/true",)), interval_s=60, timeout_s=1)

    async def scene() -> None:
        data_dir = DataDir(None)
        for policy in (
            ScriptPolicy(),
            ScriptPolicy(configured=True),
            ScriptPolicy(configured=True, registered=True),
        ):
            local = local_state(data_dir, Published(), policy)
            if policy.registered:
                await local.register_check(script)
                await local.register_service(service("web", 80, script))
            else:
                with pytest.raises(ScriptsDisabledError):
                    await local.register_check(script)
                with pytest.raises(ScriptsDisabledError):
                    await local.register_service(service("web", 80, script))
                assert not local.services
            if policy.configured:
                local.reconfigure([], [script])
            else:
                with pytest.raises(DefinitionError, match="Scripts are disabled on this agent"):
                    local.reconfigure([], [script])
            await local.close()
        # What was registered while it was allowed does not come back when it no longer is.
        later = Published()
        local_state(data_dir, later).load(load_kept(data_dir), [])
        assert later.statuses == {}

    asyncio.run(scene())


def test_reports_that_only_renew_a_check_share_a_write(tmp_path: Path) -> None:
    async def story(local: LocalState, published: Published, data_dir: DataDir) -> None:
        await local.register_check(ttl("c"))
        await local.report("c", HealthStatus.PASSING, "1")
        size = (tmp_path / "registrations.journal").stat().st_size
        for number in range(100):
            await local.report("c", HealthStatus.PASSING, str(number))
        assert (tmp_path / "registrations.journal").stat().st_size == size
        await local.close()
        assert load_kept(data_dir).ttl_states["c"].output == "99"

    play(tmp_path, story)


def test_services_that_come_and_go_are_in_the_log_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="agent.services")

    async def scenario() -> None:
        data_dir = DataDir(tmp_path)
        local = local_state(data_dir, Published())
        await local.register_service(service("web", 80))
        await local.register_service(service("web", 81))
        await local.register_service(service("bad name", 82))
        await local.deregister_service("web")
        await local.close()
        data_dir.close()

    asyncio.run(scenario())
    assert caplog.messages == [
        "registered: service=web",
        "registered: service=bad name",
        'Service name "bad name" will not be discoverable via DNS due to invalid characters. '
        "Valid characters include all alpha-numerics and dashes.",
        "deregistered: service=web",
    ]

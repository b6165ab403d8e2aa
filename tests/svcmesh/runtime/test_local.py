import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import pytest

from svcmesh.catalog.records import Body, CheckRecord, HealthStatus, Kind, NodeId, ServiceRecord
from svcmesh.catalog.view import CatalogView
from svcmesh.checks.definition import CheckDefinition, Ttl
from svcmesh.checks.table import CheckConfig
from svcmesh.definitions import ServiceDefinition
from svcmesh.errors import StorageError
from svcmesh.runtime.kept import KeptState, load_kept
from svcmesh.runtime.local import LocalState, ScriptPolicy
from svcmesh.runtime.nodes import CatalogNodes
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import DataDir


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


def local_state(data_dir: DataDir, published: Published) -> LocalState:
    view = CatalogView(local_node_id=NodeId("id"), datacenter="dc1", index_start=1)
    return LocalState(
        data_dir,
        GroupCommitter(data_dir),
        publish=published.publish,
        withdraw=published.withdraw,
        check_identity=lambda: None,
        config=CheckConfig(),
        scripts=ScriptPolicy(),
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

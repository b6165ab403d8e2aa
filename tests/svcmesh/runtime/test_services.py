import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from svcmesh.catalog.records import Kind, ServiceRecord
from svcmesh.definitions import ServiceDefinition, parse_service_definition
from svcmesh.errors import StorageError
from svcmesh.runtime.services import LocalServices
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import DataDir


class Published:
    """What the catalog would show of this agent's services: port by service id."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}

    def publish(self, record: ServiceRecord) -> None:
        self.ports[record.id] = record.port

    def withdraw(self, kind: Kind, record_id: str) -> None:
        assert kind is Kind.SERVICE
        del self.ports[record_id]


def service(name: str, port: int) -> ServiceDefinition:
    return ServiceDefinition(id=name, name=name, port=port)


def kept(data_dir: DataDir) -> dict[str, int]:
    definitions = data_dir.services(
        lambda content, where: parse_service_definition(content, where=where, strict=True)
    )
    return {definition.id: definition.port for definition in definitions}


Story = Callable[[LocalServices, Published, DataDir], Coroutine[Any, Any, None]]


def play(tmp_path: Path, story: Story) -> None:
    async def scene() -> None:
        data_dir, published = DataDir(tmp_path), Published()
        services = LocalServices(
            data_dir,
            GroupCommitter(data_dir),
            publish=published.publish,
            withdraw=published.withdraw,
        )
        await story(services, published, data_dir)

    asyncio.run(scene())


def test_a_registered_service_is_published_and_on_disk(tmp_path: Path) -> None:
    async def story(services: LocalServices, published: Published, data_dir: DataDir) -> None:
        await services.register(service("web", 80))
        assert published.ports == kept(data_dir) == {"web": 80}
        assert await services.deregister("web")
        assert published.ports == kept(data_dir) == {}
        assert not await services.deregister("web")

    play(tmp_path, story)


def test_a_service_that_cannot_be_saved_is_not_published(tmp_path: Path) -> None:
    async def story(services: LocalServices, published: Published, data_dir: DataDir) -> None:
        (tmp_path / "registrations.journal").mkdir()
        with pytest.raises(StorageError):
            await services.register(service("web", 80))
        assert published.ports == {}
        assert services.definitions == {}

    play(tmp_path, story)


def test_reloading_replaces_configured_services_and_keeps_registered_ones(tmp_path: Path) -> None:
    async def story(services: LocalServices, published: Published, data_dir: DataDir) -> None:
        services.load(kept=[service("api", 1)], configured=[service("web", 80), service("db", 5)])
        services.reconfigure([service("web", 81), service("cache", 6)])
        assert published.ports == {"api": 1, "web": 81, "cache": 6}

    play(tmp_path, story)


def test_a_configured_service_wins_over_a_kept_one(tmp_path: Path) -> None:
    async def story(services: LocalServices, published: Published, data_dir: DataDir) -> None:
        services.load(kept=[service("web", 1)], configured=[service("web", 80)])
        assert published.ports == {"web": 80}

    play(tmp_path, story)

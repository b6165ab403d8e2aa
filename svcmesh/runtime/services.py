"""The agent's own services: registered over HTTP and kept on disk, or defined in configuration."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from svcmesh.catalog.records import Kind, ServiceRecord
from svcmesh.definitions import ServiceDefinition, definition_to_json
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import DataDir


@dataclass(frozen=True, slots=True)
class LocalService:
    """A service of this agent, and whether a configuration file defines it."""

    definition: ServiceDefinition
    is_configured: bool


class LocalServices:
    """Owns this agent's services; publishes and withdraws their records.

    A service registered over HTTP is on disk before it is published. Configured ones are not kept:
    their files are read again at the next start.
    """

    def __init__(
        self,
        data_dir: DataDir,
        committer: GroupCommitter,
        *,
        publish: Callable[[ServiceRecord], None],
        withdraw: Callable[[Kind, str], None],
    ) -> None:
        self._data_dir, self._committer = data_dir, committer
        self._publish, self._withdraw = publish, withdraw
        self._services: dict[str, LocalService] = {}

    @property
    def definitions(self) -> Mapping[str, ServiceDefinition]:
        """Definitions by service id."""
        return {key: service.definition for key, service in self._services.items()}

    def load(
        self, kept: Iterable[ServiceDefinition], configured: Iterable[ServiceDefinition]
    ) -> None:
        """Publish what earlier runs kept and what configuration defines; the latter wins."""
        for definition in kept:
            self._set(LocalService(definition, is_configured=False))
        for definition in configured:
            self._set(LocalService(definition, is_configured=True))

    async def register(self, definition: ServiceDefinition) -> None:
        """Add or replace a service.

        Raises:
            StorageError: It could not be kept; nothing was published.
        """
        await self._committer.commit(
            self._data_dir.service_file(definition.id, definition_to_json(definition))
        )
        self._set(LocalService(definition, is_configured=False))

    async def deregister(self, service_id: str) -> bool:
        """Remove a service; False when there is none of this id.

        Raises:
            StorageError: It could not be forgotten; it stays published.
        """
        if service_id not in self._services:
            return False
        await self._committer.commit(self._data_dir.service_file(service_id, None))
        if self._services.pop(service_id, None) is not None:
            self._withdraw(Kind.SERVICE, service_id)
        return True

    def reconfigure(self, configured: Iterable[ServiceDefinition]) -> None:
        """Replace the configured services by these; registered ones stay."""
        wanted = {definition.id: definition for definition in configured}
        gone = [
            key
            for key, service in self._services.items()
            if service.is_configured and key not in wanted
        ]
        for key in gone:
            del self._services[key]
            self._withdraw(Kind.SERVICE, key)
        for definition in wanted.values():
            self._set(LocalService(definition, is_configured=True))

    def _set(self, service: LocalService) -> None:
        self._services[service.definition.id] = service
        self._publish(service.definition.record)

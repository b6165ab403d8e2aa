"""The client for asyncio."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self
from urllib.parse import quote

from svcmesh.agentaccess import AgentAccess, TlsFiles, agent_access
from svcmesh.client.cachefile import CacheFile
from svcmesh.client.errors import BadAnswerError
from svcmesh.client.executing import PreparedQuery, QueryOutcome, read_outcome
from svcmesh.client.feeds import Feed
from svcmesh.client.holding import LockConfig
from svcmesh.client.instances import Instance, ServiceQuery
from svcmesh.client.lockkeys import Kv, LockKeys, MutexKey, SemaphoreKeys
from svcmesh.client.locks import Lock
from svcmesh.client.picking import Picker, PickerConfig
from svcmesh.client.policies import Nearest, Policy
from svcmesh.client.registering import Registration
from svcmesh.client.registrations import ServiceRegistration
from svcmesh.client.transport import Transport
from svcmesh.client.watches import ServiceWatch
from svcmesh.client.watching import WatchConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientConfig:
    """How a client behaves, whatever its agent."""

    timeout_s: float = 10.0
    """Deadline of every call that has none of its own."""
    watch: WatchConfig = WatchConfig()
    picker: PickerConfig = PickerConfig()
    cache_dir: Path | None = None
    """Folder in which pickers keep what they know, for a start while the agent is down."""
    seed: int | None = None
    """Of jitter and choices; for tests."""


class AsyncClient:
    """Talks to one agent, usually the one on this host. An asynchronous context manager.

    Belongs to the event loop that it is used in. Whatever it has begun ends when it is closed.
    """

    def __init__(
        self,
        address: str | AgentAccess | None = None,
        *,
        token: str | None = None,
        tls: TlsFiles = TlsFiles(),
        config: ClientConfig = ClientConfig(),
    ) -> None:
        """Take `host:port`, `http(s)://host:port` or `unix:///path`, or what the environment says.

        An `AgentAccess` says everything, and the environment nothing.

        Raises:
            AccessError: The address has no meaning, or a file cannot be read.
        """
        self._config = config
        if not isinstance(address, AgentAccess):
            address = agent_access(address, token=token, tls=tls)
        self._transport = Transport(address)
        self._rng = Random(config.seed)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Close every connection; what still waits ends with `ClientClosedError`."""
        await self._transport.close()

    async def services(self, *, timeout_s: float | None = None) -> dict[str, tuple[str, ...]]:
        """Give every service's name and the tags of its instances.

        Raises:
            ClientError: There is no answer.
        """
        answer = await self._transport.get(
            "/v1/catalog/services", timeout_s=timeout_s or self._config.timeout_s
        )
        try:
            return {str(name): tuple(tags or ()) for name, tags in answer.value.items()}
        except (AttributeError, TypeError) as error:
            raise BadAnswerError(f"not services with tags: {error!r}") from error

    async def instances(
        self, service: str | ServiceQuery, *, timeout_s: float | None = None
    ) -> tuple[Instance, ...]:
        """Give the instances of a service now.

        Raises:
            ClientError: There is no answer.
        """
        query = _query(service)
        answer = await self._transport.get(
            f"/v1/health/service/{quote(query.service, safe='')}",
            query.parameters(),
            timeout_s=timeout_s or self._config.timeout_s,
        )
        return query.read(answer.value)

    async def execute(
        self, query: str | PreparedQuery, *, timeout_s: float | None = None
    ) -> QueryOutcome:
        """Execute a prepared query.

        Raises:
            RequestRefusedError: There is none of this name (404), or it cannot be executed.
            ClientError: There is no answer.
        """
        wanted = PreparedQuery(query) if isinstance(query, str) else query
        answer = await self._transport.get(
            f"/v1/query/{quote(wanted.name, safe='')}/execute",
            wanted.parameters(),
            timeout_s=timeout_s or self._config.timeout_s,
        )
        return read_outcome(answer.value)

    def watch(self, service: str | ServiceQuery) -> ServiceWatch:
        """Iterate over the instances of a service: now, and whenever they change."""
        return ServiceWatch(
            self._transport,
            _query(service),
            self._config.watch,
            call_timeout_s=self._config.timeout_s,
            rng=self._child_rng(),
        )

    def register(self, registration: Registration, *, waits: bool = True) -> ServiceRegistration:
        """Register a service for as long as the context of the result lasts.

        With `waits` false, entering does not wait for the agent: the service is registered when
        there is one.
        """
        return ServiceRegistration(
            self._transport,
            registration,
            waits=waits,
            timeout_s=self._config.timeout_s,
            rng=self._child_rng(),
        )

    async def deregister(self, service_id: str, *, timeout_s: float | None = None) -> None:
        """Take a service away from the agent, whoever registered it.

        Raises:
            ClientError: The agent was not told, or does not have it.
        """
        await self._transport.put(
            f"/v1/agent/service/deregister/{quote(service_id, safe='')}",
            timeout_s=timeout_s or self._config.timeout_s,
        )

    @asynccontextmanager
    async def picker(
        self,
        service: str | ServiceQuery,
        policy: Policy | None = None,
        *,
        waits: bool = True,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Picker]:
        """Pick instances of a service, from a local copy that follows the agent's.

        Entering waits for the agent's first answer, unless there is one on disk or `waits` is
        false. While the agent is down, the last instances known are picked, and
        `Picker.freshness` says so. Share one picker: it knows how busy each instance is.

        Args:
            service: Its name, or a query.
            policy: How to choose; round robin by default. It belongs to this picker alone.
            waits: Whether to wait for the first answer.
            timeout_s: For how long.

        Raises:
            DeadlineExceededError: There was no answer in time.
            ClientError: The agent refuses the question.
        """
        query = _query(service)
        picker = Picker(policy, config=self._config.picker, rng=self._child_rng())
        folder = self._config.cache_dir
        feed = Feed(
            self.watch(query),
            picker,
            self._transport,
            cache_file=None if folder is None else CacheFile(folder, query),
            wants_rtts=isinstance(policy, Nearest),
            call_timeout_s=self._config.timeout_s,
            rng=self._child_rng(),
        )
        has_copy = await feed.load()
        task = asyncio.create_task(feed.run(), name=f"svcmesh: follow {query.service}")
        try:
            if waits and not has_copy:
                await feed.wait_ready(timeout_s or self._config.timeout_s)
            yield picker
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def lock(
        self,
        key: str,
        *,
        value: bytes = b"",
        config: LockConfig = LockConfig(),
        wait_s: float | None = None,
    ) -> Lock:
        """Hold a lock for as long as the context of the result lasts.

        Args:
            key: Where it is; all who want it say the same.
            value: What the key says meanwhile.
            config: How it is held.
            wait_s: How long entering waits for it; None: as long as it takes.
        """
        keys = MutexKey(self._kv(), key, value)
        return self._lock(keys, config, wait_s)

    def semaphore(
        self,
        prefix: str,
        limit: int,
        *,
        value: bytes = b"",
        config: LockConfig = LockConfig(),
        wait_s: float | None = None,
    ) -> Lock:
        """Hold one of `limit` places, which all contenders say alike; otherwise as `lock`."""
        if limit < 1:
            raise ValueError("limit must be positive")
        return self._lock(SemaphoreKeys(self._kv(), prefix, limit, value), config, wait_s)

    def _lock(self, keys: LockKeys, config: LockConfig, wait_s: float | None) -> Lock:
        return Lock(
            self._transport,
            keys,
            config,
            self._config.watch,
            wait_s=wait_s,
            timeout_s=self._config.timeout_s,
            rng=self._child_rng(),
        )

    def _kv(self) -> Kv:
        return Kv(self._transport, timeout_s=self._config.timeout_s)

    def _child_rng(self) -> Random:
        return Random(self._rng.getrandbits(64))


def _query(service: str | ServiceQuery) -> ServiceQuery:
    return ServiceQuery(service) if isinstance(service, str) else service

"""The client for threads: the asyncio client, on an event loop of its own in one thread.

However many watches and pickers there are, it is one thread. Every method may be called from any
thread; iterators and registrations are for one thread at a time, pickers for all.
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from svcmesh.agentaccess import TlsFiles
from svcmesh.client.asynchronous import AsyncClient, ClientConfig
from svcmesh.client.errors import ClientClosedError, DeadlineExceededError
from svcmesh.client.executing import PreparedQuery, QueryOutcome
from svcmesh.client.holding import LockConfig
from svcmesh.client.instances import HealthStatus, Instance, ServiceQuery
from svcmesh.client.locks import Lock
from svcmesh.client.picking import Picker
from svcmesh.client.policies import Policy
from svcmesh.client.registering import Registration
from svcmesh.client.registrations import ServiceRegistration
from svcmesh.client.watches import ServiceWatch

T = TypeVar("T")


class Client:
    """Talks to one agent, usually the one on this host. A context manager.

    After a fork, the child needs a client of its own: threads do not survive it.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        tls: TlsFiles = TlsFiles(),
        config: ClientConfig = ClientConfig(),
    ) -> None:
        """Take `host:port`, `http(s)://host:port` or `unix:///path`, or what the environment says.

        Raises:
            AccessError: The address has no meaning, or a file cannot be read.
        """
        self._client = AsyncClient(address, token=token, tls=tls, config=config)
        self._loop_thread = LoopThread()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close every connection and end the thread; calls under way in other threads end too."""
        self._loop_thread.close(self._client.close())

    def services(self, *, timeout_s: float | None = None) -> dict[str, tuple[str, ...]]:
        """Give every service's name and the tags of its instances.

        Raises:
            ClientError: There is no answer.
        """
        return self._loop_thread.run(self._client.services(timeout_s=timeout_s))

    def instances(
        self, service: str | ServiceQuery, *, timeout_s: float | None = None
    ) -> tuple[Instance, ...]:
        """Give the instances of a service now.

        Raises:
            ClientError: There is no answer.
        """
        return self._loop_thread.run(self._client.instances(service, timeout_s=timeout_s))

    def execute(
        self, query: str | PreparedQuery, *, timeout_s: float | None = None
    ) -> QueryOutcome:
        """Execute a prepared query.

        Raises:
            RequestRefusedError: There is none of this name (404), or it cannot be executed.
            ClientError: There is no answer.
        """
        return self._loop_thread.run(self._client.execute(query, timeout_s=timeout_s))

    def watch(self, service: str | ServiceQuery) -> "Watch":
        """Iterate over the instances of a service: now, and whenever they change."""
        return Watch(self._loop_thread, self._client.watch(service))

    @contextmanager
    def register(
        self, registration: Registration, *, waits: bool = True
    ) -> Iterator["RegisteredService"]:
        """Register a service for as long as the context lasts.

        With `waits` false, entering does not wait for the agent: the service is registered when
        there is one.

        Raises:
            ClientError: The agent cannot be told. Nothing is left behind.
        """
        kept = self._client.register(registration, waits=waits)
        with self._loop_thread.entered(kept):
            yield RegisteredService(self._loop_thread, kept)

    def deregister(self, service_id: str, *, timeout_s: float | None = None) -> None:
        """Take a service away from the agent, whoever registered it.

        Raises:
            ClientError: The agent was not told, or does not have it.
        """
        self._loop_thread.run(self._client.deregister(service_id, timeout_s=timeout_s))

    @contextmanager
    def picker(
        self,
        service: str | ServiceQuery,
        policy: Policy | None = None,
        *,
        waits: bool = True,
        timeout_s: float | None = None,
    ) -> Iterator[Picker]:
        """Pick instances of a service; see `AsyncClient.picker`."""
        following = self._client.picker(service, policy, waits=waits, timeout_s=timeout_s)
        with self._loop_thread.entered(following) as picker:
            yield picker

    @contextmanager
    def lock(
        self,
        key: str,
        *,
        value: bytes = b"",
        config: LockConfig = LockConfig(),
        wait_s: float | None = None,
    ) -> Iterator["HeldLock"]:
        """Hold a lock for as long as the context lasts; see `AsyncClient.lock`.

        Raises:
            DeadlineExceededError: It was not free in time.
            LockLostError: It was lost before the context was left.
            ClientError: The agent cannot be asked.
        """
        lock = self._client.lock(key, value=value, config=config, wait_s=wait_s)
        with self._held(lock) as held:
            yield held

    @contextmanager
    def semaphore(
        self,
        prefix: str,
        limit: int,
        *,
        value: bytes = b"",
        config: LockConfig = LockConfig(),
        wait_s: float | None = None,
    ) -> Iterator["HeldLock"]:
        """Hold one of `limit` places; see `AsyncClient.semaphore`."""
        lock = self._client.semaphore(prefix, limit, value=value, config=config, wait_s=wait_s)
        with self._held(lock) as held:
            yield held

    @contextmanager
    def _held(self, lock: Lock) -> Iterator["HeldLock"]:
        with self._loop_thread.entered(lock):
            yield HeldLock(self._loop_thread, lock)


class HeldLock:
    """A lock in hand; see `Lock`. Its properties may be read by any thread."""

    def __init__(self, loop_thread: "LoopThread", lock: Lock) -> None:
        self._loop_thread, self._lock = loop_thread, lock

    @property
    def key(self) -> str:
        """Where the lock is."""
        return self._lock.key

    @property
    def token(self) -> int:
        """The fencing token: larger for every later holder.

        Raises:
            LockLostError: The lock is not held.
        """
        return self._lock.token

    @property
    def is_held(self) -> bool:
        """Whether nobody else can have the lock at this moment."""
        return self._lock.is_held

    @property
    def failure(self) -> Exception | None:
        """Why the agent was not reached last time; None while all is well."""
        return self._lock.failure

    def remaining_s(self) -> float:
        """For how long nobody else can have the lock, whatever happens; 0 when it is not held."""
        return self._lock.remaining_s()

    def check(self) -> None:
        """Do nothing while the lock is held.

        Raises:
            LockLostError: It is not.
        """
        self._lock.check()

    def wait_lost(self, timeout_s: float | None = None) -> bool:
        """Wait until the lock is lost; false when the time is over first.

        Raises:
            ClientClosedError: The client is closed meanwhile.
        """
        return self._loop_thread.run(self._wait_lost(timeout_s))

    async def _wait_lost(self, timeout_s: float | None) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._lock.lost.wait()
        except TimeoutError:
            return False
        return True


class Watch:
    """An iterator over the instances of a service; see `ServiceWatch`."""

    def __init__(self, loop_thread: "LoopThread", watch: ServiceWatch) -> None:
        self._loop_thread, self._watch = loop_thread, watch

    @property
    def failure(self) -> Exception | None:
        """Why there was no answer last time; None while all is well."""
        return self._watch.failure

    def __iter__(self) -> Iterator[tuple[Instance, ...]]:
        return self

    def __next__(self) -> tuple[Instance, ...]:
        """Wait for instances other than the last ones.

        Raises:
            RequestRefusedError: The question is wrong, and would be for ever.
            StopIteration: The client is closed.
        """
        try:
            return self._loop_thread.run(self._next(None))
        except (StopAsyncIteration, ClientClosedError):
            raise StopIteration from None

    def next(self, *, timeout_s: float) -> tuple[Instance, ...]:
        """Do the same, within a time.

        Raises:
            DeadlineExceededError: Nothing has changed.
            ClientError: The question is wrong, or the client closed.
        """
        return self._loop_thread.run(self._next(timeout_s))

    async def _next(self, timeout_s: float | None) -> tuple[Instance, ...]:
        try:
            async with asyncio.timeout(timeout_s):
                return await anext(self._watch)
        except StopAsyncIteration:
            raise ClientClosedError("the client is closed") from None
        except TimeoutError:
            raise DeadlineExceededError(f"no change within {timeout_s} s") from self.failure


class RegisteredService:
    """A registration under way; see `ServiceRegistration`."""

    def __init__(self, loop_thread: "LoopThread", kept: ServiceRegistration) -> None:
        self._loop_thread, self._kept = loop_thread, kept

    @property
    def is_registered(self) -> bool:
        """Whether the agent has it, as far as is known."""
        return self._kept.is_registered

    @property
    def failure(self) -> Exception | None:
        """Why the agent could not be told last time; None while all is well."""
        return self._kept.failure

    def set_status(self, status: HealthStatus, output: str = "") -> None:
        """Say how the service is from now on; the agent is told at once, or when it is back.

        Raises:
            ValueError: The registration has no TTL, or `status` is not for services to say.
        """
        self._loop_thread.run(self._kept.set_status(status, output))


class LoopThread:
    """An event loop in a thread, started with the first call and ended by `close`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for it; an interrupt of this thread cancels it.

        Raises:
            ClientClosedError: The thread was ended before or meanwhile.
        """
        try:
            loop = self._running_loop()
        except ClientClosedError:
            work.close()
            raise
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result()
        except CancelledError:
            raise ClientClosedError("the client was closed during the call") from None
        except BaseException:
            future.cancel()
            raise

    @contextmanager
    def entered(self, context: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Enter an asynchronous context there for as long as this one lasts."""
        value = self.run(_enter(context))
        try:
            yield value
        except BaseException as error:
            # Closing the client has ended it as well.
            with suppress(ClientClosedError):
                self.run(_leave(context, error))
            raise
        with suppress(ClientClosedError):
            self.run(_leave(context, None))

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Run `last`, cancel whatever else runs, and end the thread."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            loop, thread = self._loop, self._thread
        if was_closed or loop is None or thread is None:
            last.close()
            return
        asyncio.run_coroutine_threadsafe(last, loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._is_closed:
                raise ClientClosedError("the client is closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run_loop, args=(self._loop,), name="svcmesh client", daemon=True
                )
                self._thread.start()
            return self._loop


async def _enter(context: AbstractAsyncContextManager[T]) -> T:
    return await context.__aenter__()


async def _leave(context: AbstractAsyncContextManager[Any], error: BaseException | None) -> None:
    # The caller raises it again, so that a context could not swallow it. Ours never do.
    kind = None if error is None else type(error)
    await context.__aexit__(kind, error, None)


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

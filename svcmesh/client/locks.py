"""Locks: a session that is kept alive, keys that it holds, and the knowledge whether it still does.

The session has a TTL and no health checks, so that time alone ends it: a holder that cannot reach
its agent knows from its own clock when to stop, and does so before anybody else can have the lock.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random
from types import TracebackType
from typing import Final
from urllib.parse import quote

from svcmesh.client.errors import (
    BadAnswerError,
    ClientClosedError,
    ClientError,
    DeadlineExceededError,
    LockConflictError,
    LockLostError,
    RequestRefusedError,
)
from svcmesh.client.holding import HoldState, LockConfig
from svcmesh.client.lockkeys import LockKeys
from svcmesh.client.transport import Transport
from svcmesh.client.watching import WatchConfig, retry_pause_s

logger = logging.getLogger("svcmesh.client")

DELAYED_S: Final = 1.0
"""Pause between attempts while the lock delay is on; the servers do not say how long that is."""

MONITOR_PAUSE_S: Final = 1.0

LETTING_GO_S: Final = 1.0
"""Longest pause between attempts to release: others wait."""


def clock_s() -> float:
    """Seconds that go on while the host sleeps: a lock does not wait for a lid to open."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Lock:
    """A lock that is waited for on entering and released on leaving. Used once.

    Leaving raises `LockLostError` when the lock was lost meanwhile, unless something else is
    raised: what was done since may have been done by somebody else as well.
    """

    def __init__(
        self,
        transport: Transport,
        keys: LockKeys,
        config: LockConfig,
        watch: WatchConfig,
        *,
        wait_s: float | None,
        timeout_s: float,
        rng: Random,
        clock: Callable[[], float] = clock_s,
    ) -> None:
        self.lost = asyncio.Event()
        """Set when the lock may be somebody else's, for those who wait; `is_held` is as quick."""
        self.failure: ClientError | None = None
        """Why the agent was not reached last time; None while all is well."""
        self.is_removed = False
        """Whether leaving has deleted the key (`LockConfig.removes_key`)."""
        self._transport, self._keys, self._config = transport, keys, config
        self._watch, self._wait_s, self._timeout_s = watch, wait_s, timeout_s
        self._rng, self._clock = rng, clock
        self._session = ""
        self._state: HoldState | None = None
        self._token: int | None = None
        self._why = ""
        self._was_used = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def key(self) -> str:
        """Where the lock is."""
        return self._keys.path

    @property
    def token(self) -> int:
        """The fencing token: larger for every later holder. What is protected refuses smaller ones.

        Raises:
            LockLostError: The lock is not held.
        """
        self.check()
        assert self._token is not None
        return self._token

    @property
    def is_held(self) -> bool:
        """Whether nobody else can have the lock at this moment."""
        return self.remaining_s() > 0

    def remaining_s(self) -> float:
        """For how long nobody else can have the lock, whatever happens; 0 when it is not held.

        It rises with every renewal. What takes longer than this may outlive the lock.
        """
        if self._token is None or self._why or self._state is None:
            return 0.0
        return max(0.0, self._state.reliable_until - self._clock())

    def check(self) -> None:
        """Do nothing while the lock is held.

        Raises:
            LockLostError: It is not.
        """
        if not self.is_held:
            raise LockLostError(f"{self.key}: {self._why or 'not renewed in time'}")

    async def __aenter__(self) -> "Lock":
        """Wait for the lock.

        Raises:
            DeadlineExceededError: It was not free in time.
            LockConflictError: The key is used for something else.
            LockLostError: It has been used before.
            ClientError: The agent cannot be asked, or refuses. Nothing is left behind.
        """
        if self._was_used:
            raise LockLostError(f"{self.key}: a lock is entered once; ask for another")
        self._was_used = True
        try:
            async with asyncio.timeout(self._wait_s):
                index = await self._acquire()
        except TimeoutError as error:
            await self._end()
            if isinstance(error, ClientError):
                raise
            text = f"{self.key}: not acquired within {self._wait_s:g} s"
            raise DeadlineExceededError(text) from self.failure
        except BaseException:
            await self._end()
            raise
        self._tasks.append(self._start(self._monitor(index), "watch"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the lock. When the agent cannot be told, the end of the TTL does the rest.

        Raises:
            LockLostError: It was lost meanwhile.
        """
        was_held = self.is_held
        why = self._why or "not renewed in time"
        self._lose("released")
        await self._end()
        if not was_held and error is None:
            raise LockLostError(f"{self.key}: {why}")

    async def _acquire(self) -> int:
        failures = 0
        while True:
            try:
                if not self._session or self._why:
                    await self._begin_session()
                attempt = await self._keys.attempt(self._session)
                failures, self.failure = 0, None
                if attempt.token is not None:
                    assert self._state is not None
                    if not self._why and self._clock() >= self._state.reliable_until:
                        # The answer took longer than the session lasts for certain.
                        self._lose("not renewed in time")
                    if self._why:
                        continue
                    self._token = attempt.token
                    return attempt.index
                if attempt.index:
                    await self._keys.wait(attempt.index, wait_s=self._watch.wait_s)
                else:
                    await self._transport.pause(DELAYED_S * self._rng.uniform(0.5, 1.0))
            except (ClientClosedError, LockConflictError):
                raise
            except ClientError as error:
                if isinstance(error, RequestRefusedError) and error.is_final:
                    raise
                if self._wait_s is None and not self._session:
                    # Nobody has said for how long to try, and there is nothing to hold on to.
                    raise
                self.failure = error
                failures += 1
                await self._transport.pause(self._retry_s(failures))

    async def _begin_session(self) -> None:
        await self._stop_tasks()
        former, self._session, self._why = self._session, "", ""
        if former:
            # It may live on for a while and have the lock: we would wait for ourselves.
            with suppress(RequestRefusedError):
                await self._keys.release(former, removes=False)
                await self._destroy(former)
        sent_at = self._clock()
        config = self._config
        body = {
            "Name": config.name or f"svcmesh lock {self.key}",
            "TTL": f"{config.ttl_s:g}s",
            "LockDelay": f"{config.lock_delay_s:g}s",
            "NodeChecks": [],
            "Behavior": self._keys.behavior,
        }
        answer = await self._transport.send(
            "PUT", "/v1/session/create", (), json.dumps(body).encode(), timeout_s=self._timeout_s
        )
        try:
            self._session = str(answer["ID"])
        except (TypeError, KeyError) as error:
            raise BadAnswerError(f"not a session: {error!r}") from error
        self._state = HoldState(config.ttl_s, sent_at=sent_at, rng=self._rng)
        self._tasks.append(self._start(self._renew(self._state), "renew"))

    async def _renew(self, state: HoldState) -> None:
        """Keep the session alive, until it is over."""
        path = f"/v1/session/renew/{quote(self._session, safe='')}"
        while True:
            now = self._clock()
            if now >= state.reliable_until:
                self._lose("not renewed in time")
                return
            if now < state.renew_at:
                # At most a second at a time: this clock may have run on while the host slept.
                due_s = min(state.renew_at, state.reliable_until) - now
                await asyncio.sleep(min(due_s, 1.0))
                continue
            left_s = state.reliable_until - now
            try:
                await self._transport.put(path, timeout_s=min(self._timeout_s, left_s))
            except ClientClosedError:
                self._lose("the client is closed")
                return
            except ClientError as error:
                if isinstance(error, RequestRefusedError) and error.status == 404:
                    self._lose("the session was ended")
                    return
                self.failure = error
                state.handle_failure(now=self._clock())
            else:
                self.failure = None
                state.handle_renewed(sent_at=now)

    async def _monitor(self, index: int) -> None:
        """Notice when the lock is taken away."""
        failures = 0
        while not self._why:
            try:
                has_it, index = await self._keys.holds(
                    self._session, index, wait_s=self._watch.wait_s
                )
            except ClientClosedError:
                self._lose("the client is closed")
            except ClientError as error:
                self.failure = error
                failures, index = failures + 1, 0
                retries = self._config.monitor_retries
                if isinstance(error, LockConflictError) or (
                    retries is not None and failures > retries
                ):
                    self._lose(f"monitoring failed: {error}")
                    return
                await asyncio.sleep(MONITOR_PAUSE_S)
            else:
                failures = 0
                if not has_it:
                    self._lose("the key was taken away")

    def _lose(self, why: str) -> None:
        if not self._why:
            self._why = why
            if self._token is not None:
                self.lost.set()

    async def _end(self) -> None:
        await self._stop_tasks()
        if not self._session:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._let_go()
        except (ClientError, TimeoutError) as error:
            why = self.failure if isinstance(error, TimeoutError) else error
            logger.warning("%s is not released, its session ends by its TTL: %s", self.key, why)

    async def _let_go(self) -> None:
        """Release, and end the session. Doing so again is fine, so failures are tried again."""
        failures = 0
        while True:
            try:
                with suppress(LockConflictError):
                    # Without a token too: an attempt that was broken off may have had the lock.
                    self.is_removed = await self._keys.release(
                        self._session, removes=self._config.removes_key
                    )
                await self._destroy(self._session)
            except ClientClosedError:
                raise
            except ClientError as error:
                if isinstance(error, RequestRefusedError) and error.is_final:
                    raise
                self.failure = error
                failures += 1
                pause_s = retry_pause_s(failures, least_s=0.1, most_s=LETTING_GO_S, rng=self._rng)
                await self._transport.pause(pause_s)
            else:
                return

    async def _destroy(self, session: str) -> None:
        path = f"/v1/session/destroy/{quote(session, safe='')}"
        await self._transport.put(path, timeout_s=self._timeout_s)

    async def _stop_tasks(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    def _start(self, work: Coroutine[object, object, None], what: str) -> asyncio.Task[None]:
        return asyncio.create_task(work, name=f"svcmesh: {what} {self.key}")

    def _retry_s(self, failures: int) -> float:
        return retry_pause_s(
            failures,
            least_s=self._watch.retry_s_min,
            most_s=self._watch.retry_s_max,
            rng=self._rng,
        )

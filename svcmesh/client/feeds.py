"""What keeps a picker up to date: a watch, a file for when the agent is down, and coordinates."""

import asyncio
import logging
import time
from contextlib import suppress
from random import Random
from typing import Final

from svcmesh.client.cachefile import CacheFile
from svcmesh.client.distances import read_coordinates, rtts_s
from svcmesh.client.errors import ClientClosedError, ClientError, DeadlineExceededError
from svcmesh.client.picking import Freshness, Picker
from svcmesh.client.transport import Transport
from svcmesh.client.watches import ServiceWatch

logger = logging.getLogger("svcmesh.client")

RTT_REFRESH_S: Final = 60.0
"""Coordinates settle over minutes; there is nothing to wait for."""


class Feed:
    """Runs in a task of its own until it is cancelled; `wait_ready` waits for the first answer."""

    def __init__(
        self,
        watch: ServiceWatch,
        picker: Picker,
        transport: Transport,
        *,
        cache_file: CacheFile | None,
        wants_rtts: bool,
        call_timeout_s: float,
        rng: Random,
    ) -> None:
        self._watch, self._picker, self._transport = watch, picker, transport
        self._cache_file, self._wants_rtts = cache_file, wants_rtts
        self._call_timeout_s, self._rng = call_timeout_s, rng
        self._has_answer = asyncio.Event()
        self._refusal: ClientError | None = None

    async def load(self) -> bool:
        """Begin with what is on disk; whether there was something."""
        if self._cache_file is None:
            return False
        kept = await asyncio.to_thread(self._cache_file.load)
        if kept is None:
            return False
        self._picker.update(kept.instances)
        self._picker.update_freshness(Freshness(True, kept.saved_utc, None))
        return True

    async def wait_ready(self, timeout_s: float) -> None:
        """Wait for the agent's first answer.

        Raises:
            DeadlineExceededError: There was none in time; the cause says why.
            ClientError: The agent refuses the question.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._has_answer.wait()
        except TimeoutError:
            raise DeadlineExceededError(
                f"no answer about {self._watch.query.service} within {timeout_s:g} s"
            ) from self._watch.failure
        if self._refusal is not None:
            raise self._refusal

    async def run(self) -> None:
        """Follow the service for as long as the client is open."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            if self._wants_rtts:
                tasks.create_task(self._follow_coordinates())

    async def _follow(self) -> None:
        saved = None
        while True:
            try:
                instances = await self._watch.ask()
            except ClientClosedError:
                return
            except ClientError as error:
                # Who waits for the first answer is told; who has one keeps it, and we go on asking.
                self._refusal = error
                self._mark_stale(error)
                self._has_answer.set()
                continue
            if instances is None:
                self._mark_stale(self._watch.failure)
                continue
            now_utc = time.time()
            self._picker.update(instances)
            self._picker.update_freshness(Freshness(False, now_utc, None))
            self._refusal = None
            self._has_answer.set()
            if self._cache_file is not None and instances != saved:
                saved = instances
                await asyncio.to_thread(self._cache_file.save, instances, saved_utc=now_utc)

    def _mark_stale(self, failure: ClientError | None) -> None:
        as_of_utc = self._picker.freshness.as_of_utc
        self._picker.update_freshness(Freshness(True, as_of_utc, failure))

    async def _follow_coordinates(self) -> None:
        with suppress(ClientClosedError):
            while True:
                try:
                    await self._read_coordinates()
                except ClientClosedError:
                    raise
                except (ClientError, KeyError, TypeError) as error:
                    # The nearest by what is known, then: the agent may keep no coordinates.
                    logger.info("network coordinates: %s", error)
                await self._transport.pause(RTT_REFRESH_S * self._rng.uniform(0.9, 1.1))

    async def _read_coordinates(self) -> None:
        about = await self._transport.get("/v1/agent/self", timeout_s=self._call_timeout_s)
        own_node = str(about.value["Config"]["NodeName"])
        self._picker.update_rtts({own_node: 0.0})
        answer = await self._transport.get("/v1/coordinate/nodes", timeout_s=self._call_timeout_s)
        self._picker.update_rtts(rtts_s(own_node, read_coordinates(answer.value)))

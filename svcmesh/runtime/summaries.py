"""The asyncio shell around the summaries: their clock, their timer, their messages."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from math import inf
from random import Random

from gossip.serf.events import Member, MemberStatus
from svcmesh.catalog.view import CatalogView
from svcmesh.summaries import (
    GlobalService,
    Peer,
    Send,
    ServiceCounts,
    Summaries,
    global_services,
)


class SummaryRuntime:
    """A server's part in the summaries, until `close`. `send(to, payload)` reaches a WAN member."""

    def __init__(
        self,
        me: Peer,
        view: CatalogView,
        *,
        is_ready: Callable[[], bool],
        send: Callable[[str, bytes], None],
    ) -> None:
        self._me, self._send = me, send
        self._loop = asyncio.get_running_loop()
        self._counts = ServiceCounts(view)
        self.summaries = Summaries(
            me, self._counts, is_ready=is_ready, now=self._loop.time(), rng=Random()
        )
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = True
        view.listen(lambda _, __: self._note_counts())
        self._arm()

    def close(self) -> None:
        """Say nothing any more."""
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()

    def set_members(self, members: Iterable[Member]) -> None:
        """Take in who is in the WAN pool."""
        present = [one for one in members if one.status is not MemberStatus.LEFT]
        alive = [
            Peer(one.name, one.tags["dc"], one.tags["id"])
            for one in present
            if one.status is MemberStatus.ALIVE and {"svcmesh", "dc", "id"} <= one.tags.keys()
        ]
        datacenters = {one.tags.get("dc", "") for one in present}
        self.summaries.set_peers(alive, datacenters - {""}, now=self._loop.time())
        self._arm()

    def receive(self, payload: bytes) -> None:
        """Take in a direct message of another server."""
        self._carry_out(self.summaries.handle_message_untrusted(payload, now=self._loop.time()))

    async def services(self, datacenters: Sequence[str]) -> list[GlobalService]:
        """Every service of these data centers, by name, each with its places in this order."""
        said = [(name, dict(self.summaries.entries(name))) for name in datacenters]
        counts = dict(self._counts.all())
        # With tens of thousands of services it takes too long for the loop.
        return await asyncio.to_thread(global_services, said, self._me.datacenter, counts)

    def _note_counts(self) -> None:
        self.summaries.note_counts(now=self._loop.time())
        self._arm()

    def _carry_out(self, effects: Iterable[Send]) -> None:
        for effect in effects:
            self._send(effect.to, effect.payload)
        self._arm()

    def _arm(self) -> None:
        deadline_at = self.summaries.next_deadline_at
        if not self._is_open:
            return
        if self._timer is not None:
            if self._timer.when() == deadline_at:
                return
            self._timer.cancel()
            self._timer = None
        if deadline_at < inf:
            self._timer = self._loop.call_at(deadline_at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        wall_ms = time.time_ns() // 1_000_000
        self._carry_out(self.summaries.handle_timer(now=self._loop.time(), wall_ms=wall_ms))

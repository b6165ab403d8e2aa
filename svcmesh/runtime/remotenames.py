"""Names of other data centers for DNS: fetched when they are asked for, and kept up to date.

A name that has instances is *followed* from its first query on: a blocking query waits for its next
change over there, so that answers come from memory and are as fresh as the way is long. Following
ends when the name is no longer asked for. Beyond a number of names, and for names without
instances, an answer is kept for `FRESH_S` instead.

When the other side cannot be reached, followed names are answered as they were last known, for as
long as the configuration allows (`dns_config.max_stale`).
"""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Final, NamedTuple

from dnsserver.directory import Lost, RemoteNode, Stamp, ToFetch
from dnsserver.pool import ServicePool
from svcmesh.datacenters import NoPathError, RemoteAccess, UnreachableError
from svcmesh.dnsnames import NODE, SERVICE, unpack_node_untrusted, unpack_service_untrusted
from svcmesh.errors import DecodeError
from svcmesh.rpc import RpcError

logger = logging.getLogger("dns.wan")

FETCH_S: Final = 3.0
"""For the answer to a name that is not known here."""
FRESH_S: Final = 2.0
"""How long an answer is good that is not kept up to date."""
LOST_S: Final = 1.0
"""How long it is taken for granted that nobody answers."""
FOLLOW_WAIT_S: Final = 30.0
"""Of one blocking query; a name that nobody has asked for during two of them is let go."""
RETRY_S: Final = 2.0
"""Between two attempts to reach the other side."""

FOLLOWED_MAX: Final = 64
KEPT_MAX: Final = 1024
INSTANCES_MAX: Final = 65_536
"""Of all names that are kept."""
FETCHING_MAX: Final = 256
"""Names of one data center that are being fetched; further ones are not answered."""
LOST_MAX: Final = 64
"""Data centers of which it is remembered that they did not answer."""
WAITING_MAX: Final = 2048
"""Queries that wait for one data center."""

FAILURES: Final = (NoPathError, UnreachableError, RpcError, DecodeError)


class _Name(NamedTuple):
    """All in lower case."""

    datacenter: str
    method: str
    name: str
    tag: str | None


Finding = ServicePool | RemoteNode


@dataclass(slots=True)
class _Entry:
    finding: Finding | Lost
    version: str
    good_until: float
    """No matter when it is followed and not lost."""
    asked_at: float
    following: "asyncio.Task[None] | None" = None
    lost_at: float | None = None

    @property
    def instances(self) -> int:
        return len(self.finding.members) if isinstance(self.finding, ServicePool) else 1

    def is_good(self, now: float) -> bool:
        if self.following is not None and self.lost_at is None:
            return True
        return now < self.good_until


class RemoteNames:
    """The part of DNS's directory that is elsewhere, on one agent."""

    def __init__(
        self, remote: RemoteAccess, *, only_passing: bool, max_stale_s: float, rng: Random
    ) -> None:
        """`only_passing` leaves out instances with a warning too; `rng` orders instances."""
        self._remote, self._rng = remote, rng
        self._only_passing, self._max_stale_s = only_passing, max_stale_s
        self._loop = asyncio.get_running_loop()
        self._kept: OrderedDict[_Name, _Entry] = OrderedDict()
        """Those asked for last at the end."""
        self._instances = 0
        self._fetching: dict[_Name, asyncio.Task[Finding | Lost]] = {}
        self._waiting: Counter[str] = Counter()
        """Queries by data center."""
        self._lost: set[str] = set()
        """Data centers that could not be reached when they were asked last."""
        self._counters: Counter[str] = Counter()

    def reconfigure(self, *, only_passing: bool, max_stale_s: float) -> None:
        """Take changed settings into use; what was known is fetched anew."""
        if only_passing != self._only_passing:
            for name in list(self._kept):
                self._drop(name)
        self._only_passing, self._max_stale_s = only_passing, max_stale_s

    def counters(self) -> Mapping[str, int]:
        """What was fetched, and what is kept."""
        followed = sum(entry.following is not None for entry in self._kept.values())
        stale = sum(entry.lost_at is not None for entry in self._kept.values())
        return {**self._counters, "kept": len(self._kept), "followed": followed, "stale": stale}

    async def close(self) -> None:
        """Follow and fetch nothing any more."""
        tasks: list[asyncio.Task[object]] = list(self._fetching.values())
        tasks += [e.following for e in self._kept.values() if e.following is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- for DNS --------------------------------------------------------------------------------

    def service(
        self, datacenter: str, name: str, tag: str | None
    ) -> ServicePool | Lost | ToFetch[ServicePool]:
        """Instances that no critical check excludes."""
        key = _Name(datacenter.lower(), SERVICE, name.lower(), None if tag is None else tag.lower())
        found = self._find(key)
        if found is None:
            return ToFetch(lambda: self._service(key))
        assert not isinstance(found, RemoteNode)
        return found

    def node(self, datacenter: str, name: str) -> RemoteNode | Lost | ToFetch[RemoteNode]:
        """A node, whatever its health."""
        key = _Name(datacenter.lower(), NODE, name.lower(), None)
        found = self._find(key)
        if found is None:
            return ToFetch(lambda: self._node(key))
        assert not isinstance(found, ServicePool)
        return found

    async def _service(self, key: _Name) -> ServicePool | Lost:
        found = await self._fetch(key)
        assert not isinstance(found, RemoteNode)
        return found

    async def _node(self, key: _Name) -> RemoteNode | Lost:
        found = await self._fetch(key)
        assert not isinstance(found, ServicePool)
        return found

    def _find(self, key: _Name) -> Finding | Lost | None:
        entry, now = self._kept.get(key), self._loop.time()
        if entry is None:
            return None
        entry.asked_at = now
        self._kept.move_to_end(key)
        if not entry.is_good(now):
            return None
        if entry.lost_at is not None:
            self._counters["answered_stale"] += 1
        return entry.finding

    # -- fetching -------------------------------------------------------------------------------

    async def _fetch(self, key: _Name) -> Finding | Lost:
        datacenter = key.datacenter
        task = self._fetching.get(key)
        under_way = sum(name.datacenter == datacenter for name in self._fetching)
        if self._waiting[datacenter] >= WAITING_MAX or (task is None and under_way >= FETCHING_MAX):
            self._counters["refused"] += 1
            return Lost.UNREACHABLE
        if task is None:
            task = self._fetching[key] = self._loop.create_task(self._bring(key))
            task.add_done_callback(lambda _: self._fetching.pop(key, None))
        self._waiting[datacenter] += 1
        try:
            # The others still want it when this client is gone.
            return await asyncio.shield(task)
        finally:
            self._waiting[datacenter] -= 1
            if not self._waiting[datacenter]:
                del self._waiting[datacenter]

    async def _bring(self, key: _Name) -> Finding | Lost:
        self._counters["fetched"] += 1
        now = self._loop.time()
        try:
            version, finding = await self._ask(key, "", 0.0, timeout_s=FETCH_S)
        except FAILURES as error:
            self._note_failure(key, error)
            lost = Lost.UNKNOWN if isinstance(error, NoPathError) else Lost.UNREACHABLE
            self._keep(key, _Entry(lost, "", now + LOST_S, now))
            return lost
        self._note_success(key)
        entry = _Entry(finding, version, self._loop.time() + FRESH_S, now)
        self._keep(key, entry)
        followed = sum(one.following is not None for one in self._kept.values())
        if _has_any(finding) and followed < FOLLOWED_MAX:
            entry.following = self._loop.create_task(self._follow(key, entry))
        else:
            self._loop.call_later(FRESH_S, self._expire, key, entry)
        return finding

    async def _ask(
        self, key: _Name, version: str, wait_s: float, *, timeout_s: float
    ) -> tuple[str, Finding]:
        answer = await self._remote.call(
            key.datacenter,
            key.method,
            [key.name, key.tag, version, wait_s],
            timeout_s=timeout_s,
            waits_s=wait_s,
        )
        if key.method == NODE:
            version, node = unpack_node_untrusted(answer)
            return version, RemoteNode(node, Stamp())
        version, instances = unpack_service_untrusted(answer)
        answers = [each.answer for each in instances if each.is_passing or not self._only_passing]
        return version, ServicePool.of(answers, self._rng)

    # -- following ------------------------------------------------------------------------------

    async def _follow(self, key: _Name, entry: _Entry) -> None:
        """Keep a name up to date until nobody asks for it, or it has been lost for too long."""
        while True:
            wait_s = FOLLOW_WAIT_S if entry.lost_at is None else 0.0
            try:
                version, finding = await self._ask(
                    key, entry.version, wait_s, timeout_s=wait_s + FETCH_S
                )
            except FAILURES as error:
                now = self._loop.time()
                self._note_failure(key, error)
                if entry.lost_at is None:
                    entry.lost_at = now
                    entry.good_until = now + self._max_stale_s
                    # Answers made from it are not to be used unseen any more.
                    self._renew(entry)
                if now >= entry.good_until or isinstance(error, NoPathError):
                    break
                await asyncio.sleep(RETRY_S)
                continue
            self._note_success(key)
            entry.lost_at = None
            self._take(entry, version, finding)
            is_idle = self._loop.time() - entry.asked_at > FOLLOW_WAIT_S * 2
            if is_idle or not _has_any(finding):
                break
        entry.following = None
        if self._kept.get(key) is entry:
            self._drop(key)

    def _take(self, entry: _Entry, version: str, finding: Finding) -> None:
        if version == entry.version:
            # The next query has to ask us: so we learn that there is one.
            self._renew(entry)
            return
        self._counters["changes"] += 1
        _end(entry.finding)
        self._instances -= entry.instances
        entry.version, entry.finding = version, finding
        self._instances += entry.instances

    def _renew(self, entry: _Entry) -> None:
        """End the answers that were made from what is known, which stays as it is."""
        finding = entry.finding
        _end(finding)
        match finding:
            case ServicePool():
                finding.stamp = Stamp()
            case RemoteNode():
                entry.finding = replace(finding, stamp=Stamp())
            case Lost():
                return

    # -- keeping --------------------------------------------------------------------------------

    def _keep(self, key: _Name, entry: _Entry) -> None:
        self._drop(key)
        self._kept[key] = entry
        self._instances += entry.instances
        while len(self._kept) > KEPT_MAX or (
            self._instances > INSTANCES_MAX and len(self._kept) > 1
        ):
            self._drop(next(iter(self._kept)))

    def _drop(self, key: _Name) -> None:
        entry = self._kept.pop(key, None)
        if entry is None:
            return
        self._instances -= entry.instances
        _end(entry.finding)
        if entry.following is not None:
            entry.following.cancel()

    def _expire(self, key: _Name, entry: _Entry) -> None:
        if self._kept.get(key) is entry:
            self._drop(key)

    def _note_failure(self, key: _Name, error: Exception) -> None:
        self._counters["failed"] += 1
        is_known = not isinstance(error, NoPathError)
        if is_known and key.datacenter not in self._lost and len(self._lost) < LOST_MAX:
            self._lost.add(key.datacenter)
            logger.warning("datacenter %s does not answer: %s", key.datacenter, error)

    def _note_success(self, key: _Name) -> None:
        if key.datacenter in self._lost:
            self._lost.discard(key.datacenter)
            logger.info("datacenter %s answers again", key.datacenter)


def _has_any(finding: Finding) -> bool:
    return finding.node is not None if isinstance(finding, RemoteNode) else len(finding) > 0


def _end(finding: Finding | Lost) -> None:
    if not isinstance(finding, Lost):
        finding.stamp.is_current = False

"""`svcmesh doctor`: trying everything with every member, a few at a time."""

import asyncio
from collections.abc import Callable
from typing import Final

from gossip import Gossip, Keyring
from gossip.driver.diagnosis import Diagnosis
from gossip.serf.events import Member, MemberStatus
from svcmesh.doctor import (
    UNKNOWN,
    Examination,
    MemberReport,
    failed_problems,
    fingerprint,
    network_problems,
    own_problems,
    seal_problems,
)

AT_ONCE_MAX: Final = 16
"""Members that are examined at the same time."""
TRIED: Final = (MemberStatus.ALIVE, MemberStatus.LEAVING, MemberStatus.FAILED)
"""A failed one too: that its host refuses, or that it does answer, is what an operator asks for."""


class Doctor:
    """Examines the pool on request; requests that come meanwhile share the result."""

    def __init__(
        self,
        gossip: Gossip,
        *,
        keyring: Keyring | None,
        sends_encrypted: bool,
        datagram_bytes: int,
        clock_drift_s: Callable[[], float],
    ) -> None:
        """`datagram_bytes` is the largest datagram that we send."""
        self._gossip, self._keyring = gossip, keyring
        self._sends_encrypted = sends_encrypted and keyring is not None
        self._datagram_bytes, self._clock_drift_s = datagram_bytes, clock_drift_s
        self._running: asyncio.Task[Examination] | None = None

    async def examine(self) -> Examination:
        """Try every member that has not left.

        That takes seconds where some do not answer, and longer in large pools.
        """
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._examine())
        return await asyncio.shield(self._running)

    def close(self) -> None:
        """Give up what is under way."""
        if self._running is not None:
            self._running.cancel()

    async def _examine(self) -> Examination:
        own_name = self._gossip.local.name
        others = [m for m in self._gossip.members() if m.status in TRIED and m.name != own_name]
        turns = asyncio.Semaphore(AT_ONCE_MAX)

        async def examine(member: Member) -> MemberReport:
            async with turns:
                diagnosis = await self._gossip.diagnose(member.name)
            return self._report(diagnosis, is_failed=member.status is MemberStatus.FAILED)

        members = await asyncio.gather(*(examine(member) for member in others))
        lag_s, drift_s = self._gossip.loop_lag_s, self._clock_drift_s()
        score = self._gossip.stats()["health_score"]
        return Examination(
            loop_lag_s=lag_s,
            clock_drift_s=drift_s,
            health_score=score,
            key=fingerprint(self._own_key),
            problems=own_problems(lag_s=lag_s, drift_s=drift_s, health_score=score),
            members=tuple(sorted(members, key=lambda m: (not m.problems, m.diagnosis.name))),
        )

    @property
    def _own_key(self) -> bytes | None:
        if self._keyring is None or not self._sends_encrypted:
            return None
        return self._keyring.primary

    def _report(self, diagnosis: Diagnosis, *, is_failed: bool) -> MemberReport:
        seal = UNKNOWN
        if diagnosis.udp_rtt_s is not None:
            seal = fingerprint(self._gossip.seal_key(diagnosis.address))
        problems = network_problems(diagnosis, datagram_bytes=self._datagram_bytes)
        if self._keyring is not None and seal != UNKNOWN:
            problems += seal_problems(seal, own=fingerprint(self._own_key))
        if is_failed:
            problems = failed_problems(diagnosis, problems)
        return MemberReport(diagnosis, is_failed, seal, tuple(problems))

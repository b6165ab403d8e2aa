"""Plays a scenario's faults on a pool, at their instants, on members that its dice choose."""

from collections import Counter
from random import Random
from typing import assert_never

from gossip.serf.events import Event, LeaveFinished
from svcmesh.errors import ConfigError
from svcmesh.simulate.member import SimulatedMember
from svcmesh.simulate.pool import SimulatedPool
from svcmesh.simulate.recorder import Recorder
from svcmesh.simulate.scenario import Action, Fault, Scenario
from svcmesh.simulate.views import Views, bits

AFTERMATH_S = 10.0
"""So long after a fault its victims still count as disturbed: rumors about it are under way."""

_DISTURBING = frozenset(Action) - {Action.JOIN, Action.EVENT, Action.LEAVE}


class Timeline:
    """Schedules faults and their ends.

    Invariant: a member is in `views.disturbed` from when a fault strikes it until `AFTERMATH_S`
    after the last one has ended, gaps of a repeated fault included.
    """

    def __init__(
        self, scenario: Scenario, pool: SimulatedPool, *, views: Views, recorder: Recorder
    ) -> None:
        self.quiet_at = pool.clock.now
        """When the last fault has ended, or has struck if it never ends."""
        self._scenario, self._pool = scenario, pool
        self._views, self._recorder = views, recorder
        self._end = pool.clock.now + scenario.duration_s
        self._disturbances: Counter[int] = Counter()
        self._returns_at: dict[int, float | None] = {}
        self._events_sent = 0
        pool.observers.append(self._note)

    def schedule(self) -> None:
        """Begin: seconds of the faults count from now."""
        for number, fault in enumerate(self._scenario.faults):
            # Each has dice of its own: one more fault changes nothing about the others.
            rng = Random(f"{self._pool.seed} fault {number}")
            self._pool.clock.post(fault.at_s, self._strike, fault, rng, None)

    def _strike(self, fault: Fault, rng: Random, victims: list[int] | None) -> None:
        clock = self._pool.clock
        is_first = victims is None or fault.choose_again
        if victims is None or fault.choose_again:
            victims = self._choose(fault, rng)
        again_at = None if fault.every_s is None else clock.now + fault.every_s
        is_last = again_at is None or again_at > self._last_start(fault)
        if fault.do == Action.PARTITION:
            self._begin_partition(victims)
            if fault.for_s is not None:
                clock.post(fault.for_s, self._end_partition)
        else:
            for victim in victims:
                delay_s = rng.random() * fault.within_s if fault.within_s else 0.0
                is_over = is_last or fault.choose_again
                clock.post(delay_s, self._begin, fault, rng, victim, is_first, is_over)
        if fault.do != Action.EVENT:
            lasts_s = (fault.for_s or 0.0) + fault.within_s
            self.quiet_at = max(self.quiet_at, clock.now + lasts_s)
        if not is_last and again_at is not None:
            clock.post_at(again_at, self._strike, fault, rng, victims)

    def _last_start(self, fault: Fault) -> float:
        start = self._end - self._scenario.duration_s
        return self._end if fault.until_s is None else start + fault.until_s

    def _choose(self, fault: Fault, rng: Random) -> list[int]:
        if fault.do == Action.JOIN:
            assert isinstance(fault.members, int)
            return [-1] * fault.members
        if isinstance(fault.members, tuple):
            try:
                return [self._views.number(name) for name in fault.members]
            except KeyError as error:
                raise ConfigError(f"{fault.do}: no member {error}") from None
        candidates = bits(self._views.running)
        wanted = fault.members
        count = round(wanted * len(candidates)) if isinstance(wanted, float) else wanted
        return sorted(rng.sample(candidates, min(count, len(candidates))))

    def _begin(self, fault: Fault, rng: Random, victim: int, is_first: bool, is_last: bool) -> None:
        """Strike one member, for the first or the last time if the fault comes back to it."""
        pool = self._pool
        if fault.do == Action.JOIN:
            victim = self._join(rng)
        member = self._views.members[victim]
        if not member.is_running or not self._views.running >> victim & 1:
            return
        if fault.do in _DISTURBING and is_first:
            self._disturb(victim)
        match fault.do:
            case Action.CRASH | Action.POWER_OFF:
                self._recorder.begin_outage(victim, fault.do)
                self._views.note_ended(victim, at=self._pool.clock.now)
                member.crash(host_too=fault.do == Action.POWER_OFF)
            case Action.RESTART:
                member.crash()
                self._restart(victim)
                if is_last:
                    pool.clock.post(AFTERMATH_S, self._calm, victim)
            case Action.LEAVE:
                self._leave(victim)
            case Action.PAUSE:
                self._recorder.begin_outage(victim, fault.do)
                member.pause()
            case Action.BLOCK:
                self._recorder.begin_outage(victim, fault.do)
                member.block()
            case Action.SLOW:
                member.set_service_s(fault.service_s)
            case Action.LINK:
                pool.network.set_link(member.address, fault.link)
            case Action.DEAF:
                pool.network.set_deaf(member.address, True)
            case Action.MUTE:
                pool.network.set_mute(member.address, True)
            case Action.EVENT:
                self._send_event(member)
            case Action.JOIN | Action.PARTITION:
                pass
            case _:
                assert_never(fault.do)
        if fault.for_s is not None and fault.do != Action.RESTART:
            pool.clock.post(fault.for_s, self._finish, fault, victim, is_last)

    def _finish(self, fault: Fault, victim: int, is_last: bool) -> None:
        """What was done to one member is over."""
        pool, member = self._pool, self._views.members[victim]
        match fault.do:
            case Action.CRASH | Action.POWER_OFF:
                if not member.is_running:
                    self._restart(victim)
            case Action.LEAVE:
                if member.is_running:
                    member.crash()
                self._restart(victim)
            case Action.JOIN:
                if member.is_running and self._views.running >> victim & 1:
                    self._leave(victim)
            case Action.PAUSE | Action.BLOCK:
                if member.is_paused:
                    member.resume()
            case Action.SLOW:
                member.set_service_s(self._scenario.service_s)
            case Action.LINK:
                pool.network.set_link(member.address, None)
            case Action.DEAF:
                pool.network.set_deaf(member.address, False)
            case Action.MUTE:
                pool.network.set_mute(member.address, False)
            case Action.RESTART | Action.EVENT | Action.PARTITION:
                pass
            case _:
                assert_never(fault.do)
        if self._views.running >> victim & 1:
            # Else it has died of something else meanwhile, and that is not over.
            self._recorder.end_outage(victim)
        if fault.do in _DISTURBING and is_last:
            pool.clock.post(AFTERMATH_S, self._calm, victim)

    def _join(self, rng: Random) -> int:
        hosts = bits(self._views.running)
        (member,) = self._pool.add_stopped(1)
        victim = self._views.add(member)
        self._views.note_started(victim)
        member.start()
        if hosts:
            member.join(self._views.members[rng.choice(hosts)])
        return victim

    def _leave(self, victim: int) -> None:
        self._views.note_ended(victim, at=self._pool.clock.now)
        self._views.members[victim].leave()

    def _restart(self, victim: int) -> None:
        self._views.note_started(victim)
        self._views.members[victim].restart()

    def _send_event(self, member: SimulatedMember) -> None:
        self._events_sent += 1
        name = f"event {self._events_sent}"
        self._recorder.begin_rumor(name)
        member.user_event(name, b"")

    def _begin_partition(self, victims: list[int]) -> None:
        inside = set(victims)
        members = self._views.members
        islands = {number: int(number in inside) for number in range(len(members))}
        self._recorder.set_islands(islands)
        self._pool.network.partition(
            *(
                [members[number].address for number, home in islands.items() if home == island]
                for island in (0, 1)
            )
        )

    def _end_partition(self) -> None:
        self._pool.network.partition()
        self._pool.clock.post(AFTERMATH_S, self._recorder.set_islands, {})

    def _disturb(self, victim: int) -> None:
        self._disturbances[victim] += 1
        self._views.disturbed |= 1 << victim

    def _calm(self, victim: int) -> None:
        self._disturbances[victim] -= 1
        if not self._disturbances[victim]:
            self._views.disturbed &= ~(1 << victim)

    def _note(self, member: SimulatedMember, event: Event) -> None:
        if isinstance(event, LeaveFinished):
            # Not at once: the machine is in the middle of telling it.
            self._pool.clock.post(0.0, self._end_process, member, member.machine)

    def _end_process(self, member: SimulatedMember, machine: object) -> None:
        if member.is_running and member.machine is machine:
            member.crash()

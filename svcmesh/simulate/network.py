"""A network in memory: datagrams with latency, loss, duplication and reordering, and exchanges.

Endpoints are any hashable names. Payloads are passed by reference: senders hand over values they do
not change afterwards. Reordering follows from latency drawn anew for every datagram.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from svcmesh.simulate.clock import VirtualClock

Endpoint = Hashable
# Payloads are opaque to the network; the two ends agree on their type.
Payload = Any


@dataclass(frozen=True, slots=True)
class Link:
    """How datagrams travel: uniform latency between two bounds in seconds, probabilities 0 to 1."""

    latency_s_min: float = 0.0005
    latency_s_max: float = 0.002
    loss: float = 0.0
    duplicate: float = 0.0


class SimulatedNetwork:
    """Delivers datagrams and request/reply exchanges between attached endpoints."""

    def __init__(self, clock: VirtualClock, *, rng: Random, link: Link | None = None) -> None:
        self.link = link or Link()
        self.sent = 0
        self.delivered = 0
        self._clock, self._rng = clock, rng
        self._receivers: dict[Endpoint, Callable[[Endpoint, Payload], None]] = {}
        self._servers: dict[Endpoint, Callable[[Endpoint, Payload], Payload]] = {}
        self._blocked: set[tuple[Endpoint, Endpoint]] = set()
        self._islands: list[frozenset[Endpoint]] = []

    def attach(
        self,
        endpoint: Endpoint,
        receive: Callable[[Endpoint, Payload], None],
        serve: Callable[[Endpoint, Payload], Payload] | None = None,
    ) -> None:
        """Take part: `receive(source, datagram)`, and `serve(source, request) -> reply | None`."""
        self._receivers[endpoint] = receive
        if serve is not None:
            self._servers[endpoint] = serve

    def detach(self, endpoint: Endpoint) -> None:
        """Crash or stop: what is under way to it is lost, exchanges with it are refused."""
        self._receivers.pop(endpoint, None)
        self._servers.pop(endpoint, None)

    def block(self, source: Endpoint, target: Endpoint) -> None:
        """Cut one direction between two endpoints."""
        self._blocked.add((source, target))

    def partition(self, *islands: Iterable[Endpoint]) -> None:
        """Only endpoints of the same island reach each other; one that is in none reaches all."""
        self._islands = [frozenset(island) for island in islands]

    def heal(self) -> None:
        """Undo every `block` and `partition`."""
        self._blocked.clear()
        self._islands = []

    def reaches(self, source: Endpoint, target: Endpoint) -> bool:
        """Whether a datagram from `source` to `target` is let through now."""
        if (source, target) in self._blocked:
            return False
        homes = [next((i for i in self._islands if e in i), None) for e in (source, target)]
        return None in homes or homes[0] is homes[1]

    def send(self, source: Endpoint, target: Endpoint, datagram: Payload) -> None:
        """Send a datagram: it may be lost, doubled or overtaken."""
        self.sent += 1
        copies = 2 if self._rng.random() < self.link.duplicate else 1
        for _ in range(copies):
            if self._rng.random() >= self.link.loss and self.reaches(source, target):
                self._clock.call_later(
                    self._latency_s(), lambda: self._deliver(source, target, datagram)
                )

    def exchange(
        self,
        source: Endpoint,
        target: Endpoint,
        request: Payload,
        *,
        timeout_s: float,
        done: Callable[[Payload | None, str | None], None],
    ) -> None:
        """Ask over a stream: `done(reply, None)`, or `done(None, why)` when refused or too late.

        Streams lose nothing; a cut link is silence until the timeout. A server that answers None
        closes the stream without a reply.
        """
        start = self._clock.now
        there = self._latency_s()
        if not self.reaches(source, target) or there >= timeout_s:
            self._clock.call_later(timeout_s, lambda: done(None, "timeout"))
            return

        def serve() -> None:
            server = self._servers.get(target)
            back = self._latency_s()
            if server is None:
                self._clock.call_later(back, lambda: done(None, "refused"))
                return
            reply = server(source, request)
            if not self.reaches(target, source) or self._clock.now + back > start + timeout_s:
                self._clock.call_at(start + timeout_s, lambda: done(None, "timeout"))
            elif reply is None:
                self._clock.call_later(back, lambda: done(None, "closed"))
            else:
                self._clock.call_later(back, lambda: done(reply, None))

        self._clock.call_later(there, serve)

    def _deliver(self, source: Endpoint, target: Endpoint, datagram: Payload) -> None:
        receive = self._receivers.get(target)
        if receive is not None:
            self.delivered += 1
            receive(source, datagram)

    def _latency_s(self) -> float:
        return self._rng.uniform(self.link.latency_s_min, self.link.latency_s_max)

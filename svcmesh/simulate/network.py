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
        self.clock, self._rng = clock, rng
        self._receivers: dict[Endpoint, Callable[[Endpoint, Payload], None]] = {}
        self._servers: dict[Endpoint, Callable[[Endpoint, Payload], Payload]] = {}
        self._blocked: set[tuple[Endpoint, Endpoint]] = set()
        self._blocked_datagrams: set[tuple[Endpoint, Endpoint]] = set()
        self._islands: list[frozenset[Endpoint]] = []
        self._held: dict[Endpoint, list[Callable[[], None]]] = {}

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
        self._held.pop(endpoint, None)

    def hold(self, endpoint: Endpoint) -> None:
        """Stop its process: what arrives waits, in order, and exchanges with it are silent."""
        self._held.setdefault(endpoint, [])

    def release(self, endpoint: Endpoint) -> None:
        """Let its process go on: what waited is delivered now."""
        for arrival in self._held.pop(endpoint, []):
            arrival()

    def block(self, source: Endpoint, target: Endpoint, *, streams_too: bool = True) -> None:
        """Cut one direction between two endpoints; without `streams_too` for datagrams only."""
        self._blocked_datagrams.add((source, target))
        if streams_too:
            self._blocked.add((source, target))

    def partition(self, *islands: Iterable[Endpoint]) -> None:
        """Only endpoints of the same island reach each other; one that is in none reaches all."""
        self._islands = [frozenset(island) for island in islands]

    def heal(self) -> None:
        """Undo every `block` and `partition`."""
        self._blocked.clear()
        self._blocked_datagrams.clear()
        self._islands = []

    def reaches(self, source: Endpoint, target: Endpoint) -> bool:
        """Whether a stream from `source` to `target` is let through now."""
        if (source, target) in self._blocked:
            return False
        if not self._islands:
            return True
        homes = [next((i for i in self._islands if e in i), None) for e in (source, target)]
        return None in homes or homes[0] is homes[1]

    def send(self, source: Endpoint, target: Endpoint, datagram: Payload) -> None:
        """Send a datagram: it may be lost, doubled or overtaken."""
        self.sent += 1
        copies = 2 if self._rng.random() < self.link.duplicate else 1
        is_cut = (source, target) in self._blocked_datagrams or not self.reaches(source, target)
        for _ in range(copies):
            if self._rng.random() >= self.link.loss and not is_cut:
                self.clock.call_later(
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
        end = self.clock.now + timeout_s

        def finish(at: float, reply: Payload | None, why: str | None) -> None:
            if at > end:
                at, reply, why = end, None, "timeout"
            self.clock.call_at(at, lambda: self._arrive(source, lambda: done(reply, why)))

        def serve() -> None:
            server = self._servers.get(target)
            back_at = self.clock.now + self._latency_s()
            if server is None:
                finish(back_at, None, "refused")
                return
            reply = server(source, request)
            if not self.reaches(target, source):
                finish(end, None, "timeout")
            else:
                finish(back_at, reply, "closed" if reply is None else None)

        def reach() -> None:
            # Whoever is held accepts the stream and stays silent; the asker's patience may end
            # first, but what was sent is read all the same once the process goes on.
            if target in self._held:
                self.clock.call_at(end, lambda: self._arrive(source, give_up))
                self._held[target].append(serve_late)
            else:
                serve()

        is_over = False

        def give_up() -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                done(None, "timeout")

        def serve_late() -> None:
            nonlocal is_over
            if is_over:
                server = self._servers.get(target)
                if server is not None:
                    server(source, request)
                return
            is_over = True
            serve()

        there_at = self.clock.now + self._latency_s()
        if not self.reaches(source, target) or there_at >= end:
            finish(end, None, "timeout")
        else:
            self.clock.call_at(there_at, reach)

    def _deliver(self, source: Endpoint, target: Endpoint, datagram: Payload) -> None:
        def receive() -> None:
            receiver = self._receivers.get(target)
            if receiver is not None:
                receiver(source, datagram)

        self._arrive(target, receive)

    def _arrive(self, target: Endpoint, arrival: Callable[[], None]) -> None:
        if target in self._held:
            self._held[target].append(arrival)
        else:
            arrival()

    def _latency_s(self) -> float:
        return self._rng.uniform(self.link.latency_s_min, self.link.latency_s_max)

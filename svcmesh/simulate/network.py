"""A network in memory: datagrams with latency, loss, duplication and reordering, and exchanges.

Endpoints are any hashable names. Payloads are passed by reference: senders hand over values they do
not change afterwards. Reordering follows from latency drawn anew for every datagram. What a member
does with what arrives, and when, is the business of its process (`process.py`).
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from svcmesh.simulate.clock import VirtualClock
from svcmesh.simulate.process import Process

Endpoint = Hashable
# Opaque to the network; the two ends agree on the types.
Payload = Any
Receive = Callable[[Any, Payload], None]
Serve = Callable[[Any, Payload], Payload]


@dataclass(frozen=True, slots=True)
class Link:
    """How datagrams travel. Latencies are seconds one way, probabilities 0 to 1."""

    latency_s_min: float = 0.0005
    latency_s_max: float = 0.002
    """Latency is uniform between the two."""
    latency_tail_s: float = 0.0
    """Mean of an exponentially distributed addition; 0 adds nothing."""
    loss: float = 0.0
    duplicate: float = 0.0
    latency_s_spread: float = field(init=False, repr=False)
    is_faithful: bool = field(init=False, repr=False)
    """It delivers every datagram once, with no tail to its latency."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "latency_s_spread", self.latency_s_max - self.latency_s_min)
        is_faithful = not (self.loss or self.duplicate or self.latency_tail_s)
        object.__setattr__(self, "is_faithful", is_faithful)


class SimulatedNetwork:
    """Delivers datagrams and request/reply exchanges between attached endpoints."""

    def __init__(self, clock: VirtualClock, *, rng: Random, link: Link | None = None) -> None:
        self.sent = 0
        """Datagrams handed over for sending."""
        self.clock, self._rng, self._random = clock, rng, rng.random
        self._arrive = self._deliver  # bound once instead of for every datagram
        self._processes: dict[Endpoint, Process] = {}
        self._links: dict[Endpoint, Link] = {}
        self._silent: set[Endpoint] = set()
        self._blocked: set[tuple[Endpoint, Endpoint]] = set()
        self._blocked_datagrams: set[tuple[Endpoint, Endpoint]] = set()
        self._deaf: set[Endpoint] = set()
        self._mute: set[Endpoint] = set()
        self._islands: dict[Endpoint, int] = {}
        self._is_cut = False
        """Whether any way is closed; mostly none is, and nothing has to be looked up."""
        self.link = link or Link()
        """Every endpoint's, unless it has one of its own."""

    def attach(
        self,
        endpoint: Endpoint,
        receive: Receive,
        serve: Serve | None = None,
        *,
        refused: Callable[[Any], None] | None = None,
        service_s: float = 0.0,
    ) -> Process:
        """Take part: `receive(source, datagram)`, and `serve(source, request) -> reply | None`.

        `refused(target)` is told that a host said nobody listens where a datagram went. Each
        arrival keeps the process busy for `service_s`.
        """
        self._silent.discard(endpoint)
        process = Process(self.clock, receive, serve, refused, service_s=service_s)
        self._processes[endpoint] = process
        return process

    def detach(self, endpoint: Endpoint, *, host_too: bool = False) -> None:
        """End its process: what is under way to it is lost, exchanges with it are refused.

        With `host_too` its host goes too, and nothing answers at all.
        """
        process = self._processes.pop(endpoint, None)
        if process is not None:
            process.end()
        if host_too:
            self._silent.add(endpoint)

    def hold(self, endpoint: Endpoint) -> None:
        """Stop its process: what arrives waits, in order, and exchanges with it are silent."""
        self._processes[endpoint].hold()

    def release(self, endpoint: Endpoint) -> None:
        """Let its process go on: what waited is delivered now."""
        self._processes[endpoint].release()

    def set_link(self, endpoint: Endpoint, link: Link | None) -> None:
        """Give an endpoint a link of its own, both ways; None gives it the common one again.

        Between two such endpoints the sender's counts.
        """
        if link is None:
            self._links.pop(endpoint, None)
        else:
            self._links[endpoint] = link

    def block(self, source: Endpoint, target: Endpoint, *, streams_too: bool = True) -> None:
        """Cut one direction between two endpoints; without `streams_too` for datagrams only."""
        self._blocked_datagrams.add((source, target))
        if streams_too:
            self._blocked.add((source, target))
        self._is_cut = True

    def set_deaf(self, endpoint: Endpoint, is_deaf: bool) -> None:
        """Let nothing through to an endpoint, or everything again."""
        (self._deaf.add if is_deaf else self._deaf.discard)(endpoint)
        self._note_cuts()

    def set_mute(self, endpoint: Endpoint, is_mute: bool) -> None:
        """Let nothing through from an endpoint, or everything again."""
        (self._mute.add if is_mute else self._mute.discard)(endpoint)
        self._note_cuts()

    def partition(self, *islands: Iterable[Endpoint]) -> None:
        """Only endpoints of the same island reach each other; one that is in none reaches all.

        Without islands the network is whole again.
        """
        self._islands = {
            endpoint: number for number, island in enumerate(islands) for endpoint in island
        }
        self._note_cuts()

    def heal(self) -> None:
        """Undo every `block`, `partition`, `set_deaf` and `set_mute`."""
        self._blocked.clear()
        self._blocked_datagrams.clear()
        self._deaf.clear()
        self._mute.clear()
        self._islands = {}
        self._is_cut = False

    def reaches(self, source: Endpoint, target: Endpoint) -> bool:
        """Whether a stream from `source` to `target` is let through now."""
        if not self._is_cut:
            return True
        if (source, target) in self._blocked or source in self._mute or target in self._deaf:
            return False
        here, there = self._islands.get(source), self._islands.get(target)
        return here is None or there is None or here == there

    def send(self, source: Endpoint, target: Endpoint, datagram: Payload) -> None:
        """Send a datagram: it may be lost, doubled or overtaken."""
        self.sent += 1
        link = self._link(source, target) if self._links else self.link
        if link.is_faithful and not self._is_cut:
            # Mostly so, and what follows written out: this is the simulator's innermost line.
            clock = self.clock
            at = clock.now + link.latency_s_min + self._random() * link.latency_s_spread
            clock.enter(at, self._arrive, (source, target, datagram))
            return
        copies = 2 if link.duplicate and self._random() < link.duplicate else 1
        if self._is_cut and not self._reaches_by_datagram(source, target):
            return
        for _ in range(copies):
            if not link.loss or self._random() >= link.loss:
                self.clock.post(self._latency_on(link), self._deliver, source, target, datagram)

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
        clock = self.clock
        end = clock.now + timeout_s
        is_over = False

        def finish(reply: Payload | None, why: str | None) -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                asker = self._processes.get(source)
                if asker is not None:
                    asker.arrive(done, reply, why)

        def answer(server: Process) -> None:
            if server.serve is None:
                return
            # Whoever gave up has sent its request all the same.
            reply = server.serve(source, request)
            if self.reaches(target, source):
                latency_s = self._latency_s(target, source)
                clock.post(latency_s, finish, reply, "closed" if reply is None else None)

        def reach() -> None:
            server = self._processes.get(target)
            if server is not None and server.serve is not None:
                server.arrive(answer, server)
            elif target not in self._silent and self.reaches(target, source):
                clock.post(self._latency_s(target, source), finish, None, "refused")

        if self.reaches(source, target):
            clock.post(self._latency_s(source, target), reach)
        clock.call_at(end, lambda: finish(None, "timeout"))

    def _deliver(self, source: Endpoint, target: Endpoint, datagram: Payload) -> None:
        process = self._processes.get(target)
        if process is None:
            self._refuse(source, target)
        elif process.queue is None:
            process.receive(source, datagram)
        else:
            process.arrive(process.receive, source, datagram)

    def _refuse(self, source: Endpoint, target: Endpoint) -> None:
        """The host of `target` tells `source` that nobody listens there, as ICMP does."""
        if target in self._silent or not self.reaches(target, source):
            return
        self.clock.post(self._latency_s(target, source), self._report_refusal, source, target)

    def _report_refusal(self, source: Endpoint, target: Endpoint) -> None:
        process = self._processes.get(source)
        if process is not None and process.refused is not None:
            process.arrive(process.refused, target)

    def _note_cuts(self) -> None:
        blocked = self._blocked or self._blocked_datagrams
        self._is_cut = bool(blocked or self._deaf or self._mute or self._islands)

    def _reaches_by_datagram(self, source: Endpoint, target: Endpoint) -> bool:
        return (source, target) not in self._blocked_datagrams and self.reaches(source, target)

    def _link(self, source: Endpoint, target: Endpoint) -> Link:
        return self._links.get(source) or self._links.get(target) or self.link

    def _latency_s(self, source: Endpoint, target: Endpoint) -> float:
        return self._latency_on(self._link(source, target))

    def _latency_on(self, link: Link) -> float:
        latency_s = link.latency_s_min + self._random() * link.latency_s_spread
        if link.latency_tail_s:
            latency_s += self._rng.expovariate(1 / link.latency_tail_s)
        return latency_s

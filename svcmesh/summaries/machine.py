"""What every server does for the summaries of all data centers. No I/O.

The *publisher* of a data center is its alive server with the lowest node id. It numbers the changes
of its services' counts, batches them and sends them to the servers of its own data center and to
one of each other, which passes them on to its neighbours. A new publisher starts a new generation
with everything in it, because it may have missed what the last one said.

Whatever gets lost is repaired: about once a second every server sends a hash of its positions to a
random one, and who has another hash answers with its own positions.

| message | done by who gets it |
| --- | --- |
| `Hello` | nothing if the hash is ours, else `Positions` |
| `Positions` | `Changes` for what they lack, `Want` for what we lack |
| `Want` | `Changes`, a page for each position |
| `Changes` | taken in if nothing is missing before it, else `Want`; the next page is asked for |

While there is one data center only, nothing is sent.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from math import inf
from random import Random
from typing import Final, NamedTuple, Protocol

from svcmesh.errors import DecodeError
from svcmesh.summaries.codec import (
    Changes,
    Hello,
    Position,
    Positions,
    SummaryMessage,
    Want,
    decode_untrusted,
    encode,
)
from svcmesh.summaries.counting import ServiceCount
from svcmesh.summaries.table import (
    NAME_BYTES_MAX,
    Entry,
    Table,
    new_generation,
)

GONE_MAX: Final = 256
"""Entries of services that are gone, before a new generation leaves them out; or half of all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SummariesConfig:
    """Times and bounds."""

    compare_s: float = 1.0
    """Between two comparisons with a random server ..."""
    compare_again_s: float = 0.25
    """... and after one that found a difference: there may be more to be had elsewhere."""
    batch_s: float = 0.05
    """How long a first change waits for others."""
    pause_s: float = 0.5
    """Between two batches, at least ..."""
    push_bytes_per_s: float = 65536.0
    """... and so long that what is sent of them stays below this on average."""
    page_bytes: int = 32768
    """About the size of one message with changes."""
    reply_bytes: int = 131072
    """About what is sent at once to who is behind."""
    generation_pause_s: float = 5.0
    """Between two generations that somebody else's makes necessary."""
    services_max: int = 10_000
    """Of one data center; those beyond are left out, by name, and counted."""
    datacenters_max: int = 256
    entries_max: int = 200_000
    """Of all data centers together."""


class Peer(NamedTuple):
    """An alive server of ours in the WAN pool."""

    name: str
    datacenter: str
    node_id: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send a direct message to a member of the WAN pool."""

    to: str
    payload: bytes


class Counts(Protocol):
    """The services of our own data center."""

    def all(self) -> Mapping[str, ServiceCount]:
        """Every service that has instances, by name in lower case."""

    def of(self, name: str) -> ServiceCount:
        """One service's."""

    @property
    def has_changed(self) -> bool:
        """Whether `take_changed` would give anything."""

    def take_changed(self) -> list[str]:
        """The names of services whose count may have changed since the last call."""


@dataclass(slots=True)
class _Known:
    """What we have of one data center.

    A new generation that comes in pages is built beside the one that is shown until it is as far
    as its sender was.
    """

    shown: Table
    built: Table | None = None
    built_through: int = 0
    """How far `built` has to go."""
    asked_at: float = -inf

    @property
    def newest(self) -> Table:
        return self.built or self.shown


class Summaries:
    """One server's part.

    `is_ready` says whether our catalog is in sync: before that nothing is published from it.
    Invariant: what is shown of a data center is complete up to some instant in the past.
    """

    def __init__(
        self,
        me: Peer,
        counts: Counts,
        *,
        is_ready: Callable[[], bool],
        now: float,
        rng: Random,
        config: SummariesConfig | None = None,
    ) -> None:
        self.metrics: Counter[str] = Counter()
        self._me, self._counts, self._is_ready = me, counts, is_ready
        self._config, self._rng = config or SummariesConfig(), rng
        self._others: list[Peer] = []
        self._relays: dict[str, Peer] = {}
        """The publisher of each other data center."""
        self._neighbours: list[Peer] = []
        self._known: dict[str, _Known] = {}
        self._is_elected = False
        self._publishes = False
        """Whether the generation that is shown of our own data center is ours."""
        self._quiet_until = -inf
        self._compare_at = now + rng.random() * self._config.compare_s
        self._publish_at = inf
        self._hash: int | None = None

    @property
    def next_deadline_at(self) -> float:
        """When `handle_timer` is due; infinite while there is nobody to talk to."""
        return min(self._compare_at, self._publish_at) if self._relays else inf

    def entries(self, datacenter: str) -> Iterator[tuple[str, Entry]]:
        """What a data center says of its services, by name in lower case, in no order."""
        known = self._known.get(datacenter)
        return iter(()) if known is None else known.shown.present()

    def entry(self, datacenter: str, name: str) -> Entry | None:
        """What it says of one service; None if it has said nothing, or that there is none."""
        known = self._known.get(datacenter)
        found = None if known is None else known.shown.entries.get(name)
        return found if found is not None and found.instances else None

    def set_peers(self, alive: Iterable[Peer], datacenters: Iterable[str], *, now: float) -> None:
        """Take in who is in the WAN pool: our alive servers, and every data center that is known.

        What was said by a data center that is known no more is forgotten.
        """
        others = [peer for peer in alive if peer.name != self._me.name]
        self._others = sorted(others)
        self._neighbours = [one for one in self._others if one.datacenter == self._me.datacenter]
        self._relays = {}
        for peer in sorted(self._others, key=lambda one: one.node_id):
            if peer.datacenter != self._me.datacenter:
                self._relays.setdefault(peer.datacenter, peer)
        wanted = {self._me.datacenter, *datacenters}
        self._known = {name: one for name, one in self._known.items() if name in wanted}
        for name in sorted(wanted - self._known.keys())[: self._room()]:
            self._known[name] = _Known(Table())
        self._hash = None
        self._is_elected = all(self._me.node_id < peer.node_id for peer in self._neighbours)
        if not self._is_elected:
            self._publishes = False
        self.note_counts(now=now)

    def note_counts(self, *, now: float) -> None:
        """Have a change of our own services published soon, if that is our part."""
        if self._is_elected and self._relays and (not self._publishes or self._counts.has_changed):
            self._publish_at = min(
                self._publish_at, max(now + self._config.batch_s, self._quiet_until)
            )

    def handle_timer(self, *, now: float, wall_ms: int) -> list[Send]:
        """Do what is due."""
        effects: list[Send] = []
        if now >= self._publish_at:
            effects += self._publish(now=now, wall_ms=wall_ms)
        if now >= self._compare_at:
            self._compare_at = now + self._config.compare_s
            if self._relays:
                peer = self._rng.choice(self._others)
                effects.append(self._send(peer.name, Hello(self._position_hash())))
        return effects

    def handle_message_untrusted(self, payload: bytes, *, now: float) -> list[Send]:
        """Take in a message; what is none is counted."""
        try:
            sender, message = decode_untrusted(payload)
        except DecodeError as error:
            self.metrics[f"dropped.{error.reason}"] += 1
            return []
        match message:
            case Hello(digest):
                is_same = digest == self._position_hash()
                return [] if is_same else [self._send(sender, Positions(self._positions()))]
            case Positions(theirs):
                return self._answer_positions(sender, theirs, now=now)
            case Want(positions):
                return self._pages(sender, positions)
            case Changes():
                return self._take_changes(sender, message, now=now)

    def _send(self, to: str, message: SummaryMessage) -> Send:
        return Send(to, encode(message, self._me.name))

    # -- our own data center ------------------------------------------------------------------

    def _publish(self, *, now: float, wall_ms: int) -> list[Send]:
        self._publish_at = inf
        if not self._is_elected or not self._relays:
            return []
        if not self._is_ready():
            self._publish_at = now + self._config.pause_s
            return []
        known = self._known[self._me.datacenter]
        table = known.shown
        too_many_gone = table.gone > max(GONE_MAX, len(table.entries) // 2)
        if not self._publishes or too_many_gone:
            before, after = table, 0
            table = known.shown = Table(
                new_generation(known.newest.generation, self._me.node_id, wall_ms=wall_ms)
            )
            known.built = None
            self._publishes = True
            self._counts.take_changed()
            self.metrics["generations"] += 1
            self._put(sorted(self._counts.all()), before, table, wall_ms=wall_ms)
        else:
            after = table.through
            self._put(self._counts.take_changed(), table, table, wall_ms=wall_ms)
            if table.through == after:
                return []
        self._hash = None
        changes, through = table.page(after, self._config.page_bytes)
        message = Changes(
            self._me.datacenter, table.generation, after, through, table.through, False,
            tuple(changes),
        )  # fmt: skip
        return self._push(message, now=now)

    def _put(self, names: Iterable[str], before: Table, table: Table, *, wall_ms: int) -> None:
        """Number the changes of these services; those that are as they were keep their version."""
        for name in names:
            count = self._counts.of(name)
            old = before.entries.get(name)
            if before is table and (ServiceCount(*old[:2]) if old else ServiceCount(0, 0)) == count:
                continue
            has_room = len(table.entries) < self._config.services_max
            if old is None and (not has_room or len(name.encode()) > NAME_BYTES_MAX):
                self.metrics["left_out"] += 1
                continue
            version = wall_ms if old is None else max(wall_ms, old.version + 1)
            if old is not None and old[:2] == count:
                version = old.version
            table.put(name, Entry(*count, version, table.through + 1))

    def _push(self, message: Changes, *, now: float) -> list[Send]:
        near = encode(message, self._me.name)
        far = encode(replace(message, is_to_pass_on=True), self._me.name)
        sent_bytes = len(near) * len(self._neighbours) + len(far) * len(self._relays)
        config = self._config
        self._quiet_until = now + max(config.pause_s, sent_bytes / config.push_bytes_per_s)
        self.metrics["published"] += 1
        return [
            *(Send(peer.name, near) for peer in self._neighbours),
            *(Send(peer.name, far) for peer in self._relays.values()),
        ]

    def _note_rival(self, generation: int, through: int, *, now: float) -> None:
        """Somebody else has published for our data center, and we are elected: say it all anew."""
        shown = self._known[self._me.datacenter].shown
        is_ours = generation == shown.generation and through <= shown.through
        if self._publishes and not is_ours and generation >= shown.generation:
            self._publishes = False
            self._quiet_until = max(now, self._quiet_until) + self._config.generation_pause_s
            self._publish_at = self._quiet_until

    # -- what others say ----------------------------------------------------------------------

    def _take_changes(self, sender: str, message: Changes, *, now: float) -> list[Send]:
        known = self._known.get(message.datacenter)
        if known is None:
            self.metrics["dropped.summary-of-nobody"] += 1
            return []
        if message.datacenter == self._me.datacenter and self._is_elected:
            self._note_rival(message.generation, message.through, now=now)
            if self._publishes:
                return []
        table = known.newest
        if message.generation < table.generation:
            return []
        if message.generation > table.generation:
            table = Table(message.generation)
        if message.after > table.through:
            return self._want(sender, message.datacenter, table, now=now)
        if not self._has_room_for(message, known):
            return []
        if message.through <= table.through and table is known.newest:
            return []
        table.append(message.changes, message.through)
        self._hash = None
        self._show(known, table, message.latest)
        known.asked_at = -inf
        effects: list[Send] = []
        if message.is_to_pass_on and self._is_elected:
            onward = encode(replace(message, is_to_pass_on=False), self._me.name)
            effects += (Send(peer.name, onward) for peer in self._neighbours)
        if table.through < message.latest:
            effects += self._want(sender, message.datacenter, table, now=now)
        return effects

    def _show(self, known: _Known, table: Table, latest: int) -> None:
        """Show a table, or build it on until it is complete."""
        if table is known.shown:
            return
        is_new = table is not known.built
        known.built_through = latest if is_new else max(known.built_through, latest)
        if table.through >= known.built_through:
            known.shown, known.built = table, None
        else:
            known.built = table

    def _has_room_for(self, message: Changes, known: _Known) -> bool:
        """Whether what a message brings stays within the bounds; what does not is counted."""
        coming = len(message.changes)
        here = len(known.newest.entries) if message.generation == known.newest.generation else 0
        if here + coming <= 2 * self._config.services_max:
            everything = sum(
                len(one.shown.entries) + (0 if one.built is None else len(one.built.entries))
                for one in self._known.values()
            )
            if everything + coming <= self._config.entries_max:
                return True
        self.metrics["dropped.summary-too-large"] += 1
        return False

    # -- repair -------------------------------------------------------------------------------

    def _positions(self) -> tuple[Position, ...]:
        return tuple(
            Position(name, one.newest.generation, one.newest.through)
            for name, one in sorted(self._known.items())
        )

    def _position_hash(self) -> int:
        if self._hash is None:
            text = repr([tuple(one) for one in self._positions() if one.generation])
            self._hash = int.from_bytes(blake2b(text.encode(), digest_size=6).digest())
        return self._hash

    def _answer_positions(
        self, sender: str, theirs: Sequence[Position], *, now: float
    ) -> list[Send]:
        self._compare_at = min(self._compare_at, now + self._config.compare_again_s)
        said = {one.datacenter: one for one in theirs}
        lacking: list[Position] = []
        wanted: list[Position] = []
        for name, known in self._known.items():
            ours = known.newest
            other = said.get(name, Position(name, 0, 0))
            where = (ours.generation, ours.through)
            if where > other[1:]:
                lacking.append(other)
            elif where < other[1:]:
                if name == self._me.datacenter and self._is_elected:
                    self._note_rival(other.generation, other.through, now=now)
                if now - known.asked_at >= self._config.compare_s:
                    known.asked_at = now
                    wanted.append(Position(name, *where))
        effects = self._pages(sender, lacking)
        if wanted:
            effects.append(self._send(sender, Want(tuple(wanted))))
        return effects

    def _want(self, sender: str, datacenter: str, table: Table, *, now: float) -> list[Send]:
        known = self._known[datacenter]
        if now - known.asked_at < self._config.compare_s:
            return []
        known.asked_at = now
        position = Position(datacenter, table.generation, table.through)
        return [self._send(sender, Want((position,)))]

    def _pages(self, to: str, wanted: Iterable[Position]) -> list[Send]:
        """A page for each of these positions that is behind ours, up to about a size."""
        effects: list[Send] = []
        left_bytes = self._config.reply_bytes
        for position in wanted:
            known = self._known.get(position.datacenter)
            if known is None or left_bytes <= 0:
                continue
            table = known.newest
            if position[1:] >= (table.generation, table.through):
                continue
            after = position.through if position.generation == table.generation else 0
            changes, through = table.page(after, min(left_bytes, self._config.page_bytes))
            latest = table.through if known.built is None else known.built_through
            message = Changes(
                position.datacenter, table.generation, after, through, max(through, latest), False,
                tuple(changes),
            )  # fmt: skip
            effects.append(self._send(to, message))
            left_bytes -= len(effects[-1].payload)
        return effects

    def _room(self) -> int:
        return max(0, self._config.datacenters_max - len(self._known))

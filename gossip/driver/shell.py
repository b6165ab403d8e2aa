"""One member of a pool on real sockets: the asyncio shell around `gossip.serf.Serf`.

After every input it does what the machine asks for, tells the user what has become known, and
keeps one timer at or before the machine's next deadline. It decides nothing about the protocol.
"""

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Final

from gossip.config import GossipConfig
from gossip.driver.diagnosis import Diagnosis, Diagnostician
from gossip.driver.drops import DropLog, logger
from gossip.driver.joins import JoinResult, Joins
from gossip.driver.keys import KEY_MISSING, KeyReport, SaveKeys, perform_durably
from gossip.driver.packets import PacketSocket
from gossip.driver.payloads import PayloadSender
from gossip.driver.queries import QueryCall, QueryCalls
from gossip.driver.sockets import AddressFamily, listen
from gossip.driver.stalls import LoopMonitor
from gossip.driver.streams import StreamFailedError, Streams, spawn
from gossip.errors import ConfigError, StateError
from gossip.serf import Serf
from gossip.serf.events import (
    Effect,
    Event,
    IncomingQuery,
    KeyOperation,
    KeyQueryReceived,
    LeaveFinished,
    Member,
    MemberStatus,
    QueryAcked,
    QueryAnswered,
    QueryFinished,
    QueryId,
)
from gossip.serf.lamport import LamportTimes
from gossip.serf.queries import QueryOptions
from gossip.swim.effects import (
    MessageDropped,
    OpenPushPull,
    OpenTcpPing,
    PushPullFinished,
    SendPacket,
    StallNoticed,
)
from gossip.swim.history import Accusation
from gossip.types import Address, Incarnation, LamportTime, MemberName, Peer
from gossip.wire import (
    ENCRYPTION_OVERHEAD_BYTES,
    NONCE_BYTES,
    Keyring,
    PacketCodec,
    StreamDecoder,
    StreamEncoder,
)
from gossip.wire.messages import (
    Ack,
    Coordinate,
    PacketMessage,
    Ping,
    PushPull,
    StreamMessage,
    UserMessage,
)

Admit = Callable[[Sequence[Member]], str | None]
EventHandler = Callable[[Event], None]

EARLY_S_MAX: Final = 0.1
"""The timer may be so much before the machine's next deadline."""


class Gossip:
    """One member of a pool, alive from `create` to `close`.

    Not thread-safe: everything is called, and calls back, on the event loop that created it.
    """

    def __init__(
        self,
        machine: Serf,
        config: GossipConfig,
        *,
        address: Address,
        family: AddressFamily,
        listener: socket.socket,
        datagrams: socket.socket,
        keyring: Keyring | None,
        compress: bool,
        on_event: EventHandler,
        save_keys: SaveKeys | None,
    ) -> None:
        """Take over a machine that is not started and its sockets; use `create`."""
        self.address: Final = address
        """Where we listen, with the port that was found if none was asked for."""
        self._machine, self._on_event = machine, on_event
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._left: asyncio.Future[None] = self._loop.create_future()
        self._is_open = True
        self._counters: Counter[str] = Counter()
        self._drops = DropLog(self._counters)
        new_nonce = partial(os.urandom, NONCE_BYTES)
        self._codec = PacketCodec(config.pool, keyring, new_nonce=new_nonce, compress=compress)
        self._udp_buffer_bytes = config.swim.udp_buffer_bytes
        self._packets = PacketSocket(
            datagrams,
            family,
            self._codec,
            receive=self._receive,
            refused=self._handle_refused,
            finish_batch=self._arm_timer,
            counters=self._counters,
            drops=self._drops,
        )
        self._streams = Streams(
            listener,
            family,
            encoder=StreamEncoder(config.pool, keyring, new_nonce=new_nonce, compress=compress),
            new_decoder=partial(StreamDecoder, config.pool, keyring),
            handle_request=self._handle_request,
            timeout_s=config.swim.tcp_timeout_s,
            counters=self._counters,
            drops=self._drops,
        )
        self._diagnostician = Diagnostician(
            self._packets,
            self._streams,
            self._codec,
            own_name=machine.local.name,
            public=machine.local.address,
            datagram_bytes_max=config.swim.udp_buffer_bytes,
        )
        self._stall_s_min = config.swim.stall_s_min
        self._monitor = LoopMonitor(self._handle_delay)
        self._joins = Joins(
            self._open_join,
            family,
            default_port=address.port,
            lookup_timeout_s=config.swim.tcp_timeout_s,
        )
        self._queries = QueryCalls(end=self._end_query)
        self._keyring, self._save_keys = keyring, save_keys
        self._key_lock = asyncio.Lock()
        self._payloads = PayloadSender(
            self._packets,
            self._streams,
            timeout_s=config.swim.tcp_timeout_s,
            counters=self._counters,
            drops=self._drops,
            tasks=self._tasks,
        )

    @classmethod
    async def create(
        cls,
        config: GossipConfig,
        *,
        name: MemberName,
        bind: Address,
        tags: Mapping[str, str],
        incarnation: Incarnation,
        on_event: EventHandler,
        advertise: Address | None = None,
        keyring: Keyring | None = None,
        rng: Random | None = None,
        known_peers: Sequence[Peer] = (),
        admit: Admit | None = None,
        clocks: LamportTimes | None = None,
        save_keys: SaveKeys | None = None,
        compress: bool = False,
    ) -> "Gossip":
        """Listen and become a member, of a pool of one until `join`.

        Args:
            config: Settings of the pool and of this member.
            name: Our name, unique in the pool.
            bind: Where to listen, by UDP and TCP; port 0 is any free one.
            tags: What we are, at most 512 bytes encoded.
            incarnation: The first to use; above any used before under this name.
            on_event: Called with every event, in order, from within other calls and from the
                loop. It may call back and must not block; what it raises is logged.
            advertise: Where the others reach us, if not at `bind`; port 0 is the one listened on.
            keyring: The pool's keys, shared with the caller; None is a pool without encryption.
            rng: Chooses partners and phases; seeded by the system if None.
            known_peers: Members of an earlier run that did not leave; they are looked for until
                they are found.
            admit: Given members that want to be known here, the reason to refuse them, or None.
            clocks: The `clocks` of an earlier life under this name; nothing from before them is
                told again.
            save_keys: Called with a changed keyring before anybody is told that it changed.
            compress: Send compressed, as the reference does; slow in Python. Reading takes both.

        Raises:
            ConfigError: An address or the tags are unusable.
            OSError: We cannot listen there; the text says where and why.
        """
        family = AddressFamily(bind.host)
        if advertise is None and family.is_wildcard:
            raise ConfigError(f"advertise: needed, because bind is a wildcard ({bind.host})")
        seals = keyring is not None and config.pool.verify_outgoing
        listener, datagrams, port = listen(bind, family)
        try:
            public = advertise or bind
            machine = Serf(
                config,
                name=name,
                address=Address(public.host, public.port or port),
                tags=tags,
                incarnation=incarnation,
                rng=rng or Random(),
                now=asyncio.get_running_loop().time(),
                known_peers=known_peers,
                admit=admit,
                clocks=clocks,
                keyring_overhead_bytes=ENCRYPTION_OVERHEAD_BYTES if seals else 0,
            )
        except BaseException:
            listener.close()
            datagrams.close()
            raise
        gossip = cls(
            machine,
            config,
            address=Address(bind.host, port),
            family=family,
            listener=listener,
            datagrams=datagrams,
            keyring=keyring,
            compress=compress,
            on_event=on_event,
            save_keys=save_keys,
        )
        gossip._act(machine.start(now=gossip._now()))
        return gossip

    @property
    def local(self) -> Member:
        """Ourselves."""
        return self._machine.local

    @property
    def incarnation(self) -> Incarnation:
        """Our own; to be stored, so that a restart can begin above it."""
        return self._machine.incarnation

    @property
    def clocks(self) -> LamportTimes:
        """The latest Lamport times seen; to be stored, so that a restart can go on from them."""
        return self._machine.clocks

    @property
    def counters(self) -> Mapping[str, int]:
        """Totals since `create`: packets, bytes and streams in and out, errors, and drops.

        Drops are `dropped.REASON`, one for each reason that has occurred.
        """
        return self._counters

    async def diagnose(self, name: MemberName) -> Diagnosis:
        """Measure how a member can be reached; takes seconds where it cannot.

        Raises:
            StateError: There is no such member, or we are closed.
        """
        self._require_open()
        member = self._machine.member(name)
        if member is None:
            raise StateError(f"no member is called {name!r}")
        return await self._diagnostician.diagnose(member.name, member.address)

    def seal_key(self, address: Address) -> bytes | None:
        """The key of the last packet from an address; None for plain text, or if none came."""
        return self._packets.seals.key(address)

    @property
    def loop_lag_s(self) -> float:
        """How late the event loop ran what was due, at its worst in the last minute."""
        return self._monitor.worst_s

    def members(self) -> list[Member]:
        """Every member not yet forgotten, ourselves included."""
        return self._machine.members()

    def member(self, name: MemberName) -> Member | None:
        """The member of that name."""
        return self._machine.member(name)

    def coordinate(self) -> Coordinate:
        """Where we are in the latency space; see `distance_s`."""
        return self._machine.coordinate

    def cached_coordinate(self, name: MemberName) -> Coordinate | None:
        """Where a member said it was when we last probed it; None when it has not said yet.

        We probe one member a second, so in a pool of n all are known after about n seconds.
        """
        return self._machine.cached_coordinate(name)

    def accusations(self, name: MemberName) -> list[tuple[float, Accusation]]:
        """What is remembered of a member's standing, oldest first.

        Each with the wall clock of its instant, as far as the clock has not been set since.
        """
        offset_s = time.time() - self._now()
        return [(step.at + offset_s, step) for step in self._machine.accusations(name)]

    def peers(self) -> list[Peer]:
        """Everybody else who has not left, found or lost; to be stored for the next run."""
        return self._machine.peers()

    def stats(self) -> dict[str, int]:
        """The machine's figures: health score, queue lengths, Lamport times, member counts."""
        return self._machine.stats()

    async def join(self, targets: Sequence[str], *, replay: bool = False) -> JoinResult:
        """Exchange state with every address of every target, in order.

        The pool's earlier user events are news with `replay` only, and those that `clocks` told of
        never.

        One that is silent for half a second no longer holds up the next.

        A target is `host` or `host:port`, a name or an IP, perhaps with `name/` in front; without
        a port it is ours.

        Raises:
            StateError: We are leaving, have left or are closed.
        """
        self._require_open()
        return await self._joins.join(targets, replay=replay)

    def send_payload(self, to: MemberName | Address, payload: bytes) -> None:
        """Send a direct user message: a datagram if it fits one, else a stream in the background.

        Delivery is not promised. What cannot be sent, because the member is unknown or not alive
        or too much is in flight, is counted as a drop. An address need not be a member's.

        Raises:
            ValueError: The first byte is below 0x80 (Serf's types), or it is longer than 20 MiB.
        """
        if not self._is_open:
            return
        address = to if isinstance(to, Address) else self._alive_address(to)
        if address is None:
            self._drops.record("payload-for-nobody", now=self._now(), source="us", detail=str(to))
            return
        room_bytes = self._codec.room_bytes(self._udp_buffer_bytes)
        self._payloads.send(address, payload, datagram_room_bytes=room_bytes)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Change what we say we are; equal tags change nothing.

        Raises:
            ConfigError: They take more than 512 bytes encoded; nothing was changed.
            StateError: We are leaving, have left or are closed.
        """
        self._require_open()
        self._act(self._machine.set_tags(tags, now=self._now()))

    def user_event(self, name: str, payload: bytes, *, coalesce: bool = False) -> LamportTime:
        """Send a user event to every member, ourselves included; its Lamport time.

        `UserEventReceived` tells it, once at each member. With `coalesce` a member that coalesces
        may tell the last of a burst only.

        Raises:
            TooLargeError: It exceeds the configured size, or what a packet carries.
            StateError: We are leaving, have left or are closed.
        """
        self._require_open()
        ltime, effects = self._machine.user_event(name, payload, coalesce=coalesce, now=self._now())
        self._act(effects)
        return ltime

    def query(
        self, name: str, payload: bytes = b"", options: QueryOptions | None = None
    ) -> QueryCall:
        """Ask the members something; iterate over the call for their answers.

        Raises:
            ValueError: The name begins `_serf_`.
            TooLargeError: It exceeds the configured size, or what a packet carries.
            StateError: We are leaving, have left or are closed, or too many queries are under way.
        """
        self._require_open()
        options, now = options or QueryOptions(), self._now()
        query, effects = self._machine.query(name, payload, options, now=now)
        call = self._queries.add(query)
        self._act(effects)
        return call

    def respond(self, query: IncomingQuery, payload: bytes) -> None:
        """Answer a query that `QueryReceived` told, once.

        Raises:
            TooLargeError: The answer is too long. Another one may be given.
            StateError: It was answered already, or its time is over, or we are closed.
        """
        self._require_open()
        self._act(self._machine.respond(query, payload, now=self._now()))

    async def change_keys(
        self, operation: KeyOperation, key: bytes = b"", *, relay_factor: int = 0
    ) -> KeyReport:
        """Have every member change its keyring, or list it; returns when all have answered.

        A pool is rotated to another key by installing it, using it and removing the old one, each
        when the one before was complete. A key that a member lacks is not used: that member would
        be shut out.

        Raises:
            ConfigError: The relay factor is out of range.
            StateError: We are leaving, have left or are closed, or too many queries are under way.
        """
        if operation is KeyOperation.USE:
            listed = await self._ask_about_keys(KeyOperation.LIST, b"", relay_factor)
            if lacking := listed.lacking(key):
                listed.failures |= dict.fromkeys(lacking, KEY_MISSING)
                return listed
        return await self._ask_about_keys(operation, key, relay_factor)

    async def _ask_about_keys(
        self, operation: KeyOperation, key: bytes, relay_factor: int
    ) -> KeyReport:
        self._require_open()
        present = (MemberStatus.ALIVE, MemberStatus.LEAVING)
        report = KeyReport(sum(member.status in present for member in self.members()))
        options = QueryOptions(relay_factor=relay_factor)
        query, effects = self._machine.key_query(operation, key, options, now=self._now())
        call = self._queries.add(query)
        self._act(effects)
        try:
            async for answer in call:
                report.take_untrusted(answer.member, answer.payload)
                if report.answers >= report.members:
                    break
        finally:
            call.close()
        return report

    def force_leave(self, name: MemberName, *, prune: bool = False) -> None:
        """Have a failed member listed as left, everywhere; with `prune` have it forgotten.

        One that is alive denies it.

        Raises:
            StateError: We are leaving, have left or are closed.
        """
        self._require_open()
        self._act(self._machine.force_leave(name, prune=prune, now=self._now()))

    async def leave(self) -> None:
        """Leave on purpose, and return when the others have been told; then `close`.

        Takes at most the two broadcast timeouts and the propagation delay of the configuration.
        Members go on getting answers until `close`.
        """
        if self._is_open:
            self._act(self._machine.leave(now=self._now()))
            await asyncio.shield(self._left)

    async def close(self) -> None:
        """Stop at once, telling nobody; a second call does nothing. Joins under way fail."""
        if not self._is_open:
            return
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
        self._monitor.close()
        self._packets.close()
        tasks = [*self._streams.close(), *self._tasks]
        for task in tasks:
            task.cancel()
        self._joins.abort()
        self._queries.close()
        if not self._left.done():
            self._left.set_result(None)
        await asyncio.gather(*tasks, return_exceptions=True)

    # The machine's inputs.

    def _alive_address(self, name: MemberName) -> Address | None:
        member = self._machine.member(name)
        if member is None or member.status not in (MemberStatus.ALIVE, MemberStatus.LEAVING):
            return None
        return member.address

    def _now(self) -> float:
        return self._loop.time()

    def _receive(self, message: PacketMessage, source: Address) -> None:
        """Take one message of a batch; the timer is seen to at the batch's end."""
        is_ours = isinstance(message, Ack) and self._diagnostician.take_ack(message)
        if self._is_open and not is_ours:
            self._perform(self._machine.handle_message(message, source=source, now=self._now()))

    def _handle_delay(self, late_s: float) -> None:
        if late_s >= self._stall_s_min:
            self._act(self._machine.handle_stall(late_s, now=self._now()))

    def _count_stall(self, stalled_s: float) -> None:
        self._counters["stalls"] += 1
        self._counters["stalled_ms"] += round(stalled_s * 1000)

    def _handle_refused(self, address: Address) -> None:
        self._perform(self._machine.handle_refused(address, now=self._now()))

    def _handle_request(self, message: StreamMessage, source: Address) -> StreamMessage | None:
        """Answer a stream's request; None closes it without an answer."""
        now = self._now()
        match message:
            case Ping():
                return self._machine.handle_tcp_ping(message, now=now)
            case PushPull():
                reply, effects = self._machine.handle_push_pull(message, source=source, now=now)
                self._act(effects)
                return reply
            case UserMessage():
                self._act(self._machine.handle_message(message, source=source, now=now))
                return None
            case _:
                raise AssertionError("the decoder takes requests only")

    def _wake(self) -> None:
        self._timer = None
        self._act(self._machine.handle_timer(now=self._now()))

    def _open_join(self, to: Address, replay: bool) -> int:
        stream_id, effects = self._machine.join(to, replay=replay, now=self._now())
        self._act(effects)
        return stream_id

    # What the machine asks for and tells.

    def _act(self, effects: Sequence[Effect]) -> None:
        self._perform(effects)
        self._arm_timer()

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendPacket(to, parts, crc):
                    self._packets.send(to, parts, crc=crc)
                case OpenPushPull():
                    spawn(self._push_pull(effect), self._tasks)
                case OpenTcpPing():
                    spawn(self._tcp_ping(effect), self._tasks)
                case _:
                    self._tell(effect)

    def _arm_timer(self) -> None:
        at = self._machine.next_deadline_at
        if not self._is_open:
            return
        if self._timer is not None:
            # A timer that is a little early costs less than moving it after every packet; one that
            # is much too early, as when an ack ends the wait for it, costs waking up for nothing.
            if self._timer.when() <= at <= self._timer.when() + EARLY_S_MAX:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._wake)

    def _tell(self, event: Event) -> None:
        if isinstance(event, MessageDropped):
            now = self._now()
            self._drops.record(event.reason, now=now, source="the pool", detail=event.detail)
        elif isinstance(event, StallNoticed):
            self._count_stall(event.stalled_s)
        elif isinstance(event, PushPullFinished):
            self._joins.finish(event)
        elif isinstance(event, LeaveFinished) and not self._left.done():
            self._left.set_result(None)
        elif isinstance(event, QueryAcked | QueryAnswered | QueryFinished):
            self._queries.take(event)
        elif isinstance(event, KeyQueryReceived):
            spawn(self._answer_key_query(event), self._tasks)
        try:
            self._on_event(event)
        except Exception:  # the user's bug must not cost the pool a member
            logger.exception("the event handler failed")

    async def _push_pull(self, wish: OpenPushPull) -> None:
        try:
            reply = await self._streams.exchange(wish.to, wish.state, deadline_at=wish.deadline_at)
            if not isinstance(reply, PushPull):
                raise StreamFailedError("unexpected reply", "the reply is not a push/pull")
        except StreamFailedError as error:
            self._joins.note_failure(wish.stream_id, str(error))
            self._fail(wish.stream_id, error)
        else:
            now = self._now()
            self._act(self._machine.handle_push_pull_reply(wish.stream_id, reply, now=now))

    async def _tcp_ping(self, wish: OpenTcpPing) -> None:
        try:
            reply = await self._streams.exchange(wish.to, wish.ping, deadline_at=wish.deadline_at)
            if not isinstance(reply, Ack):
                raise StreamFailedError("unexpected reply", "the reply is not an ack")
        except StreamFailedError as error:
            self._fail(wish.stream_id, error)
        else:
            self._act(self._machine.handle_tcp_ack(wish.stream_id, reply, now=self._now()))

    def _end_query(self, query: QueryId) -> None:
        if self._is_open:
            self._act(self._machine.end_query(query, now=self._now()))

    async def _answer_key_query(self, wish: KeyQueryReceived) -> None:
        # One at a time: a failed save goes back to the keys from before it.
        async with self._key_lock:
            response = await perform_durably(
                self._keyring, wish.operation, wish.key, self._save_keys
            )
        now = self._now()
        self._act(self._machine.respond_to_key_query(wish.query, response, now=now))

    def _fail(self, stream_id: int, error: StreamFailedError) -> None:
        self._act(self._machine.handle_stream_failed(stream_id, error.reason, now=self._now()))

    def _require_open(self) -> None:
        if not self._is_open:
            raise StateError("this member is closed")

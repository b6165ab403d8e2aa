"""The asyncio shell around Raft: timer, disk, messages, and the state machine behind it.

Proposals of one turn of the loop go into the log together; saves of one fsync are acknowledged
together. It takes no protocol decision. Who is reached where is the transport's business.
"""

import asyncio
import logging
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, BinaryIO, Final, Protocol, TypeVar

from svcmesh.consensus.disk import CHUNK_BYTES, MemoryDisk, RaftDisk
from svcmesh.consensus.raft import (
    Busy,
    Committed,
    Effect,
    Entry,
    EntryKind,
    HardState,
    LogIndex,
    MembersChanged,
    Membership,
    Message,
    NotLeader,
    Raft,
    RaftConfig,
    ReadFailed,
    ReadId,
    ReadReady,
    ReadRequest,
    Role,
    RoleChanged,
    Save,
    SaveToken,
    Send,
    SendSnapshot,
    ServerId,
    SnapshotInstalled,
    SnapshotMeta,
    Term,
)
from svcmesh.consensus.sealing import SealedSnapshot, sealed
from svcmesh.consensus.service import NoLeaderError, OutcomeUnknownError
from svcmesh.errors import DecodeError, StorageError, SvcmeshError
from svcmesh.runtime.collector import paused
from svcmesh.runtime.raftwriter import RaftWriter
from svcmesh.runtime.reading import ReadRounds

logger = logging.getLogger("raft")

PROPOSAL_TIMEOUT_S: Final = 10.0
"""A proposal that is not applied so long is answered; it may still be."""

APPLY_S_MAX: Final = 0.004
"""So long entries are applied before the loop gets its turn ..."""
APPLY_ENTRIES: Final = 1024
"""... and so many."""

SNAPSHOT_ENTRIES: Final = 16_384
"""Entries applied since the last snapshot before there is a new one ..."""
SNAPSHOT_LOG_BYTES: Final = 4 * 1024 * 1024
"""... if the log has grown to this, and to half the size of the snapshot."""
TRAILING_ENTRIES: Final = 4096
TRAILING_BYTES: Final = 16 * 1024 * 1024
"""Entries kept for followers that lag a little, and their bytes."""
LOG_BYTES_MAX: Final = 64 * 1024 * 1024
"""A log of this size, and half the snapshot's, is too long however few entries it has."""

SNAPSHOT_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
SNAPSHOT_CHUNK_TIMEOUT_S: Final = 10.0
LOOP_S_MAX: Final = 60.0
"""A thread waits for the loop no longer than this: it may have ended."""

T = TypeVar("T")


class StateMachine(Protocol):
    """What the log is applied to. `apply` is a function of the state and its arguments alone."""

    def apply(self, index: int, command: bytes) -> object:
        """Change the state; the result goes to whoever proposed it. It does not raise."""

    def freeze(self) -> Iterator[bytes]:
        """The present state in parts; commands may be applied between two of them."""

    def load(self, state: Iterable[bytes]) -> Any:  # noqa: ANN401 -- for `restore` only
        """Read a frozen state, on any thread; nothing changes.

        Raises:
            DecodeError: It is none.
        """

    def restore(self, loaded: Any) -> None:  # noqa: ANN401 -- from `load`
        """Take a state that was read for the present one."""


class Transport(Protocol):
    """How servers are reached."""

    def send(self, to: ServerId, message: Message) -> None:
        """Send, or lose, a message."""

    async def send_snapshot_part(
        self, to: ServerId, term: Term, offset: int, part: bytes, *, is_last: bool
    ) -> bool:
        """Bring a part of a snapshot there; False when that failed."""


class Readiness(Protocol):
    """What has to be done before the leader's state may be read, besides applying the log."""

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to do."""

    async def settle(self) -> None:
        """Do it."""


class _AlwaysReady:
    is_settled = True

    async def settle(self) -> None:
        return


@dataclass(slots=True)
class _Outcome:
    """A proposal that is in the log, and who waits for its result."""

    term: Term
    began_at: float
    outcome: "asyncio.Future[object]"

    def fail(self, error: SvcmeshError) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)


@dataclass(slots=True)
class _Incoming:
    """A snapshot that is being received."""

    sender: ServerId
    term: Term
    file: BinaryIO
    size_bytes: int = 0


class Consensus:
    """One server's Raft, running.

    Every method belongs to the loop. `on_role` is told of changes of role, term and leader,
    `on_failure` when the disk has refused: this server takes no part any more then.
    """

    def __init__(
        self,
        own_id: ServerId,
        machine: StateMachine,
        disk: RaftDisk | MemoryDisk,
        transport: Transport,
        *,
        config: RaftConfig | None = None,
        on_role: Callable[[RoleChanged], None] = lambda _: None,
        on_failure: Callable[[StorageError], None] = lambda _: None,
    ) -> None:
        """Load what is on disk; blocking.

        Raises:
            StorageError: The log or snapshot is damaged, or the disk refuses.
        """
        self.id = own_id
        self._machine, self._disk, self._transport = machine, disk, transport
        self._on_role, self._on_failure = on_role, on_failure
        self._loop = asyncio.get_running_loop()
        loaded = disk.load()
        for warning in loaded.warnings:
            logger.warning("%s", warning)
        founding = SnapshotMeta(LogIndex(0), Term(0), Membership(()))
        snapshot = loaded.snapshot or founding
        if loaded.snapshot is not None:
            with disk.open_snapshot() as kept:
                try:
                    with paused():
                        machine.restore(machine.load(kept.state()))
                except DecodeError as error:
                    raise disk.corrupt_snapshot(error) from error
        self.has_state = bool(loaded.snapshot or loaded.entries or loaded.hard_state.term)
        """Whether this server has been a member of a group before."""
        self.raft = Raft(
            config or RaftConfig(),
            own_id,
            hard_state=loaded.hard_state,
            snapshot=snapshot,
            entries=loaded.entries,
            now=self._loop.time(),
            rng=Random(),
        )
        self.applied = snapshot.index
        """The last entry in the state machine."""
        self._snapshot_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writer = RaftWriter(
            disk, on_saved=self._handle_saved, on_failure=self._handle_disk_failure
        )
        self._proposals: list[tuple[bytes, asyncio.Future[object]]] = []
        self._outcomes: dict[LogIndex, _Outcome] = {}
        self._expiry: asyncio.TimerHandle | None = None
        self._readiness: Readiness = _AlwaysReady()
        self._rounds = {
            by_lease: ReadRounds(
                partial(self._begin_read, by_lease=by_lease), lambda: self.is_leader
            )
            for by_lease in (False, True)
        }
        self._reads: dict[ReadId, asyncio.Future[None]] = {}
        self._applied_waiting: list[tuple[LogIndex, asyncio.Future[None]]] = []
        self._is_applying = self._is_applying_soon = self._is_snapshotting = False
        self._incoming: _Incoming | None = None
        self._received: Any = None
        """What the machine has loaded from a snapshot of the leader's."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._arm()

    def require(self, readiness: Readiness) -> None:
        """From now on followers' reads wait for that, as our own do."""
        self._readiness = readiness

    # -- life -----------------------------------------------------------------------------------

    def found(self) -> None:
        """Begin a new group of one, ourselves. Only for a server that has no state."""
        assert not self.has_state
        logger.info("founding a group of servers: id=%s", self.id)
        self.has_state = True
        members = SnapshotMeta(LogIndex(0), Term(0), Membership((self.id,)))
        self._disk.write_snapshot(members, self._machine.freeze())
        self.raft = Raft(
            self.raft.config,
            self.id,
            hard_state=HardState(),
            snapshot=members,
            entries=(),
            now=self._loop.time() - 1000.0,
            rng=Random(),
        )
        # Nobody else can be elected: there is nothing to wait for.
        self._act(self.raft.handle_timer(now=self._loop.time()))

    async def close(self) -> None:
        """Stop; nothing is sent or written from now on."""
        self._is_closed = True
        for timer in (self._timer, self._expiry):
            if timer is not None:
                timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail_everything()
        await asyncio.to_thread(self._writer.close)
        self._disk.close()

    # -- what is known --------------------------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        """Whether we take ourselves for the leader."""
        return self.raft.role is Role.LEADER

    @property
    def leader(self) -> ServerId | None:
        """Whom we take for the leader."""
        return self.raft.leader

    @property
    def last_contact_ms(self) -> int:
        """Since we last heard our leader."""
        return max(0, int(1000 * (self._loop.time() - self.raft.leader_heard_at)))

    @property
    def has_lease(self) -> bool:
        """Whether what is applied here may be read without asking anybody."""
        return self.raft.has_lease(self.applied, now=self._loop.time())

    # -- writing and reading --------------------------------------------------------------------

    async def propose(self, command: bytes) -> object:
        """Have a command applied on every server; its result.

        Raises:
            NoLeaderError: We do not lead. Nothing was done.
            OutcomeUnknownError: Leadership, or patience, was lost first: it may have happened.
        """
        return await self.propose_soon(command)

    def propose_soon(self, command: bytes) -> "asyncio.Future[object]":
        """The same, without a task: what `propose` returns or raises is the future's."""
        outcome: asyncio.Future[object] = self._loop.create_future()
        if not self.is_leader or self._is_closed:
            outcome.set_exception(NoLeaderError(self.leader))
            return outcome
        if not self._proposals:
            # Whoever proposes in this turn of the loop goes along.
            self._loop.call_soon(self._propose_all)
        self._proposals.append((command, outcome))
        return outcome

    async def barrier(self, *, by_lease: bool = False) -> None:
        """Return when what is applied here includes everything acknowledged before the call.

        A follower asks its leader how far that is. With `by_lease` the leader's lease will do.

        Raises:
            NoLeaderError: Nobody leads, or cannot be sure of it.
        """
        await asyncio.shield(self.barrier_soon(by_lease=by_lease))

    def barrier_soon(self, *, by_lease: bool) -> "asyncio.Future[None]":
        """The same, without a task. Others wait for the same future: it must not be cancelled."""
        return self._rounds[by_lease].join()

    def _begin_read(self, *, by_lease: bool) -> "asyncio.Future[None]":
        read, effects = self.raft.read(now=self._loop.time(), by_lease=by_lease)
        if isinstance(read, NotLeader):
            raise NoLeaderError(read.leader)
        waiting: asyncio.Future[None] = self._loop.create_future()
        self._reads[read] = waiting
        self._act(effects)
        return waiting

    def change_members(self, members: Membership) -> str | None:
        """Put another membership in force; why not, or None.

        Raises:
            NoLeaderError: We do not lead.
        """
        result, effects = self.raft.change_members(members, now=self._loop.time())
        self._act(effects)
        if isinstance(result, NotLeader):
            raise NoLeaderError(result.leader)
        return result.why if isinstance(result, Busy) else None

    def transfer(self, to: ServerId) -> bool:
        """Hand leadership over; False when that server cannot take it.

        Raises:
            NoLeaderError: We do not lead.
        """
        result, effects = self.raft.transfer(to, now=self._loop.time())
        self._act(effects)
        if isinstance(result, NotLeader):
            raise NoLeaderError(result.leader)
        return result

    def handle_message(self, sender: ServerId, message: Message) -> None:
        """Take a message from another server."""
        if self._is_closed:
            return
        if isinstance(message, ReadRequest) and self.is_leader and not self._readiness.is_settled:
            self._spawn(self._settle_first(sender, message))
        else:
            self._act(self.raft.handle_message(sender, message, now=self._loop.time()))

    async def _settle_first(self, sender: ServerId, message: ReadRequest) -> None:
        """A follower's read sees what a read here would see."""
        await self._readiness.settle()
        if not self._is_closed:
            self._act(self.raft.handle_message(sender, message, now=self._loop.time()))

    async def handle_snapshot_part(
        self, sender: ServerId, term: Term, offset: int, part: bytes, *, is_last: bool
    ) -> bool:
        """Take a part of a snapshot; False when it does not fit what came before."""
        if offset == 0:
            self._drop_incoming()
            # Without a name: whatever happens, nothing is left behind.
            self._incoming = _Incoming(sender, term, tempfile.TemporaryFile())  # noqa: SIM115  # closed when it has come, or is dropped
        incoming = self._incoming
        if (
            incoming is None
            or (incoming.sender, incoming.term, incoming.size_bytes) != (sender, term, offset)
            or offset + len(part) > SNAPSHOT_BYTES_MAX
        ):
            return False
        try:
            incoming.file.write(part)
        except OSError as error:
            logger.error("a snapshot from %s cannot be kept: %s", sender, error.strerror)
            self._drop_incoming()
            return False
        incoming.size_bytes += len(part)
        if not is_last:
            return True
        self._incoming = None
        with incoming.file:
            return await self._take_snapshot(incoming)

    async def _take_snapshot(self, incoming: _Incoming) -> bool:
        """Put a snapshot that has come whole on disk and in force; whether it is."""
        try:
            snapshot = SealedSnapshot(incoming.file)
            loaded = await asyncio.to_thread(self._machine.load, snapshot.state())
        except DecodeError as error:
            logger.warning("a snapshot from %s was refused: %s", incoming.sender, error)
            return False
        meta = snapshot.meta
        if self._is_closed or meta.index <= self.raft.log.commit:
            return not self._is_closed
        await self._writer.run(lambda: self._disk.write_snapshot(meta, snapshot.state()))
        self._received, self._snapshot_bytes = loaded, snapshot.size_bytes
        self._act(
            self.raft.handle_snapshot(incoming.sender, incoming.term, meta, now=self._loop.time())
        )
        self._received = None
        return True

    def _drop_incoming(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.file.close()

    # -- effects --------------------------------------------------------------------------------

    def _propose_all(self) -> None:
        proposals, self._proposals = self._proposals, []
        first, effects = self.raft.propose(
            [command for command, _ in proposals], now=self._loop.time()
        )
        if isinstance(first, NotLeader | Busy):
            for _, outcome in proposals:
                if not outcome.done():
                    outcome.set_exception(NoLeaderError(self.leader))
            return
        term, now = self.raft.term, self._loop.time()
        for position, (_, outcome) in enumerate(proposals):
            self._outcomes[LogIndex(first + position)] = _Outcome(term, now, outcome)
        if self._expiry is None:
            self._expiry = self._loop.call_later(PROPOSAL_TIMEOUT_S, self._expire)
        self._act(effects)

    def _expire(self) -> None:
        """Answer proposals that have waited too long; they are in the order of their age."""
        self._expiry = None
        now = self._loop.time()
        for index, proposal in list(self._outcomes.items()):
            if now < proposal.began_at + PROPOSAL_TIMEOUT_S:
                self._expiry = self._loop.call_at(
                    proposal.began_at + PROPOSAL_TIMEOUT_S, self._expire
                )
                return
            del self._outcomes[index]
            proposal.fail(
                OutcomeUnknownError(
                    "no majority of the servers has confirmed the write yet; it may still happen"
                )
            )

    def _act(self, effects: Iterable[Effect]) -> None:
        saves: list[Save] = []
        for effect in effects:
            match effect:
                case Save():
                    # After what is sent: the other servers' disks work meanwhile, and our writer
                    # does not take the interpreter's lock from under us.
                    saves.append(effect)
                case Send():
                    self._transport.send(effect.to, effect.message)
                case Committed():
                    self._apply_some()
                case ReadReady():
                    self._finish_read(effect)
                case ReadFailed():
                    waiting = self._reads.pop(effect.id, None)
                    if waiting is not None and not waiting.done():
                        waiting.set_exception(NoLeaderError(self.leader))
                case RoleChanged():
                    self._handle_role(effect)
                case SendSnapshot():
                    self._spawn(self._send_snapshot(effect))
                case SnapshotInstalled():
                    self._save_all(saves)
                    self._install(effect)
                case MembersChanged():
                    logger.info("members: voters=%s", ",".join(effect.members.voters))
        self._save_all(saves)
        if self._is_applying_soon:
            # Behind the save, and behind the answer that follows it.
            self._is_applying_soon = False
            self._loop.call_soon(self._loop.call_soon, self._apply_slice)
        self._arm()

    def _save_all(self, saves: list[Save]) -> None:
        for save in saves:
            self._writer.save(save)
        saves.clear()

    def _handle_role(self, change: RoleChanged) -> None:
        if change.role in (Role.LEADER, Role.FOLLOWER):
            logger.info("%s: term=%d leader=%s", change.role, change.term, change.leader or "none")
        if change.role is not Role.LEADER:
            # What is in our log may be committed yet, by another leader.
            for proposal in self._outcomes.values():
                proposal.fail(OutcomeUnknownError("leadership was lost"))
            self._outcomes.clear()
        self._on_role(change)

    def _handle_saved(self, token: SaveToken) -> None:
        if not self._is_closed:
            self._act(self.raft.handle_saved(token, now=self._loop.time()))

    def _handle_disk_failure(self, error: StorageError) -> None:
        logger.error("%s: this server takes no part in the consistent store any more", error)
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._fail_everything()
        self._on_failure(error)

    def _fail_everything(self) -> None:
        for _, outcome in self._proposals:
            if not outcome.done():
                outcome.set_exception(NoLeaderError())
        waiting = [*self._reads.values(), *(future for _, future in self._applied_waiting)]
        for future in waiting:
            if not future.done():
                future.set_exception(NoLeaderError())
        for proposal in self._outcomes.values():
            proposal.fail(OutcomeUnknownError("this server has stopped"))
        self._proposals, self._applied_waiting = [], []
        self._reads.clear()
        self._outcomes.clear()

    # -- applying -------------------------------------------------------------------------------

    def _apply_some(self) -> None:
        """Apply what is committed, in slices; as a follower, after what the leader waits for."""
        if self._is_applying:
            return
        if self.is_leader:
            self._apply_slice()
        else:
            self._is_applying = self._is_applying_soon = True

    def _apply_slice(self) -> None:
        self._is_applying = False
        if self._is_closed:
            return
        ends_at = self._loop.time() + APPLY_S_MAX
        log = self.raft.log
        through = LogIndex(min(log.commit, self.applied + APPLY_ENTRIES))
        for entry in log.between(self.applied, through):
            self._apply(entry)
            # After every one: a transaction may be 64 writes.
            if self._loop.time() > ends_at:
                break
        if self.applied < log.commit:
            self._is_applying = True
            self._loop.call_soon(self._apply_slice)
        self._wake_applied()
        self._snapshot_if_due()

    def _apply(self, entry: Entry) -> None:
        result: object = None
        if entry.kind == EntryKind.COMMAND:
            result = self._machine.apply(entry.index, entry.data)
        self.applied = entry.index
        proposal = self._outcomes.pop(entry.index, None)
        if proposal is None or proposal.outcome.done():
            return
        if proposal.term == entry.term:
            proposal.outcome.set_result(result)
        else:
            proposal.fail(NoLeaderError(self.leader))

    def _finish_read(self, read: ReadReady) -> None:
        waiting = self._reads.pop(read.id, None)
        if waiting is None or waiting.done():
            return
        if self.applied >= read.index:
            waiting.set_result(None)
        else:
            self._applied_waiting.append((read.index, waiting))

    def _wake_applied(self) -> None:
        if not self._applied_waiting:
            return
        ready = [item for item in self._applied_waiting if item[0] <= self.applied]
        self._applied_waiting = [item for item in self._applied_waiting if item[0] > self.applied]
        for _, waiting in ready:
            if not waiting.done():
                waiting.set_result(None)

    # -- snapshots ------------------------------------------------------------------------------

    def _is_snapshot_due(self) -> bool:
        applied_since = self.applied - self.raft.log.snapshot.index
        log_bytes, worth_bytes = self._disk.log_bytes, self._snapshot_bytes // 2
        if applied_since <= 0:
            return False
        return log_bytes > max(LOG_BYTES_MAX, worth_bytes) or (
            applied_since >= SNAPSHOT_ENTRIES and log_bytes > max(SNAPSHOT_LOG_BYTES, worth_bytes)
        )

    def _snapshot_if_due(self) -> None:
        if not self._is_snapshotting and self._is_snapshot_due():
            self._is_snapshotting = True
            self._spawn(self._snapshot())

    async def _snapshot(self) -> None:
        """Make one, and another for as long as what was applied meanwhile makes it due.

        The next entry would see to that too, but it may be long in coming.
        """
        try:
            while not self._is_closed and self._is_snapshot_due():
                await self._make_snapshot()
        except StorageError as error:
            # The log goes on growing; the next one may succeed.
            logger.error("no snapshot: %s", error)
        finally:
            self._is_snapshotting = False

    async def _make_snapshot(self) -> None:
        meta = self.raft.snapshot_meta(self.applied)
        state = self.parts_elsewhere(self._machine.freeze())
        sizes: list[int] = []
        began_at = self._loop.time()
        await self._writer.run(
            lambda: self._disk.write_snapshot(meta, _counted(state, sizes)), in_order=False
        )
        # A later one may have come from the leader meanwhile.
        if meta.index <= self.raft.log.snapshot.index or self._is_closed:
            return
        self.raft.compact(meta.index, trailing=self._trailing(meta.index))
        self._snapshot_bytes = sum(sizes)
        self._rewrite_log()
        # Only then its size says whether the next one is due.
        await self._writer.run(_nothing)
        logger.info(
            "snapshot: index=%d bytes=%d seconds=%.2f",
            meta.index, self._snapshot_bytes, self._loop.time() - began_at,
        )  # fmt: skip

    def _trailing(self, index: LogIndex) -> int:
        """How many entries up to `index` are kept for followers that lag."""
        log, size = self.raft.log, 0
        first = max(log.first_index, LogIndex(index - TRAILING_ENTRIES + 1))
        entries = log.between(LogIndex(first - 1), index)
        for count, entry in enumerate(reversed(entries)):
            size += len(entry.data)
            if size > TRAILING_BYTES:
                return count
        return len(entries)

    def _rewrite_log(self) -> None:
        log = self.raft.log
        entries = tuple(log.between(LogIndex(log.first_index - 1), log.last_index))
        self._writer.rewrite(self.raft.hard_state, entries)

    def _install(self, installed: SnapshotInstalled) -> None:
        assert self._received is not None
        logger.info("restoring a snapshot of the leader's: index=%d", installed.meta.index)
        self._machine.restore(self._received)
        self.applied = installed.meta.index
        self.has_state = True
        self._rewrite_log()
        self._wake_applied()

    async def _send_snapshot(self, ask: SendSnapshot) -> None:
        is_ok, index = False, LogIndex(0)
        try:
            with await asyncio.to_thread(self._open_snapshot) as snapshot:
                index, size_bytes = snapshot.meta.index, snapshot.size_bytes
                for offset in range(0, size_bytes, CHUNK_BYTES):
                    part = await asyncio.to_thread(snapshot.read, offset, CHUNK_BYTES)
                    is_last = offset + CHUNK_BYTES >= size_bytes
                    if not await self._transport.send_snapshot_part(
                        ask.to, ask.term, offset, part, is_last=is_last
                    ):
                        break
                else:
                    is_ok = True
        except (StorageError, OSError) as error:
            logger.error("no snapshot for %s: %s", ask.to, error)
        if not self._is_closed:
            now = self._loop.time()
            self._act(self.raft.handle_snapshot_sent(ask.to, index, is_ok=is_ok, now=now))

    def _open_snapshot(self) -> SealedSnapshot:
        """The latest snapshot; on a thread. One is made if there is none.

        The log begins where the group was founded then, but that follower is not there.
        """
        if self.raft.log.snapshot.index:
            return self._disk.open_snapshot()
        frozen = self.on_loop(
            lambda: (self.raft.snapshot_meta(self.applied), self._machine.freeze())
        )
        file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # closed with what is returned
        for part in sealed(frozen[0], self.parts_elsewhere(frozen[1])):
            file.write(part)
        return SealedSnapshot(file)

    def parts_elsewhere(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        """Take on another thread what only the loop may make, part by part.

        Raises:
            StorageError: This server stops meanwhile.
        """
        while (part := self.on_loop(lambda: next(parts, None))) is not None:
            yield part

    def on_loop(self, make: Callable[[], T]) -> T:
        """Have the loop do something, from another thread.

        Raises:
            StorageError: This server stops.
        """
        made: Future[T] = Future()

        def run() -> None:
            if self._is_closed:
                made.set_exception(StorageError("this server stops"))
            else:
                made.set_result(make())

        try:
            self._loop.call_soon_threadsafe(run)
            return made.result(LOOP_S_MAX)
        except (RuntimeError, TimeoutError) as error:
            raise StorageError("this server stops") from error

    # -- timer and tasks ------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._is_closed:
            return
        deadline_at = self.raft.next_deadline_at
        if self._timer is not None:
            # Deadlines move on with every message: one that is too early is armed again then.
            if self._timer.when() <= deadline_at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline_at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._act(self.raft.handle_timer(now=self._loop.time()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _nothing() -> None:
    """A job by which all before it is known to be done."""


def _counted(parts: Iterable[bytes], sizes: list[int]) -> Iterable[bytes]:
    for part in parts:
        sizes.append(len(part))
        yield part

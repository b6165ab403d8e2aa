"""The asyncio shell around Raft: timer, disk, messages, and the state machine behind it.

It takes no protocol decision. Who waits for a proposal is `proposals.py`'s, the disk is
`raftwriter.py`'s; snapshots are made and received in `raftsnapshots.py`. Who is reached where is
the transport's business.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from random import Random
from typing import Any, Final, Protocol

from svcmesh.consensus.disk import MemoryDisk, RaftDisk
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
from svcmesh.consensus.service import NoLeaderError
from svcmesh.errors import DecodeError, StorageError
from svcmesh.runtime.collector import paused
from svcmesh.runtime.grouplog import GroupLog
from svcmesh.runtime.onloop import OnLoop
from svcmesh.runtime.proposals import Proposals
from svcmesh.runtime.raftsnapshots import Incoming, SnapshotInbox, SnapshotMaker, SnapshotParts
from svcmesh.runtime.raftwriter import RaftWriter
from svcmesh.runtime.reading import ReadRounds
from svcmesh.runtime.tasks import BackgroundTasks

logger = logging.getLogger("raft")

APPLY_S_MAX: Final = 0.004
"""So long entries are applied before the loop gets its turn ..."""
APPLY_ENTRIES: Final = 1024
"""... and so many."""

SNAPSHOT_CHUNK_TIMEOUT_S: Final = 10.0


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


class Transport(SnapshotParts, Protocol):
    """How servers are reached."""

    def send(self, to: ServerId, message: Message) -> None:
        """Send, or lose, a message."""


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


class Consensus:
    """One server's Raft, running.

    Every method belongs to the loop. `name_of` gives the name of a server for the log. `on_role` is
    told of changes of role, term and leader, `on_failure` when the disk has refused: this server
    takes no part any more then.
    """

    def __init__(
        self,
        own_id: ServerId,
        machine: StateMachine,
        disk: RaftDisk | MemoryDisk,
        transport: Transport,
        *,
        config: RaftConfig | None = None,
        name_of: Callable[[ServerId], str] = str,
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
        self._log = GroupLog(own_id, self.raft.members, name_of)
        self._timer: asyncio.TimerHandle | None = None
        self._writer = RaftWriter(
            disk, on_saved=self._handle_saved, on_failure=self._handle_disk_failure
        )
        self.on_loop = OnLoop()
        """For other threads."""
        self._snapshots = SnapshotMaker(self, disk, self._writer, self.on_loop)
        self._inbox = SnapshotInbox()
        self._proposals = Proposals()
        self._readiness: Readiness = _AlwaysReady()
        self._rounds = {
            by_lease: ReadRounds(
                partial(self._begin_read, by_lease=by_lease), lambda: self.is_leader
            )
            for by_lease in (False, True)
        }
        self._reads: dict[ReadId, asyncio.Future[None]] = {}
        self._applied_waiting: list[tuple[LogIndex, asyncio.Future[None]]] = []
        self._is_applying = self._is_applying_soon = False
        self._received: Any = None
        """What the machine has loaded from a snapshot of the leader's."""
        self._tasks = BackgroundTasks()
        self.is_closed = False
        self._arm()

    def require(self, readiness: Readiness) -> None:
        """From now on followers' reads wait for that, as our own do."""
        self._readiness = readiness

    # -- life -----------------------------------------------------------------------------------

    def found(self) -> None:
        """Begin a new group of one, ourselves. Only for a server that has no state."""
        assert not self.has_state
        logger.info("founding a group of servers")
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
        self._log.note_members(members.members)
        # Nobody else can be elected: there is nothing to wait for.
        self._act(self.raft.handle_timer(now=self._loop.time()))

    async def close(self) -> None:
        """Stop; nothing is sent or written from now on."""
        self._stop()
        await self._tasks.end()
        self._inbox.drop()
        await asyncio.to_thread(self._writer.close)
        self._disk.close()

    # -- what is known --------------------------------------------------------------------------

    @property
    def is_leader(self) -> bool:
        """Whether we take ourselves for the leader; never once we have stopped."""
        return self.raft.role is Role.LEADER and not self.is_closed

    @property
    def leader(self) -> ServerId | None:
        """Whom we take for the leader; nobody once we have stopped, as we hear of no other."""
        return None if self.is_closed else self.raft.leader

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
        if not self.is_leader:
            refused: asyncio.Future[object] = self._loop.create_future()
            refused.set_exception(NoLeaderError(self.leader))
            return refused
        outcome, is_first = self._proposals.add(command)
        if is_first:
            # Whoever proposes in this turn of the loop goes along.
            self._loop.call_soon(self._propose_all)
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
        self._require_running()
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
        self._require_running()
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
        self._require_running()
        result, effects = self.raft.transfer(to, now=self._loop.time())
        self._act(effects)
        if isinstance(result, NotLeader):
            raise NoLeaderError(result.leader)
        return result

    def _require_running(self) -> None:
        if self.is_closed:
            raise NoLeaderError

    def handle_message(self, sender: ServerId, message: Message) -> None:
        """Take a message from another server."""
        if self.is_closed:
            return
        if isinstance(message, ReadRequest) and self.is_leader and not self._readiness.is_settled:
            self._tasks.spawn(self._settle_first(sender, message))
        else:
            self._act(self.raft.handle_message(sender, message, now=self._loop.time()))

    async def _settle_first(self, sender: ServerId, message: ReadRequest) -> None:
        """A follower's read sees what a read here would see."""
        await self._readiness.settle()
        if not self.is_closed:
            self._act(self.raft.handle_message(sender, message, now=self._loop.time()))

    async def handle_snapshot_part(
        self, sender: ServerId, term: Term, offset: int, part: bytes, *, is_last: bool
    ) -> bool:
        """Take a part of a snapshot; False when it does not fit what came before."""
        incoming = self._inbox.take(sender, term, offset, part, is_last=is_last)
        if isinstance(incoming, bool):
            return incoming
        with incoming.file:
            return await self._take_snapshot(incoming)

    async def _take_snapshot(self, incoming: Incoming) -> bool:
        """Put a snapshot that has come whole on disk and in force; whether it is."""
        try:
            snapshot, loaded = await incoming.load(self._machine.load)
        except DecodeError as error:
            logger.warning("a snapshot from %.60r was refused: %s", incoming.sender, error)
            return False
        meta = snapshot.meta
        if self.is_closed or meta.index <= self.raft.log.commit:
            return not self.is_closed
        await self._writer.run(lambda: self._disk.write_snapshot(meta, snapshot.state()))
        self._received, self._snapshots.size_bytes = loaded, snapshot.size_bytes
        self._act(
            self.raft.handle_snapshot(incoming.sender, incoming.term, meta, now=self._loop.time())
        )
        self._received = None
        return True

    # -- effects --------------------------------------------------------------------------------

    def _propose_all(self) -> None:
        commands, outcomes = self._proposals.take_new()
        if not commands:
            return
        first, effects = self.raft.propose(commands, now=self._loop.time())
        if isinstance(first, NotLeader | Busy):
            for outcome in outcomes:
                if not outcome.done():
                    outcome.set_exception(NoLeaderError(self.leader))
            return
        self._proposals.note_logged(outcomes, first=first, term=self.raft.term)
        self._act(effects)

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
                    self._tasks.spawn(self._send_snapshot(effect))
                case SnapshotInstalled():
                    self._save_all(saves)
                    self._install(effect)
                case MembersChanged():
                    self._log.note_members(effect.members)
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
        self._log.note_role(change)
        if change.role is not Role.LEADER:
            # What is in our log may be committed yet, by another leader.
            self._proposals.fail_logged("leadership was lost")
        self._on_role(change)

    def _handle_saved(self, token: SaveToken) -> None:
        if not self.is_closed:
            self._act(self.raft.handle_saved(token, now=self._loop.time()))

    def _handle_disk_failure(self, error: StorageError) -> None:
        logger.error("%s: this server takes no part in the consistent store any more", error)
        self._stop()
        self._on_failure(error)

    def _stop(self) -> None:
        self.is_closed = True
        self.on_loop.close()
        if self._timer is not None:
            self._timer.cancel()
        self._proposals.close("this server has stopped")
        waiting = [*self._reads.values(), *(future for _, future in self._applied_waiting)]
        for future in waiting:
            if not future.done():
                future.set_exception(NoLeaderError())
        self._applied_waiting = []
        self._reads.clear()

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
        if self.is_closed:
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
        if self._snapshots.begin_if_due():
            self._tasks.spawn(self._snapshots.make())

    def _apply(self, entry: Entry) -> None:
        result: object = None
        if entry.kind == EntryKind.COMMAND:
            result = self._machine.apply(entry.index, entry.data)
        self.applied = entry.index
        self._proposals.note_applied(entry, result, leader=self.leader)

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

    def freeze(self) -> Iterator[bytes]:
        """The state that `applied` stands for, in parts that are taken on the loop."""
        return self._machine.freeze()

    def _install(self, installed: SnapshotInstalled) -> None:
        assert self._received is not None
        logger.info("restoring a snapshot of the leader's: index=%d", installed.meta.index)
        self._machine.restore(self._received)
        self.applied = installed.meta.index
        self.has_state = True
        self._snapshots.rewrite_log()
        self._wake_applied()

    async def _send_snapshot(self, ask: SendSnapshot) -> None:
        index, is_ok = await self._snapshots.send(ask, self._transport)
        if not self.is_closed:
            now = self._loop.time()
            self._act(self.raft.handle_snapshot_sent(ask.to, index, is_ok=is_ok, now=now))

    # -- timer ----------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self.is_closed:
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

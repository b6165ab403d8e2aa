"""The merge rules: what an alive, suspect or dead claim changes, and what is passed on (8.3-8.6).

    state     claim at incarnation i     condition        becomes
    any       alive                      i > stored       alive
    alive     suspect                    i >= stored      suspect, and a timed doubt begins
    suspect   suspect, another accuser   i >= stored      suspect, the doubt shortens
    present   dead                       i >= stored      dead; left, if said by the member itself
    gone      suspect, dead              i > stored       unchanged, but the incarnation is stored
    any       any                        i < stored       unchanged, and the claimant is told
    suspect   the doubt is over          -                dead

When a doubt is over is decided in `doubts.py`.
A claim against ourselves is refuted with a higher incarnation instead. Who is probed and where
claims come from is decided in `machine.py`.
"""

from collections.abc import Iterable
from dataclasses import replace
from operator import attrgetter

from gossip.config import SwimConfig
from gossip.swim import drops, versions
from gossip.swim.awareness import Awareness
from gossip.swim.broadcasts import BroadcastQueue, RumorNo
from gossip.swim.carrier import Carrier
from gossip.swim.corrections import Corrections
from gossip.swim.deadlines import Deadlines
from gossip.swim.dialer import Dialer
from gossip.swim.doubts import Doubts
from gossip.swim.effects import MessageDropped, NameConflict
from gossip.swim.facts import Admit, Emit, NodeGone, NodeJoined, NodeUpdated
from gossip.swim.graves import Graves
from gossip.swim.hearing import Hearing
from gossip.swim.history import History, Reason, Step
from gossip.swim.table import GONE, Entry, MemberTable
from gossip.types import Address, Incarnation, MemberName, MemberState
from gossip.wire.codec import encode_message
from gossip.wire.limits import INCARNATION_MARGIN, META_BYTES_MAX, NAME_BYTES_MAX
from gossip.wire.messages import Alive, Dead, PushPullNode, Suspect

U32_MAX = (1 << 32) - 1

_state_of = attrgetter("state")


class Claims:
    """Applies claims to the member table, for ourselves with our own incarnation.

    Invariant: `local.incarnation` only rises.
    """

    def __init__(
        self,
        config: SwimConfig,
        local: Alive,
        *,
        table: MemberTable,
        graves: Graves,
        rumors: BroadcastQueue,
        rumor_bytes_max: int,
        awareness: Awareness,
        carrier: Carrier,
        dialer: Dialer,
        history: History,
        hearing: Hearing,
        deadlines: Deadlines,
        emit: Emit,
        admit: Admit | None,
        now: float,
    ) -> None:
        """`local` is what we claim about ourselves; a rumor above `rumor_bytes_max` is dropped."""
        self.local = local
        self.is_leaving = False
        self._config, self._table, self._graves = config, table, graves
        self._rumors = rumors
        self._corrections = Corrections(lambda: self.local, carrier, now=now)
        self._rumor_bytes_max = rumor_bytes_max
        self._awareness, self._history = awareness, history
        self._emit, self._admit = emit, admit
        self._doubts = Doubts(
            config,
            local.node,
            table=table,
            carrier=carrier,
            dialer=dialer,
            history=history,
            hearing=hearing,
            deadlines=deadlines,
            accuse=lambda suspect, now: self.handle_suspect(suspect, now=now),
            declare=self._declare_dead,
        )

    def announce(self, meta: bytes, *, now: float) -> RumorNo | None:
        """Claim ourselves alive with `meta`, at the next incarnation if we are known already."""
        known = self._table.get(self.local.node)
        incarnation = self.local.incarnation
        if known is not None and incarnation < U32_MAX:
            incarnation = Incarnation(incarnation + 1)
        self.local = replace(self.local, incarnation=incarnation, meta=meta)
        if known is None:
            known = self._enter(self.local, now=now)
        return self._accept_alive(known, self.local, now=now)

    def leave(self, *, now: float) -> RumorNo | None:
        """Declare that we leave on purpose; the rumor that says so, None when we had left."""
        self.is_leaving = True
        me = self.local
        return self.handle_dead(Dead(me.incarnation, me.node, me.node), now=now)

    def objections(self, nodes: Iterable[PushPullNode]) -> list[PushPullNode]:
        """Members that `nodes` have as present, and of whose end we know though the table forgot.

        To be added to our state: whoever missed an end hands it on as life.
        """
        if not len(self._graves):
            return []
        buried = (self._graves.get(node.name) for node in nodes if node.state not in GONE)
        return [grave.as_node() for grave in buried if grave is not None]

    def has_heard(self, nodes: tuple[PushPullNode, ...]) -> bool:
        """Whether a peer's state is ours to the letter, of a pool in which nothing is going on."""
        return (
            nodes == self._table.nodes()
            and not len(self._rumors)
            and set(map(_state_of, nodes)) <= {MemberState.ALIVE}
        )

    def handle_state(
        self, nodes: Iterable[PushPullNode], *, now: float, source: Address | None = None
    ) -> None:
        """Apply the entries of a push/pull (6.1 step 3); `source` is where its sender listens."""
        recall, own_name, rumors = self._table.get, self.local.node, self._rumors
        for node in nodes:
            entry = recall(node.name)
            if entry is None or not entry.says_as_much(node) or node.name == own_name:
                self._handle_node(node, now=now, source=source)
            elif rumors.is_about(node.name):
                self._note_known(entry, source)
            # What is left is most of every exchange: both sides know it.

    def _handle_node(self, node: PushPullNode, *, now: float, source: Address | None) -> None:
        match MemberState(node.state):
            case MemberState.ALIVE:
                self.handle_alive(
                    Alive(node.incarnation, node.name, node.addr, node.port, node.meta, node.vsn),
                    now=now,
                    source=source,
                )
            case MemberState.LEFT:
                self.handle_dead(Dead(node.incarnation, node.name, node.name), now=now)
            case MemberState.SUSPECT | MemberState.DEAD:
                # Also for dead ones: hearsay starts a doubt, which the accused may still refute.
                suspect = Suspect(node.incarnation, node.name, self.local.node)
                self.handle_suspect(suspect, now=now, is_hearsay=True)

    def handle_alive(self, alive: Alive, *, now: float, source: Address | None = None) -> None:
        """Apply an alive claim (8.4); `source` is who told us, None if that was by stream."""
        is_us = alive.node == self.local.node
        if is_us and self.is_leaving:
            return
        if alive.port == 0:
            alive = replace(alive, port=self.local.port)
        entry = self._recall(alive.node)
        is_elsewhere = entry is not None and (entry.addr, entry.port) != (alive.addr, alive.port)
        is_old = entry is not None and alive.incarnation <= entry.incarnation
        if entry is not None and is_old and not is_elsewhere and not is_us:
            # Whatever the hook says could not change this, so it is not asked about old claims.
            if alive.incarnation < entry.incarnation or entry.is_gone:
                self._corrections.contradict(entry, source, now=now)
            elif entry.state == MemberState.ALIVE:
                self._note_known(entry, source)
            return
        if (reason := self._alive_flaw(alive)) is not None:
            self._emit(MessageDropped(reason, alive.node))
            return
        # Differs from memberlist: we need nobody's leave to be a member ourselves.
        if self._admit is not None and not is_us and (why := self._admit([_as_node(alive)])):
            self._emit(MessageDropped(drops.NOT_ADMITTED, f"{alive.node}: {why}"))
            return
        is_buried = entry is not None and self._table.get(alive.node) is None
        if (entry is None or is_buried) and len(self._table) >= self._config.members_max:
            self._emit(MessageDropped(drops.MEMBERS_MAX, alive.node))
            return
        if entry is None:
            entry = self._enter(alive, now=now)
        elif is_buried:
            # Whoever holds the name now, and wherever, it has been free for long.
            self._graves.exhume(alive.node)
            self._table.add(entry)
        elif is_elsewhere and not self._may_take_over(entry, now=now):
            self._emit(NameConflict(alive.node, entry.address, alive))
            return
        if not is_us:
            self._accept_alive(entry, alive, now=now, source=source)
        elif alive.incarnation >= self.local.incarnation and alive != self.local:
            self._refute(alive.incarnation, source, now=now)

    def handle_suspect(
        self,
        suspect: Suspect,
        *,
        now: float,
        source: Address | None = None,
        is_hearsay: bool = False,
    ) -> None:
        """Apply an accusation (8.5); one by hearsay is ours, though we have seen nothing."""
        entry = self._recall(suspect.node)
        if entry is None:
            return
        if suspect.incarnation < entry.incarnation:
            self._corrections.contradict(entry, source, now=now)
            return
        if len(suspect.from_node.encode(errors="surrogateescape")) > NAME_BYTES_MAX:
            self._emit(MessageDropped(drops.BAD_NAME, "accuser"))
            return
        if suspect.node in self._doubts:
            if self._doubts.hear(suspect, now=now):
                self._note(Step.CONFIRMED, suspect, is_hearsay=is_hearsay, now=now)
                self._spread(suspect, suspect.node, known_by=self._members_at(source))
            return
        if entry.is_gone:
            # Differs from memberlist: the incarnation is kept, so that an alive claim older than
            # the accusation cannot revive the member.
            self._table.set_incarnation(entry, suspect.incarnation)
            return
        self._note(Step.SUSPECTED, suspect, is_hearsay=is_hearsay, now=now)
        if suspect.node == self.local.node:
            self._refute(suspect.incarnation, source, now=now)
            return
        self._spread(suspect, suspect.node, known_by=self._members_at(source))
        self._table.set_incarnation(entry, suspect.incarnation)
        self._table.set_state(entry, MemberState.SUSPECT, now=now)
        self._doubts.begin(entry, suspect, now=now)

    def handle_silence(self, lasted_s: float, *, now: float) -> None:
        """We have heard nobody for so long, until now."""
        self._doubts.grant(lasted_s, now=now)

    def handle_stall(self, *, now: float) -> None:
        """Our own process did not run: what it missed may have been refutations."""
        self._doubts.postpone(until=now + self._config.probe_interval_s)

    def handle_refused(self, address: Address, *, now: float) -> None:
        """Nobody takes datagrams where members are said to listen."""
        for entry in self._table.at(address):
            if not entry.is_gone and entry.name != self.local.node:
                self._doubts.investigate(entry, now=now)

    def handle_dead(
        self, dead: Dead, *, now: float, source: Address | None = None
    ) -> RumorNo | None:
        """Apply a declaration of death or departure (8.6); the rumor if it is passed on."""
        entry = self._recall(dead.node)
        if entry is None:
            return None
        if dead.incarnation < entry.incarnation:
            self._corrections.contradict(entry, source, now=now)
            return None
        if len(dead.from_node.encode(errors="surrogateescape")) > NAME_BYTES_MAX:
            self._emit(MessageDropped(drops.BAD_NAME, "accuser"))
            return None
        self._doubts.end(dead.node)
        if entry.is_gone:
            if dead.incarnation == entry.incarnation and dead.node != self.local.node:
                self._note_known(entry, source)
            # Differs from memberlist: as for an accusation, a higher incarnation is kept.
            self._table.set_incarnation(entry, dead.incarnation)
            return None
        has_left = dead.from_node == dead.node
        self._note(Step.LEFT if has_left else Step.FAILED, dead, now=now)
        if dead.node == self.local.node and not self.is_leaving:
            self._refute(dead.incarnation, source, now=now)
            return None
        # The subject of a death has to hear of it, to refute it.
        known_by = self._members_at(source, entry.address if has_left else None)
        rumor = self._spread(dead, dead.node, known_by=known_by)
        self._table.set_incarnation(entry, dead.incarnation)
        self._table.set_state(entry, MemberState.LEFT if has_left else MemberState.DEAD, now=now)
        self._emit(NodeGone(entry.as_node()))
        return rumor

    def _alive_flaw(self, alive: Alive) -> str | None:
        """Why an alive claim is not to be believed by anybody (8.4 step 2, 14.3)."""
        if not alive.node or len(alive.node.encode(errors="surrogateescape")) > NAME_BYTES_MAX:
            return drops.BAD_NAME
        if len(alive.meta) > META_BYTES_MAX:
            return drops.BAD_META
        if len(alive.addr) not in (4, 16):
            return drops.BAD_ADDRESS
        if not versions.is_wellformed(alive.vsn):
            return drops.BAD_VSN
        if not versions.are_compatible(self.local.vsn, alive.vsn):
            # Differs from memberlist: with such a member no state could be merged any more.
            return drops.INCOMPATIBLE_VERSIONS
        if alive.incarnation == 0:
            # Differs from memberlist: an entry that nobody may see is not made.
            return drops.INCARNATION_ZERO
        return None

    def _enter(self, alive: Alive, *, now: float) -> Entry:
        entry = Entry(
            name=alive.node,
            addr=alive.addr,
            port=alive.port,
            meta=alive.meta,
            vsn=alive.vsn,
            incarnation=Incarnation(0),
            state=MemberState.DEAD,
            changed_at=now,
        )
        self._table.add(entry)
        return entry

    def _may_take_over(self, entry: Entry, *, now: float) -> bool:
        if entry.state == MemberState.LEFT:
            return True
        reclaim_s = self._config.dead_node_reclaim_s
        is_dead = entry.state == MemberState.DEAD
        return is_dead and reclaim_s > 0 and now - entry.changed_at > reclaim_s

    def _accept_alive(
        self, entry: Entry, alive: Alive, *, now: float, source: Address | None = None
    ) -> RumorNo | None:
        """Take over a newer claim, or the first one of a name's new holder (8.4 steps 8-11)."""
        self._doubts.end(alive.node)
        if entry.state != MemberState.ALIVE and entry.incarnation > 0:
            step = Step.RETURNED if entry.is_gone else Step.REFUTED
            self._history.note(
                alive.node, step, by=alive.node, incarnation=alive.incarnation, now=now
            )
        was_gone, old_meta = entry.is_gone, entry.meta
        self._table.take_over(entry, alive)
        if (entry.addr, entry.port) != (alive.addr, alive.port):
            self._table.move(entry, alive.addr, alive.port)
        rumor = self._spread(alive, alive.node, known_by=self._members_at(source, entry.address))
        if entry.state != MemberState.ALIVE:
            self._table.set_state(entry, MemberState.ALIVE, now=now)
        if was_gone:
            self._emit(NodeJoined(entry.as_node()))
        elif entry.meta != old_meta:
            self._emit(NodeUpdated(entry.as_node()))
        return rumor

    def _note(
        self, step: Step, claim: Suspect | Dead, *, now: float, is_hearsay: bool = False
    ) -> None:
        if step == Step.LEFT:
            reason = Reason.LEAVE
        elif is_hearsay:
            reason = Reason.HEARSAY
        else:
            reason = Reason.REFUSED if claim.refused else Reason.TIMEOUT
        self._history.note(
            claim.node,
            step,
            by=claim.from_node,
            reason=reason,
            incarnation=claim.incarnation,
            now=now,
        )

    def _recall(self, name: MemberName) -> Entry | None:
        """What is known of a member, also of one that the table has forgotten."""
        return self._table.get(name) or self._graves.get(name)

    def _refute(self, accused: Incarnation, source: Address | None, *, now: float) -> None:
        """Deny what is claimed of us at incarnation `accused` by a higher one (8.3).

        The accuser is told at once, in case no rumor of ours reaches it.
        """
        own = self.local.incarnation
        if own == U32_MAX or (accused > own and accused > U32_MAX - INCARNATION_MARGIN):
            self._emit(MessageDropped(drops.INCARNATION_LIMIT, str(accused)))
            return
        self.local = replace(self.local, incarnation=Incarnation(max(own, accused) + 1))
        me = self._table.get(self.local.node)
        assert me is not None
        self._table.set_incarnation(me, self.local.incarnation)
        self._awareness.apply(+1)
        self._history.note(
            self.local.node,
            Step.REFUTED,
            by=self.local.node,
            incarnation=self.local.incarnation,
            now=now,
        )
        self._spread(self.local, self.local.node, known_by=())
        self._corrections.tell(source, self.local, now=now)

    def _declare_dead(self, entry: Entry, refused: bool, now: float) -> None:
        self.handle_dead(Dead(entry.incarnation, entry.name, self.local.node, refused), now=now)

    def _members_at(self, *addresses: Address | None) -> list[Address]:
        """Those of `addresses` that members have: strangers cannot make us remember theirs."""
        return [at for at in addresses if at is not None and self._table.has_address(at)]

    def _note_known(self, entry: Entry, source: Address | None) -> None:
        """Whoever tells us what we are handing on need not be told."""
        for member in self._members_at(source):
            self._rumors.note_known(entry.name, member)

    def _spread(
        self, claim: Alive | Suspect | Dead, about: MemberName, *, known_by: Iterable[Address]
    ) -> RumorNo | None:
        body = encode_message(claim)
        if len(body) > self._rumor_bytes_max:
            self._emit(MessageDropped(drops.RUMOR_TOO_LARGE, about))
            return None
        # That we leave goes before all that we hand on for others: there is only so much time.
        is_urgent = about == self.local.node and self.is_leaving
        return self._rumors.queue(body, name=about, known_by=known_by, is_urgent=is_urgent)


def _as_node(alive: Alive) -> PushPullNode:
    return PushPullNode(
        alive.node,
        alive.addr,
        alive.port,
        alive.meta,
        alive.incarnation,
        MemberState.ALIVE,
        alive.vsn,
    )

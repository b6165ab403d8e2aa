"""The asyncio shell around the catalog's replication core: its clock, its timer, its effects."""

import asyncio
import time
from collections.abc import Callable, Iterable

from gossip.types import Address, MemberName
from svcmesh.catalog.changes import (
    AnswerSource,
    CatalogEffect,
    NodeBound,
    NodeHealthChanged,
    NodeUnbound,
    RecordChanged,
    SendCatalog,
)
from svcmesh.catalog.log import Entry, Origin
from svcmesh.catalog.records import Body, Kind, NodeId
from svcmesh.catalog.replica import Replica
from svcmesh.catalog.saving import SavedVersion
from svcmesh.catalog.view import CatalogView
from svcmesh.healthlog import HealthLog
from svcmesh.runtime.outbox import Outbox


class CatalogRuntime:
    """Feeds a `Replica` with time, writes and messages, and its changes to the view.

    `send(to, payload)` hands a direct message to the gossip library, for a member's name or an
    address; `on_fact` gets every effect that is neither a message nor a change of the view;
    `health_log` is told of those changes; `on_unsaved` is called when something is to be saved.
    """

    def __init__(
        self,
        replica: Replica,
        view: CatalogView,
        *,
        send: Callable[[MemberName | Address, bytes], None],
        on_fact: Callable[[CatalogEffect], None],
        health_log: HealthLog,
        on_unsaved: Callable[[], None] = lambda: None,
    ) -> None:
        self.replica = replica
        self._view, self._health_log = view, health_log
        self._on_fact, self._on_unsaved = on_fact, on_unsaved
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(send)
        self._timer: asyncio.TimerHandle | None = None
        self._arm()

    def close(self) -> None:
        """Stop the timer; nothing is sent from now on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._outbox.close()

    def restore_external(
        self, records: Iterable[tuple[Origin, Entry]], versions: Iterable[SavedVersion]
    ) -> None:
        """Take in what an earlier run has saved of external records."""
        self._carry_out(self.replica.restore_external(records, versions, now=self._loop.time()))

    # -- own writes -------------------------------------------------------------------------

    def put_own(self, body: Body) -> None:
        """Publish a record of our own node."""
        self._carry_out(self.replica.put_own(body, now=self._loop.time()))

    def delete_own(self, kind: Kind, record_id: str) -> None:
        """Withdraw a record of our own node."""
        self._carry_out(self.replica.delete_own(kind, record_id, now=self._loop.time()))

    def put_external(self, node_name: str, body: Body) -> None:
        """Publish a record of a node without an agent."""
        self._carry_out(
            self.replica.put_external(node_name, body, now=self._loop.time(), wall_ms=_wall_ms())
        )

    def delete_external(self, node_name: str, kind: Kind, record_id: str) -> None:
        """Withdraw a record of a node without an agent."""
        self._carry_out(
            self.replica.delete_external(
                node_name, kind, record_id, now=self._loop.time(), wall_ms=_wall_ms()
            )
        )

    def read_clock(self) -> int:
        """A reading of the hybrid clock of external records, above all before it."""
        return self.replica.read_clock(wall_ms=_wall_ms())

    # -- the member table -------------------------------------------------------------------

    def member_alive(self, name: str, node_id: NodeId, *, is_peer: bool) -> None:
        """A member with a node id joined, came back or changed."""
        self._carry_out(
            self.replica.member_alive(name, node_id, is_peer=is_peer, now=self._loop.time())
        )

    def member_failed(self, name: str) -> None:
        """A member was declared dead."""
        self._carry_out(self.replica.member_failed(name, now=self._loop.time()))

    def member_gone(self, name: str) -> None:
        """A member left or was reaped."""
        self._carry_out(self.replica.member_gone(name, now=self._loop.time()))

    # -- the network ------------------------------------------------------------------------

    def receive(self, payload: bytes, source: Address) -> None:
        """Take a direct message from another agent."""
        effects = self.replica.handle_message_untrusted(
            payload, now=self._loop.time(), wall_ms=_wall_ms()
        )
        self._carry_out(effects, source)

    def _carry_out(self, effects: Iterable[CatalogEffect], source: Address | None = None) -> None:
        for effect in effects:
            match effect:
                case SendCatalog():
                    self._outbox.post(MemberName(effect.to), effect.payload)
                case AnswerSource():
                    assert source is not None
                    self._outbox.post(source, effect.payload)
                case RecordChanged() | NodeBound() | NodeHealthChanged() | NodeUnbound():
                    self._view.apply(effect)
                    self._health_log.note(
                        effect, is_synced=self.replica.is_ready, now_utc=time.time()
                    )
                case _:
                    self._on_fact(effect)
        self._outbox.send_some()
        if self.replica.has_unsaved:
            self._on_unsaved()
        self._arm()

    def _arm(self) -> None:
        deadline_at = self.replica.next_deadline_at
        if self._timer is not None:
            if self._timer.when() == deadline_at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline_at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._carry_out(self.replica.handle_timer(now=self._loop.time(), wall_ms=_wall_ms()))


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000

"""TCP pings beside the probe rounds: does anybody listen at a member's address?

It keeps what is under way and what has ever been reached. Why somebody is dialled, and what an
outcome means, is decided by the callers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from gossip.config import SwimConfig
from gossip.swim import drops
from gossip.swim.effects import MessageDropped, OpenTcpPing
from gossip.swim.facts import Emit
from gossip.swim.table import Entry, MemberTable
from gossip.swim.versions import PMAX_TCP_PING, pmax
from gossip.types import Address, Incarnation, MemberName, SeqNo
from gossip.wire.messages import Ack, Alive, Ping

DIALS_MAX: Final = 128
"""Dials under way at once; more are not made."""

REFUSED: Final = "refused"
"""The shell's reason for a stream that was refused."""

Then = Callable[[bool, float], None]
"""Told whether the connection was refused, and when."""


@dataclass(frozen=True, slots=True)
class _Dial:
    entry: Entry
    address: Address
    incarnation: Incarnation
    seq_no: SeqNo
    then: Then


class Dialer:
    """Dials members. Invariant: at most `DIALS_MAX` dials are under way."""

    def __init__(
        self,
        config: SwimConfig,
        *,
        table: MemberTable,
        local: Callable[[], Alive],
        stream_ids: Iterator[int],
        emit: Emit,
    ) -> None:
        self._config, self._table, self._local = config, table, local
        self._stream_ids, self._emit = stream_ids, emit
        self._open: dict[int, _Dial] = {}

    def get_acquainted(self, entry: Entry, *, now: float) -> None:
        """Find out whether a member can be reached by TCP at all, unless that is known.

        Where a firewall refuses every connection, a refusal says nothing about the member.
        """
        if self._config.crash_evidence and not entry.tcp_reached:
            self.dial(entry, now=now, then=_ignore)

    def dial(self, entry: Entry, *, now: float, then: Then) -> None:
        """Ping a member by TCP; `then` is called once, at once if nothing can be dialled.

        An outcome counts as refused only while the member is the one that was dialled: at the same
        address and incarnation, not gone, and reached there by TCP before.
        """
        if not self._config.tcp_pings or pmax(entry.vsn) < PMAX_TCP_PING:
            then(False, now)
            return
        if len(self._open) >= DIALS_MAX:
            self._emit(MessageDropped(drops.DIALS_MAX, entry.name))
            then(False, now)
            return
        stream_id = next(self._stream_ids)
        local = self._local()
        seq_no = SeqNo(stream_id & 0xFFFF_FFFF)
        self._open[stream_id] = _Dial(entry, entry.address, entry.incarnation, seq_no, then)
        ping = Ping(seq_no, entry.name, local.addr, local.port, local.node)
        deadline_at = now + self._config.probe_timeout_s
        self._emit(OpenTcpPing(stream_id, entry.address, ping, deadline_at))

    def handle_ack(self, stream_id: int, ack: Ack, *, now: float) -> None:
        """The member answered, if the stream is one of ours."""
        dial = self._open.pop(stream_id, None)
        if dial is None:
            return
        if ack.seq_no == dial.seq_no and dial.entry.address == dial.address:
            dial.entry.tcp_reached = True
        dial.then(False, now)

    def handle_failure(self, stream_id: int, reason: str, *, now: float) -> None:
        """A stream was refused, timed out or broke, perhaps one of ours."""
        dial = self._open.pop(stream_id, None)
        if dial is not None:
            dial.then(reason == REFUSED and self._is_current(dial), now)

    def _is_current(self, dial: _Dial) -> bool:
        entry = dial.entry
        return (
            self._table.get(MemberName(entry.name)) is entry
            and not entry.is_gone
            and entry.tcp_reached
            and (entry.address, entry.incarnation) == (dial.address, dial.incarnation)
        )


def _ignore(_refused: bool, _now: float) -> None:
    """Only whether the member was reached is of interest, which its entry keeps."""

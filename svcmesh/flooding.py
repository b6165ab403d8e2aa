"""Servers of one data center bring each other into the WAN pool, as in Consul.

One of them is told a server of another data center; the others hear from gossip in the LAN that it
is in the WAN pool (the tag `wan_join_port`), and join it there.
"""

from collections.abc import Iterable
from typing import Final

from gossip.serf.events import Member, MemberStatus
from gossip.types import MemberName
from svcmesh.membership import wan_join_target, wan_name

RETRY_S: Final = 30.0
"""Between two attempts to join the same server."""

# Who has left is on its way out of the LAN too; if it has come back, it joins us.
_PRESENT: Final = (MemberStatus.ALIVE, MemberStatus.LEAVING, MemberStatus.LEFT)


class Flooding:
    """Decides whom to join; told the time, without I/O."""

    def __init__(self, *, node_name: str, datacenter: str) -> None:
        self._node_name, self._datacenter = node_name, datacenter
        self._tried_at: dict[str, float] = {}

    def targets(self, lan: Iterable[Member], wan: Iterable[Member], *, now: float) -> list[str]:
        """Where to join by now: servers of our LAN that are missing in the WAN."""
        standing = {member.name: member.status for member in wan}
        wanted: dict[str, str] = {}
        for member in lan:
            name = wan_name(member.name, self._datacenter)
            is_missing = standing.get(MemberName(name)) not in _PRESENT
            is_ours = member.name == self._node_name
            if is_missing and not is_ours and member.status is MemberStatus.ALIVE:
                target = wan_join_target(member)
                if target is not None and member.tags.get("dc") == self._datacenter:
                    wanted[name] = target
        due = [name for name in wanted if now - self._tried_at.get(name, -RETRY_S) >= RETRY_S]
        kept = {name: at for name, at in self._tried_at.items() if name in wanted}
        self._tried_at = kept | dict.fromkeys(due, now)
        return [f"{name}/{wanted[name]}" for name in due]

"""What an agent says of itself in its gossip tags, and whom it accepts in the LAN pool.

Tags and admission are those of a Consul LAN pool (gossip protocol, 12), so that a client agent of
ours passes for one of Consul's. The tag `svcmesh` marks members that understand catalog messages.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from gossip.serf.events import Member, MemberStatus

CONSUL_PROTOCOL: Final = "2"
SERVER_ROLE: Final = "consul"
CLIENT_ROLE: Final = "node"


def local_tags(
    *,
    version: str,
    node_id: str,
    datacenter: str,
    is_server: bool,
    server_port: int,
    bootstrap: bool,
    bootstrap_expect: int,
) -> dict[str, str]:
    """Tags of our own member in the LAN pool; all values are text."""
    tags = {
        "role": SERVER_ROLE if is_server else CLIENT_ROLE,
        "dc": datacenter,
        "segment": "",
        "id": node_id,
        "vsn": CONSUL_PROTOCOL,
        "vsn_min": "2",
        "vsn_max": "3",
        "build": f"{version}:",
        "acls": "0",
        "svcmesh": version,
    }
    if is_server:
        tags["port"] = str(server_port)
        if bootstrap:
            tags["bootstrap"] = "1"
        elif bootstrap_expect > 1:
            tags["expect"] = str(bootstrap_expect)
    return tags


def is_server(tags: Mapping[str, str]) -> bool:
    """Whether these are the tags of a server agent, Consul's included."""
    return tags.get("role") == SERVER_ROLE


def is_consul_server(tags: Mapping[str, str]) -> bool:
    """Whether these are the tags of a server that is a real Consul."""
    return is_server(tags) and "svcmesh" not in tags


class LanAdmission:
    """Decides on members of a join, and on every member newly heard of.

    Members without Consul's tags pass: plain Serf agents may take part.
    """

    def __init__(self, *, name: str, node_id: str, datacenter: str, is_server: bool) -> None:
        self._name, self._node_id = name, node_id
        self._datacenter, self._is_server = datacenter, is_server

    def __call__(self, members: Sequence[Member]) -> str | None:
        """The first reason to refuse any of `members`, None to admit them all."""
        return next(filter(None, map(self._refusal, members)), None)

    def _refusal(self, member: Member) -> str | None:
        tags = member.tags
        if member.status is MemberStatus.LEFT or tags.get("role") not in (SERVER_ROLE, CLIENT_ROLE):
            return None
        if tags.get("dc", "") != self._datacenter:
            return f"Member '{member.name}' part of wrong datacenter '{tags.get('dc', '')}'"
        if tags.get("segment", ""):
            return f"Member '{member.name}' part of segment '{tags['segment']}', expected ''"
        if (
            tags.get("id") == self._node_id
            and member.name != self._name
            and member.status is MemberStatus.ALIVE
        ):
            return f"Member '{member.name}' has conflicting node ID '{self._node_id}'"
        if self._is_server and is_consul_server(tags):
            # A real Consul server would make us a Raft voter.
            return (
                f"Member '{member.name}' is a Consul server: a svcmesh agent joins such a pool "
                "as a client only, without -server"
            )
        return None


def alive_servers(members: Iterable[Member]) -> list[tuple[str, Member]]:
    """(node id, member) of every alive server of ours, lowest id first."""
    found = [
        (member.tags.get("id", ""), member)
        for member in members
        if member.status is MemberStatus.ALIVE
        and is_server(member.tags)
        and not is_consul_server(member.tags)
    ]
    return sorted(found, key=lambda pair: pair[0])


def server_address(member: Member) -> str:
    """Where a server takes agent-to-agent RPC, as `host:port`."""
    host = f"[{member.address.host}]" if ":" in member.address.host else member.address.host
    return f"{host}:{member.tags.get('port', '8300')}"

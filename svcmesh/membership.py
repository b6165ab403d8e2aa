"""What an agent says of itself in its gossip tags, and whom it accepts in the LAN and WAN pools.

Tags and admission are those of Consul's pools (gossip protocol, 12), so that a client agent of ours
passes for one of Consul's, and a server for one in the WAN pool. The tag `svcmesh` marks members
that understand our own messages.
"""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Final

from gossip.serf.events import Member, MemberStatus
from gossip.types import Address
from svcmesh.goformats import join_host_port, parse_uint

CONSUL_PROTOCOL: Final = "2"
RAFT_VERSION: Final = "3"
SERVER_ROLE: Final = "consul"
SERVER_PORT_DEFAULT: Final = 8300
PORT_MAX: Final = 65535
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
    wan_join_port: int,
    wan_join_addr: str,
) -> dict[str, str]:
    """Tags of our own member in the LAN pool; all values are text.

    `wan_join_port` is where servers of our own data center find us in the WAN pool, -1 if we are
    not in it; `wan_join_addr` the address, empty if it is that of the LAN. Differs from Consul,
    whose servers always try the LAN's.
    """
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
        if wan_join_port > 0:
            tags["wan_join_port"] = str(wan_join_port)
            if wan_join_addr:
                tags["wan_join_addr"] = wan_join_addr
    return tags


def wan_tags(lan_tags: Mapping[str, str]) -> dict[str, str]:
    """Tags of a server in the WAN pool, from those in the LAN pool.

    Consul takes nobody for a server who does not say which Raft it speaks.
    """
    left_out = ("wan_join_port", "wan_join_addr")
    tags = {key: value for key, value in lan_tags.items() if key not in left_out}
    return tags | {"raft_vsn": RAFT_VERSION}


def wan_name(node_name: str, datacenter: str) -> str:
    """A server's name in the WAN pool."""
    return f"{node_name}.{datacenter}"


def is_server(tags: Mapping[str, str]) -> bool:
    """Whether these are the tags of a server agent, Consul's included."""
    return tags.get("role") == SERVER_ROLE


def is_consul_server(tags: Mapping[str, str]) -> bool:
    """Whether these are the tags of a server that is a real Consul."""
    return is_server(tags) and "svcmesh" not in tags


def port_of(tags: Mapping[str, str], name: str) -> int | None:
    """The port that a tag names; None if it does not."""
    port = number_of(tags, name)
    return port if port is not None and 0 < port <= PORT_MAX else None


def server_port(tags: Mapping[str, str]) -> int:
    """Where a server takes agent-to-agent RPC."""
    return port_of(tags, "port") or SERVER_PORT_DEFAULT


def number_of(tags: Mapping[str, str], name: str) -> int | None:
    """The number that a tag has; None if it has none. Anybody may be a member, with any tags."""
    try:
        return parse_uint(tags.get(name, ""))
    except ValueError:
        return None


def wan_join_target(member: Member) -> str | None:
    """Where a server of the LAN pool is found in the WAN pool, as a target to join."""
    port = port_of(member.tags, "wan_join_port")
    host = member.tags.get("wan_join_addr") or member.address.host
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if port is None or not is_server(member.tags):
        return None
    return join_host_port(str(address), port)


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


class WanAdmission:
    """Admits servers only, under the name that belongs to their data center."""

    def __init__(self, *, name: str, node_id: str, address: Address) -> None:
        """`name` and `address` are ours in the WAN pool."""
        self._name, self._node_id, self._address = name, node_id, address

    def __call__(self, members: Sequence[Member]) -> str | None:
        """The first reason to refuse any of `members`, None to admit them all."""
        return next(filter(None, map(self._refusal, members)), None)

    def _refusal(self, member: Member) -> str | None:
        if member.status is MemberStatus.LEFT:
            return None
        tags = member.tags
        if not is_server(tags) or port_of(tags, "port") is None:
            return f"Member '{member.name}' is not a server"
        if not member.name.endswith(f".{tags.get('dc', '')}"):
            return f"Member '{member.name}' is not named after its datacenter"
        is_other = tags.get("id") == self._node_id and member.name != self._name
        # At our own address it is ourselves under a former name.
        if is_other and member.status is MemberStatus.ALIVE and member.address != self._address:
            return f"Member '{member.name}' has conflicting node ID '{self._node_id}'"
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
    return join_host_port(member.address.host, server_port(member.tags))

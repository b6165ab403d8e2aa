"""`/v1/agent/...` about the agent itself: what it is, whom it knows, joining and leaving."""

import asyncio
import os
import platform
from collections import Counter
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from gossip.serf.events import Member, MemberStatus
from svcmesh.api.answers import ApiError
from svcmesh.api.coordinates import coordinate_json
from svcmesh.api.debug_config import debug_config
from svcmesh.api.facade import AgentFacade
from svcmesh.api.lists import Rows
from svcmesh.api.query import check_namespace
from svcmesh.api.responses import empty_response, json_response
from svcmesh.api.routing import Call, Router
from svcmesh.checks.definition import ScriptProbe, Ttl
from svcmesh.errors import ConfigError, JoinError, NobodyAnsweredError
from svcmesh.goformats import error_list
from svcmesh.membership import is_server, server_address

CONSUL_VERSION: Final = "1.8.7"
"""Whose API this is. Clients as Nomad and consul-esm go by it; ours follows as build metadata."""

HOSTS_MAX: Final = 20
"""Addresses in a line of `info`."""

_STATUS: Final = {
    MemberStatus.NONE: 0,
    MemberStatus.ALIVE: 1,
    MemberStatus.LEAVING: 2,
    MemberStatus.LEFT: 3,
    MemberStatus.FAILED: 4,
}
"""Serf's numbers for the states of a member."""

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}

Groups = dict[str, dict[str, str]]


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/agent/self", self_)
    router.add("GET", "/v1/agent/members", members)
    router.add("PUT", "/v1/agent/join/", join)
    router.add("PUT", "/v1/agent/leave", leave)
    router.add("PUT", "/v1/agent/reload", reload)


async def self_(call: Call) -> web.Response:
    """Configuration, member and statistics of this agent."""
    facade = call.facade
    config = facade.config
    where = facade.coordinates.of(config.node_name)
    return await json_response(
        call,
        {
            "Config": {
                "Datacenter": config.datacenter,
                "NodeName": config.node_name,
                "NodeID": facade.node_id,
                "Revision": "",
                "Server": config.server,
                "Version": f"{CONSUL_VERSION}+svcmesh.{facade.version}",
            },
            "DebugConfig": debug_config(config, node_id=facade.node_id, version=facade.version),
            "Coord": None if where is None else coordinate_json(where),
            "Member": member_json(facade.local_member()),
            "Stats": stats(facade),
            "Meta": {**config.node_meta, "consul-network-segment": ""},
        },
    )


async def members(call: Call) -> web.Response:
    """The member table by name; with `wan` that of the WAN pool, empty on a client agent."""
    check_namespace(call)
    if call.param("segment") not in (None, "", "_all"):
        raise ApiError(500, "Network segments are not supported")
    facade = call.facade
    found = facade.wan.members() if call.param("wan") else facade.members()
    table = sorted(found, key=lambda member: member.name)
    return await json_response(call, Rows(table, member_json))


async def join(call: Call) -> web.Response:
    """Join the cluster by one address; with `wan` a server of another data center."""
    if not call.rest:
        raise ApiError(500, "An address to join is missing")
    joins = call.facade.wan.join if call.param("wan") else call.facade.join
    try:
        await asyncio.shield(joins(call.rest))
    except NobodyAnsweredError as error:
        failed = [f"Failed to join {target}: {why}" for target, why in error.failures]
        raise ApiError(500, f"{error_list(failed)}\n\n") from error
    except JoinError as error:
        raise ApiError(500, str(error)) from error
    return empty_response()


async def leave(call: Call) -> web.Response:
    """Leave the cluster; the agent stops after the answer."""
    await asyncio.shield(call.facade.leave())
    return empty_response()


async def reload(call: Call) -> web.Response:
    """Read the configuration again; with `report` the answer says what came of it."""
    try:
        found = await asyncio.shield(call.facade.reloading.reload())
    except ConfigError as error:
        raise ApiError(500, str(error)) from error
    if call.param("report") is None:
        return empty_response()
    return await json_response(
        call,
        {
            "Applied": found.applied_lines(),
            "NeedsRestart": found.restart_lines(),
            "Warnings": list(found.config.warnings),
        },
    )


def member_json(member: Member) -> dict[str, object]:
    """A member as the API shows it."""
    versions = [*member.vsn, 0, 0, 0, 0, 0, 0]
    return {
        "Name": member.name,
        "Addr": member.address.host,
        "Port": member.address.port,
        "Tags": member.tags,
        "Status": _STATUS[member.status],
        "ProtocolMin": versions[0],
        "ProtocolMax": versions[1],
        "ProtocolCur": versions[2],
        "DelegateMin": versions[3],
        "DelegateMax": versions[4],
        "DelegateCur": versions[5],
    }


def stats(facade: AgentFacade) -> Groups:
    """The groups of `info`; every value is text."""
    table = facade.members()
    view, leader = facade.view, facade.leader()
    own = facade.local_member()
    is_leader = is_server(own.tags) and leader == server_address(own)
    counters, checks = facade.counters(), facade.local.table
    groups: dict[str, dict[str, object]] = {
        "agent": {
            "check_monitors": checks.count(ScriptProbe),
            "check_ttls": checks.count(Ttl),
            "checks": len(checks),
            **checks.counters,
            "services": len(facade.local.services),
        },
        "build": {"prerelease": "", "revision": "", "version": facade.version},
        "catalog": {
            **counters["catalog"],
            "agrees": "unknown" if (agrees := facade.consistency.agrees) is None else agrees,
            "lag_ms": round(facade.consistency.lag_s * 1000),
            "index": view.index,
            "nodes": len(view.nodes()),
            "ready": facade.is_ready,
        },
        "config": {**facade.reloading.stats()},
        "consul": {
            "acl": "disabled",
            "known_datacenters": len(facade.wan.datacenters()),
            "leader": is_leader,
            "leader_addr": leader,
            "server": facade.config.server,
        },
        "dns": {**counters["dns"]},
        "gossip": {**counters["gossip"]},
        "rpc": {**counters["rpc"], **_callers(facade)},
        "runtime": {
            "arch": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "cpu_count": os.cpu_count() or 1,
            "os": platform.system().lower(),
            "version": f"python{platform.python_version()}",
        },
        "serf_lan": {
            **facade.gossip_stats(),
            "encrypted": facade.is_encrypted(),
            **_counts(table),
        },
    }
    if wan_stats := facade.wan.stats():
        groups["serf_wan"] = {**wan_stats, **_counts(facade.wan.members())}
    return {
        name: {key: _text(value) for key, value in sorted(group.items())}
        for name, group in groups.items()
    }


def _counts(table: Sequence[Member]) -> dict[str, int]:
    return {
        "failed": sum(member.status is MemberStatus.FAILED for member in table),
        "left": sum(member.status is MemberStatus.LEFT for member in table),
        "members": len(table),
    }


def _callers(facade: AgentFacade) -> dict[str, object]:
    """Who calls this agent, and who of them does so in plain: to see how far a change-over is."""
    callers, expires = facade.calls.callers(), facade.calls.certificate_expires_utc
    hosts = Counter(callers.plain_hosts).most_common(HOSTS_MAX)
    return {
        "connections": callers.connections,
        "connections_plain": len(callers.plain_hosts),
        **({"plain_from": ", ".join(host for host, _ in hosts)} if hosts else {}),
        **({"certificate_expires": f"{expires:%Y-%m-%dT%H:%M:%SZ}"} if expires else {}),
    }


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

"""`/v1/agent/consistency`: whether this agent has what its peers have. Not in Consul."""

import time
from collections.abc import Callable

from aiohttp import web

from svcmesh.api.responses import json_response
from svcmesh.api.routing import Call, Router
from svcmesh.catalog.agreement import Version
from svcmesh.consistency import NamedDifference, PeerReport, Report
from svcmesh.goformats import instant_string


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/agent/consistency", consistency)


async def consistency(call: Call) -> web.Response:
    """What the comparisons with each peer have shown."""
    report = call.facade.consistency.report()
    node = call.facade.config.node_name
    return await json_response(call, report_json(report, node=node, now_utc=time.time()))


def report_json(report: Report, *, node: str, now_utc: float) -> dict[str, object]:
    """A report as the API shows it."""

    def instant(ago_s: float) -> str:
        return instant_string(now_utc - ago_s)

    return {
        "Node": node,
        "Agrees": report.agrees,
        "Since": instant(report.since_s),
        "LagSeconds": round(report.lag_s, 3),
        "Fingerprint": f"{report.fingerprint:016x}",
        "Ready": report.is_ready,
        "Peers": [_peer_json(peer, instant) for peer in report.peers],
    }


def _peer_json(peer: PeerReport, instant: Callable[[float], str]) -> dict[str, object]:
    was_compared = peer.agrees is not None
    return {
        "Node": peer.name,
        "Agrees": peer.agrees,
        "Since": instant(peer.since_s) if was_compared else None,
        "Compared": instant(peer.compared_s) if was_compared else None,
        "DifferingBuckets": peer.differing_buckets,
        "Differences": [_difference_json(one, instant) for one in peer.differences],
    }


def _difference_json(one: NamedDifference, instant: Callable[[float], str]) -> dict[str, object]:
    return {
        "Node": one.node,
        "External": one.is_external,
        "Ours": _version_json(one.ours),
        "Theirs": _version_json(one.theirs),
        "WeLack": one.we_lack,
        "Since": instant(one.age_s),
    }


def _version_json(version: Version) -> dict[str, int]:
    return {"Epoch": version.epoch, "Sequence": version.sequence}

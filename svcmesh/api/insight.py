"""`/v1/agent/why/...` and `/v1/agent/doctor`: what an agent knows about its pool. Not in Consul."""

from typing import Final

from aiohttp import web

from gossip.serf.events import MemberStatus
from gossip.swim.history import Accusation
from svcmesh.api.answers import ApiError
from svcmesh.api.responses import json_response
from svcmesh.api.routing import Call, Router
from svcmesh.doctor import Examination, MemberReport
from svcmesh.goformats import instant_string
from svcmesh.insight import Standing, sentence

_FORGOTTEN: Final = "forgotten"


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/agent/why/", why)
    router.add("GET", "/v1/agent/doctor", doctor)


async def why(call: Call) -> web.Response:
    """One member's status, and who said what about it when and why."""
    name = call.rest
    standing = call.facade.insight.why(name)
    if standing is None:
        raise ApiError(404, f'No member is called "{name}", and nothing is remembered of one')
    return await json_response(call, standing_json(name, standing))


async def doctor(call: Call) -> web.Response:
    """How every other member can be reached from here; what is wrong comes first."""
    report = await call.facade.insight.examine()
    return await json_response(call, report_json(call.facade.config.node_name, report))


def report_json(node: str, report: Examination) -> dict[str, object]:
    """An examination as the API shows it."""
    return {
        "Node": node,
        "Healthy": report.is_healthy,
        "Problems": list(report.problems),
        "LoopLagMs": _ms(report.loop_lag_s),
        "ClockDriftMs": _ms(report.clock_drift_s),
        "HealthScore": report.health_score,
        "Encryption": report.key,
        "Members": [_member_json(member) for member in report.members],
    }


def _member_json(report: MemberReport) -> dict[str, object]:
    found = report.diagnosis
    return {
        "Node": found.name,
        "Address": str(found.address),
        "Failed": report.is_failed,
        "UdpRttMs": None if found.udp_rtt_s is None else _ms(found.udp_rtt_s),
        "UdpLost": found.udp_lost,
        "DatagramBytes": found.datagram_bytes,
        "TcpRttMs": None if found.tcp_rtt_s is None else _ms(found.tcp_rtt_s),
        "TcpError": found.tcp_error,
        "Encryption": report.seal,
        "Problems": list(report.problems),
    }


def _ms(duration_s: float) -> float:
    return round(duration_s * 1000, 2)


def standing_json(name: str, standing: Standing) -> dict[str, object]:
    """A member's standing as the API shows it."""
    member = standing.member
    status = MemberStatus(member.status).name.lower() if member is not None else _FORGOTTEN
    return {
        "Node": name,
        "Status": status,
        "Address": str(member.address) if member is not None else "",
        "Incarnation": int(member.incarnation) if member is not None else 0,
        "Timeline": [_step_json(at_utc, step) for at_utc, step in standing.timeline],
    }


def _step_json(at_utc: float, step: Accusation) -> dict[str, object]:
    return {
        "At": instant_string(at_utc),
        "Step": step.step.value,
        "By": step.by,
        "Reason": step.reason.value if step.reason is not None else "",
        "Incarnation": int(step.incarnation),
        "Text": sentence(step),
    }

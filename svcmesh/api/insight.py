"""`/v1/agent/why/...`: what this agent knows about the standing of a member. Not in Consul."""

from typing import Final

from aiohttp import web

from gossip.serf.events import MemberStatus
from gossip.swim.history import Accusation
from svcmesh.api.answers import ApiError
from svcmesh.api.responses import json_response
from svcmesh.api.routing import Call, Router
from svcmesh.goformats import instant_string
from svcmesh.insight import Standing, sentence

_FORGOTTEN: Final = "forgotten"


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/agent/why/", why)


async def why(call: Call) -> web.Response:
    """One member's status, and who said what about it when and why."""
    name = call.rest
    standing = call.facade.insight.why(name)
    if standing is None:
        raise ApiError(404, f'No member is called "{name}", and nothing is remembered of one')
    return await json_response(call, standing_json(name, standing))


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

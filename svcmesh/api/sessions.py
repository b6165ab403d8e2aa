"""`/v1/session/...`: sessions, which locks hang on."""

from typing import Any, Final
from uuid import uuid4

from aiohttp import web

from svcmesh.api.answers import ApiError
from svcmesh.api.bodies import read_bytes, read_json
from svcmesh.api.query import check_namespace
from svcmesh.api.responses import dress, json_response
from svcmesh.api.routing import Call, Router
from svcmesh.api.storing import ask, guarded
from svcmesh.api.uuids import uuid_problem
from svcmesh.catalog.view_rows import SERF_CHECK_ID
from svcmesh.consensus.store import CommandKind, Session
from svcmesh.goformats import parse_duration

TTL_S_MIN: Final = 10.0
TTL_S_MAX: Final = 86_400.0
LOCK_DELAY_S_DEFAULT: Final = 15.0
SECONDS_BELOW: Final = 1000
"""A lock delay that is a smaller plain number is in seconds, a larger one in nanoseconds."""

BEHAVIORS: Final = ("release", "delete")


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("PUT", "/v1/session/create", create)
    router.add("PUT", "/v1/session/destroy/", destroy)
    router.add("PUT", "/v1/session/renew/", renew)
    router.add("GET", "/v1/session/info/", info)
    router.add("GET", "/v1/session/node/", node)
    router.add("GET", "/v1/session/list", list_)


async def create(call: Call) -> web.Response:
    """Begin a session; its id."""
    check_namespace(call)
    body: object = {}
    if (await read_bytes(call.request)).strip():
        body = await read_json(call.request)
    if body is None:
        body = {}
    if not isinstance(body, dict):
        raise ApiError(400, "Request decode failed: expected an object")
    session = _session(call, {str(key).lower(): value for key, value in body.items()})
    write = call.facade.store.service.write
    session_id = await guarded(write(CommandKind.SESSION_CREATE, session.pack()))
    return await json_response(call, {"ID": session_id})


async def destroy(call: Call) -> web.Response:
    """End a session; one that is not there has ended."""
    check_namespace(call)
    session_id = _id(call)
    write = call.facade.store.service.write
    await guarded(write(CommandKind.SESSION_DESTROY, [session_id, True]))
    return await json_response(call, True)


async def renew(call: Call) -> web.Response:
    """Give a session its whole time again."""
    check_namespace(call)
    session_id = _id(call)
    packed = await guarded(call.facade.store.service.renew(session_id))
    if packed is None:
        raise ApiError(404, f"Session id '{session_id}' not found")
    return await json_response(call, [session_json(Session.unpack(packed))])


async def info(call: Call) -> web.Response:
    """One session, in a list."""
    session_id = _id(call)
    answer, headers = await ask(call, "session.get", session_id)
    return await _answer(call, [answer.value] if answer.value else [], headers)


async def node(call: Call) -> web.Response:
    """The sessions of a node."""
    if not call.rest:
        raise ApiError(400, "Missing node name")
    answer, headers = await ask(call, "session.node", call.rest)
    return await _answer(call, answer.value, headers)


async def list_(call: Call) -> web.Response:
    """All sessions."""
    answer, headers = await ask(call, "session.list")
    return await _answer(call, answer.value, headers)


def session_json(session: Session) -> dict[str, object]:
    """A session as the API shows it."""
    service_checks = [{"ID": check, "Namespace": space} for check, space in session.service_checks]
    return {
        "ID": session.id,
        "Name": session.name,
        "Node": session.node,
        "LockDelay": session.lock_delay_ns,
        "Behavior": session.behavior,
        "TTL": session.ttl,
        "NodeChecks": list(session.node_checks),
        "ServiceChecks": service_checks or None,
        "CreateIndex": session.create_index,
        "ModifyIndex": session.modify_index,
    }


async def _answer(call: Call, packed: list[Any], headers: dict[str, str]) -> web.Response:
    sessions = [session_json(Session.unpack(one)) for one in packed]
    body, headers = await dress(call, sessions, headers)
    return web.Response(body=body, headers=headers)


def _id(call: Call) -> str:
    if not call.rest:
        raise ApiError(400, "Missing session")
    if problem := uuid_problem(call.rest):
        raise ApiError(500, f"failed session lookup: index error: {problem}")
    return call.rest


def _session(call: Call, body: dict[str, Any]) -> Session:
    """The session that a body asks for.

    Raises:
        ApiError: 400 for a field that is of another type, 500 for one that Consul refuses.
    """
    node_name = _text(body, "node") or call.agent_name
    behavior = _text(body, "behavior") or "release"
    if behavior not in BEHAVIORS:
        raise ApiError(500, f"Invalid Behavior setting '{behavior}'")
    ttl = _text(body, "ttl")
    if ttl:
        try:
            ttl_s = parse_duration(ttl)
        except ValueError as error:
            raise ApiError(500, f"Session TTL '{ttl}' invalid: {error}") from None
        if ttl_s and not TTL_S_MIN <= ttl_s <= TTL_S_MAX:
            ttl_ns = round(ttl_s * 1e9)
            raise ApiError(500, f"Invalid Session TTL '{ttl_ns}', must be between [10s=24h0m0s]")
    node_checks = _texts(body, "nodechecks")
    if node_checks is None:
        node_checks = [SERF_CHECK_ID]
        if (extra := _texts(body, "checks")) is not None:
            # The old field names the checks besides; an empty one means none at all.
            node_checks = [*node_checks, *(c for c in extra if c != SERF_CHECK_ID)] if extra else []
    service_checks = tuple(
        (str(check.get("ID", "")), str(check.get("Namespace", "")))
        for check in body.get("servicechecks") or ()
        if isinstance(check, dict)
    )
    session = Session(
        id=str(uuid4()),
        name=_text(body, "name"),
        node=node_name,
        node_checks=tuple(node_checks),
        service_checks=service_checks,
        lock_delay_ns=_lock_delay_ns(body.get("lockdelay")),
        behavior=behavior,
        ttl=ttl,
    )
    _check_wellness(call, session)
    return session


def _check_wellness(call: Call, session: Session) -> None:
    found = call.facade.view.node(session.node)
    if found is None:
        raise ApiError(500, "Missing node registration")
    statuses = {check.record.id: check.record.status for check in found.all_checks()}
    for check in (*session.node_checks, *(check for check, _ in session.service_checks)):
        if check not in statuses:
            raise ApiError(500, f"Missing check '{check}' registration")
        if statuses[check] == "critical":
            raise ApiError(500, f"Check '{check}' is in critical state")


def _lock_delay_ns(value: object) -> int:
    match value:
        case None:
            return int(LOCK_DELAY_S_DEFAULT * 1e9)
        case int() | float() if not isinstance(value, bool):
            return int(value * 1e9) if value < SECONDS_BELOW else int(value)
        case str():
            try:
                return int(parse_duration(value) * 1e9)
            except ValueError as error:
                raise ApiError(400, f"Request decode failed: {error}") from None
        case _:
            # Consul's decoder takes anything else for zero.
            return 0


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ApiError(400, f"Request decode failed: {name}: expected text")
    return value


def _texts(body: dict[str, Any], name: str) -> list[str] | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ApiError(400, f"Request decode failed: {name}: expected a list of text")
    return value

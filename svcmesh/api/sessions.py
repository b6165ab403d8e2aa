"""`/v1/session/...`: sessions, which locks hang on."""

from typing import Any, Final
from uuid import uuid4

from aiohttp import web

from svcmesh.api.answers import ApiError
from svcmesh.api.bodies import read_bytes, read_json
from svcmesh.api.query import check_namespace, read_options
from svcmesh.api.responses import dress, json_response
from svcmesh.api.routing import Call, Router
from svcmesh.api.storing import ask, guarded
from svcmesh.api.uuids import uuid_problem
from svcmesh.catalog.view_rows import SERF_CHECK_ID
from svcmesh.consensus.store import CommandKind, Session
from svcmesh.goformats import duration_string, parse_duration
from svcmesh.jsonvalues import FieldError, Fields

TTL_S_MAX: Final = 86_400.0
LOCK_DELAY_S_DEFAULT: Final = 15.0
SECONDS_BELOW: Final = 1000
"""A lock delay that is a smaller plain number is in seconds, a larger one in nanoseconds."""

INT64_END: Final = 2**63

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
    # A session may be asked for without a body.
    body = await read_json(call.request) if await read_bytes(call.request) else None
    try:
        session = _session(call, Fields(body))
    except FieldError as error:
        raise ApiError(400, str(error)) from error
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
    read_options(call)
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
    older = {"Checks": list(session.older_checks)} if session.older_checks else {}
    return {
        "ID": session.id,
        "Name": session.name,
        "Node": session.node,
        "LockDelay": session.lock_delay_ns,
        "Behavior": session.behavior,
        "TTL": session.ttl,
        "NodeChecks": list(session.node_checks),
        "ServiceChecks": service_checks or None,
        **older,
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


def _session(call: Call, fields: Fields) -> Session:
    """The session that a body asks for. Fields that are not known go without a word, as in Consul.

    Raises:
        FieldError: A field is of another type.
        ApiError: 500 for what Consul refuses.
    """
    node_name = fields.given_string("Node")
    fields.string("ID")  # sessions are given theirs
    behavior = fields.string("Behavior") or "release"
    ttl = fields.string("TTL")
    node_checks, older_checks = _node_checks(fields)
    session = Session(
        id=str(uuid4()),
        name=fields.string("Name"),
        node=call.agent_name if node_name is None else node_name,
        node_checks=node_checks,
        service_checks=_service_checks(fields),
        lock_delay_ns=_lock_delay_ns(fields),
        behavior=behavior,
        ttl=ttl,
        older_checks=older_checks,
    )
    if not session.node:
        raise ApiError(500, "Must provide Node")
    if behavior not in BEHAVIORS:
        raise ApiError(500, f"Invalid Behavior setting '{behavior}'")
    if ttl:
        _check_ttl(ttl, least_s=call.facade.config.session_ttl_min_s)
    _check_wellness(call, session)
    return session


def _node_checks(fields: Fields) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What ends the session: the checks of `NodeChecks`, and those of the older field `Checks`.

    As in Consul: either is `serfHealth` unless given, and an empty one empties both. The older
    ones are kept apart, since a client that gives them so reads them there again.
    """
    checks, older = (
        fields.strings(key) if fields.has(key) else (SERF_CHECK_ID,)
        for key in ("NodeChecks", "Checks")
    )
    if not checks or not older:
        return (), ()
    return checks, () if older == (SERF_CHECK_ID,) else older


def _service_checks(fields: Fields) -> tuple[tuple[str, str], ...]:
    """Id and namespace of each check of a service."""
    found = []
    for check in fields.nested_list("ServiceChecks"):
        if check is None:
            found.append(("", ""))
        else:
            found.append((check.string("ID"), check.string("Namespace")))
    return tuple(found)


def _check_ttl(ttl: str, *, least_s: float) -> None:
    try:
        ttl_s = parse_duration(ttl)
    except ValueError as error:
        raise ApiError(500, f"Session TTL '{ttl}' invalid: {error}") from None
    if ttl_s and not least_s <= ttl_s <= TTL_S_MAX:
        between = f"[{duration_string(least_s)}={duration_string(TTL_S_MAX)}]"
        ttl_ns = round(ttl_s * 1e9)
        raise ApiError(500, f"Invalid Session TTL '{ttl_ns}', must be between {between}")


def _check_wellness(call: Call, session: Session) -> None:
    found = call.facade.view.node(session.node)
    if found is None:
        raise ApiError(500, "Missing node registration")
    statuses = {check.record.id: check.record.status for check in found.all_checks()}
    for check in session.check_ids:
        if check not in statuses:
            raise ApiError(500, f"Missing check '{check}' registration")
        if statuses[check] == "critical":
            raise ApiError(500, f"Check '{check}' is in critical state")


def _lock_delay_ns(fields: Fields) -> int:
    """The lock delay: text, nanoseconds, or whole seconds if it is a smaller number (as Consul)."""
    given = fields.take(["lockdelay"])
    value = given[0][1] if given else None
    match value:
        case None:
            return int(LOCK_DELAY_S_DEFAULT * 1e9)
        case int() | float() if not isinstance(value, bool):
            delay_ns = int(value)
            delay_ns = delay_ns * 10**9 if delay_ns < SECONDS_BELOW else delay_ns
        case str():
            try:
                delay_ns = int(parse_duration(value) * 1e9)
            except ValueError as error:
                raise FieldError(f"Request decode failed: {error}") from None
        case _:
            # Consul's decoder takes anything else for zero.
            return 0
    if abs(delay_ns) >= INT64_END:
        raise FieldError("Request decode failed: LockDelay: out of range")
    return delay_ns

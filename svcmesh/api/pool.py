"""What an operator does to the gossip pools: their keys, and members forced to leave."""

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from gossip import KeyOperation, KeyReport, StateError, TooLargeError
from svcmesh.api.answers import ApiError
from svcmesh.api.bodies import DECODE_FAILED, read_json
from svcmesh.api.responses import empty_response, json_response
from svcmesh.api.routing import Call, Handler, Router
from svcmesh.errors import UnknownMemberError
from svcmesh.goformats import error_list, parse_bool
from svcmesh.jsonvalues import FieldError, Fields
from svcmesh.membership import wan_name

RELAY_FACTOR_MAX: Final = 5
_LAN, _WAN = "LAN", "WAN"


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/operator/keyring", list_keys)
    for method, operation in (
        ("POST", KeyOperation.INSTALL),
        ("PUT", KeyOperation.USE),
        ("DELETE", KeyOperation.REMOVE),
    ):
        router.add(method, "/v1/operator/keyring", _change(operation))
    router.add("PUT", "/v1/agent/force-leave/", force_leave)


async def list_keys(call: Call) -> web.Response:
    """How many members have each key, and how many encrypt with it."""
    relay_factor = _relay_factor(call)
    pools = [_LAN] if _local_only(call) else _pools(call, [_WAN, _LAN])
    datacenter = call.facade.view.datacenter
    reports = {pool: await _ask(call, pool, KeyOperation.LIST, b"", relay_factor) for pool in pools}
    _refuse_incomplete(reports, datacenter)
    return await json_response(
        call, [_ring(report, pool, datacenter) for pool, report in reports.items()]
    )


def _ring(report: KeyReport, pool: str, datacenter: str) -> dict[str, object]:
    ring: dict[str, object] = {
        "WAN": pool == _WAN,
        "Datacenter": datacenter,
        "Segment": "",
        "Keys": dict(sorted(report.keys.items())),
        "PrimaryKeys": dict(sorted(report.primary_keys.items())),
        "NumNodes": report.members,
    }
    if report.notes:
        ring["Messages"] = dict(report.notes)
    return ring


def _change(operation: KeyOperation) -> Handler:
    async def change(call: Call) -> web.Response:
        relay_factor = _relay_factor(call)
        if _local_only(call):
            raise ApiError(
                400,
                "Bad request: Invalid use of local-only: "
                "local-only can only be set for list requests",
            )
        key = await _key(call)
        has_own_key = call.facade.config.encrypt_wan is not None
        for pool in _pools(call, [_LAN] if has_own_key else [_WAN, _LAN]):
            report = await _ask(call, pool, operation, key, relay_factor)
            # Nothing more is changed where that has failed.
            _refuse_incomplete({pool: report}, call.facade.view.datacenter)
        return empty_response()

    return change


async def force_leave(call: Call) -> web.Response:
    """Have a failed member listed as left; with `prune` have it forgotten.

    In the LAN pool under its name, in the WAN pool under its name or `name.datacenter`. Differs
    from Consul 1.8, which refuses the name of a server in another data center.
    """
    facade, name, prunes = call.facade, call.rest, "prune" in call.params
    wan = facade.wan.pool
    attempts = [] if "wan" in call.params else [(facade.pool, name)]
    if wan is not None:
        attempts += [(wan, name), (wan, wan_name(name, facade.view.datacenter))]
    known = 0
    for pool, wanted in attempts:
        try:
            pool.force_leave(wanted, prune=prunes)
            known += 1
        except UnknownMemberError:
            continue
        except StateError as error:
            raise ApiError(500, str(error)) from error
    if not known:
        raise ApiError(500, str(UnknownMemberError(name)))
    return empty_response()


def _pools(call: Call, unless_told: list[str]) -> list[str]:
    """The pools that are meant; with `wan`, which Consul does not have, the WAN's only."""
    wan = call.facade.wan.pool
    if "wan" in call.params:
        if wan is None:
            raise ApiError(500, "this agent is not in the WAN pool")
        return [_WAN]
    return [pool for pool in unless_told if pool == _LAN or wan is not None]


async def _ask(
    call: Call, pool: str, operation: KeyOperation, key: bytes, relay_factor: int
) -> KeyReport:
    found = call.facade.wan.pool if pool == _WAN else call.facade.pool
    assert found is not None
    try:
        return await found.change_keys(operation, key, relay_factor=relay_factor)
    except (StateError, TooLargeError) as error:
        raise ApiError(500, str(error)) from error


def _refuse_incomplete(reports: Mapping[str, KeyReport], datacenter: str) -> None:
    """Refuse what members of some pool have not done.

    Raises:
        ApiError: 500, with who failed and why, as Consul lists it.
    """
    lines = [
        line
        for pool, report in reports.items()
        if not report.is_complete
        for line in _problems(report, pool, datacenter)
    ]
    if lines:
        raise ApiError(500, f"{error_list(lines)}\n\n")


def _problems(report: KeyReport, pool: str, datacenter: str) -> list[str]:
    if report.failures:
        lines = [f"{len(report.failures)}/{report.members} nodes reported failure"]
    else:
        lines = [f"{report.answers}/{report.members} nodes reported success"]
    where = pool if pool == _WAN else f"{datacenter} ({pool})"
    lines[0] = f"{where} error: {lines[0]}"
    lines += [f"{name}: {why}" for name, why in sorted(report.failures.items())]
    return lines


async def _key(call: Call) -> bytes:
    try:
        fields = Fields(await read_json(call.request, failed=f"Bad request: {DECODE_FAILED}"))
        text = fields.string("Key")
        fields.finish()
    except FieldError as error:
        raise ApiError(400, f"Bad request: {error}") from error
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(500, f"the key is not base64: {error}") from error


def _relay_factor(call: Call) -> int:
    text = call.param("relay-factor")
    if not text:
        return 0
    try:
        factor = int(text)
    except ValueError:
        raise ApiError(400, f"Bad request: Error parsing relay factor: {text!r}") from None
    if not 0 <= factor <= RELAY_FACTOR_MAX:
        raise ApiError(
            400,
            "Bad request: Invalid relay-factor: "
            f"Relay factor must be in range: [0, {RELAY_FACTOR_MAX}]",
        )
    return factor


def _local_only(call: Call) -> bool:
    text = call.param("local-only")
    if not text:
        return False
    try:
        return parse_bool(text)
    except ValueError:
        raise ApiError(400, f"Bad request: Error parsing local-only: {text!r}") from None

"""Query parameters that many endpoints share, with Consul's rules and words."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from svcmesh.api.answers import ApiError
from svcmesh.api.lists import RowTest
from svcmesh.api.routing import Call
from svcmesh.catalog.health import has_node_meta
from svcmesh.catalog.view_rows import NodeRow
from svcmesh.coordinates import distance_key
from svcmesh.datacenters import NoPathError
from svcmesh.filters import FilterError, Schema, compile_filter
from svcmesh.goformats import parse_bool, parse_duration, parse_uint

FILTER_PROBLEM: Final = "Failed to create boolean expression evaluator"

_IN_SECONDS: Final = ("max-age", "stale-if-error")
_SECONDS: Final = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
"""What Consul reads as an integer of 64 bits, but for the largest."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a read of the catalog is to be answered."""

    index: int = 0
    """Wait until what is read has changed since this index; 0: answer at once."""
    wait_s: float = 0.0
    consistency: str = "leader"
    """As the answer reports it. Every mode is answered from local memory."""
    is_cached: bool = False


def read_options(call: Call) -> ReadOptions:
    """Read the parameters of blocking queries and consistency modes.

    Raises:
        ApiError: 400 or 500, in Consul's words.
    """
    check_namespace(call)
    index, wait_s = wait_options(call)
    is_cached = "cached" in call.params
    consistency = _consistency(call, is_cached=is_cached)
    cache_control(call)
    return ReadOptions(index, wait_s, consistency, is_cached)


def wait_options(call: Call) -> tuple[int, float]:
    """Read the index to wait for, 0 without one, and the seconds to wait at most.

    Raises:
        ApiError: 400, in Consul's words.
    """
    config = call.facade.config
    index, wait_s = 0, config.default_query_time_s
    if text := call.param("index"):
        try:
            index = parse_uint(text)
        except ValueError:
            raise ApiError(400, "Invalid index") from None
    if text := call.param("wait"):
        try:
            given_s = parse_duration(text)
        except ValueError:
            raise ApiError(400, "Invalid wait time") from None
        wait_s = min(given_s, config.max_query_time_s) if given_s > 0 else wait_s
    return index, wait_s


def _consistency(call: Call, *, is_cached: bool) -> str:
    is_stale, is_consistent = "stale" in call.params, "consistent" in call.params
    if text := call.param("max_stale"):
        try:
            bound_s = parse_duration(text)
        except ValueError:
            raise ApiError(400, f'Invalid max_stale value "{text}"') from None
        # Ours is never stale by more than the replication takes: any bound is met.
        is_stale = is_stale or bound_s > 0
    if is_stale and is_consistent:
        raise ApiError(400, "Cannot specify ?stale with ?consistent, conflicting semantics.")
    if is_cached and is_consistent:
        raise ApiError(400, "Cannot specify ?cached with ?consistent, conflicting semantics.")
    if is_stale:
        return "stale"
    return "consistent" if is_consistent else "leader"


def cache_control(call: Call) -> dict[str, float]:
    """Read what header field `Cache-Control` says, by directive; 0.0 where that has no seconds.

    Raises:
        ApiError: 400, in Consul's words.
    """
    said: dict[str, float] = {}
    for part in call.request.headers.get("Cache-Control", "").lower().split(","):
        name, has_value, value = part.strip().partition("=")
        said[name] = 0.0
        if has_value and name in _IN_SECONDS:
            if not _SECONDS.fullmatch(value):
                raise ApiError(400, "Invalid Cache-Control header.")
            said[name] = max(0.0, float(value))
    return said


def check_datacenter(call: Call) -> None:
    """Refuse a data center other than our own, for what is too large to be carried.

    Raises:
        ApiError: 501, it is another one; 500, there is none of this name.
    """
    wanted = call.param("dc")
    if wanted and wanted.lower() != call.facade.view.datacenter.lower():
        if wanted.lower() not in (name.lower() for name in call.facade.wan.datacenters()):
            raise ApiError(500, str(NoPathError()))
        raise ApiError(501, f"This is for agents of datacenter {wanted}: ask one of them")


def check_namespace(call: Call) -> None:
    """Refuse a namespace, as a Consul that has none does.

    Raises:
        ApiError: 400, there is one.
    """
    if call.param("ns"):
        raise ApiError(400, 'Bad request: Invalid query parameter: "ns" - there are no namespaces')


def row_filter(call: Call, schema: Schema) -> RowTest | None:
    """The test of a row that parameter `filter` asks for; None when it asks for none.

    Raises:
        ApiError: 500, it is no filter for these rows.
    """
    expression = call.param("filter")
    if not expression:
        return None
    try:
        return compile_filter(expression, schema)
    except FilterError as error:
        raise ApiError(500, f"{FILTER_PROBLEM}: {error}") from None


def near(call: Call) -> Callable[[str], float] | None:
    """How far a node of some name is from the one of parameter `near`; None when not given."""
    origin = call.param("near")
    if not origin:
        return None
    name = call.agent_name if origin == "_agent" else origin
    return distance_key(call.facade.coordinates.of, name)


def node_meta(call: Call) -> Callable[[NodeRow], bool] | None:
    """Whether a node has the metadata of `node-meta=key:value`, repeated; None: any will do."""
    wanted = {}
    for text in call.params.get("node-meta", ()):
        key, _, value = text.partition(":")
        wanted[key] = value
    return (lambda node: has_node_meta(node, wanted)) if wanted else None


def all_of(*tests: RowTest | None) -> RowTest | None:
    """One test that holds when all of these do; None, like an absent one, always holds."""
    together: RowTest | None = None
    for test in tests:
        if test is not None:
            together = test if together is None else _both(together, test)
    return together


def _both(first: RowTest, second: RowTest) -> RowTest:
    return lambda row: first(row) and second(row)


def flag(call: Call, name: str) -> bool:
    """A parameter that is a boolean, or true when it stands alone.

    Raises:
        ApiError: 400 for another value.
    """
    text = call.param(name)
    if text is None:
        return False
    try:
        return parse_bool(text) if text else True
    except ValueError:
        raise ApiError(400, f"Invalid value for ?{name}") from None

"""Query parameters that many endpoints share, with Consul's rules and words.

What Consul would do and we cannot yet is refused, never ignored: `filter`, `near` and `ns`.
"""

from dataclasses import dataclass
from typing import Final

from svcmesh.api.answers import ApiError
from svcmesh.api.routing import Call
from svcmesh.goformats import parse_bool, parse_duration

WAIT_S_DEFAULT: Final = 300.0
WAIT_S_MAX: Final = 600.0

_INDEX_MAX: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a read of the catalog is to be answered."""

    index: int = 0
    """Wait until what is read has changed since this index; 0: answer at once."""
    wait_s: float = WAIT_S_DEFAULT
    consistency: str = "leader"
    """As the answer reports it. Every mode is answered from local memory."""
    is_cached: bool = False


def read_options(call: Call) -> ReadOptions:
    """Read the parameters of blocking queries and consistency modes.

    Raises:
        ApiError: 400 or 500, in Consul's words.
    """
    refuse_unbuilt(call)
    check_datacenter(call)
    index = 0
    if text := call.param("index"):
        if not text.isascii() or not text.isdigit() or int(text) > _INDEX_MAX:
            raise ApiError(400, "Invalid index")
        index = int(text)
    wait_s = WAIT_S_DEFAULT
    if text := call.param("wait"):
        try:
            given_s = parse_duration(text)
        except ValueError:
            raise ApiError(400, "Invalid wait time") from None
        wait_s = min(given_s, WAIT_S_MAX) if given_s > 0 else WAIT_S_DEFAULT
    is_cached = "cached" in call.params
    return ReadOptions(index, wait_s, _consistency(call, is_cached=is_cached), is_cached)


def _consistency(call: Call, *, is_cached: bool) -> str:
    is_stale, is_consistent = "stale" in call.params, "consistent" in call.params
    if text := call.param("max_stale"):
        try:
            parse_duration(text)
        except ValueError:
            raise ApiError(400, f'Invalid max_stale value "{text}"') from None
        # Ours is never stale by more than the replication takes: any bound is met.
        is_stale = is_stale or not is_consistent
    if is_stale and is_consistent:
        raise ApiError(400, "Cannot specify ?stale with ?consistent, conflicting semantics.")
    if is_cached and is_consistent:
        raise ApiError(400, "Cannot specify ?cached with ?consistent, conflicting semantics.")
    if is_stale:
        return "stale"
    return "consistent" if is_consistent else "leader"


def check_datacenter(call: Call, datacenter: str | None = None) -> None:
    """Refuse a data center other than our own; by default the one of parameter `dc`."""
    wanted = call.param("dc") if datacenter is None else datacenter
    if wanted and wanted.lower() != call.facade.view.datacenter.lower():
        raise ApiError(500, "No path to datacenter")


def refuse_unbuilt(call: Call) -> None:
    """Refuse parameters that would change the answer and are not built.

    Raises:
        ApiError: 501, or 400 for a namespace, as a Consul that has none.
    """
    if call.param("ns"):
        raise ApiError(400, 'Bad request: Invalid query parameter: "ns" - there are no namespaces')
    if call.param("filter"):
        raise ApiError(501, "filter expressions are not supported yet")
    if call.param("near"):
        raise ApiError(501, "sorting by network distance (near) is not supported yet")


def node_meta(call: Call) -> dict[str, str]:
    """Metadata that nodes must have: `node-meta=key:value`, repeated."""
    wanted = {}
    for text in call.params.get("node-meta", ()):
        key, _, value = text.partition(":")
        wanted[key] = value
    return wanted


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

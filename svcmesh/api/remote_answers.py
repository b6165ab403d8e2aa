"""Answers of other data centers, kept for a while: for who takes a cached one, and for outages.

Only answers about the catalog are kept, never those of the consistent store: whoever reads a lock
must not read an old one. What a client says of it is Consul's: `?cached`, and in `Cache-Control`
`max-age`, `must-revalidate` and `stale-if-error`. A kept answer says its age, and one that is given
because nobody can be reached says that too.
"""

from collections import OrderedDict
from dataclasses import dataclass
from time import monotonic
from typing import Final

from aiohttp import web

from svcmesh.api.query import cache_control
from svcmesh.api.routing import Call

FRESH_S: Final = 2.0
"""How old a cached answer may be if the client says nothing of it."""
KEPT_BYTES_MAX: Final = 8 * 1024 * 1024
ANSWER_BYTES_MAX: Final = 1024 * 1024
OVERHEAD_BYTES: Final = 2048

STALE_WARNING: Final = '111 svcmesh "the data center cannot be reached"'
"""RFC 7234, 5.5.2."""

Key = tuple[str, str, bool]
"""Data center, target, and whether the client takes gzip."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """Which kept answers a client takes."""

    is_cached: bool
    """Whether any but a new one."""
    age_s_max: float
    stale_s_max: float
    """The same while nobody can be reached; 0: none."""


def freshness(call: Call) -> Freshness:
    """What a request says of it, and the configuration (`discovery_max_stale`).

    Raises:
        ApiError: 400, what it says cannot be read.
    """
    if "consistent" in call.params:
        return Freshness(is_cached=False, age_s_max=0.0, stale_s_max=0.0)
    said = cache_control(call)
    is_cached = "cached" in call.params
    age_s_max = said.get("max-age", FRESH_S)
    if "must-revalidate" in said:
        age_s_max = 0.0
    stale_s_max = call.facade.config.discovery_max_stale_s
    if is_cached:
        stale_s_max = max(stale_s_max, said.get("stale-if-error", 0.0))
    return Freshness(is_cached, age_s_max, stale_s_max)


class RemoteAnswers:
    """Kept answers, the least recently used go first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, tuple[float, web.Response]] = OrderedDict()
        """And when they were got."""
        self._bytes = 0

    def fresh(self, key: Key, wanted: Freshness) -> web.Response | None:
        """The answer that a client takes without anybody being asked."""
        if not wanted.is_cached:
            return None
        return self._answer(key, wanted.age_s_max)

    def stale(self, key: Key, wanted: Freshness) -> web.Response | None:
        """The answer that a client takes while nobody can be asked."""
        response = self._answer(key, wanted.stale_s_max) if wanted.stale_s_max > 0 else None
        if response is not None:
            headers = response.headers
            headers["Warning"] = STALE_WARNING
            headers["X-Consul-KnownLeader"] = "false"
            headers["X-Consul-LastContact"] = str(int(headers["Age"]) * 1000)
            headers["X-Consul-Effective-Consistency"] = "stale"
        return response

    def keep(self, key: Key, response: web.Response, wanted: Freshness) -> web.Response:
        """Keep a new answer; it, to send."""
        if response.status == web.HTTPOk.status_code and _size(response) <= ANSWER_BYTES_MAX:
            self._drop(key)
            self._kept[key] = (monotonic(), _copy(response))
            self._bytes += _size(response)
            while self._bytes > KEPT_BYTES_MAX:
                self._drop(next(iter(self._kept)))
        # The other side says what its own cache did, which is none.
        response.headers.pop("Age", None)
        if wanted.is_cached:
            response.headers["X-Cache"] = "MISS"
        return response

    def _answer(self, key: Key, age_s_max: float) -> web.Response | None:
        at, kept = self._kept.get(key, (0.0, None))
        if kept is None:
            return None
        age_s = monotonic() - at
        if age_s > age_s_max:
            return None
        self._kept.move_to_end(key)
        response = _copy(kept)
        response.headers["X-Cache"] = "HIT"
        response.headers["Age"] = str(int(age_s))
        return response

    def _drop(self, key: Key) -> None:
        _, kept = self._kept.pop(key, (0.0, None))
        if kept is not None:
            self._bytes -= _size(kept)


def _copy(response: web.Response) -> web.Response:
    return web.Response(status=response.status, body=response.body, headers=response.headers)


def _size(response: web.Response) -> int:
    assert isinstance(response.body, bytes)
    return len(response.body) + OVERHEAD_BYTES

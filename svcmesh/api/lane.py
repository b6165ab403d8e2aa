"""The fast lane for single keys: plain reads and writes, from the request's bytes to the answer's.

`GET /v1/kv/KEY` and `PUT /v1/kv/KEY` without parameters, from a client whose header fields aiohttp
has parsed before, byte for byte. Nothing is kept of answers: what is read is read from the store at
the moment when it is known to be fresh. Everything else, and whatever is odd, takes the ordinary
way (`kv.py`), which says the same, only slower.
"""

import logging
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from svcmesh.api.access import AccessRules
from svcmesh.api.answers import COMPRESS_BYTES_MIN, JSON_HEADERS, TEXT_HEADERS, json_bytes
from svcmesh.api.facade import AgentFacade
from svcmesh.api.framing import Frame, Responses, head_of
from svcmesh.api.kv import entry_json
from svcmesh.consensus.service import NoLeaderError
from svcmesh.consensus.store import Answer

logger = logging.getLogger("http")

CLIENTS_MAX: Final = 1024
"""Sets of header fields that are remembered."""

_TARGET: Final = re.compile(rb"/v1/kv/([A-Za-z0-9_~-][A-Za-z0-9_.~/:@!$,=-]*)")
_UNCLEAN: Final = (b"//", b"/.")
"""In a path that the ordinary way would answer with a redirection."""

AnswerWith = Callable[[bytes | None], None]
"""Takes the response; None: the request is to take the ordinary way after all."""


class KeyLane:
    """Judges which requests it takes, and answers them."""

    def __init__(self, facade: AgentFacade, rules: AccessRules, responses: Responses) -> None:
        self.answers = 0
        """How many requests were answered."""
        self._facade, self._rules, self._responses = facade, rules, responses
        self._clients: dict[bytes, bool] = {}
        """Header fields that aiohttp has taken; whether the client takes gzip."""
        self._written = self._head(200, JSON_HEADERS, b"true")
        self._read_headers = {**JSON_HEADERS, "X-Consul-Effective-Consistency": "leader"}

    def learn(self, frame: Frame, *, takes_gzip: bool) -> None:
        """A request has been parsed and was one: others with its header fields are, too."""
        if len(self._clients) >= CLIENTS_MAX:
            del self._clients[next(iter(self._clients))]
        self._clients[frame.fields] = takes_gzip

    def begin(self, frame: Frame, answer: AnswerWith) -> bool:
        """Take a whole request: `answer` is called once, now or later. False: it is not taken."""
        takes_gzip = self._clients.get(frame.fields)
        if takes_gzip is None:
            return False
        target = _TARGET.fullmatch(frame.target)
        if target is None or any(part in frame.target for part in _UNCLEAN):
            return False
        # At debug level every request is a line in the log.
        if not self._rules.is_open or logger.isEnabledFor(logging.DEBUG):
            return False
        key, began_at = target[1].decode(), time.perf_counter()
        service = self._facade.store.service
        if frame.method == b"GET":
            return service.begin_read(
                partial(self._read, key, takes_gzip=takes_gzip, began_at=began_at, answer=answer)
            )
        done = partial(self._write, began_at=began_at, answer=answer)
        return service.begin_set(key, frame.body, done)

    def _read(
        self,
        key: str,
        is_fresh: bool,
        *,
        takes_gzip: bool,
        began_at: float,
        answer: AnswerWith,
    ) -> None:
        entry = self._facade.store.service.find_key(key) if is_fresh else None
        if entry is None:
            answer(None)
            return
        body = json_bytes([entry_json(entry)])
        if takes_gzip and len(body) >= COMPRESS_BYTES_MIN:
            answer(None)
            return
        headers = {
            **self._read_headers,
            "X-Consul-Index": str(entry.modify_index),
            "X-Consul-KnownLeader": "true",
            "X-Consul-LastContact": "0",
        }
        self._finish("http.GET.v1.kv._", began_at, self._head(200, headers, body), body, answer)

    def _write(self, outcome: Answer | Exception, *, began_at: float, answer: AnswerWith) -> None:
        match outcome:
            case ["ok", True]:
                head, body = self._written, b"true"
            case NoLeaderError():
                # Nothing was done: there may be a leader by now.
                answer(None)
                return
            case ["error", str() as problem]:
                head, body = self._failed(problem)
            case _:
                head, body = self._failed(str(outcome))
        self._finish("http.PUT.v1.kv._", began_at, head, body, answer)

    def _failed(self, problem: str) -> tuple[bytes, bytes]:
        self._facade.metrics.count("http.errors", (("status", "500"),))
        body = problem.encode("utf-8", "replace")
        return self._head(500, TEXT_HEADERS, body), body

    def _head(self, status: int, headers: dict[str, str], body: bytes) -> bytes:
        return head_of(status, {**headers, **self._rules.headers}, len(body))

    def _finish(
        self, metric: str, began_at: float, head: bytes, body: bytes, answer: AnswerWith
    ) -> None:
        self.answers += 1
        self._facade.metrics.sample(metric, (time.perf_counter() - began_at) * 1000)
        self._responses.turn_clock()
        answer(self._responses.dated(head, body))

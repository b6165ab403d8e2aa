"""What a peer may call, and its calls on one connection while they are worked on."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from svcmesh.rpc.errors import RpcError
from svcmesh.rpc.frames import Body, Kind

logger = logging.getLogger("rpc")

DEADLINE_S_MAX: Final = 3600.0
"""Longest that a call may take, whatever its caller says."""
METHOD_SHOWN_MAX: Final = 100
"""Characters of an unknown method's name that its caller is told."""

Reply = Callable[[Body], None]


def seconds_untrusted(seconds: float, *, most_s: float) -> float:
    """Bound a duration that a peer sent. Not a number is none: it would upset the loop's timers."""
    return min(float(seconds), most_s) if seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Methods:
    """What a peer may call. A call gets the body and the seconds left, and returns the answer."""

    calls: Mapping[str, Callable[[Body, float], Awaitable[Body]]]
    notes: Mapping[str, Callable[[Body], None]]
    servers_only: frozenset[str] = frozenset()
    """Those of both that only servers may call."""
    direct: Mapping[str, Callable[[Body, Reply], bool]] = field(default_factory=dict)
    """For methods in `calls` too: one that can do without a task replies, once, now or later, and
    returns True; it may return False, having done nothing."""


NO_METHODS: Final = Methods({}, {})


class Answer(Protocol):
    """Sends an answer; `at_once`: without waiting for what else is said in this turn."""

    def __call__(self, frame: list[Body], /, *, at_once: bool = False) -> None: ...


class ServedCalls:
    """Calls of one peer, at most `count_max` at a time; `on_ended` is called after each."""

    def __init__(
        self,
        methods: Methods,
        count_max: int,
        *,
        counters: Counter[str],
        answer: Answer,
        on_ended: Callable[[], None],
    ) -> None:
        self._methods, self._count_max = methods, count_max
        self._counters, self._answer, self._on_ended = counters, answer, on_ended
        self.is_server = True
        """Whether the peer may call what servers call."""
        self._working: set[asyncio.Task[None]] = set()
        self._replying: set[Reply] = set()
        """Calls that a direct method has taken. Not by their ids: those are the peer's to choose,
        and the same again would be one."""

    def __len__(self) -> int:
        return len(self._working) + len(self._replying)

    def serve(self, call_id: int, method: str, body: Body, timeout_s: float) -> None:
        """Work on a call, or answer why not."""
        call = self._methods.calls.get(method)
        if call is None:
            self._answer_error(call_id, "unknown-method", method[:METHOD_SHOWN_MAX])
        elif not self._may_call(method):
            self._answer_error(call_id, "not-a-server", f"{method} is for servers only")
        elif len(self) >= self._count_max:
            self._counters["dropped.overloaded"] += 1
            self._answer_error(call_id, "overloaded", "too many calls at once")
        elif not self._serve_directly(call_id, method, body):
            seconds_left = seconds_untrusted(timeout_s, most_s=DEADLINE_S_MAX)
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._work(call_id, call(body, seconds_left)))
            self._working.add(task)
            task.add_done_callback(self._end_work)

    def take_note(self, method: str, body: Body) -> None:
        """Do what a note says; nobody waits for it."""
        note = self._methods.notes.get(method)
        if note is None:
            self._counters["dropped.unknown-note"] += 1
        elif self._may_call(method):
            try:
                note(body)
            except Exception:
                # As in `_work`; and a stranger must not be able to end a connection by a note.
                self._note_failure("note")

    def cancel(self) -> None:
        """The connection has ended: nobody hears the answers."""
        for task in self._working:
            task.cancel()

    def _serve_directly(self, call_id: int, method: str, body: Body) -> bool:
        direct = self._methods.direct.get(method)
        if direct is None:
            return False

        def reply(answer: Body) -> None:
            self._replying.discard(reply)
            self._answer([Kind.ANSWER, call_id, answer], at_once=True)
            self._on_ended()

        self._replying.add(reply)
        try:
            is_taken = direct(body, reply)
        except Exception:
            # As in `_work`.
            self._note_failure("call")
            self._replying.discard(reply)
            self._answer_error(call_id, "internal", "internal error")
            return True
        if not is_taken:
            self._replying.discard(reply)
        return is_taken

    async def _work(self, call_id: int, work: Awaitable[Body]) -> None:
        try:
            self._answer([Kind.ANSWER, call_id, await work])
        except RpcError as error:
            self._answer_error(call_id, error.code, error.text)
        except Exception:
            # One method's fault must not take the others down; the caller learns that it failed.
            self._note_failure("call")
            self._answer_error(call_id, "internal", "internal error")

    def _note_failure(self, what: str) -> None:
        """Log the exception that is being handled, and count it."""
        self._counters[f"failed.{what}"] += 1
        logger.exception("a %s failed", what)

    def _end_work(self, task: "asyncio.Task[None]") -> None:
        self._working.discard(task)
        self._on_ended()

    def _answer_error(self, call_id: int, code: str, text: str) -> None:
        self._answer([Kind.ERROR, call_id, code, text])

    def _may_call(self, method: str) -> bool:
        if self.is_server or method not in self._methods.servers_only:
            return True
        self._counters["dropped.not-a-server"] += 1
        return False

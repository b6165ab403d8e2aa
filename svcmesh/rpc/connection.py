"""One connection: frames in and out, calls that wait for answers, methods that are called.

Nothing that a peer sends raises: a frame that is none, larger than the bound or never finished
costs the connection. A peer that does not read costs bounded memory: we stop reading its calls,
refuse ours, drop notes, and hang up when it takes nothing for a while.
"""

import asyncio
import logging
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, NamedTuple

import msgpack

from svcmesh.errors import SvcmeshError
from svcmesh.rpc.errors import RpcClosedError, RpcError, RpcRefusedError, RpcTimeoutError

logger = logging.getLogger("rpc")

_LENGTH: Final = struct.Struct(">I")
_CALL, _ANSWER, _ERROR, _NOTE, _ABOUT = range(5)
HELLO, READY, REFUSED, LEAVING = "hello", "ready", "refused", "leaving"

DEADLINE_S_MAX: Final = 3600.0
"""Longest that a call may take, whatever its caller says."""
LEAVING_S: Final = 15.0
"""From asking the peer to use another connection to reading no more of it."""
LEAVING_S_MAX: Final = 660.0
"""For what is under way then: more than a query may wait."""
SMALL_BYTES: Final = 8 * 1024
"""Frames up to this size are unpacked without a look at what is in them."""
OVERDUE_S_MIN: Final = 0.01
"""Between two looks at whose deadline has passed; a call may be told so much later."""
LARGE_BYTES: Final = 256 * 1024
"""Who holds less than this of our memory is not looked at twice."""

Body = Any
"""What msgpack carries; methods check what they get."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """Of one connection."""

    frame_bytes_max: int = 16 * 1024 * 1024
    """Of a frame from who was dialled: an answer."""
    call_bytes_max: int = 4 * 1024 * 1024
    """Of a frame from who dialled, a call. Far below 22 * 2^24, which would look like TLS."""
    call_containers_max: int = 20_000
    """Lists and maps in such a frame: a byte each, but a hundred when they are unpacked."""
    calls_max: int = 4096
    """Calls of the peer that are being worked on; more are refused."""
    waiting_max: int = 16_384
    """Our calls without an answer."""
    unsent_bytes_max: int = 32 * 1024 * 1024
    """Written but not taken by the network; beyond it nothing more is written."""
    paused_bytes: int = 1024 * 1024
    """Likewise; beyond it we read no more from whoever dialled us, until a quarter is left."""
    stall_s: float = 30.0
    """Who takes nothing for this long, or begins a frame and sends no more of it, is lost."""


Reply = Callable[[Body], None]
Ended = Callable[[Body, SvcmeshError | None], None]
"""Takes the answer to a call of ours, or what `call` would have raised."""


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


class _Callback:
    """In the place of a future: what comes of a call is told at once, and not in a later turn."""

    __slots__ = ("_ended", "_is_done")

    def __init__(self, ended: Ended) -> None:
        self._ended, self._is_done = ended, False

    def done(self) -> bool:
        return self._is_done

    def set_result(self, body: Body) -> None:
        self._is_done = True
        self._ended(body, None)

    def set_exception(self, error: SvcmeshError) -> None:
        self._is_done = True
        self._ended(None, error)


class _Waiting(NamedTuple):
    """A call of ours without an answer yet."""

    answer: asyncio.Future[Body] | _Callback
    ends_at: float
    method: str


NO_METHODS: Final = Methods({}, {})


def _pack_about(word: str, text: str) -> bytes:
    packed: bytes = msgpack.packb([_ABOUT, word, text])
    return packed


def refusal_frame(text: str) -> bytes:
    """What whoever is not let in is told."""
    packed = _pack_about(REFUSED, text)
    return _LENGTH.pack(len(packed)) + packed


class Connection(asyncio.Protocol):
    """One end of a connection. `on_lost` is called once, when it has ended."""

    def __init__(
        self,
        methods: Methods = NO_METHODS,
        *,
        bounds: Bounds | None = None,
        counters: Counter[str] | None = None,
        dialled: bool = True,
        on_made: Callable[["Connection", asyncio.Transport], None] = lambda _, __: None,
        on_lost: Callable[["Connection"], None] = lambda _: None,
        on_large: Callable[["Connection"], None] = lambda _: None,
    ) -> None:
        """Make one that has no transport yet.

        Args:
            methods: What the peer may call.
            bounds: Of memory and patience.
            counters: Where to count.
            dialled: Whether it is ours: then nothing is sent before the peer is ready. Only who was
                dialled stops reading when its answers are not taken, so never both.
            on_made: Told before anything is read.
            on_lost: Told once, if `on_made` was.
            on_large: Told when this connection holds much of our memory (`held_bytes`).
        """
        self._methods, self._bounds = methods, bounds or Bounds()
        sizes = self._bounds.call_bytes_max, self._bounds.frame_bytes_max
        self._bytes_out_max, self._bytes_in_max = sizes if dialled else reversed(sizes)
        self._counters: Counter[str] = Counter() if counters is None else counters
        self._on_made, self._on_lost, self._on_large = on_made, on_lost, on_large
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._dialled = dialled
        self.is_server = True
        """Whether the peer may call what servers call."""
        self._buffer = bytearray()
        self._unwritten: list[bytes] = []
        self._unwritten_bytes = self._written_bytes = 0
        self._next_id = 0
        self._waiting: dict[int, _Waiting] = {}
        self._overdue: asyncio.TimerHandle | None = None
        """At the earliest deadline of our calls, or before it. One timer for all: nearly all are
        answered in time, and a timer each would cost a fifth of a call."""
        self._working: set[asyncio.Task[None]] = set()
        self._replying: set[int] = set()
        """Calls of the peer that a direct method has taken."""
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._is_leaving = self._reads_no_more = False
        self._timers: list[asyncio.TimerHandle] = []
        """Of leaving."""
        self._unfinished: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return not self._is_leaving and self._transport is not None and not self._is_closing

    @property
    def held_bytes(self) -> int:
        """Memory that this peer costs us: what it has not finished, and what it does not take."""
        transport = self._transport
        unsent = 0 if transport is None else transport.get_write_buffer_size()
        return len(self._buffer) + self._unwritten_bytes + unsent

    # -- calling --------------------------------------------------------------------------------

    async def call(self, method: str, body: Body, *, timeout_s: float) -> Body:
        """Call the peer and return its answer.

        Raises:
            RpcError: The peer answered with one.
            RpcRefusedError: It was not sent.
            RpcClosedError, RpcTimeoutError: What became of it is unknown.
        """
        answer: asyncio.Future[Body] = self._loop.create_future()
        call_id = self._begin(method, body, answer, timeout_s)
        try:
            return await answer
        finally:
            self._end(call_id)

    def begin_call(self, method: str, body: Body, ended: Ended, *, timeout_s: float) -> None:
        """Call the peer, at once and without a task; `ended` is called once.

        Raises:
            RpcRefusedError: It was not sent, and `ended` will not be called.
        """

        def end(answer: Body, error: SvcmeshError | None) -> None:
            self._end(call_id)
            ended(answer, error)

        call_id = self._begin(method, body, _Callback(end), timeout_s)
        self._flush()

    def _begin(
        self, method: str, body: Body, answer: asyncio.Future[Body] | _Callback, timeout_s: float
    ) -> int:
        if len(self._waiting) >= self._bounds.waiting_max:
            raise RpcRefusedError("too many calls wait for answers")
        self._next_id += 1
        call_id = self._next_id
        self._send([_CALL, call_id, method, body, int(timeout_s * 1000)])
        ends_at = self._loop.time() + timeout_s
        self._waiting[call_id] = _Waiting(answer, ends_at, method)
        if self._overdue is None or ends_at < self._overdue.when():
            self._look_for_overdue_at(ends_at)
        return call_id

    def _end(self, call_id: int) -> None:
        del self._waiting[call_id]
        if self._is_leaving:
            self._close_when_idle()

    def note(self, method: str, body: Body, *, at_once: bool = False) -> bool:
        """Tell the peer; False when it was dropped.

        With `at_once` it does not wait for what else is said in this turn of the loop.
        """
        try:
            self._send([_NOTE, method, body])
        except RpcRefusedError:
            return False
        if at_once:
            self._flush()
        return True

    async def ready(self) -> None:
        """Wait until the peer has taken the connection that we dialled.

        Raises:
            RpcRefusedError: It has not.
        """
        await asyncio.shield(self._ready)

    def leave(self) -> None:
        """End the connection without ending a call: no new ones, please.

        Our own calls are waited for; of the peer's, those that come within `LEAVING_S`.
        """
        if self._is_leaving:
            return
        self._is_leaving = True
        if self._dialled:
            self._close_when_idle()
        else:
            self._say(LEAVING)
            self._timers.append(self._loop.call_later(LEAVING_S, self._stop_reading))

    def _stop_reading(self) -> None:
        self._reads_no_more = True
        if self._transport is not None:
            self._transport.pause_reading()
        self._timers.append(self._loop.call_later(LEAVING_S_MAX, self.close))
        self._close_when_idle()

    def _close_when_idle(self) -> None:
        is_over = self._is_leaving and (self._dialled or self._reads_no_more)
        if is_over and not (self._waiting or self._working or self._replying):
            self.close()

    def close(self) -> None:
        """End the connection; calls that wait end with it."""
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def abort(self) -> None:
        """End it at once, whatever the peer has not taken yet."""
        if self._transport is not None:
            self._transport.abort()

    def drop(self, reason: str) -> None:
        """End it at once, and count why."""
        self._counters[f"dropped.{reason}"] += 1
        self._buffer = bytearray()
        self.abort()

    def _look_for_overdue_at(self, at: float) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
        self._overdue = self._loop.call_at(at, self._give_up_overdue)

    def _give_up_overdue(self) -> None:
        self._overdue = None
        now, next_at = self._loop.time(), inf
        for waiting in list(self._waiting.values()):
            if waiting.answer.done():
                continue
            if waiting.ends_at <= now:
                text = f"{waiting.method}: no answer in time"
                waiting.answer.set_exception(RpcTimeoutError(text))
            else:
                next_at = min(next_at, waiting.ends_at)
        if next_at < inf:
            self._look_for_overdue_at(max(next_at, now + OVERDUE_S_MIN))

    # -- writing ----------------------------------------------------------------------------------

    @property
    def _is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def _send(self, frame: list[Body]) -> None:
        """Write a frame of ours, or refuse."""
        if self._is_closing:
            raise RpcRefusedError("not connected")
        packed = msgpack.packb(frame)
        if len(packed) > self._bytes_out_max:
            raise RpcRefusedError(f"too large for a call: {len(packed)} bytes")
        if not self._has_room(len(packed)):
            self._counters["dropped.unsent"] += 1
            raise RpcRefusedError("the peer does not read")
        self._write(packed)

    def _answer(self, frame: list[Body]) -> None:
        """Write an answer, or end the connection: its caller would wait for it in vain."""
        if self._is_closing:
            return
        packed = msgpack.packb(frame)
        if len(packed) > self._bytes_out_max:
            self._counters["dropped.answer-too-large"] += 1
            packed = msgpack.packb([_ERROR, frame[1], "too-large", f"{len(packed)} bytes"])
        if self._has_room(len(packed)):
            self._write(packed)
        else:
            self.drop("unsent")

    def _say(self, word: str, text: str = "") -> None:
        if not self._is_closing:
            self._write(_pack_about(word, text))

    def _has_room(self, size: int) -> bool:
        assert self._transport is not None
        unsent = self._transport.get_write_buffer_size() + self._unwritten_bytes
        if unsent > LARGE_BYTES:
            self._on_large(self)
        return unsent + size <= self._bounds.unsent_bytes_max

    def _write(self, packed: bytes) -> None:
        # All frames of one turn of the loop go out together: one system call, one TLS record.
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        self._unwritten.append(_LENGTH.pack(len(packed)))
        self._unwritten.append(packed)
        self._unwritten_bytes += _LENGTH.size + len(packed)

    def _flush(self) -> None:
        transport = self._transport
        if self._unwritten and transport is not None and not transport.is_closing():
            self._written_bytes += self._unwritten_bytes
            transport.write(b"".join(self._unwritten))
        self._unwritten.clear()
        self._unwritten_bytes = 0

    # -- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, with TLS its handshake included."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        bounds = self._bounds
        self._on_made(self, transport)
        transport.set_write_buffer_limits(high=bounds.paused_bytes, low=bounds.paused_bytes // 4)
        if not self._dialled:
            self._say(READY)
        elif transport.get_extra_info("sslcontext") is None:
            self._say(HELLO)

    def connection_lost(self, exc: Exception | None) -> None:
        """Over: whoever waits for an answer is told."""
        self._transport = None
        for timer in (self._unfinished, self._stalled, self._overdue, *self._timers):
            if timer is not None:
                timer.cancel()
        self._refuse(exc)
        for waiting in list(self._waiting.values()):
            if not waiting.answer.done():
                error = RpcClosedError("the connection ended before the answer")
                waiting.answer.set_exception(error)
        for task in self._working:
            task.cancel()
        self._on_lost(self)

    def pause_writing(self) -> None:
        """The peer does not take what we write."""
        if not self._dialled and self._transport is not None:
            self._transport.pause_reading()
        self._watch_stall(self._taken_bytes())

    def resume_writing(self) -> None:
        """It does again."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        if not self._dialled and not self._is_closing and not self._reads_no_more:
            assert self._transport is not None
            self._transport.resume_reading()

    def _taken_bytes(self) -> int:
        assert self._transport is not None
        return self._written_bytes - self._transport.get_write_buffer_size()

    def _watch_stall(self, taken_before: int) -> None:
        def look() -> None:
            if self._transport is not None:
                if self._taken_bytes() <= taken_before:
                    self.drop("stalled")
                else:
                    self._watch_stall(self._taken_bytes())

        self._stalled = self._loop.call_later(self._bounds.stall_s, look)

    # -- reading ----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take in bytes, and act on every whole frame."""
        buffer = self._buffer
        if self._unfinished is not None:
            self._unfinished.cancel()
            self._unfinished = None
        source: bytes | bytearray = data
        if buffer:
            buffer += data
            source = buffer
        at, size = 0, len(source)
        while size - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(source, at)
            if length > self._bytes_in_max:
                self.drop("frame-too-large")
                return
            end = at + _LENGTH.size + length
            if size < end:
                break
            if not self._take_frame_untrusted(source[at + _LENGTH.size : end]):
                self.drop("frame-unreadable")
                return
            at = end
        if source is buffer:
            del buffer[:at]
        else:
            buffer += data[at:]
        if buffer:
            self._unfinished = self._loop.call_later(
                self._bounds.stall_s, self.drop, "frame-unfinished"
            )
            if len(buffer) > LARGE_BYTES:
                self._on_large(self)

    def _take_frame_untrusted(self, frame: bytes | bytearray) -> bool:
        """Act on a frame; False when it is none."""
        try:
            parts = self._unpack_untrusted(frame)
        except (ValueError, TypeError, msgpack.UnpackException):
            # TypeError: a list as the key of a map.
            return False
        match parts:
            case [0, int() as call_id, str() as method, body, int() as milliseconds]:
                self._serve(call_id, method, body, milliseconds / 1000)
            case [1, int() as call_id, body]:
                self._resolve(call_id, body, None)
            case [2, int() as call_id, str() as code, str() as text]:
                self._resolve(call_id, None, RpcError(code, text))
            case [3, str() as method, body]:
                self._take_note(method, body)
            case [4, str() as word, str() as text]:
                self._hear(word, text)
            case _:
                return False
        return True

    def _unpack_untrusted(self, frame: bytes | bytearray) -> Body:
        if self._dialled or len(frame) <= SMALL_BYTES:
            return msgpack.unpackb(frame, strict_map_key=False)
        count = self._bounds.call_containers_max

        def counted(container: Body) -> Body:
            nonlocal count
            count -= 1
            if count < 0:
                raise ValueError("too many lists and maps")
            return container

        return msgpack.unpackb(frame, strict_map_key=False, list_hook=counted, object_hook=counted)

    def _hear(self, word: str, text: str) -> None:
        match word:
            case "ready" if not self._ready.done():
                self._ready.set_result(None)
            case "refused":
                # It ends up in logs.
                said = "".join(one if one.isprintable() else "?" for one in text[:200])
                self._refuse(RpcRefusedError(f'it refused us: "{said}"'))
                self.close()
            case "leaving":
                self.leave()
            case _:
                # A hello, and what later releases may say.
                return

    def _refuse(self, why: Exception | None) -> None:
        """Whoever waits for the peer to be ready need not any more."""
        if not self._ready.done():
            error = why or RpcRefusedError("it hung up before it was ready")
            self._ready.set_exception(error)
            self._ready.exception()  # Nobody may be waiting.

    # -- being called -----------------------------------------------------------------------------

    def _serve(self, call_id: int, method: str, body: Body, timeout_s: float) -> None:
        call = self._methods.calls.get(method)
        if call is None:
            self._answer([_ERROR, call_id, "unknown-method", method[:100]])
        elif not self._may_call(method):
            self._answer([_ERROR, call_id, "not-a-server", f"{method} is for servers only"])
        elif len(self._working) + len(self._replying) >= self._bounds.calls_max:
            self._counters["dropped.overloaded"] += 1
            self._answer([_ERROR, call_id, "overloaded", "too many calls at once"])
        elif not self._serve_directly(call_id, method, body):
            seconds_left = min(max(timeout_s, 0.0), DEADLINE_S_MAX)
            task = self._loop.create_task(self._work(call_id, call(body, seconds_left)))
            self._working.add(task)
            task.add_done_callback(self._end_work)

    def _serve_directly(self, call_id: int, method: str, body: Body) -> bool:
        direct = self._methods.direct.get(method)
        if direct is None:
            return False

        def reply(answer: Body) -> None:
            self._replying.discard(call_id)
            self._answer([_ANSWER, call_id, answer])
            self._flush()
            self._close_when_idle()

        self._replying.add(call_id)
        try:
            is_taken = direct(body, reply)
        except Exception:
            # As in `_work`.
            logger.exception("a call failed")
            self._replying.discard(call_id)
            self._answer([_ERROR, call_id, "internal", "internal error"])
            return True
        if not is_taken:
            self._replying.discard(call_id)
        return is_taken

    async def _work(self, call_id: int, work: Awaitable[Body]) -> None:
        try:
            self._answer([_ANSWER, call_id, await work])
        except RpcError as error:
            self._answer([_ERROR, call_id, error.code, error.text])
        except Exception:
            # One method's fault must not take the others down; the caller learns that it failed.
            logger.exception("a call failed")
            self._answer([_ERROR, call_id, "internal", "internal error"])

    def _end_work(self, task: "asyncio.Task[None]") -> None:
        self._working.discard(task)
        self._close_when_idle()

    def _take_note(self, method: str, body: Body) -> None:
        note = self._methods.notes.get(method)
        if note is None:
            self._counters["dropped.unknown-note"] += 1
        elif self._may_call(method):
            try:
                note(body)
            except Exception:
                # As in `_work`; and a stranger must not be able to end a connection by a note.
                logger.exception("a note failed")

    def _may_call(self, method: str) -> bool:
        if self.is_server or method not in self._methods.servers_only:
            return True
        self._counters["dropped.not-a-server"] += 1
        return False

    def _resolve(self, call_id: int, body: Body, error: RpcError | None) -> None:
        waiting = self._waiting.get(call_id)
        if waiting is None or waiting.answer.done():
            # It came after its deadline.
            self._counters["late_answers"] += 1
        elif error is not None:
            waiting.answer.set_exception(error)
        else:
            waiting.answer.set_result(body)

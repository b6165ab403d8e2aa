"""One connection: frames in and out, calls that wait for answers, methods that are called.

Nothing that a peer sends raises: a frame that is none, or larger than the bound, costs the
connection. A peer that does not read costs bounded memory: notes are dropped, calls refused.
"""

import asyncio
import logging
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from svcmesh.rpc.errors import RpcClosedError, RpcError, RpcRefusedError, RpcTimeoutError

logger = logging.getLogger("rpc")

_LENGTH: Final = struct.Struct(">I")
_CALL, _ANSWER, _ERROR, _NOTE = range(4)

Body = Any
"""What msgpack carries; methods check what they get."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """Of one connection."""

    frame_bytes_max: int = 16 * 1024 * 1024
    calls_max: int = 4096
    """Calls of the peer that are being worked on; more are refused."""
    waiting_max: int = 16_384
    """Our calls without an answer."""
    unsent_bytes_max: int = 32 * 1024 * 1024
    """Written but not taken by the network; beyond it nothing more is written."""


@dataclass(frozen=True, slots=True)
class Methods:
    """What a peer may call. A call gets the body and the seconds left, and returns the answer."""

    calls: Mapping[str, Callable[[Body, float], Awaitable[Body]]]
    notes: Mapping[str, Callable[[Body], None]]


NO_METHODS: Final = Methods({}, {})


class Connection(asyncio.Protocol):
    """One end of a connection. `on_lost` is called once, when it has ended."""

    def __init__(
        self,
        methods: Methods = NO_METHODS,
        *,
        bounds: Bounds | None = None,
        counters: Counter[str] | None = None,
        on_lost: Callable[["Connection"], None] = lambda _: None,
    ) -> None:
        self._methods, self._bounds = methods, bounds or Bounds()
        self._counters: Counter[str] = Counter() if counters is None else counters
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._next_id = 0
        self._waiting: dict[int, asyncio.Future[Body]] = {}
        self._working: set[asyncio.Task[None]] = set()

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._transport is not None and not self._transport.is_closing()

    # -- calling --------------------------------------------------------------------------------

    async def call(self, method: str, body: Body, *, timeout_s: float) -> Body:
        """Call the peer and return its answer.

        Raises:
            RpcError: The peer answered with one.
            RpcRefusedError: It was not sent.
            RpcClosedError, RpcTimeoutError: What became of it is unknown.
        """
        if len(self._waiting) >= self._bounds.waiting_max:
            raise RpcRefusedError("too many calls wait for answers")
        self._next_id += 1
        call_id = self._next_id
        if not self._write([_CALL, call_id, method, body, int(timeout_s * 1000)]):
            raise RpcRefusedError("not connected, or the peer does not read")
        answer: asyncio.Future[Body] = self._loop.create_future()
        self._waiting[call_id] = answer
        timer = self._loop.call_later(timeout_s, self._give_up, call_id, method)
        try:
            return await answer
        finally:
            timer.cancel()
            self._waiting.pop(call_id, None)

    def note(self, method: str, body: Body) -> bool:
        """Tell the peer; False when it was dropped."""
        return self._write([_NOTE, method, body])

    def close(self) -> None:
        """End the connection; calls that wait end with it."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it at once, whatever the peer has not taken yet."""
        if self._transport is not None:
            self._transport.abort()

    def _give_up(self, call_id: int, method: str) -> None:
        answer = self._waiting.get(call_id)
        if answer is not None and not answer.done():
            answer.set_exception(RpcTimeoutError(f"{method}: no answer in time"))

    def _write(self, frame: list[Body]) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size() > self._bounds.unsent_bytes_max:
            self._counters["dropped.unsent"] += 1
            return False
        packed = msgpack.packb(frame)
        transport.write(_LENGTH.pack(len(packed)) + packed)
        return True

    # -- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Over: whoever waits for an answer is told."""
        self._transport = None
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(RpcClosedError("the connection ended before the answer"))
        for task in self._working:
            task.cancel()
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        """Take in bytes, and act on every whole frame."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, at)
            if length > self._bounds.frame_bytes_max:
                self._abort("frame-too-large")
                return
            end = at + _LENGTH.size + length
            if len(buffer) < end:
                break
            if not self._take_frame_untrusted(memoryview(buffer)[at + _LENGTH.size : end]):
                self._abort("frame-unreadable")
                return
            at = end
        del buffer[:at]

    def _abort(self, reason: str) -> None:
        self._counters[f"dropped.{reason}"] += 1
        self._buffer = bytearray()
        self.abort()

    def _take_frame_untrusted(self, frame: memoryview) -> bool:
        """Act on a frame; False when it is none."""
        try:
            parts = msgpack.unpackb(bytes(frame), strict_map_key=False)
        except (ValueError, msgpack.UnpackException):
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
            case _:
                return False
        return True

    # -- being called -----------------------------------------------------------------------------

    def _serve(self, call_id: int, method: str, body: Body, timeout_s: float) -> None:
        call = self._methods.calls.get(method)
        if call is None:
            self._write([_ERROR, call_id, "unknown-method", method[:100]])
        elif len(self._working) >= self._bounds.calls_max:
            self._counters["dropped.overloaded"] += 1
            self._write([_ERROR, call_id, "overloaded", "too many calls at once"])
        else:
            task = self._loop.create_task(self._work(call_id, call(body, timeout_s)))
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    async def _work(self, call_id: int, work: Awaitable[Body]) -> None:
        try:
            answer = await work
        except RpcError as error:
            self._write([_ERROR, call_id, error.code, error.text])
        except Exception:
            # One method's fault must not take the others down; the caller learns that it failed.
            logger.exception("a call failed")
            self._write([_ERROR, call_id, "internal", "internal error"])
        else:
            self._write([_ANSWER, call_id, answer])

    def _take_note(self, method: str, body: Body) -> None:
        note = self._methods.notes.get(method)
        if note is None:
            self._counters["dropped.unknown-note"] += 1
        else:
            note(body)

    def _resolve(self, call_id: int, body: Body, error: RpcError | None) -> None:
        answer = self._waiting.get(call_id)
        if answer is None or answer.done():
            # It came after its deadline.
            self._counters["late_answers"] += 1
        elif error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(body)

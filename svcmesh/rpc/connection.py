"""One connection: what is written and read, its bounds, and how it ends.

Frames are `frames.py`'s, our calls `calling.py`'s, the peer's `serving.py`'s.

Nothing that a peer sends raises: a frame that is none, larger than the bound or never finished
costs the connection. A peer that does not read costs bounded memory: we stop reading its calls,
refuse ours, drop notes, and hang up when it takes nothing for a while.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from svcmesh.errors import SvcmeshError
from svcmesh.rpc.calling import Callback, Ended, Outcome, WaitingCalls
from svcmesh.rpc.errors import RpcError, RpcRefusedError
from svcmesh.rpc.frames import (
    LENGTH,
    Body,
    FrameBuffer,
    FrameError,
    Kind,
    Word,
    pack,
    pack_about,
    unpack_untrusted,
)
from svcmesh.rpc.serving import DEADLINE_S_MAX, NO_METHODS, Methods, ServedCalls

LEAVING_S: Final = 15.0
"""From asking the peer to use another connection to reading no more of it."""
LEAVING_S_MAX: Final = DEADLINE_S_MAX
"""For what is under way then."""
LARGE_BYTES: Final = 256 * 1024
"""Who holds less than this of our memory is not looked at twice."""
REASON_SHOWN_MAX: Final = 200
"""Characters of a peer's reason for refusing us that are passed on."""


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
        self._bounds = bounds = bounds or Bounds()
        self._counters: Counter[str] = Counter() if counters is None else counters
        self._on_made, self._on_lost, self._on_large = on_made, on_lost, on_large
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._dialled = dialled
        sizes = bounds.call_bytes_max, bounds.frame_bytes_max
        self._bytes_out_max, bytes_in_max = sizes if dialled else reversed(sizes)
        self._incoming = FrameBuffer(bytes_in_max)
        # Who was dialled is trusted with the shape of its answers, which are large.
        self._containers_max = None if dialled else bounds.call_containers_max
        self._unwritten: list[bytes] = []
        self._unwritten_bytes = self._written_bytes = 0
        self._waiting = WaitingCalls(bounds.waiting_max)
        self._served = ServedCalls(
            methods,
            bounds.calls_max,
            counters=self._counters,
            answer=self._answer,
            on_ended=self._close_when_idle,
        )
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
        return len(self._incoming) + self._unwritten_bytes + unsent

    def distrust(self) -> None:
        """Let the peer call only what anybody may, not what servers call."""
        self._served.is_server = False

    # -- calling ----------------------------------------------------------------------------------

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

        call_id = self._begin(method, body, Callback(end), timeout_s)
        self._flush()

    def _begin(self, method: str, body: Body, outcome: Outcome, timeout_s: float) -> int:
        call_id = self._waiting.new_id()
        self._send([Kind.CALL, call_id, method, body, int(timeout_s * 1000)])
        self._waiting.add(call_id, outcome, method, timeout_s)
        return call_id

    def _end(self, call_id: int) -> None:
        self._waiting.remove(call_id)
        if self._is_leaving:
            self._close_when_idle()

    def note(self, method: str, body: Body, *, at_once: bool = False) -> bool:
        """Tell the peer; False when it was dropped.

        With `at_once` it does not wait for what else is said in this turn of the loop.
        """
        try:
            self._send([Kind.NOTE, method, body])
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
            self._say(Word.LEAVING)
            self._timers.append(self._loop.call_later(LEAVING_S, self._stop_reading))

    def _stop_reading(self) -> None:
        self._reads_no_more = True
        if self._transport is not None:
            self._transport.pause_reading()
        self._timers.append(self._loop.call_later(LEAVING_S_MAX, self.close))
        self._close_when_idle()

    def _close_when_idle(self) -> None:
        is_over = self._is_leaving and (self._dialled or self._reads_no_more)
        if is_over and not (self._waiting or self._served):
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
        self._incoming.clear()
        self.abort()

    # -- writing ----------------------------------------------------------------------------------

    @property
    def _is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def _send(self, frame: list[Body]) -> None:
        """Write a frame of ours, or refuse."""
        if self._is_closing:
            raise RpcRefusedError("not connected")
        packed = pack(frame)
        if len(packed) > self._bytes_out_max:
            raise RpcRefusedError(f"too large for a call: {len(packed)} bytes")
        if not self._has_room(len(packed)):
            self._counters["dropped.unsent"] += 1
            raise RpcRefusedError("the peer does not read")
        self._write(packed)

    def _answer(self, frame: list[Body], *, at_once: bool = False) -> None:
        """Write an answer, or end the connection: its caller would wait for it in vain."""
        if self._is_closing:
            return
        packed = pack(frame)
        if len(packed) > self._bytes_out_max:
            self._counters["dropped.answer-too-large"] += 1
            packed = pack([Kind.ERROR, frame[1], "too-large", f"{len(packed)} bytes"])
        if not self._has_room(len(packed)):
            self.drop("unsent")
            return
        self._write(packed)
        if at_once:
            self._flush()

    def _say(self, word: str, text: str = "") -> None:
        if not self._is_closing:
            self._write(pack_about(word, text))

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
        self._unwritten.append(LENGTH.pack(len(packed)))
        self._unwritten.append(packed)
        self._unwritten_bytes += LENGTH.size + len(packed)

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
            self._say(Word.READY)
        elif transport.get_extra_info("sslcontext") is None:
            self._say(Word.HELLO)

    def connection_lost(self, exc: Exception | None) -> None:
        """Over: whoever waits for an answer is told."""
        self._transport = None
        for timer in (self._unfinished, self._stalled, *self._timers):
            if timer is not None:
                timer.cancel()
        self._refuse(exc)
        self._waiting.close()
        self._served.cancel()
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
        if self._unfinished is not None:
            self._unfinished.cancel()
            self._unfinished = None
        try:
            for frame in self._incoming.feed_untrusted(data):
                self._take_untrusted(frame)
        except FrameError as error:
            self.drop(error.reason)
            return
        unfinished_bytes = len(self._incoming)
        if unfinished_bytes:
            self._unfinished = self._loop.call_later(
                self._bounds.stall_s, self.drop, "frame-unfinished"
            )
            if unfinished_bytes > LARGE_BYTES:
                self._on_large(self)

    def _take_untrusted(self, frame: bytes | bytearray) -> None:
        match unpack_untrusted(frame, containers_max=self._containers_max):
            case [Kind.CALL, int() as call_id, str() as method, body, int() as milliseconds]:
                self._served.serve(call_id, method, body, milliseconds / 1000)
            case [Kind.ANSWER, int() as call_id, body]:
                self._resolve(call_id, body, None)
            case [Kind.ERROR, int() as call_id, str() as code, str() as text]:
                self._resolve(call_id, None, RpcError(code, text))
            case [Kind.NOTE, str() as method, body]:
                self._served.take_note(method, body)
            case [Kind.ABOUT, str() as word, str() as text]:
                self._hear(word, text)
            case _:
                raise FrameError("frame-unreadable")

    def _resolve(self, call_id: int, body: Body, error: RpcError | None) -> None:
        if not self._waiting.resolve(call_id, body, error):
            self._counters["late_answers"] += 1

    def _hear(self, word: str, text: str) -> None:
        match word:
            case Word.READY if not self._ready.done():
                self._ready.set_result(None)
            case Word.REFUSED:
                # It ends up in logs.
                said = "".join(one if one.isprintable() else "?" for one in text[:REASON_SHOWN_MAX])
                self._refuse(RpcRefusedError(f'it refused us: "{said}"'))
                self.close()
            case Word.LEAVING:
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

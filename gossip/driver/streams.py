"""TCP exchanges: one request and at most one reply per connection (gossip protocol, 6).

Every connection has a deadline, all of them together a bound on number and memory, and large
messages are read and written in slices with the loop's other work in between.
"""

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from gossip.driver.drops import DropLog, logger
from gossip.driver.sockets import AddressFamily, prepare_stream_socket
from gossip.errors import DecodeError, GossipError
from gossip.types import Address
from gossip.wire import Progress, StreamDecoder, StreamEncoder, StreamLayerError, reasons
from gossip.wire.limits import MIB, STREAMS_MAX
from gossip.wire.messages import ErrorReply, StreamMessage

READ_BYTES: Final = 65536
HELD_BYTES_MAX: Final = 96 * MIB
"""What all streams being read may hold together; above it the one that asks for more is closed."""
ACCEPT_BATCH_MAX: Final = 16
ACCEPT_PAUSE_S: Final = 0.5
"""How long no connection is taken after the system had no descriptor for one."""
LINGER_S: Final = 0.5
LINGER_BYTES_MAX: Final = MIB

RequestHandler = Callable[[StreamMessage, Address], StreamMessage | None]
DecoderFactory = Callable[..., StreamDecoder]


class StreamFailedError(GossipError):
    """A dialled exchange came to nothing.

    `reason` is "refused", "timeout", "closed" or a text, as the machine wants to hear it; the
    error's own text is for an operator.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Streams:
    """Serves incoming connections from its creation on, and dials out, until it is closed."""

    def __init__(
        self,
        listener: socket.socket,
        family: AddressFamily,
        *,
        encoder: StreamEncoder,
        new_decoder: DecoderFactory,
        handle_request: RequestHandler,
        timeout_s: float,
        counters: Counter[str],
        drops: DropLog,
    ) -> None:
        self._listener, self._family = listener, family
        self._encoder, self._new_decoder = encoder, new_decoder
        self._handle_request, self._timeout_s = handle_request, timeout_s
        self._counters, self._drops = counters, drops
        self._loop = asyncio.get_running_loop()
        self._held_bytes = 0
        self._serving: set[asyncio.Task[None]] = set()
        self._is_open = True
        self._loop.add_reader(listener, self._accept_batch)

    def close(self) -> list[asyncio.Task[None]]:
        """Stop serving at once; the caller awaits the cancelled tasks."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._listener)
            self._listener.close()
        for task in self._serving:
            task.cancel()
        return list(self._serving)

    async def exchange(
        self, to: Address, request: StreamMessage, *, deadline_at: float
    ) -> StreamMessage:
        """Dial, send and read the reply.

        Raises:
            StreamFailedError: That did not work before `deadline_at`, or the peer sent an error.
        """
        reply = await self._dial(to, request, deadline_at=deadline_at, wants_reply=True)
        assert reply is not None
        if isinstance(reply, ErrorReply):
            text = f"remote error: {reply.error}"
            raise StreamFailedError(text, text)
        return reply

    async def deliver(self, to: Address, message: StreamMessage, *, deadline_at: float) -> None:
        """Dial and send; nothing comes back.

        Raises:
            StreamFailedError: That did not work before `deadline_at`.
        """
        await self._dial(to, message, deadline_at=deadline_at, wants_reply=False)

    async def _dial(
        self, to: Address, message: StreamMessage, *, deadline_at: float, wants_reply: bool
    ) -> StreamMessage | None:
        if not self._family.reaches(to.host) or not to.port:
            raise StreamFailedError("unreachable", f"dial tcp {to}: no suitable address")
        self._counters["streams_out"] += 1
        doing = "dial"
        try:
            sock = self._family.new_stream_socket()
        except OSError as error:
            raise StreamFailedError("no socket", f"dial tcp {to}: {error.strerror}") from error
        try:
            async with asyncio.timeout_at(deadline_at):
                await self._loop.sock_connect(sock, self._family.to_sockaddr(to))
                doing = "write"
                await self._write(sock, message, dialled=True)
                doing = "read"
                if not wants_reply:
                    return None
                return await self._read(sock, dialled=True, source=to)
        except TimeoutError as error:
            raise StreamFailedError("timeout", f"{doing} tcp {to}: i/o timeout") from error
        except ConnectionRefusedError as error:
            text = f"dial tcp {to}: connect: connection refused"
            raise StreamFailedError("refused", text) from error
        except ConnectionError as error:
            raise StreamFailedError("closed", f"{doing} tcp {to}: connection closed") from error
        except OSError as error:
            text = f"{doing} tcp {to}: {(error.strerror or str(error)).lower()}"
            raise StreamFailedError(text, text) from error
        except DecodeError as error:
            reason = "closed" if error.reason == reasons.STREAM_CUT else str(error)
            raise StreamFailedError(reason, f"read tcp {to}: {error}") from error
        finally:
            sock.close()

    def _accept_batch(self) -> None:
        for _ in range(ACCEPT_BATCH_MAX):
            try:
                sock, sockaddr = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ECONNABORTED:
                    continue
                self._counters["accept_errors"] += 1
                self._loop.remove_reader(self._listener)
                self._loop.call_later(ACCEPT_PAUSE_S, self._resume_accepting)
                return
            source = self._family.from_sockaddr(sockaddr)
            if len(self._serving) >= STREAMS_MAX:
                sock.close()
                self._drop("too-many-streams", source)
                continue
            self._counters["streams_in"] += 1
            # Closed here and not by the task, which may be cancelled before it begins.
            task = spawn(self._serve(sock, source), self._serving)
            task.add_done_callback(partial(_close, sock))

    def _resume_accepting(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._listener, self._accept_batch)

    async def _serve(self, sock: socket.socket, source: Address) -> None:
        try:
            prepare_stream_socket(sock)
            async with asyncio.timeout(self._timeout_s):
                request = await self._read(sock, dialled=False, source=source)
            reply = self._handle_request(request, source)
            if reply is not None:
                async with asyncio.timeout(self._timeout_s):
                    await self._write(sock, reply, dialled=False)
        except StreamLayerError as error:
            self._drop(error.reason, source, str(error))
            await self._refuse(sock, str(error))
        except DecodeError as error:
            self._drop(error.reason, source, str(error))
        except TimeoutError:
            self._drop("stream-timeout", source)
        except OSError as error:
            self._drop("stream-broken", source, error.strerror or "")

    async def _refuse(self, sock: socket.socket, text: str) -> None:
        """Send the reason back (6.4), and let the peer finish, lest a reset destroy it."""
        try:
            async with asyncio.timeout(LINGER_S):
                await self._write(sock, ErrorReply(text), dialled=False)
                sock.shutdown(socket.SHUT_WR)
                unread = LINGER_BYTES_MAX
                while unread > 0 and (chunk := await self._loop.sock_recv(sock, READ_BYTES)):
                    unread -= len(chunk)
        except OSError:
            return  # the peer did not wait for it

    async def _read(self, sock: socket.socket, *, dialled: bool, source: Address) -> StreamMessage:
        """Read one message.

        Raises:
            DecodeError: It is bad or cut, or there is no memory for it.
            OSError: The connection broke.
        """
        decoder = self._new_decoder(dialled=dialled)
        charged_bytes = 0
        try:
            progress = decoder.advance()
            while progress is not Progress.DONE:
                if progress is Progress.NEED_BYTES:
                    chunk = await self._loop.sock_recv(sock, READ_BYTES)
                    self._counters["stream_bytes_in"] += len(chunk)
                    if chunk:
                        decoder.feed(chunk)
                    else:
                        decoder.feed_end()
                self._held_bytes += decoder.held_bytes - charged_bytes
                charged_bytes = decoder.held_bytes
                if self._held_bytes > HELD_BYTES_MAX:
                    raise DecodeError("stream-memory", f"{self._held_bytes} bytes held")
                progress = decoder.advance()
                if progress is not Progress.DONE:
                    # Reading what is there does not wait, and a fast peer must not be all we serve.
                    await asyncio.sleep(0)
            for skipped in decoder.skipped_nodes:
                self._drop(skipped.reason, source, str(skipped))
            return decoder.message
        finally:
            self._held_bytes -= charged_bytes

    async def _write(self, sock: socket.socket, message: StreamMessage, *, dialled: bool) -> None:
        for number, piece in enumerate(self._encoder.encode(message, dialled=dialled)):
            if number:
                await asyncio.sleep(0)
            if piece:
                await self._loop.sock_sendall(sock, piece)
                self._counters["stream_bytes_out"] += len(piece)

    def _drop(self, reason: str, source: Address, detail: str = "") -> None:
        self._drops.record(reason, now=self._loop.time(), source=source, detail=detail)


def _close(sock: socket.socket, _: asyncio.Task[None]) -> None:
    sock.close()


def spawn(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> asyncio.Task[None]:
    """Run `work` in the background, held in `tasks` until it ends; its bugs are logged."""

    def forget(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a background task failed", exc_info=error)

    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(forget)
    return task

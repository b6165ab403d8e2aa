"""Writes on their way to the leader: those of one turn of the loop travel in one call.

Each is packed once, by the agent that takes it, and stays as it is until the leader proposes it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import msgpack

from svcmesh.consensus.service import NoLeaderError, OutcomeUnknownError
from svcmesh.consensus.store import Answer, CommandKind
from svcmesh.errors import DecodeError, SvcmeshError

BATCH_WRITES_MAX: Final = 512
BATCH_BYTES_MAX: Final = 1024 * 1024
"""Of one call; a single write may be larger."""

NO_LEADER: Final = "no-leader"
UNKNOWN: Final = "outcome-unknown"
"""Verdicts besides the state machine's `ok` and `error`."""

KINDS: Final = {kind.value: kind for kind in CommandKind}

PackedWrite = bytes
Done = Callable[[Answer | SvcmeshError], None]
"""Takes the answer to a write, or `NoLeaderError`, `OutcomeUnknownError`, `StoreError`."""

_Waiting = tuple[PackedWrite, Done]


def unpack_write_untrusted(packed: object) -> tuple[CommandKind, list[Any]]:
    """Read one write of a batch.

    Raises:
        DecodeError: It is none. The state machine checks the body.
    """
    if not isinstance(packed, bytes):
        raise DecodeError("write", "not packed")
    try:
        kind, body = msgpack.unpackb(packed, strict_map_key=False)
        command = KINDS[kind]
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise DecodeError("write", f"{error!r:.100}") from error
    if not isinstance(body, list):
        raise DecodeError("write", "a body is a list")
    return command, body


def verdict_of(outcome: object) -> Answer:
    """What became of a write, as it travels: the state machine's answer, or why there is none."""
    match outcome:
        case list():
            return outcome
        case NoLeaderError():
            return [NO_LEADER, str(outcome)]
        case OutcomeUnknownError():
            return [UNKNOWN, str(outcome)]
        case BaseException():
            raise outcome
        case _:
            raise AssertionError(f"no outcome of a write: {outcome!r}")


class WriteBatches:
    """Gathers writes, and hands each its answer.

    `pass_on` brings a batch to whoever leads, and returns one verdict for each write. `begin` does
    so without a task: it calls back with the verdicts or an error, or returns False.
    """

    def __init__(
        self,
        pass_on: Callable[[list[PackedWrite]], Awaitable[list[Any]]],
        begin: Callable[[list[PackedWrite], Callable[[list[Any] | SvcmeshError], None]], bool],
    ) -> None:
        self._pass_on, self._begin = pass_on, begin
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, kind: CommandKind, body: Sequence[object]) -> "asyncio.Future[Answer]":
        """Send a write along; its answer, or `NoLeaderError`, `OutcomeUnknownError`."""
        outcome: asyncio.Future[Answer] = self._loop.create_future()

        def done(answer: Answer | SvcmeshError) -> None:
            if outcome.done():
                return
            if isinstance(answer, SvcmeshError):
                outcome.set_exception(answer)
            else:
                outcome.set_result(answer)

        self.begin(kind, body, done)
        return outcome

    def begin(self, kind: CommandKind, body: Sequence[object], done: Done) -> None:
        """The same without a future: `done` is called once, later."""
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append((msgpack.packb([kind.value, body]), done))

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for batch in _batches(waiting):
            if self._begin([packed for packed, _ in batch], partial(_finish, batch)):
                continue
            task = self._loop.create_task(self._send_batch(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send_batch(self, batch: Sequence[_Waiting]) -> None:
        try:
            verdicts = await self._pass_on([packed for packed, _ in batch])
        except SvcmeshError as error:
            _finish(batch, error)
        except asyncio.CancelledError:
            _finish(batch, OutcomeUnknownError("the agent has stopped"))
            raise
        else:
            _finish(batch, verdicts)


def _finish(batch: Sequence[_Waiting], verdicts: list[Any] | SvcmeshError) -> None:
    if isinstance(verdicts, SvcmeshError):
        for _, done in batch:
            done(verdicts)
        return
    # A leader that answers with too few has lost count of the others.
    missing = [[UNKNOWN, "no answer came"]] * (len(batch) - len(verdicts))
    for (_, done), verdict in zip(batch, [*verdicts, *missing], strict=False):
        match verdict:
            case ["ok" | "error", _]:
                done(verdict)
            case ["no-leader", _]:
                done(NoLeaderError())
            case ["outcome-unknown", str() as why]:
                done(OutcomeUnknownError(why))
            case _:
                done(OutcomeUnknownError(f"an answer of no form: {verdict!r:.100}"))


def _batches(waiting: Sequence[_Waiting]) -> Iterator[Sequence[_Waiting]]:
    start, size_bytes = 0, 0
    for position, (packed, _) in enumerate(waiting):
        is_full = size_bytes + len(packed) > BATCH_BYTES_MAX or position - start >= BATCH_WRITES_MAX
        if is_full and position > start:
            yield waiting[start:position]
            start, size_bytes = position, 0
        size_bytes += len(packed)
    yield waiting[start:]

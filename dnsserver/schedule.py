"""One question's responses, ready to be handed out in turn.

Every beginning of an answer comes up equally often and in random order; what follows it is random.
Responses that are small are made once and used many times, in ever new order: a client that asks
twice gets another one, also if it always asks after the same others, and a thousand clients find
every instance equally often.

| instances | responses |
| --- | --- |
| one | one, for good |
| up to 32 | about 32, kept in different mixtures; made anew after thousands of uses |
| more | one for each instance to begin with, kept |
| too many bytes | made a few at a time, these handed out in turn sixteen times, none kept |

Responses that are stretches of a row of records are copies, and made when their turn comes.
"""

from collections.abc import Callable, Iterator
from itertools import chain, repeat
from random import Random
from typing import Final

from dnsserver.shuffling import Mixture, rotated, shuffled

SMALL_MAX: Final = 32
SMALL_TURNS: Final = 16
LARGE_TURNS: Final = 256
"""How often a whole sequence is handed out before responses are made anew."""
SEQUENCE_MIN: Final = 512
"""Shorter ones are repeated, each time shuffled, up to this length."""
SHUFFLE_TURNS: Final = 8
"""How often a sequence is handed out in one order."""
UNKEPT_USES: Final = 16
"""So often are responses used that are not kept: making one costs more than the kernel's part."""
ROW_CHUNK: Final = 16
"""Stretches of a row that are made at a time, at most."""
ROW_USES: Final = 4
"""How often these are handed out in turn: making one costs a tenth of answering a query."""
CHUNK_MAX: Final = 32
CHUNK_BYTES_MAX: Final = 32_768
"""Made at a time, at most: a fraction of a millisecond."""
ROW_CHUNK_BYTES_MAX: Final = 65_536
"""The same for stretches of a row, which are only copied."""

_OVERHEAD_BYTES: Final = 48
"""Of a response in memory."""


class Schedule:
    """Hands out the responses to one question, as long as the directory stays as it is."""

    __slots__ = (
        "_at", "_beginnings", "_bytes_max", "_encode", "_keeps", "_kept", "_mixture", "_rng",
        "_round", "_sequence", "_total", "_turn", "bytes_kept",
    )  # fmt: skip

    def __init__(
        self,
        beginnings: int,
        encode: Callable[[int, Mixture], bytes],
        rng: Random,
        *,
        bytes_max: int,
    ) -> None:
        """`encode(beginning, mixture)` makes a response; at most `bytes_max` of them are kept.

        `rng` decides the order of the beginnings, of which there is at least one.
        """
        self._beginnings, self._encode, self._rng = beginnings, encode, rng
        self._bytes_max = bytes_max
        self._keeps = True
        self._total = beginnings * max(1, SMALL_MAX // beginnings) if beginnings > 1 else 1
        """Responses to make before any is made anew: whole rounds of all beginnings."""
        self._round: Iterator[int] = iter(())
        self._mixture = Mixture(rng)
        """The same for a whole round: so not only the beginnings of its responses are even."""
        self._kept: list[bytes] = []
        self._sequence: list[bytes] = []
        """What is kept, in the order in which it is handed out, most of it several times."""
        self._at = self._turn = self.bytes_kept = 0

    def refill(self) -> Iterator[bytes]:
        """Return the next responses to hand out, at least one."""
        if self._at < self._total:
            return self._make_some()
        turns = SMALL_TURNS if self._beginnings <= SMALL_MAX else LARGE_TURNS
        if self._kept and self._turn < turns:
            return self._hand_out()
        self._begin_anew()
        return self._make_some()

    def _hand_out(self) -> Iterator[bytes]:
        """Return all of what is kept."""
        if self._beginnings == 1:
            return repeat(self._kept[0])
        if self._turn % SHUFFLE_TURNS == 0:
            self._sequence = self._kept
            if len(self._kept) < SEQUENCE_MIN:
                copies = SEQUENCE_MIN // len(self._kept) + 1
                rounds = (self._rng.sample(self._kept, len(self._kept)) for _ in range(copies))
                self._sequence = list(chain.from_iterable(rounds))
        self._turn += 1
        # From another place each time: who always asks as the tenth is not always told the same.
        return rotated(self._sequence, int(self._rng.random() * len(self._sequence)))

    def _begin_anew(self) -> None:
        self._at = self._turn = self.bytes_kept = 0
        self._kept, self._sequence = [], []

    def _begin_round(self) -> None:
        count, rng = self._beginnings, self._rng
        self._mixture = Mixture(rng)
        if count <= SMALL_MAX:
            self._round = shuffled(range(count), rng)
        else:
            # What is begun with is in random order itself.
            self._round = rotated(range(count), int(rng.random() * count))

    def _make_some(self) -> Iterator[bytes]:
        # One at first: most names that are asked once are not asked again soon.
        is_first = self._at == 0 and self._keeps
        count = 1 if is_first else min(CHUNK_MAX, self._total - self._at)
        made: list[bytes] = []
        made_bytes = 0
        while len(made) < count and made_bytes < CHUNK_BYTES_MAX:
            if self._at % self._beginnings == 0:
                self._begin_round()
            self._at += 1
            response = self._encode(next(self._round), self._mixture)
            made.append(response)
            made_bytes += len(response) + _OVERHEAD_BYTES
        if self._keeps and self.bytes_kept + made_bytes > self._bytes_max:
            self._keeps, self._kept, self.bytes_kept = False, [], 0
        if not self._keeps:
            self.bytes_kept = made_bytes
            return chain.from_iterable(repeat(made, UNKEPT_USES))
        self._kept += made
        self.bytes_kept += made_bytes
        return iter(made)


class RowSchedule:
    """Hands out the stretches of a row of records; keeps only those that are being handed out."""

    __slots__ = ("_beginnings", "_chunk", "_encode", "_rng", "bytes_kept")

    def __init__(
        self,
        beginnings: int,
        encode: Callable[[range], list[bytes]],
        rng: Random,
        *,
        response_bytes: int,
    ) -> None:
        """`encode` makes the responses for some of the beginnings, which are in random order.

        Each of them takes `response_bytes`.
        """
        self._beginnings, self._encode, self._rng = beginnings, encode, rng
        taken = response_bytes + _OVERHEAD_BYTES
        self._chunk = min(ROW_CHUNK, beginnings, max(1, ROW_CHUNK_BYTES_MAX // taken))
        self.bytes_kept = self._chunk * taken

    def refill(self) -> Iterator[bytes]:
        """Return responses without end, made on the way."""
        return chain.from_iterable(self._batches())

    def _batches(self) -> Iterator[list[bytes]]:
        """Go through all beginnings again and again, from another place each time."""
        count, chunk, encode = self._beginnings, self._chunk, self._encode
        while True:
            start = int(self._rng.random() * count)
            for at in range(start, start + count, chunk):
                first, size = at % count, min(chunk, start + count - at)
                made = encode(range(first, min(first + size, count)))
                if first + size > count:
                    made += encode(range(first + size - count))
                yield made * ROW_USES

"""One question's responses, ready to be handed out in turn.

Every beginning of an answer comes up equally often and in random order; what follows it is random.
Responses that are small are made once and used many times, in the end for good: a client that asks
twice gets another one, and a thousand clients find every instance equally often.

| instances | order | responses are kept |
| --- | --- | --- |
| up to 32 | several rounds, each shuffled | and mixed anew after 64 turns |
| more | one round from a random place, in the pool's order, which is random | for 256 turns |
| too many bytes | the same | one at a time, for 4 queries |
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from random import Random
from typing import Final

SMALL_MAX: Final = 32
SMALL_TURNS: Final = 64
LARGE_TURNS: Final = 256
UNKEPT_USES: Final = 4
CHUNK_MAX: Final = 32
CHUNK_BYTES_MAX: Final = 8192
"""Made at a time, at most: a fraction of a millisecond."""

_OVERHEAD_BYTES: Final = 48
"""Of a response in memory."""


class Schedule:
    """Hands out the responses to one question, as long as the directory stays as it is."""

    __slots__ = (
        "_at", "_beginnings", "_bytes_max", "_encode", "_is_repeated", "_keeps", "_kept", "_order",
        "_rng", "_start", "bytes_kept",
    )  # fmt: skip

    def __init__(
        self, beginnings: int, encode: Callable[[int], bytes], rng: Random, *, bytes_max: int
    ) -> None:
        """`encode(beginning)` makes a response; at most `bytes_max` of them are kept.

        `rng` decides the order of the beginnings, of which there is at least one.
        """
        self._beginnings, self._encode, self._rng = beginnings, encode, rng
        self._bytes_max = bytes_max
        self._keeps = True
        self._is_repeated = False
        self._begin_round()

    def refill(self) -> Iterator[bytes]:
        """Return the next responses to hand out, at least one."""
        if self._at < len(self._order):
            return self._make_some()
        if self._kept and not self._is_repeated:
            if self._beginnings == 1:
                return repeat(self._kept[0])
            self._is_repeated = True
            turns = SMALL_TURNS if self._beginnings <= SMALL_MAX else LARGE_TURNS
            return chain.from_iterable(repeat(self._kept, turns))
        self._begin_round()
        return self._make_some()

    def _begin_round(self) -> None:
        count, rng = self._beginnings, self._rng
        self._at = self._start = 0
        self._order: Sequence[int] = range(count)
        if count <= SMALL_MAX:
            rounds = [rng.sample(self._order, count) for _ in range(SMALL_MAX // count)]
            self._order = rounds[0] if count == 1 else list(chain.from_iterable(rounds))
        else:
            self._start = int(rng.random() * count)
        self._kept: list[bytes] = []
        self._is_repeated = False
        self.bytes_kept = 0

    def _make_some(self) -> Iterator[bytes]:
        # One at first: most names that are asked once are not asked again soon.
        count = min(CHUNK_MAX, len(self._order) - self._at) if self._at else 1
        made: list[bytes] = []
        made_bytes = 0
        while len(made) < count and made_bytes < CHUNK_BYTES_MAX:
            response = self._encode(self._order[(self._start + self._at) % len(self._order)])
            self._at += 1
            made.append(response)
            made_bytes += len(response) + _OVERHEAD_BYTES
        if self._keeps and self.bytes_kept + made_bytes > self._bytes_max:
            self._keeps, self._kept, self.bytes_kept = False, [], 0
        if not self._keeps:
            return chain.from_iterable(repeat(response, UNKEPT_USES) for response in made)
        self._kept += made
        self.bytes_kept += made_bytes
        return iter(made)

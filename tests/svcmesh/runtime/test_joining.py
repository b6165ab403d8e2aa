import asyncio
from collections.abc import Sequence

import pytest

from svcmesh.runtime.joining import RetriesExhaustedError, retry_join


class Pool:
    """Answers the n-th attempt only."""

    def __init__(self, answers_at: int) -> None:
        self.attempts: list[Sequence[str]] = []
        self._answers_at = answers_at

    async def join(self, addresses: Sequence[str]) -> int:
        self.attempts.append(addresses)
        return int(len(self.attempts) == self._answers_at)


def test_it_tries_all_addresses_until_somebody_answers() -> None:
    pool = Pool(answers_at=3)
    asyncio.run(retry_join(pool.join, ["a", "b"], interval_s=0, attempts_max=0))
    assert pool.attempts == [["a", "b"]] * 3


def test_it_gives_up_after_the_allowed_attempts() -> None:
    pool = Pool(answers_at=9)
    with pytest.raises(RetriesExhaustedError):
        asyncio.run(retry_join(pool.join, ["a"], interval_s=0, attempts_max=2))
    assert len(pool.attempts) == 2

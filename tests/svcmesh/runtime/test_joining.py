import asyncio
from collections.abc import Sequence

import pytest

from svcmesh.errors import NobodyAnsweredError
from svcmesh.runtime.joining import RetriesExhaustedError, first_pauses_s, retry_join


class Pool:
    """Answers the n-th attempt only."""

    def __init__(self, answers_at: int) -> None:
        self.attempts: list[Sequence[str]] = []
        self._answers_at = answers_at

    async def join(self, addresses: Sequence[str]) -> None:
        self.attempts.append(addresses)
        if len(self.attempts) != self._answers_at:
            raise NobodyAnsweredError([(address, "refused") for address in addresses])


def test_it_tries_all_addresses_until_somebody_answers() -> None:
    pool = Pool(answers_at=3)
    asyncio.run(retry_join(pool.join, ["a", "b"], interval_s=0, attempts_max=0))
    assert pool.attempts == [["a", "b"]] * 3


def test_a_failed_attempt_is_one_line_with_every_reason(caplog: pytest.LogCaptureFixture) -> None:
    pool = Pool(answers_at=2)
    asyncio.run(retry_join(pool.join, ["a", "b"], interval_s=0, attempts_max=0))
    assert caplog.messages == [
        "joining the cluster failed, next attempt in 0s: a: refused; b: refused"
    ]


def test_it_gives_up_after_the_allowed_attempts() -> None:
    pool = Pool(answers_at=9)
    with pytest.raises(RetriesExhaustedError):
        asyncio.run(retry_join(pool.join, ["a"], interval_s=0, attempts_max=2))
    assert len(pool.attempts) == 2


def test_the_first_interval_has_more_attempts_and_ends_when_it_always_would() -> None:
    assert first_pauses_s(30.0) == [1.0, 2.0, 4.0, 8.0, 15.0]
    assert first_pauses_s(10.0) == [1.0, 2.0, 7.0]
    assert first_pauses_s(1.0) == [1.0]


def test_more_attempts_in_the_first_interval_do_not_end_it_sooner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses_s: list[float] = []

    async def sleep(pause_s: float) -> None:
        pauses_s.append(pause_s)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    pool = Pool(answers_at=99)
    with pytest.raises(RetriesExhaustedError):
        asyncio.run(retry_join(pool.join, ["a"], interval_s=30.0, attempts_max=3))
    assert sum(pauses_s) == 60.0
    assert pauses_s[-1] == 30.0

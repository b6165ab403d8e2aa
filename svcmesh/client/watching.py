"""When to ask the agent again, and from which index: the rules of blocking queries. No I/O.

| what happened                   | index asked from     | earliest time of the next question |
|---------------------------------|----------------------|------------------------------------|
| an answer, index not below ours | the answer's         | `pace_s` after the question        |
| an answer, index below ours     | 0: of another run    | `pace_s` after the question        |
| an answer without an index      | 0                    | `poll_s` after it                  |
| a failure                       | 0: maybe another run | a pause that doubles, with jitter  |
"""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchConfig:
    """How eagerly a watch asks."""

    wait_s: float = 55.0
    """How long the agent may hold a question back. An agent whose host vanished is noticed after
    this and a sixteenth of it."""
    pace_s: float = 0.05
    """Least time between two questions, so that a service that flaps does not keep us busy."""
    poll_s: float = 5.0
    """Pause where answers have no index to wait for."""
    retry_s_min: float = 0.25
    retry_s_max: float = 15.0

    def __post_init__(self) -> None:
        """Check the relations of the fields."""
        if not (0 < self.wait_s <= 600 and self.pace_s >= 0 and self.poll_s > 0):
            raise ValueError("0 < wait_s <= 600, pace_s >= 0 and poll_s > 0 are needed")
        if not 0 < self.retry_s_min <= self.retry_s_max:
            raise ValueError("0 < retry_s_min <= retry_s_max is needed")


def retry_pause_s(failures: int, *, least_s: float, most_s: float, rng: Random) -> float:
    """How long to wait after this many failures in a row: doubling, the upper half at random.

    The jitter keeps the many watchers of one agent from coming back at once when it restarts.
    """
    longest_s = min(most_s, least_s * 2.0 ** min(failures - 1, 32))
    return rng.uniform(longest_s / 2, longest_s)


class WatchState:
    """The index to ask from and the time to ask at. `now` is monotonic seconds."""

    def __init__(self, config: WatchConfig, *, now: float, rng: Random) -> None:
        self.index = 0
        """0: answer at once."""
        self.ask_at = now
        self.failures = 0
        """In a row."""
        self._config, self._rng = config, rng
        self._asked_at = now

    def handle_asked(self, *, now: float) -> None:
        """The question is on its way."""
        self._asked_at = now

    def handle_answer(self, index: int, *, now: float) -> None:
        """Take in an answer's index; 0 when it had none."""
        self.failures = 0
        if index <= 0:
            self.index = 0
            self.ask_at = now + self._config.poll_s * self._rng.uniform(0.9, 1.1)
            return
        self.index = 0 if index < self.index else index
        self.ask_at = max(now, self._asked_at + self._config.pace_s)

    def handle_failure(self, *, now: float) -> None:
        """Take in that there was no answer."""
        self.failures += 1
        # The agent may come back as another run, or another agent: its whole answer is wanted.
        self.index = 0
        self.ask_at = now + retry_pause_s(
            self.failures,
            least_s=self._config.retry_s_min,
            most_s=self._config.retry_s_max,
            rng=self._rng,
        )

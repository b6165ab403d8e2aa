"""Spreading: a user event reaches (nearly) everybody soon."""

from math import ceil

from svcmesh.simulate.recorder import Recorder, Rumor

SHARE = 0.9999
"""As the epidemic model of Serf's convergence figures has it."""


class Spreading:
    """Looks at user events; `within_s` None expects nothing."""

    def __init__(self, within_s: float | None) -> None:
        self._within_s = within_s

    def check(self, record: Recorder) -> list[str]:
        """Whether every event had reached its share of the members by then."""
        if self._within_s is None:
            return []
        violations = []
        for rumor in record.rumors.values():
            took_s = reached_after_s(rumor)
            if took_s is None or took_s > self._within_s:
                when = "never" if took_s is None else f"after {took_s:.2f} s"
                violations.append(f"{rumor.name} reached {SHARE:.2%} of the members {when}")
        return violations


def reached_after_s(rumor: Rumor, share: float = SHARE) -> float | None:
    """How long an event took to reach a share of those that ran when it was sent."""
    wanted = ceil(rumor.wanted.bit_count() * share)
    return rumor.heard_at[wanted - 1] if len(rumor.heard_at) >= wanted else None

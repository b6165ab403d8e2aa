"""Convergence: when nothing happens any more, all views become complete and true, and stay so."""

from svcmesh.simulate.recorder import Recorder, Sample


class Convergence:
    """Looks at the samples; `within_s` None expects nothing."""

    def __init__(self, within_s: float | None) -> None:
        self._within_s = within_s

    def check(self, record: Recorder, *, quiet_at: float) -> list[str]:
        """Whether every sample from `within_s` after `quiet_at` on is right, and there is one."""
        if self._within_s is None:
            return []
        due_at = quiet_at + self._within_s
        late = [sample for sample in record.samples if sample.at >= due_at - 1e-6]
        if not late:
            return [f"the run ends before {self._within_s:g} s of quiet are over"]
        wrong = [sample for sample in late if sample.right_share < 1.0]
        if not wrong:
            return []
        first = wrong[0]
        return [
            f"{self._within_s:g} s after the last fault, at {first.at:.1f} s, "
            f"{1 - first.right_share:.3%} of the views are wrong"
        ]


def converged_at(samples: list[Sample], *, since: float) -> float | None:
    """From when on every sample is right, looking from `since` on; None if the last is not."""
    at = None
    for sample in samples:
        if sample.at < since:
            continue
        if sample.right_share < 1.0:
            at = None
        elif at is None:
            at = sample.at
    return at

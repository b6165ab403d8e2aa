"""Detection: who has gone is known to everybody soon (strong completeness)."""

from svcmesh.simulate.recorder import Recorder


class Detection:
    """Looks at crashes; `within_s` None expects nothing."""

    def __init__(self, within_s: float | None) -> None:
        self._within_s = within_s

    def check(self, record: Recorder) -> list[str]:
        """Whether every crash that lasted so long was known to all undisturbed members by then."""
        if self._within_s is None:
            return []
        end = record.samples[-1].at
        return [
            f"{outage.subject} went at {outage.began_at:.1f} s and not all know "
            f"{self._within_s:g} s later"
            for outage in record.outages
            if outage.cause not in ("pause", "block")
            and (outage.ended_at or end) - outage.began_at >= self._within_s
            and (outage.all_at is None or outage.all_at - outage.began_at > self._within_s)
        ]

"""No false death: nobody is declared failed who runs undisturbed."""

from svcmesh.simulate.recorder import Kind, Recorder


class FalseDeath:
    """Looks at the failures that were told, and at the last sample."""

    def check(self, record: Recorder) -> list[str]:
        """A sentence for each of the first false failures, and one if live members stay dead."""
        told = [
            f"{failure.viewer} told at {failure.at:.1f} s that {failure.subject} failed, "
            "which runs undisturbed"
            for failure in record.failures
            if failure.kind == Kind.FALSE_POSITIVE
        ]
        if len(told) > 3:
            told = [*told[:3], f"and {record.counts[Kind.FALSE_POSITIVE] - 3} more"]
        if record.samples and record.samples[-1].false_dead:
            told.append(f"at the end {record.samples[-1].false_dead} live members are seen dead")
        return told

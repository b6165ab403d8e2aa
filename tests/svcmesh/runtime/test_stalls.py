import pytest

from svcmesh.runtime.stalls import StallLog


def test_stalls_in_a_row_are_one_line_in_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    stalls = StallLog()
    for now in (5.0, 6.0, 14.9, 15.0):
        stalls.note(0.5, health_score=1, now=now)
    assert (
        caplog.messages
        == ["this process did not run for 0.50 s: nobody is accused for it (health score 1)"] * 2
    )

"""What strangers can have written into the log."""

import pytest

from svcmesh.rpc.remarks import Remarks


def test_the_same_about_the_same_is_said_once_a_minute_with_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 100.0
    remarks = Remarks(lambda: now)
    for _ in range(3):
        remarks.warn("10.0.0.1", "expired", "its certificate has expired")
    remarks.warn("10.0.0.1", "silent", "it says nothing")
    now += 60
    remarks.warn("10.0.0.1", "expired", "its certificate has expired")
    assert caplog.messages == [
        "its certificate has expired",
        "it says nothing",
        "its certificate has expired (2 more times since)",
    ]


def test_who_comes_from_ever_new_addresses_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 100.0
    remarks = Remarks(lambda: now)
    for number in range(1000):
        remarks.warn(f"fd00::{number:x}", "not-encrypted", "refused")
    now += 60
    remarks.warn("fd00::1:1", "not-encrypted", "refused")
    assert caplog.messages == [
        *["refused"] * 60,
        "940 more warnings like these were left out",
        "refused",
    ]

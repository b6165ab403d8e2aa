import contextlib

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from svcmesh.errors import DecodeError
from svcmesh.summaries.codec import (
    SUMMARY_BYTE,
    Changes,
    Hello,
    Position,
    Positions,
    SummaryMessage,
    Want,
    decode_untrusted,
    encode,
)
from svcmesh.summaries.table import Entry

CHANGES = Changes(
    "dc1", 7, 3, 9, 12, True, (("web", Entry(3, 2, 1000, 5)), ("db", Entry(0, 0, 9, 9)))
)


@pytest.mark.parametrize(
    "message",
    [
        Hello(2**48 - 1),
        Positions((Position("dc1", 1 << 60, 3), Position("dc2", 0, 0))),
        Want((Position("dc1", 7, 3),)),
        CHANGES,
    ],
)
def test_a_message_survives_the_way(message: SummaryMessage) -> None:
    assert decode_untrusted(encode(message, "s1.dc1")) == ("s1.dc1", message)


def form(*parts: object) -> bytes:
    packed: bytes = msgpack.packb(list(parts))
    return bytes((SUMMARY_BYTE,)) + packed


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x80\x93",
        bytes((SUMMARY_BYTE,)),
        form(),
        form(0, "s"),
        form(0, "", 1),
        form(0, "s", -1),
        form(0, "s", True),
        form(4, "s", 1),
        form(1, "s", [["dc1", 1]]),
        form(1, "s", [["dc1", 1, 1]] * 2000),
        form(3, "s", "dc1", 7, 5, 4, 9, False, []),
        form(3, "s", "dc1", 7, 3, 9, 8, False, []),
        form(3, "s", "dc1", 0, 3, 9, 12, False, []),
        form(3, "s", "dc1", 7, 0, 9, 9, False, [["web", 1, 1, 1, 5], ["db", 1, 1, 1, 5]]),
        form(3, "s", "dc1", 7, 0, 9, 9, False, [["x" * 256, 1, 1, 1, 5]]),
        form(3, "s", "dc1", 7, 0, 9, 9, False, [["web", 1.0, 1, 1, 5]]),
    ],
)
def test_what_is_no_message_is_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_untrusted(payload)


@example(b"\x81\x90\xc0")  # a map with a list as its key
@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(tail: bytes) -> None:
    with contextlib.suppress(DecodeError):
        decode_untrusted(bytes((SUMMARY_BYTE,)) + tail)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**64 - 1) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=6),
)


@given(st.lists(values, max_size=10))
def test_any_array_is_a_message_or_refused(parts: list[object]) -> None:
    with contextlib.suppress(DecodeError):
        decode_untrusted(form(*parts))

"""Where a request begins and ends: in doubt, nobody but the parser says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmesh.api.framing import HEAD_BYTES_MAX, REQUEST_BODY_BYTES_MAX, escape_line, frame_untrusted

WEB = b"GET /v1/health/service/web HTTP/1.1\r\nHost: a\r\n\r\n"
KEY = b"PUT /v1/kv/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize(
    "data",
    [
        WEB[:-1],
        WEB + b"G",
        WEB + WEB,
        KEY + b"!",
        KEY + KEY,
        WEB.replace(b"HTTP/1.1", b"HTTP/1.0"),
        WEB.replace(b"GET", b"get"),
        WEB.replace(b"GET", b"POST"),
        WEB.replace(b"GET ", b"GET  "),
        WEB.replace(b"/web", b"/w eb"),
        WEB.replace(b"/web", b"/w\x7fb"),
        WEB.replace(b"Host: a", b"Host: a\r\nContent-Length: 2"),
        WEB.replace(b"Host: a", b"Host: a\r\nTRANSFER-ENCODING: chunked"),
        KEY.replace(b"Host: a", b"Host: a\r\nTransfer-Encoding: chunked"),
        KEY.replace(b"Host: a", b"Host: a\r\nContent-Length: 5"),
        KEY.replace(b"Host: a", b"Host: a\r\ncontent-length: 6"),
        KEY.replace(b"Length: 5", b"Length: +5"),
        KEY.replace(b"Length: 5", b"Length: 5, 5"),
        KEY.replace(b"Length: 5", b"Length: 0x5"),
        KEY.replace(b"Length: 5", b"Length: 5 "),
        KEY.replace(b"Length: 5", b"Length : 5"),
        KEY.replace(b"Length: 5", b"Length: 5\n"),
        KEY.replace(b"Length: 5", b"Length: %d" % (REQUEST_BODY_BYTES_MAX + 1)),
        WEB.replace(b"Host: a", b"Host: a\r\nConnection: close"),
        WEB.replace(b"Host: a", b"Host: a\r\nupgrade: h2c"),
        WEB.replace(b"Host: a", b"Host: a\nContent-Length: 2"),
        KEY.replace(b"Host: a", b"Host: a\r\nExpect: 100-continue"),
        WEB.replace(b"Host: a", b"Host: " + b"a" * 2 * HEAD_BYTES_MAX),
        b"",
    ],
)
def test_what_is_more_or_less_than_one_plain_request_is_for_the_parser(data: bytes) -> None:
    assert frame_untrusted(data) is None


@pytest.mark.parametrize(
    "data",
    [
        WEB,
        WEB.replace(b"Host: a", b"Host: a\r\nConnection: keep-alive"),
        WEB.replace(b"web", b"web?passing=1&tag=v1"),
        KEY,
        KEY.replace(b"Content-Length: 5", b"content-length:5"),
    ],
)
def test_one_plain_request_is_whole(data: bytes) -> None:
    frame = frame_untrusted(data)
    assert frame is not None
    assert (frame.data, frame.missing_bytes) == (data, 0)


def test_a_body_may_have_yet_to_come() -> None:
    for cut in range(1, 6):
        frame = frame_untrusted(KEY[:-cut])
        assert frame is not None
        assert frame.missing_bytes == cut


def test_clients_are_the_same_whatever_the_size_of_their_bodies() -> None:
    one, other = frame_untrusted(KEY), frame_untrusted(KEY.replace(b"5", b"6") + b"!")
    assert one is not None
    assert other is not None
    assert one.fields == other.fields == b"\r\nHost: a\r\n"
    assert (one.body, other.body) == (b"hello", b"hello!")


@given(st.binary(max_size=300), st.integers(0, len(KEY)), st.integers(0, len(KEY)))
def test_arbitrary_bytes_are_judged_without_an_error(noise: bytes, start: int, end: int) -> None:
    for data in (noise, KEY[:start] + noise + KEY[end:]):
        frame = frame_untrusted(data)
        assert frame is None or frame.data == data


def test_only_the_line_of_a_request_is_escaped() -> None:
    request = "PUT /v1/kv/\u00e9?dc=\u00fc HTTP/1.1\r\nHost: a\r\n\r\n\u00e9".encode()
    escaped = escape_line(request)
    assert escaped.startswith(b"PUT /v1/kv/%C3%A9?dc=%C3%BC HTTP/1.1\r\n")
    assert escaped.endswith("\r\n\r\n\u00e9".encode())
    assert escape_line(escaped) is escaped
    assert escape_line(b"GET /\xff") == b"GET /%FF"

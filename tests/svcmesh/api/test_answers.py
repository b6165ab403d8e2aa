"""How answers are written."""

import tracemalloc

import orjson

from svcmesh.api.answers import COPY_BYTES_MAX, json_bytes


def test_bodies_that_are_kept_take_no_more_than_their_length() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = [json_bytes({"Node": "n1", "Number": number}) for number in range(1000)]
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken < sum(map(len, kept)) + 100 * len(kept)


def test_short_and_long_bodies_are_the_same_json() -> None:
    long = ["x" * 1000] * (COPY_BYTES_MAX // 1000 + 1)
    assert json_bytes(["x"]) == b'["x"]'
    assert orjson.loads(json_bytes(long)) == long


def test_text_that_is_no_unicode_gets_marks() -> None:
    assert json_bytes({"tag": "a\udcff"}) == '{"tag":"a\ufffd"}'.encode()

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.errors import DecodeError
from gossip.wire.lzw import LzwDecoder, LzwEncoder, compress, decompress_untrusted
from tests.gossip.wire.vectors import LZW_PAIRS, naive_lzw_decompress

pairs = pytest.mark.parametrize("pair", LZW_PAIRS.values(), ids=LZW_PAIRS)
MIB = 1024 * 1024


@pairs
def test_compression_reproduces_the_reference_byte_for_byte(pair: tuple[bytes, bytes]) -> None:
    plain, compressed = pair

    assert compress(plain) == compressed


@pairs
def test_decompression_reads_the_output_of_the_reference(pair: tuple[bytes, bytes]) -> None:
    plain, compressed = pair

    assert decompress_untrusted(compressed, output_bytes_max=MIB) == plain


@settings(deadline=None)
@given(st.binary(max_size=3000) | st.lists(st.sampled_from(b"ab"), max_size=9000).map(bytes))
def test_what_is_compressed_expands_to_itself_by_a_naive_reading(plain: bytes) -> None:
    assert naive_lzw_decompress(compress(plain)) == plain
    assert decompress_untrusted(compress(plain), output_bytes_max=MIB) == plain


def test_a_table_that_stays_full_without_a_clear_code_is_read() -> None:
    """A valid stream that our own encoder never writes: 12-bit codes go on after code 4095."""
    plain = bytes(range(256)) * 20
    bits, count = 256, 9
    last_code, width = 257, 9
    for byte in plain:
        bits |= byte << count
        count += width
        last_code = min(last_code + 1, 4095)
        width = min(12, last_code.bit_length())
    bits |= 257 << count
    compressed = bits.to_bytes((count + width + 7) // 8, "little")

    assert decompress_untrusted(compressed, output_bytes_max=MIB) == plain


def test_slices_of_any_size_give_the_same_bytes_in_both_directions() -> None:
    plain, compressed = LZW_PAIRS["tcp-pushpull-events-lzw-table-reset"]
    encoder = LzwEncoder()
    pieces = [encoder.feed(plain[start : start + 7]) for start in range(0, len(plain), 7)]
    decoder = LzwDecoder(compressed, output_bytes_max=MIB)
    while not decoder.advance(codes_max=3):
        pass

    assert b"".join(pieces) + encoder.finish() == compressed
    assert decoder.output == plain


@pytest.mark.parametrize(
    ("compressed", "reason"),
    [
        pytest.param(b"", "bad-compression", id="nothing"),
        pytest.param(compress(b"some text")[:-1], "bad-compression", id="no end code"),
        pytest.param(b"\x02\x01" + b"\xff" * 8, "bad-compression", id="undefined code"),
        pytest.param((258).to_bytes(2, "little") * 2, "bad-compression", id="code without prefix"),
        pytest.param(compress(bytes(65537)), "expansion-too-large", id="one byte too much"),
    ],
)
def test_a_bad_code_stream_is_refused_with_its_reason(compressed: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as refused:
        decompress_untrusted(compressed, output_bytes_max=65536)

    assert refused.value.reason == reason


def test_a_bomb_is_stopped_while_it_expands() -> None:
    bomb = compress(bytes(1_000_000))
    decoder = LzwDecoder(bomb, output_bytes_max=65536)

    with pytest.raises(DecodeError):
        decoder.advance(codes_max=len(bomb))

    assert len(bomb) < 10_000
    assert len(decoder.output) <= 65536


@given(st.binary(max_size=400))
def test_arbitrary_bytes_expand_as_a_naive_reading_does_or_are_refused(data: bytes) -> None:
    try:
        expanded = decompress_untrusted(data, output_bytes_max=MIB)
    except DecodeError:
        return

    assert naive_lzw_decompress(data) == expanded

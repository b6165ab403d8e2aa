"""LZW as the gossip protocol uses it (section 4.4): least significant bit first, 8-bit literals.

The GIF variant: codes start at 9 bits and grow to 12 without "early change". Both directions
work in slices, because a large stream takes Python longer than an event loop may stand still.
"""

from typing import Final

from gossip.errors import DecodeError
from gossip.wire import reasons

_CLEAR: Final = 256
_END: Final = 257
_FIRST_WIDTH: Final = 9
_WIDTH_MAX: Final = 12
_CODES_MAX: Final = 1 << _WIDTH_MAX
_FLUSH_BITS: Final = 64
_FLUSH_MASK: Final = (1 << _FLUSH_BITS) - 1
_LITERALS: Final = [bytes((byte,)) for byte in range(256)] + [b"", b""]
"""Expansions by code; those of the two control codes are never asked for."""


def compress(plain: bytes) -> bytes:
    """Encode `plain` in one go; for datagrams."""
    encoder = LzwEncoder()
    return encoder.feed(plain) + encoder.finish()


def decompress_untrusted(compressed: bytes, *, output_bytes_max: int) -> bytes:
    """Decode `compressed` in one go; for datagrams.

    Raises:
        DecodeError: The codes are wrong or cut, or the output would pass `output_bytes_max`.
    """
    decoder = LzwDecoder(compressed, output_bytes_max=output_bytes_max)
    is_finished = decoder.advance(codes_max=len(compressed) + 1)
    assert is_finished, "codes have at least 9 bits, so their input ended first"
    return bytes(decoder.output)


class LzwEncoder:
    """Greedy longest match, byte for byte as the reference does it.

    `feed` any number of slices, then `finish` once. Clears its table when code 4095 is reached.
    """

    def __init__(self) -> None:
        self._table: dict[int, int] = {}
        """Code of (prefix code << 8 | next byte)."""
        self._match = -1
        """Code of what is matched so far; -1 before the first byte."""
        self._last_code = _END
        self._width = _FIRST_WIDTH
        self._bits = _CLEAR
        self._bit_count = _FIRST_WIDTH
        self._done = bytearray()

    def feed(self, plain: bytes) -> bytes:
        """Encode more of the input; returns the bytes that are complete."""
        if not plain:
            return b""
        table, match = self._table, self._match
        start = 0
        if match < 0:
            match, start = plain[0], 1
        for byte in plain[start:] if start else plain:
            key = match << 8 | byte
            longer = table.get(key)
            if longer is not None:
                match = longer
                continue
            self._emit(match)
            if self._advance_last_code():
                table[key] = self._last_code
            match = byte
        self._match = match
        return self._take_done()

    def finish(self) -> bytes:
        """End the code stream; returns the remaining bytes."""
        if self._match >= 0:
            self._emit(self._match)
            self._advance_last_code()
        self._emit(_END)
        self._done += self._bits.to_bytes((self._bit_count + 7) // 8, "little")
        return self._take_done()

    def _emit(self, code: int) -> None:
        self._bits |= code << self._bit_count
        self._bit_count += self._width
        if self._bit_count >= _FLUSH_BITS:
            self._done += (self._bits & _FLUSH_MASK).to_bytes(_FLUSH_BITS // 8, "little")
            self._bits >>= _FLUSH_BITS
            self._bit_count -= _FLUSH_BITS

    def _advance_last_code(self) -> bool:
        """Count one data code; False if that filled the table, which is then empty again."""
        self._last_code += 1
        if self._last_code == 1 << self._width:
            self._width += 1
        if self._last_code < _CODES_MAX - 1:
            return True
        self._emit(_CLEAR)
        self._last_code, self._width = _END, _FIRST_WIDTH
        self._table.clear()
        return False

    def _take_done(self) -> bytes:
        done = bytes(self._done)
        self._done.clear()
        return done


class LzwDecoder:
    """Expands one code stream, as far per call as asked, into `output`.

    Invariant: while a previous code is remembered, the next free code is `len(table)`, so an
    entry exists exactly for the codes below that.
    """

    def __init__(self, compressed: bytes, *, output_bytes_max: int) -> None:
        self.output = bytearray()
        self._input, self._output_bytes_max = compressed, output_bytes_max
        self._position = 0
        self._bits = 0
        self._bit_count = 0
        self._width = _FIRST_WIDTH
        self._last_code = _END
        self._previous: bytes | None = None
        self._table = _LITERALS.copy()

    def advance(self, *, codes_max: int) -> bool:
        """Expand at most `codes_max` codes; True when the end code was read.

        Raises:
            DecodeError: A code is wrong, the input is cut, or the output would be too large.
        """
        data, size = self._input, len(self._input)
        position, bits, bit_count = self._position, self._bits, self._bit_count
        table, output = self._table, self.output
        width, last_code, previous = self._width, self._last_code, self._previous
        room = self._output_bytes_max - len(output)
        for _ in range(codes_max):
            while bit_count < width:
                if position == size:
                    raise DecodeError(reasons.BAD_COMPRESSION, "no end code")
                bits |= data[position] << bit_count
                position += 1
                bit_count += 8
            code = bits & (1 << width) - 1
            bits >>= width
            bit_count -= width
            if code < _CLEAR or _END < code < len(table):
                expansion = table[code]
            elif code == _CLEAR:
                del table[_END + 1 :]
                width, last_code, previous = _FIRST_WIDTH, _END, None
                continue
            elif code == _END:
                return True
            elif code == last_code and previous is not None:
                expansion = previous + previous[:1]
            else:
                raise DecodeError(reasons.BAD_COMPRESSION, f"code {code} is not defined")
            room -= len(expansion)
            if room < 0:
                raise DecodeError(
                    reasons.EXPANSION_TOO_LARGE, f"above {self._output_bytes_max} bytes"
                )
            output += expansion
            if previous is not None:
                table.append(previous + expansion[:1])
            previous = expansion
            last_code += 1
            if last_code == 1 << width:
                if width < _WIDTH_MAX:
                    width += 1
                else:
                    previous = None
                    last_code -= 1
        self._position, self._bits, self._bit_count = position, bits, bit_count
        self._width, self._last_code, self._previous = width, last_code, previous
        return False

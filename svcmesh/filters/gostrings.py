"""Quoted strings and numbers as Go writes and reads them."""

import re
from typing import Final

_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\\"])|x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|)"
)
_SIMPLE: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", '"': '"',
}  # fmt: skip
_INTEGER: Final = re.compile(
    r"[+-]?(?:0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO]?(?:_?[0-7])+|0|[1-9](?:_?[0-9])*)"
)
_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
_INT_DIGITS_MAX: Final = 70
"""As many as 64 bits in base 2, and some."""


def unquote(literal: str) -> str:
    """The text of a string literal in double quotes or backticks, quotes included.

    Raises:
        ValueError: An escape is wrong, or a line ends inside double quotes.
    """
    text = literal[1:-1]
    if literal[0] == "`":
        return text.replace("\r", "")
    if "\n" in text:
        raise ValueError(literal)
    if "\\" not in text:
        return text
    # Escapes of bytes may spell one character together.
    raw = bytearray()
    at = 0
    for found in _ESCAPE.finditer(text):
        raw += _encode(text[at : found.start()])
        raw += _escaped(found)
        at = found.end()
    raw += _encode(text[at:])
    return raw.decode("utf-8", "surrogateescape")


def _escaped(found: re.Match[str]) -> bytes:
    simple, hexadecimal, octal, *code_points = found.groups()
    if simple is not None:
        return _SIMPLE[simple].encode()
    if hexadecimal is not None:
        return bytes([int(hexadecimal, 16)])
    if octal is not None:
        return bytes([int(octal, 8)])
    code = next((code for code in code_points if code is not None), None)
    if code is None:
        raise ValueError(found.group())
    return chr(int(code, 16)).encode()


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def quote(text: str) -> str:
    """`text` in double quotes, as `%q` prints it."""
    shown = []
    for char in text:
        if char in '"\\':
            shown.append("\\" + char)
        elif char.isprintable():
            shown.append(char)
        else:
            shown.append(_NAMED.get(char) or _numbered(ord(char)))
    return f'"{"".join(shown)}"'


_NAMED: Final = {char: "\\" + name for name, char in _SIMPLE.items()}


def _numbered(code: int) -> str:
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def parse_int(text: str) -> int:
    """A 64-bit integer, with a base prefix and underscores if it has some.

    Raises:
        ValueError: In Go's words.
    """
    if _INTEGER.fullmatch(text) is None:
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    digits = text.lower().replace("_", "")
    magnitude = digits.lstrip("+-")
    if len(magnitude) > 1 and magnitude[0] == "0" and magnitude[1].isdigit():
        value = int(digits, 8)
    else:
        # Bounded: `int` takes quadratic time on very many decimal digits.
        value = int(digits, 0) if len(digits) <= _INT_DIGITS_MAX else _INT64_MAX + 1
    if not _INT64_MIN <= value <= _INT64_MAX:
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    return value

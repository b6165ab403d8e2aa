r"""Regular expressions of flags, with complaints in the words of Go's library.

The syntax is Python's, which has all of Go's but `\z` and Unicode classes, and more besides.
"""

import re
from collections.abc import Callable
from typing import Final

_WORDS: Final[tuple[tuple[str, Callable[[str, re.error], str]], ...]] = (
    ("missing ), unterminated", lambda text, _: f"missing closing ): `{text}`"),
    ("unterminated character set", lambda text, e: f"missing closing ]: `{text[e.pos or 0 :]}`"),
    ("unbalanced parenthesis", lambda text, _: f"unexpected ): `{text}`"),
    ("nothing to repeat", lambda text, e: _repeated(text, e)),
    ("multiple repeat", lambda text, e: f"invalid nested repetition operator: `{_two(text, e)}`"),
    ("min repeat greater than max", lambda text, e: f"invalid repeat count: `{_braces(text, e)}`"),
    ("bad character range", lambda _, e: f"invalid character class range: `{e.msg.split()[-1]}`"),
    ("bad escape (end", lambda _text, _e: "trailing backslash at end of expression: ``"),
    ("bad escape", lambda _, e: f"invalid escape sequence: `{e.msg.split()[-1]}`"),
    ("missing >, unterminated name", lambda text, _: f"invalid named capture: `{text}`"),
)
"""Beginnings of Python's messages, and what Go would say."""


def compile_regexp(text: str) -> re.Pattern[str]:
    """Compile an expression.

    Raises:
        ValueError: It is none; the text is `error parsing regexp: ...`.
    """
    try:
        return re.compile(text)
    except re.error as error:
        for beginning, say in _WORDS:
            if error.msg.startswith(beginning):
                raise ValueError(f"error parsing regexp: {say(text, error)}") from None
        raise ValueError(f"error parsing regexp: {error.msg}: `{text}`") from None


def _repeated(text: str, error: re.error) -> str:
    return f"missing argument to repetition operator: `{text[error.pos or 0]}`"


def _two(text: str, error: re.error) -> str:
    at = error.pos or 0
    return text[at - 1 : at + 1]


def _braces(text: str, error: re.error) -> str:
    start = text.rfind("{", 0, (error.pos or 0) + 1)
    return text[start : text.find("}", start) + 1]

"""Go's regular expressions, in time that grows with the text and no faster.

RE2 is the engine that Go's was written after. Python's own would let one expression stall the
event loop for ever.
"""

from collections.abc import Callable
from typing import Any, Final

from svcmesh.errors import SvcmeshError

PROGRAM_SIZE_MAX: Final = 1000
"""Instructions of a compiled expression: with these, 4 KiB of text take a few milliseconds."""

_MEMORY_BYTES_MAX: Final = 1024 * 1024
_SIEVE_BYTES_MAX: Final = 64 * 1024
"""Enough for twice `PROGRAM_SIZE_MAX`. What does not fit is refused in two milliseconds; with all
the memory, `a{1,900}` ten times over is compiled for a fifth of a second first."""

_GO_WORDS: Final = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "trailing \\": "trailing backslash at end of expression",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
}


class GoRegexError(SvcmeshError, ValueError):
    """An expression is wrong or too large; the text is Go's."""


def compile_go_regex(pattern: str) -> Callable[[str], bool]:
    """A test whether a text has a match of `pattern` anywhere.

    Raises:
        GoRegexError: The pattern is wrong or too large.
    """
    search = _compile(pattern).search
    return lambda text: search(_encode(text)) is not None


def compile_go_groups(pattern: str) -> Callable[[str], tuple[str, ...]]:
    """What the first match of `pattern` in a text is, and its groups after it; empty without one.

    Raises:
        GoRegexError: The pattern is wrong or too large.
    """
    search = _compile(pattern).search

    def groups(text: str) -> tuple[str, ...]:
        found = search(_encode(text))
        if found is None:
            return ()
        return tuple(_decode(part or b"") for part in (found.group(), *found.groups()))

    return groups


def _compile(pattern: str) -> Any:  # noqa: ANN401 -- re2 has no types
    # Not at the top: most agents never see an expression.
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _SIEVE_BYTES_MAX
    try:
        re2.compile(_encode(pattern), options=options)
        options.max_mem = _MEMORY_BYTES_MAX
        compiled = re2.compile(_encode(pattern), options=options)
    except re2.error as error:
        raise GoRegexError(_problem(error.args[0].decode("utf-8", "replace"))) from None
    if compiled.programsize > PROGRAM_SIZE_MAX:
        raise GoRegexError(_problem("expression too large"))
    return compiled


def _problem(said: str) -> str:
    words, colon, where = said.partition(": ")
    shown = f"{_GO_WORDS.get(words, words)}: `{where}`" if colon else _GO_WORDS.get(words, words)
    return f"error parsing regexp: {shown}"


def _encode(text: str) -> bytes:
    # Tags of other agents may hold bytes that are no UTF-8.
    return text.encode("utf-8", "surrogateescape")


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")

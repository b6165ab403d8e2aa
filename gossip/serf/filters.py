"""Whether a query is for us: its filters by member name and by tag (10.11)."""

from collections.abc import Iterable, Mapping
from typing import Final

from gossip.errors import DecodeError
from gossip.types import MemberName
from gossip.wire import reasons
from gossip.wire.messages import NodeFilter, TagFilter
from gossip.wire.serf_values import decode_filter_untrusted

_PROGRAM_SIZE_MAX: Final = 1000
_MEMORY_BYTES_MAX: Final = 1024 * 1024


def passes_untrusted(filters: Iterable[bytes], name: MemberName, tags: Mapping[str, str]) -> bool:
    """Whether every filter lets this member in.

    Raises:
        DecodeError: One is malformed, or its expression wrong or too large: not for us either.
    """
    for raw in filters:
        match decode_filter_untrusted(raw):
            case NodeFilter(names):
                if name not in names:
                    return False
            case TagFilter(tag, expression):
                if not _has_match(expression, tags.get(tag, "")):
                    return False
    return True


def _has_match(expression: str, text: str) -> bool:
    # RE2, which Go's engine was written after: an expression of a stranger cannot stall us. Not at
    # the top: most members never see one.
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY_BYTES_MAX
    try:
        compiled = re2.compile(_encode(expression), options=options)
    except re2.error as error:
        raise DecodeError(reasons.BAD_FILTER, repr(error)) from error
    if compiled.programsize > _PROGRAM_SIZE_MAX:
        raise DecodeError(reasons.BAD_FILTER, "the expression is too large")
    return compiled.search(_encode(text)) is not None


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

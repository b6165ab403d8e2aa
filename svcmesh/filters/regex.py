"""Regular expressions of `matches`."""

from collections.abc import Callable

from svcmesh.filters.errors import FilterError
from svcmesh.filters.gostrings import quote
from svcmesh.goregex import GoRegexError, compile_go_regex


def compile_regex(pattern: str) -> Callable[[str], bool]:
    """A test whether a text has a match of `pattern` anywhere.

    Raises:
        FilterError: The pattern is wrong or too large.
    """
    try:
        return compile_go_regex(pattern)
    except GoRegexError as error:
        text = f"Failed to compile regular expression {quote(pattern)}: {error}"
        raise FilterError(text) from None

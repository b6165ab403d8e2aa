"""The grammar of filter expressions, as a recursive descent that never reads anything twice.

    or       = and { _ "or" _ and }
    and      = not { _ "and" _ not }
    not      = { "not" _ } group
    group    = "(" [_] or [_] ")" | match
    match    = selector ( "==" | "!=" | _ "contains" _ | _ "matches" _ | ... ) value
             | selector _ "is" _ [ "not" _ ] "empty"
             | value _ [ "not" _ ] "in" _ selector
    selector = name { "." name | "[" string "]" }
    value    = selector | number | string
    _        = white space

Consul's parser takes the first alternative that fits and goes back where none does; so does this
one, which matters because no word is reserved: `not in Tags` looks for the tag "not". An error says
what was expected at the farthest place that any alternative reached.
"""

import re
from collections.abc import Callable
from typing import Final

from svcmesh.filters.errors import FilterError, FilterSyntaxError
from svcmesh.filters.gostrings import unquote
from svcmesh.filters.syntax import AllOf, AnyOf, Expression, Match, Not, Operator

EXPRESSION_CHARS_MAX: Final = 8192

DEPTH_MAX: Final = 64
"""Parentheses inside parentheses."""

_SPACE: Final = re.compile(r"[ \t\r\n]+")
_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_AFTER_NUMBER: Final = frozenset(" \t\r\n)")

_SPACE_EXPECTED: Final = r"[ \t\r\n]"
_END_EXPECTED: Final = "EOF"

_COMPARISONS: Final = (
    (("==",), Operator.EQUAL),
    (("!=",), Operator.NOT_EQUAL),
    (("contains",), Operator.IN),
    (("not", "contains"), Operator.NOT_IN),
    (("matches",), Operator.MATCHES),
    (("not", "matches"), Operator.NOT_MATCHES),
)
_EMPTINESS: Final = (
    (("is", "empty"), Operator.IS_EMPTY),
    (("is", "not", "empty"), Operator.IS_NOT_EMPTY),
)
_MEMBERSHIP: Final = (
    (("in",), Operator.IN),
    (("not", "in"), Operator.NOT_IN),
)
_Spellings = tuple[tuple[tuple[str, ...], Operator], ...]


def parse(text: str) -> Expression:
    """Read a filter expression.

    Raises:
        FilterSyntaxError: It is none, or goes beyond our bounds.
    """
    if len(text) > EXPRESSION_CHARS_MAX:
        raise FilterSyntaxError(
            f"expression of {len(text)} characters exceeds the limit ({EXPRESSION_CHARS_MAX})"
        )
    return _Parser(text).whole()


class _Parser:
    """One reading of one text.

    A method named for a part of the grammar moves `_at` behind that part, or returns None and
    leaves it where it was. `_farthest` is where the reading has failed at the latest, and
    `_expected` what would have let it go on there.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._farthest = 0
        self._expected: set[str] = set()

    def whole(self) -> Expression:
        self._space()
        expression = self._or()
        if expression is not None:
            self._space()
            if self._at == len(self._text):
                return expression
            self._miss(_END_EXPECTED)
        raise self._no_match()

    # -- operators --------------------------------------------------------------------------

    def _or(self) -> Expression | None:
        first = self._and()
        if first is None:
            return None
        operands = [first]
        while (following := self._joined("or", self._and)) is not None:
            operands.append(following)
        return operands[0] if len(operands) == 1 else AnyOf(tuple(operands))

    def _and(self) -> Expression | None:
        first = self._not()
        if first is None:
            return None
        operands = [first]
        while (following := self._joined("and", self._not)) is not None:
            operands.append(following)
        return operands[0] if len(operands) == 1 else AllOf(tuple(operands))

    def _joined(self, word: str, operand: Callable[[], Expression | None]) -> Expression | None:
        start = self._at
        if self._space() and self._word(word) and self._space():
            expression = operand()
            if expression is not None:
                return expression
        self._at = start
        return None

    def _not(self) -> Expression | None:
        # No word is reserved, so each `not` may turn out to be a name or a value instead.
        starts = []
        while True:
            starts.append(self._at)
            if not (self._word("not") and self._space()):
                break
        while starts:
            self._at = starts.pop()
            expression = self._group()
            if expression is not None:
                return Not(expression) if len(starts) % 2 else expression
        return None

    def _group(self) -> Expression | None:
        start = self._at
        if not self._word("("):
            return self._match()
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise FilterSyntaxError(f"more than {DEPTH_MAX} parentheses inside each other")
        self._space()
        expression = self._or()
        if expression is not None:
            self._space()
            if not self._word(")"):
                raise self._error("grouping", "Unmatched parentheses")
            self._depth -= 1
            return expression
        self._depth -= 1
        self._at = start
        return None

    # -- matches ----------------------------------------------------------------------------

    def _match(self) -> Expression | None:
        start = self._at
        selector = self._selector()
        if selector is not None:
            after = self._at
            if (operator := self._operator(_COMPARISONS)) is not None:
                value = self._value()
                if value is not None:
                    return Match(selector, operator, value)
                self._at = after
            if (operator := self._operator(_EMPTINESS)) is not None:
                return Match(selector, operator, None)
            self._at = start
        value = self._value()
        if value is not None and (operator := self._operator(_MEMBERSHIP)) is not None:
            selector = self._selector()
            if selector is None:
                raise self._error("match", "Invalid selector")
            return Match(selector, operator, value)
        self._at = start
        return None

    def _operator(self, spellings: _Spellings) -> Operator | None:
        start = self._at
        for words, operator in spellings:
            if self._spelled(words, needs_space=words[0].isalpha()):
                return operator
            self._at = start
        return None

    def _spelled(self, words: tuple[str, ...], *, needs_space: bool) -> bool:
        for word in words:
            if not self._space() and needs_space:
                return False
            if not self._word(word):
                return False
        if words[-1] == "empty":
            return True
        return self._space() or not needs_space

    # -- selectors and values ---------------------------------------------------------------

    def _selector(self) -> tuple[str, ...] | None:
        name = self._name()
        if name is None:
            return None
        path = [name]
        while (part := self._selector_part()) is not None:
            path.append(part)
        return tuple(path)

    def _selector_part(self) -> str | None:
        start = self._at
        if self._word("."):
            name = self._name()
            if name is None:
                self._at = start
            return name
        if not self._word("["):
            return None
        self._space()
        key = self._string()
        if key is None:
            raise self._error("index", "Invalid index")
        self._space()
        if not self._word("]"):
            raise self._error("index", "Unclosed index expression")
        return key

    def _name(self) -> str | None:
        found = _NAME.match(self._text, self._at)
        if found is None:
            self._miss("[a-zA-Z]")
            return None
        self._at = found.end()
        self._miss("[a-zA-Z0-9_]")
        return found.group()

    def _value(self) -> str | None:
        selector = self._selector()
        if selector is not None:
            return ".".join(selector)
        number = self._number()
        return self._string() if number is None else number

    def _number(self) -> str | None:
        found = _NUMBER.match(self._text, self._at)
        if found is None:
            for expected in ('"-"', '"0"', "[1-9]"):
                self._miss(expected)
            return None
        self._at = found.end()
        for expected in ('"."', "[0-9]", _SPACE_EXPECTED, _END_EXPECTED):
            self._miss(expected)
        if self._at < len(self._text) and self._text[self._at] not in _AFTER_NUMBER:
            raise self._error("number", "Invalid number literal")
        return found.group()

    def _string(self) -> str | None:
        start = self._at
        quote = self._text[start : start + 1]
        if quote not in ("`", '"'):
            self._miss('"`"')
            self._miss('"\\""')
            return None
        end = self._text.find(quote, start + 1)
        if end < 0:
            raise self._error("string", "Unterminated string literal", at=len(self._text))
        self._at = end + 1
        try:
            return unquote(self._text[start : self._at])
        except ValueError:
            raise self._error("string", "invalid syntax", at=start) from None

    # -- characters -------------------------------------------------------------------------

    def _space(self) -> bool:
        found = _SPACE.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        self._miss(_SPACE_EXPECTED)
        return found is not None

    def _word(self, word: str) -> bool:
        if self._text.startswith(word, self._at):
            self._at += len(word)
            return True
        self._miss(f'"{word}"')
        return False

    def _miss(self, expected: str) -> None:
        if self._at > self._farthest:
            self._farthest = self._at
            self._expected.clear()
        if self._at == self._farthest:
            self._expected.add(expected)

    def _error(self, rule: str, problem: str, *, at: int | None = None) -> FilterError:
        place = self._place(self._at if at is None else at)
        return FilterSyntaxError(f'{place}: rule "{rule}": {problem}')

    def _no_match(self) -> FilterError:
        expected = sorted(self._expected - {_END_EXPECTED})
        if _END_EXPECTED in self._expected:
            expected.append(_END_EXPECTED)
        *most, last = expected
        listed = f"{', '.join(most)} or {last}" if most else last
        return FilterSyntaxError(
            f"{self._place(self._farthest)}: no match found, expected: {listed}"
        )

    def _place(self, at: int) -> str:
        before = self._text[:at]
        line = before.count("\n") + 1
        column = at - (before.rfind("\n") + 1) + 1
        return f"{line}:{column} ({len(before.encode('utf-8', 'surrogateescape'))})"

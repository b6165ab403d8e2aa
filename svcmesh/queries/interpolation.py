"""The language inside the texts of a query template: `${...}`, as Consul understands it.

    text    = letters, `$$` for a plain `$`, and `${` sum `}` in any number
    sum     = term (("+" | "-" | "*" | "/" | "%") term)*     from left to right, all of one rank
    term    = "-" term | number | '"' text '"' | "(" sum ")" | name | name "(" [sum ("," sum)*] ")"

The first operand decides whether a sum is one of whole numbers; text in it is read as a number.
Consul's own releases end with a crash on some of these (a division by zero); here all that is wrong
is an error.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn, assert_never

from svcmesh.errors import SvcmeshError

Value = str | int | float
Function = Callable[[int], str]

DEPTH_MAX: Final = 32
"""Expressions in expressions."""
INT_MAX: Final = 2**63 - 1
NUMBER_CHARACTERS_MAX: Final = 100

SYNTAX_ERROR: Final = "parse error: syntax error"

_ESCAPE: Final = "$$"
_OPENING: Final = "${"
_TOKEN: Final = re.compile(
    r"[ \t\r\n]*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[A-Za-z_][\w\-]*(?:\.[\w\-]+)*)|(?P<sign>.))"
)
_LETTERS: Final = {"n": "\n", '"': '"', "\\": "\\", "t": "\t"}
_OPERATORS: Final = "+-*/%"


class SyntaxProblemError(SvcmeshError):
    """A text cannot be read."""


class EvaluationError(SvcmeshError):
    """A text can be read, and has no value."""


@dataclass(frozen=True, slots=True)
class Text:
    """Pieces that follow one another."""

    pieces: tuple["str | Node", ...]


@dataclass(frozen=True, slots=True)
class Number:
    value: int | float


@dataclass(frozen=True, slots=True)
class Name:
    name: str
    at: str
    """Line and column, for errors."""


@dataclass(frozen=True, slots=True)
class Applied:
    function: str
    arguments: tuple["Node", ...]
    at: str


@dataclass(frozen=True, slots=True)
class Sum:
    first: "Node"
    others: tuple[tuple[str, "Node"], ...]


@dataclass(frozen=True, slots=True)
class Negative:
    inner: "Node"


Node = Text | Number | Name | Applied | Sum | Negative


def parse(text: str) -> Text:
    """Read a text.

    Raises:
        SyntaxProblemError: It cannot be read.
    """
    return _Parser(text).whole()


def evaluate(text: Text, names: Mapping[str, str], functions: Mapping[str, Function]) -> str:
    """The value of a text.

    Raises:
        EvaluationError: An unknown name, or a value that cannot be worked out.
    """
    return _as_text(_evaluate(text, names, functions))


class _Parser:
    """Reads one text from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def whole(self) -> Text:
        return Text(tuple(self._pieces(ends_at=None, depth=0)))

    def _pieces(self, *, ends_at: str | None, depth: int) -> Iterator["str | Node"]:
        """Yield what comes until the end, or the closing quote."""
        letters: list[str] = []
        while self._at < len(self._text):
            letter = self._text[self._at]
            if letter == ends_at:
                break
            if self._text.startswith(_ESCAPE, self._at):
                letters.append("$")
                self._at += len(_ESCAPE)
            elif self._text.startswith(_OPENING, self._at):
                if letters:
                    yield "".join(letters)
                    letters = []
                self._at += len(_OPENING)
                yield self._sum(depth + 1)
                self._expect("}")
            elif letter == "\\" and ends_at is not None:
                escaped = self._text[self._at : self._at + 2]
                letters.append(_LETTERS.get(escaped[1:], escaped))
                self._at += len(escaped)
            else:
                letters.append(letter)
                self._at += 1
        if letters:
            yield "".join(letters)

    def _sum(self, depth: int) -> Node:
        if depth > DEPTH_MAX:
            self._fail()
        first = self._term(depth)
        others: list[tuple[str, Node]] = []
        while (sign := self._peek()) and sign in _OPERATORS:
            self._expect(sign)
            others.append((sign, self._term(depth)))
        return Sum(first, tuple(others)) if others else first

    def _term(self, depth: int) -> Node:
        token = self._next()
        if number := token["number"]:
            if len(number) > NUMBER_CHARACTERS_MAX:
                # `int` refuses thousands of digits with an error of its own.
                self._fail()
            value = float(number) if "." in number else int(number)
            if value > INT_MAX:
                self._fail()
            return Number(value)
        if name := token["name"]:
            at = self._place(token.start("name"))
            if self._peek() != "(":
                return Name(name, at)
            self._expect("(")
            return Applied(name, tuple(self._arguments(depth)), at)
        match token["sign"]:
            case "-":
                return Negative(self._term(depth + 1)) if depth < DEPTH_MAX else self._fail()
            case "(":
                inner = self._sum(depth + 1)
                self._expect(")")
                return inner
            case '"':
                text = Text(tuple(self._pieces(ends_at='"', depth=depth)))
                self._expect('"')
                return text
            case _:
                return self._fail()

    def _arguments(self, depth: int) -> Iterator[Node]:
        if self._peek() != ")":
            yield self._sum(depth + 1)
            while self._peek() == ",":
                self._expect(",")
                yield self._sum(depth + 1)
        self._expect(")")

    def _next(self) -> re.Match[str]:
        token = _TOKEN.match(self._text, self._at)
        if token is None:
            self._fail()
        self._at = token.end()
        return token

    def _peek(self) -> str | None:
        """The sign that comes next; None when something else does."""
        token = _TOKEN.match(self._text, self._at)
        return None if token is None else token["sign"]

    def _expect(self, sign: str) -> None:
        if self._peek() != sign:
            self._fail()
        self._next()

    def _place(self, at: int) -> str:
        before = self._text[:at]
        return f"{before.count(chr(10)) + 1}:{at - before.rfind(chr(10))}"

    def _fail(self) -> NoReturn:
        raise SyntaxProblemError(SYNTAX_ERROR)


def _evaluate(node: Node, names: Mapping[str, str], functions: Mapping[str, Function]) -> Value:
    match node:
        case Text(pieces):
            values = (
                piece if isinstance(piece, str) else _as_text(_evaluate(piece, names, functions))
                for piece in pieces
            )
            return "".join(values)
        case Number(value):
            return value
        case Name(name, at):
            if name not in names:
                raise EvaluationError(f"{at}: unknown variable accessed: {name}")
            return names[name]
        case Applied():
            return _apply(node, names, functions)
        case Negative(inner):
            return _bounded(-_as_number(_evaluate(inner, names, functions)))
        case Sum(first, others):
            total = _as_number(_evaluate(first, names, functions))
            for sign, operand in others:
                value = _as_number(_evaluate(operand, names, functions))
                total = _calculate(total, sign, value)
            return total
        case _:
            assert_never(node)


def _apply(node: Applied, names: Mapping[str, str], functions: Mapping[str, Function]) -> str:
    function = functions.get(node.function)
    if function is None:
        raise EvaluationError(f"{node.at}: unknown function called: {node.function}")
    given: Sequence[Node] = node.arguments
    if len(given) != 1:
        raise EvaluationError(f"{node.at}: {node.function}: expected 1 arguments, got {len(given)}")
    return function(int(_as_number(_evaluate(given[0], names, functions))))


def _calculate(left: int | float, sign: str, right: int | float) -> int | float:
    """One step of a sum, in the kind of number that the left one is; Go rounds towards zero."""
    right = int(right) if isinstance(left, int) else float(right)
    match sign:
        case "+":
            return _bounded(left + right)
        case "-":
            return _bounded(left - right)
        case "*":
            return _bounded(left * right)
        case _ if not right:
            raise EvaluationError("division by zero")
        case "/" if isinstance(left, float):
            return _bounded(left / right)
        case "%" if isinstance(left, float):
            raise EvaluationError("a remainder of whole numbers only")
    quotient = abs(int(left)) // abs(int(right))
    quotient = quotient if (left < 0) == (right < 0) else -quotient
    return quotient if sign == "/" else left - quotient * right


def _bounded(value: int | float) -> int | float:
    if abs(value) > INT_MAX:
        raise EvaluationError("a number out of range")
    return value


def _as_number(value: Value) -> int | float:
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", value):
        problem = f'strconv.ParseInt: parsing "{value}": invalid syntax'
        raise EvaluationError(f"__builtin_StringToInt: {problem}")
    return int(value)


def _as_text(value: Value) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)

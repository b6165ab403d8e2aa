"""HCL, version 1, as Consul reads it: text to the values that a JSON file would give.

Written here because no kept library reads it: python-hcl2 is another language (it refuses quoted
keys, JSON, and two blocks after an attribute of the same name), and pyhcl mixes up the fields of
repeated blocks. Imported only when an HCL file is read.

An object under a key comes as a list of objects, since a block may be repeated.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DEPTH_MAX: Final = 64


class HclError(ValueError):
    """The text is no HCL; the message begins with line and column."""


class _Is(StrEnum):
    """Kinds of tokens, by the names that errors call them."""

    IDENT = "IDENT"
    STRING = "STRING"
    HEREDOC = "HEREDOC"
    NUMBER = "NUMBER"
    BOOL = "BOOL"
    LBRACE = "LBRACE"
    RBRACE = "RBRACE"
    LBRACK = "LBRACK"
    RBRACK = "RBRACK"
    COMMA = "COMMA"
    ASSIGN = "ASSIGN"
    EOF = "EOF"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Is
    text: str
    value: object
    at: int


_SPACE: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*|//[^\n]*|/\*.*?\*/)+", re.DOTALL)
_IDENT: Final = re.compile(r"[^\W\d][\w.-]*")
_NUMBER: Final = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)")
_HEREDOC: Final = re.compile(r"<<(?P<indented>-?)(?P<word>[\w-]+)\r?\n")
_ESCAPE: Final = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\\"])|(?P<octal>[0-7]{3})|x(?P<x>[0-9a-fA-F]{2})"
    r"|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8}))"
)
_SIMPLE: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_PUNCTUATION: Final = {
    "{": _Is.LBRACE, "}": _Is.RBRACE, "[": _Is.LBRACK, "]": _Is.RBRACK, ",": _Is.COMMA,
    "=": _Is.ASSIGN,
}  # fmt: skip


def parse_hcl(text: str) -> dict[str, object]:
    """Read an HCL text.

    Raises:
        HclError: It is none.
    """
    return _Parser(text).file()


class _Scanner:
    """Cuts a text into tokens."""

    def __init__(self, text: str) -> None:
        self._text, self._pos = text, 0

    def error(self, at: int, problem: str) -> HclError:
        line = self._text.count("\n", 0, at) + 1
        column = at - (self._text.rfind("\n", 0, at) + 1) + 1
        return HclError(f"At {line}:{column}: {problem}")

    def next(self) -> _Token:
        text = self._text
        if space := _SPACE.match(text, self._pos):
            self._pos = space.end()
        at = self._pos
        if at >= len(text):
            return _Token(_Is.EOF, "", None, at)
        char = text[at]
        if kind := _PUNCTUATION.get(char):
            self._pos += 1
            return _Token(kind, char, None, at)
        if char == '"':
            return self._string(at)
        if text.startswith("<<", at):
            return self._heredoc(at)
        if number := _NUMBER.match(text, at):
            self._pos = number.end()
            return _Token(_Is.NUMBER, number[0], self._number(number[0], at), at)
        if ident := _IDENT.match(text, at):
            self._pos = ident.end()
            if ident[0] in ("true", "false"):
                return _Token(_Is.BOOL, ident[0], ident[0] == "true", at)
            return _Token(_Is.IDENT, ident[0], ident[0], at)
        if text.startswith("/*", at):
            raise self.error(at, "comment not terminated")
        raise self.error(at, "illegal char")

    def _number(self, text: str, at: int) -> int | float:
        digits = text.removeprefix("-")
        sign = -1 if digits != text else 1
        try:
            if digits[:2] in ("0x", "0X"):
                return sign * int(digits, 16)
            if digits.isdecimal():
                # A leading zero means octal, as in Go.
                return sign * int(digits, 8 if len(digits) > 1 and digits[0] == "0" else 10)
            return sign * float(digits)
        except ValueError:
            raise self.error(at, f"illegal number {text}") from None

    def _string(self, at: int) -> _Token:
        """Read to the closing quote; inside `${...}` quotes are text, as HCL has it."""
        text, pos, parts = self._text, at + 1, list[str]()
        braces = 0
        while True:
            char = text[pos : pos + 1]
            if not char or (char == "\n" and not braces):
                raise self.error(pos, "literal not terminated")
            if not braces and char == '"':
                self._pos = pos + 1
                return _Token(_Is.STRING, text[at : self._pos], "".join(parts), at)
            if not braces and char == "\\":
                escape = _ESCAPE.match(text, pos)
                if escape is None:
                    raise self.error(pos, "illegal char escape")
                parts.append(self._unescaped(escape, pos))
                pos = escape.end()
                continue
            if braces:
                braces += {"{": 1, "}": -1}.get(char, 0)
            elif text.startswith("${", pos):
                braces, char = 1, "${"
            parts.append(char)
            pos += len(char)

    def _unescaped(self, escape: re.Match[str], at: int) -> str:
        if simple := escape["simple"]:
            return _SIMPLE.get(simple, simple)
        code = int(escape["octal"] or "0", 8) or int(
            escape["x"] or escape["u"] or escape["U"] or "0", 16
        )
        try:
            return chr(code)
        except (ValueError, OverflowError):
            raise self.error(at, "illegal char escape") from None

    def _heredoc(self, at: int) -> _Token:
        start = _HEREDOC.match(self._text, at)
        if start is None:
            raise self.error(at, "heredoc anchor not found")
        anchor = re.compile(rf"^[ \t]*{re.escape(start['word'])}[ \t]*\r?$", re.MULTILINE)
        end = anchor.search(self._text, start.end())
        if end is None:
            raise self.error(at, "heredoc not terminated")
        self._pos = end.end()
        lines = self._text[start.end() : end.start()].splitlines(keepends=True)
        if start["indented"]:
            filled = [line for line in lines if line.strip()]
            indent = min((len(one) - len(one.lstrip(" \t")) for one in filled), default=0)
            lines = [line[indent:] if line.strip() else line.lstrip(" \t") for line in lines]
        return _Token(_Is.HEREDOC, start["word"], "".join(lines), at)


class _Parser:
    """Recursive descent with one token of look-ahead."""

    def __init__(self, text: str) -> None:
        self._scanner = _Scanner(text)
        self._token = self._scanner.next()
        self._depth = 0

    def file(self) -> dict[str, object]:
        return self._items(until=_Is.EOF)

    def _is_at(self, *kinds: _Is) -> bool:
        return self._token.kind in kinds

    def _take(self) -> _Token:
        token, self._token = self._token, self._scanner.next()
        return token

    def _error(self, token: _Token, problem: str) -> HclError:
        return self._scanner.error(token.at, problem)

    def _items(self, *, until: _Is) -> dict[str, object]:
        """Items up to `until`, which is taken."""
        found: dict[str, object] = {}
        while not self._is_at(until):
            if self._is_at(_Is.EOF):
                raise self._error(self._token, "object expected closing RBRACE got: EOF")
            keys = self._keys()
            value = self._value()
            for key in reversed(keys[1:]):
                # `service "web" { }` is `service { web { } }`.
                value = {key: [value] if isinstance(value, dict) else value}
            self._add(found, keys[0], value)
            if self._is_at(_Is.COMMA):
                self._take()
        self._take()
        return found

    def _keys(self) -> list[str]:
        """One or more keys, and the `=` after them; the next token begins the value."""
        keys: list[str] = []
        while self._is_at(_Is.IDENT, _Is.STRING):
            keys.append(str(self._take().value))
        token = self._token
        if not keys:
            raise self._error(token, f"expected: IDENT | STRING got: {token.kind}")
        if token.kind is _Is.ASSIGN:
            if len(keys) > 1:
                raise self._error(token, "nested object expected: LBRACE got: ASSIGN")
            self._take()
        elif token.kind is not _Is.LBRACE:
            raise self._error(
                token,
                f"key '{keys[-1]}' expected start of object ('{{') or assignment ('=')",
            )
        return keys

    @staticmethod
    def _add(found: dict[str, object], key: str, value: object) -> None:
        """Objects and lists under one key add up, of anything else the last one counts."""
        more = [value] if isinstance(value, dict) else value
        before = found.get(key)
        if isinstance(before, list) and isinstance(more, list):
            found[key] = [*before, *more]
        else:
            found[key] = more

    def _value(self) -> object:
        token = self._take()
        match token.kind:
            case _Is.STRING | _Is.HEREDOC | _Is.NUMBER | _Is.BOOL:
                return token.value
            case _Is.LBRACE:
                return self._nested(token, self._object)
            case _Is.LBRACK:
                return self._nested(token, self._list)
            case _Is.EOF:
                raise self._error(token, "Unexpected end of file")
            case _:
                raise self._error(token, f"Unknown token: {token.kind} {token.text}".rstrip())

    def _nested(self, token: _Token, read: Callable[[], object]) -> object:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._error(token, f"nested more than {DEPTH_MAX} deep")
        value = read()
        self._depth -= 1
        return value

    def _object(self) -> dict[str, object]:
        return self._items(until=_Is.RBRACE)

    def _list(self) -> list[object]:
        items: list[object] = []
        while not self._is_at(_Is.RBRACK):
            items.append(self._value())
            if self._is_at(_Is.COMMA):
                self._take()
            elif not self._is_at(_Is.RBRACK):
                raise self._error(
                    self._token,
                    f"error parsing list, expected comma or list end, got: {self._token.kind}",
                )
        self._take()
        return items

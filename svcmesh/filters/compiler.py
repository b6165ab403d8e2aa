"""From a filter expression and a schema to a test of one row."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar, assert_never

from svcmesh.filters.errors import FilterError
from svcmesh.filters.gostrings import parse_int, quote
from svcmesh.filters.parser import parse
from svcmesh.filters.regex import compile_regex
from svcmesh.filters.schema import (
    Field,
    Flag,
    Group,
    GroupList,
    Number,
    Read,
    Schema,
    Text,
    TextList,
    ValueMap,
)
from svcmesh.filters.syntax import AllOf, AnyOf, Expression, Match, Not, Operator
from svcmesh.goformats import parse_bool

REGEXES_MAX: Final = 16
"""In one expression; a row's test must not stall the event loop."""

# Any: rows of whatever type the schema is for.
Test = Callable[[Any], bool]

_Value = TypeVar("_Value", int, bool)

_NEGATED: Final = {
    Operator.NOT_EQUAL: Operator.EQUAL,
    Operator.NOT_IN: Operator.IN,
    Operator.IS_NOT_EMPTY: Operator.IS_EMPTY,
    Operator.NOT_MATCHES: Operator.MATCHES,
}

_FALSE_WITHOUT_KEY: Final = frozenset((Operator.EQUAL, Operator.IN, Operator.IS_NOT_EMPTY))
"""What a match says of a key that a map lacks is false for these and true for the others."""


def compile_filter(expression: str, schema: Schema) -> Test:
    """Make the test of one row that an expression stands for.

    Raises:
        FilterSyntaxError: It is no expression.
        FilterError: It selects what the rows lack, or compares it with what it cannot be.
    """
    tree = parse(expression)
    if _regex_count(tree) > REGEXES_MAX:
        raise FilterError(f"more than {REGEXES_MAX} regular expressions")
    return _compile(tree, schema)


def _regex_count(tree: Expression) -> int:
    match tree:
        case Match():
            return tree.operator in (Operator.MATCHES, Operator.NOT_MATCHES)
        case Not():
            return _regex_count(tree.operand)
        case AllOf() | AnyOf():
            return sum(map(_regex_count, tree.operands))
        case _:
            assert_never(tree)


def _compile(tree: Expression, schema: Schema) -> Test:
    match tree:
        case Match():
            return _match_test(tree, 0, schema)
        case Not():
            operand = _compile(tree.operand, schema)
            return lambda row: not operand(row)
        case AllOf():
            all_tests = [_compile(operand, schema) for operand in tree.operands]
            return lambda row: all(test(row) for test in all_tests)
        case AnyOf():
            any_tests = [_compile(operand, schema) for operand in tree.operands]
            return lambda row: any(test(row) for test in any_tests)
        case _:
            assert_never(tree)


def _match_test(match: Match, depth: int, schema: Schema) -> Test:
    """The test of a row, or of what a selector's first `depth` names have selected in it."""
    field = schema.get(match.selector[depth])
    if field is None:
        raise _invalid_selector(match, depth)
    return _field_test(match, depth + 1, field)


def _field_test(match: Match, depth: int, field: Field) -> Test:
    if depth == len(match.selector):
        return _leaf_test(match, field)
    match field:
        case Group():
            return _group_test(field.read, _match_test(match, depth, field.fields))
        case GroupList():
            return _element_test(field.read, _match_test(match, depth, field.fields))
        case ValueMap():
            of_value = _field_test(match, depth + 1, field.of)
            without_key = match.operator not in _FALSE_WITHOUT_KEY
            return _entry_test(field.read, match.selector[depth], of_value, without_key)
        case Text() | Number() | Flag() | TextList():
            raise _invalid_selector(match, depth)
        case _:
            assert_never(field)


def _group_test(read: Read, inner: Test) -> Test:
    return lambda row: inner(read(row))


def _element_test(read: Callable[[Any], Iterable[Any]], of_element: Test) -> Test:
    return lambda row: any(of_element(element) for element in read(row))


def _entry_test(
    read: Callable[[Any], Mapping[str, Any]], key: str, of_value: Test, without_key: bool
) -> Test:
    def test(row: Any) -> bool:  # noqa: ANN401 - as `Test`
        values = read(row)
        return of_value(values[key]) if key in values else without_key

    return test


def _leaf_test(match: Match, field: Field) -> Test:
    operator = _NEGATED.get(match.operator, match.operator)
    test = _positive_test(match, operator, field)
    if operator is match.operator:
        return test
    return lambda row: not test(row)


def _positive_test(match: Match, operator: Operator, field: Field) -> Test:
    test: Test | None
    match field:
        case Text():
            test = _text_test(field.read, operator, match.value or "")
        case Number() if operator is Operator.EQUAL:
            test = _equality_test(field.read, _coerced(match, parse_int))
        case Flag() if operator is Operator.EQUAL:
            test = _equality_test(field.read, _coerced(match, parse_bool))
        case TextList() | ValueMap():
            test = _container_test(field.read, operator, match.value or "")
        case GroupList() if operator is Operator.IS_EMPTY:
            test = _container_test(field.read, operator, "")
        case Number() | Flag() | Group() | GroupList():
            test = None
        case _:
            assert_never(field)
    if test is None:
        shown = quote(".".join(match.selector))
        raise FilterError(f'Invalid match operator "{match.operator}" for selector {shown}')
    return test


def _equality_test(read: Callable[[Any], object], value: object) -> Test:
    return lambda row: read(row) == value


def _text_test(read: Callable[[Any], str], operator: Operator, value: str) -> Test | None:
    match operator:
        case Operator.EQUAL:
            return lambda row: read(row) == value
        case Operator.IN:
            return lambda row: value in read(row)
        case Operator.MATCHES:
            search = compile_regex(value)
            return lambda row: search(read(row))
        case _:
            return None


def _container_test(read: Callable[[Any], Any], operator: Operator, value: str) -> Test | None:
    match operator:
        case Operator.IN:
            return lambda row: value in read(row)
        case Operator.IS_EMPTY:
            return lambda row: not read(row)
        case _:
            return None


def _coerced(match: Match, parse_value: Callable[[str], _Value]) -> _Value:
    value = match.value or ""
    try:
        return parse_value(value)
    except ValueError as error:
        shown = quote(".".join(match.selector))
        raise FilterError(
            f"Failed to coerce value {quote(value)} for selector {shown}: {error}"
        ) from None


def _invalid_selector(match: Match, depth: int) -> FilterError:
    return FilterError(f"Selector {quote('.'.join(match.selector[: depth + 1]))} is not valid")

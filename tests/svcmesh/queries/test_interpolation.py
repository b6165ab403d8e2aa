"""The language of query templates. What Consul 1.8.7 makes of the same texts is the oracle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcmesh.queries.interpolation import (
    EvaluationError,
    SyntaxProblemError,
    evaluate,
    parse,
)

NAMES = {
    "name.full": "tt-5-abc", "name.prefix": "tt-", "name.suffix": "5-abc", "agent.segment": "",
}  # fmt: skip
GROUPS = ("tt-5-abc", "5", "abc")


def match(number: int) -> str:
    return GROUPS[number] if 0 <= number < len(GROUPS) else ""


def value(text: str) -> str:
    return evaluate(parse(text), NAMES, {"match": match})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$${name.full}", "${name.full}"),
        ("$name", "$name"),
        ("a$b", "a$b"),
        ('${"lit"}', "lit"),
        ("${1+1}", "2"),
        ("${match(0+1)}", "5"),
        ("${1.5}", "1.5"),
        ('${"in ${name.suffix}"}', "in 5-abc"),
        ("${match(-1)}", ""),
        ("${ name.full }", "tt-5-abc"),
        ("}", "}"),
        ('${"a\\n"}', "a\n"),
        ("${(1+2)*3}", "9"),
        ("${7/2}", "3"),
        ("${7%4}", "3"),
        ("${-7/2}", "-3"),
        ("${-7%4}", "-3"),
        ("${2-3-4}", "-5"),
        ("${2+3*4}", "20"),
        ("${agent.segment}", ""),
        ("${name.full}}", "tt-5-abc}"),
        ("$$$${x}", "$${x}"),
        ("${match(10)}", ""),
        ('${"${"nested"}"}', "nested"),
        ("x$${y}z${1}", "x${y}z1"),
        ("${1.50}", "1.5"),
        ("${007}", "7"),
        ("${1.0}", "1"),
        ("${10.0/4}", "2.5"),
        ("${2*1.5}", "2"),
        ("${1+1.5}", "2"),
        ('${""}', ""),
        ("${--5}", "5"),
        ("x ${name.full} ${ match( 2 ) } y", "x tt-5-abc abc y"),
        ('${"\\"q\\""}', '"q"'),
        ("\\${name.full}", "\\tt-5-abc"),
    ],
)
def test_a_text_has_the_value_that_consul_gives_it(text: str, expected: str) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    "text",
    ["${", "${name.full", "${}", "${1e3}", "${0x10}", "${name.full .x}", "${'x'}", "${1 == 1}",
     "${!true}", "${name.full:x}", '${"open}', "${" + "(" * 100 + "1" + ")" * 100 + "}",
     "${99999999999999999999}", "${" + "9" * 5000 + "}"],
)  # fmt: skip
def test_what_cannot_be_read_is_a_syntax_error(text: str) -> None:
    with pytest.raises(SyntaxProblemError, match="parse error: syntax error"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${nope}", "1:3: unknown variable accessed: nope"),
        ("${name}", "1:3: unknown variable accessed: name"),
        ("${name.FULL}", "1:3: unknown variable accessed: name.FULL"),
        ("${match(x)}", "1:9: unknown variable accessed: x"),
        ("${upper(name.full)}", "1:3: unknown function called: upper"),
        ("${match()}", "1:3: match: expected 1 arguments, got 0"),
        ("${match(1,2)}", "1:3: match: expected 1 arguments, got 2"),
        (
            '${"a" + "b"}',
            '__builtin_StringToInt: strconv.ParseInt: parsing "a": invalid syntax',
        ),
        ("${1/0}", "division by zero"),
        ("${1%0}", "division by zero"),
        ("${9223372036854775807+1}", "a number out of range"),
    ],
)
def test_what_has_no_value_says_why(text: str, problem: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        value(text)
    assert str(caught.value) == problem


@given(st.text(alphabet='${}()"\\ +-*/%,.19azmatchnmeful'))
def test_any_text_has_a_value_or_one_of_two_errors(text: str) -> None:
    try:
        assert isinstance(value(text), str)
    except (SyntaxProblemError, EvaluationError):
        return


@given(st.text().filter(lambda text: "$" not in text))
def test_a_text_without_dollars_is_its_own_value(text: str) -> None:
    assert value(text) == text

"""Complaints are those of Consul 1.8.7 about the same expressions."""

import pytest

from cli.goregexp import compile_regexp


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("(", "missing closing ): `(`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("[a", "missing closing ]: `[a`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        (")", "unexpected ): `)`"),
        ("[z-a]", "invalid character class range: `z-a`"),
    ],
)
def test_a_broken_expression_is_named_in_gos_words(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match="error parsing regexp") as raised:
        compile_regexp(text)
    assert str(raised.value) == f"error parsing regexp: {complaint}"


def test_an_expression_is_found_anywhere() -> None:
    assert compile_regexp("fail.*").search("failed")

"""What a filter expression is made of, once it has been read."""

from dataclasses import dataclass
from enum import StrEnum


class Operator(StrEnum):
    """Operators of a match, by the names that error texts give them."""

    EQUAL = "Equal"
    NOT_EQUAL = "Not Equal"
    IN = "In"
    """Also `contains`, whose operands stand the other way round."""
    NOT_IN = "Not In"
    IS_EMPTY = "Is Empty"
    IS_NOT_EMPTY = "Is Not Empty"
    MATCHES = "Matches"
    NOT_MATCHES = "Not Matches"


@dataclass(frozen=True, slots=True)
class Match:
    """One comparison of what is selected with a value."""

    selector: tuple[str, ...]
    operator: Operator
    value: str | None
    """As it was written, unquoted; None exactly for the two operators about emptiness."""


@dataclass(frozen=True, slots=True)
class Not:
    operand: "Expression"


@dataclass(frozen=True, slots=True)
class AllOf:
    """Operands joined by `and`: two or more."""

    operands: "tuple[Expression, ...]"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Operands joined by `or`: two or more."""

    operands: "tuple[Expression, ...]"


Expression = Match | Not | AllOf | AnyOf

"""Ids of sessions as requests give them, checked with the words of Consul's index."""

from typing import Final

NO_SESSION: Final = "missing session"

_LENGTH: Final = 36
_HYPHENS: Final = 4
_DIGITS: Final = frozenset("0123456789abcdefABCDEF")


def uuid_problem(text: str) -> str | None:
    """Why a text is no UUID; None when it is one."""
    if len(text) != _LENGTH:
        return "UUID must be 36 characters"
    hyphens = text.count("-")
    if hyphens > _HYPHENS:
        return f'UUID should have maximum of 4 "-"; got {hyphens}'
    wrong = next((c for c in text if c != "-" and c not in _DIGITS), None)
    if wrong is None:
        return None
    return f"Invalid UUID: encoding/hex: invalid byte: U+{ord(wrong):04X} '{wrong}'"


def session_problem(session_id: str) -> str | None:
    """Why nothing can be locked with a session of this id; None when it may be one."""
    if not session_id:
        return NO_SESSION
    problem = uuid_problem(session_id)
    return problem and f"failed session lookup: index error: {problem}"

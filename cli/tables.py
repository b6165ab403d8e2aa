"""Plain tables for people and for `awk`."""

import json
from collections.abc import Sequence
from typing import Final

from cli.errors import CommandError

FORMATS: Final = ("pretty", "json")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out columns, two spaces apart; the last one is not padded."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[-1]])
        for line in lines
    ).rstrip()


def wants_json(output_format: str | None) -> bool:
    """Read the value of `-format`.

    Raises:
        CommandError: There is no such format.
    """
    if output_format not in (None, *FORMATS):
        raise CommandError(
            f"Invalid format: {output_format}. Valid formats are: {', '.join(FORMATS)}"
        )
    return output_format == "json"


def pretty_json(value: object) -> str:
    """JSON as the API's `?pretty` gives it."""
    return json.dumps(value, indent=4, ensure_ascii=False)

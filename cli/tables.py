"""Tables: plain columns for programs and `awk`, with colours where a person looks on."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from cli.errors import CommandError
from cli.flags import F, flag
from cli.printing import harmless, say

FORMATS: Final = ("pretty", "json")

STYLES: Final = {
    "alive": "green", "passing": "green", "failed": "bold red", "critical": "bold red",
    "warning": "yellow", "leaving": "yellow", "left": "dim",
}  # fmt: skip
"""Colours of cells that are a state."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out columns, two spaces apart; the last one is not padded."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[-1]])
        for line in lines
    ).rstrip()


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns: in colours on a terminal, else as `table` lays them out."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        say(table(header, rows))
        return
    # Imported here: it takes as long as everything else, and only a person waits for it.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in header:
        grid.add_column(name, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(harmless(cell, keep=""), style=STYLES.get(cell, "")) for cell in row))
    Console(highlight=False).print(grid)


def format_flag(what: str = "Output format") -> Callable[[F], F]:
    """Declare `-format`; `wants_json` reads it."""
    return flag("format", metavar="|".join(FORMATS), help=f"{what}. Default: {FORMATS[0]}.")


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


def compact_json(value: object) -> str:
    """JSON on one line."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)

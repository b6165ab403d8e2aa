"""Texts of other hosts on a person's terminal: what would steer it is shown as `?`, as `ls` does.

Names, outputs of checks and errors come from whoever can register something or join the pool. What
a program reads through a pipe stays as it is.
"""

import sys
from typing import Final

import click

SUBSTITUTE: Final = "?"


def say(text: str = "", *, err: bool = False) -> None:
    """Print lines to standard output or standard error."""
    stream = sys.stderr if err else sys.stdout
    # Without `color` click would take escapes out of what goes to a pipe.
    click.echo(harmless(text) if stream.isatty() else text, err=err, color=True)


def harmless(text: str, *, keep: str = "\n\t") -> str:
    """Give `text` without control codes and what else cannot be seen, but for those in `keep`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else SUBSTITUTE for c in text)

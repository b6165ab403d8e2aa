"""The agent's log: one line an event, `time [LEVEL] component: message`, on standard output."""

import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

LEVELS: Final = {
    "TRACE": 5,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERR": logging.ERROR,
    "ERROR": logging.ERROR,
}
"""Names that `log_level` accepts, in any case."""

_SHOWN: Final = {5: "TRACE", 10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR", 50: "ERROR"}


class LineFormatter(logging.Formatter):
    """`    2026-11-21T03:07:09.952Z [INFO]  agent: message`, time in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record; a traceback follows on lines of its own."""
        at = datetime.fromtimestamp(record.created, tz=UTC)
        level = f"[{_SHOWN.get(record.levelno, record.levelname)}]"
        message = record.getMessage()
        if not message.isprintable():
            # Names and errors come from other hosts: no control codes, no broken UTF-8.
            message = "".join(c if c.isprintable() else "?" for c in message)
        line = (
            f"    {at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z "
            f"{level:<7} {record.name}: {message}"
        )
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up_logging(level: str, stream: TextIO | None = None) -> None:
    """Send every logger's lines of at least `level` (a key of `LEVELS`) to one stream."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    set_log_level(level)


def set_log_level(level: str) -> None:
    """Log lines of at least `level` (a key of `LEVELS`) from now on."""
    root = logging.getLogger()
    root.setLevel(LEVELS[level.upper()])
    # aiohttp and asyncio speak of single connections; an operator wants those at debug only.
    quiet = LEVELS["WARN"] if root.level > LEVELS["DEBUG"] else root.level
    for name in ("asyncio", "aiohttp"):
        logging.getLogger(name).setLevel(quiet)

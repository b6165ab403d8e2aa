"""The agent's log: one line an event, on standard output and wherever else the operator wants it.

Lines are `time [LEVEL] component: message`, or JSON objects with Consul's keys.
"""

import json
import logging
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import SysLogHandler
from typing import Final, TextIO

from svcmesh.config import AgentConfig
from svcmesh.errors import ConfigError
from svcmesh.runtime.logfiles import LogFiles

LEVELS: Final = {
    "TRACE": 5,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERR": logging.ERROR,
    "ERROR": logging.ERROR,
}
"""Names that `log_level` accepts, in any case."""

SYSLOG_SOCKET: Final = "/dev/log"

_SHOWN: Final = {5: "TRACE", 10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR", 50: "ERROR"}

_SEVERITIES: Final = {
    10: SysLogHandler.LOG_DEBUG, 20: SysLogHandler.LOG_INFO, 30: SysLogHandler.LOG_WARNING,
    40: SysLogHandler.LOG_ERR, 50: SysLogHandler.LOG_CRIT,
}  # fmt: skip


def level_name(number: int) -> str:
    """What a level is called in the log."""
    return _SHOWN.get(number, logging.getLevelName(number))


class LineFormatter(logging.Formatter):
    """`    2026-11-21T03:07:09.952Z [INFO]  agent: message`, time in UTC."""

    def __init__(self, *, indent: str = "    ") -> None:
        super().__init__()
        self._indent = indent

    def format(self, record: logging.LogRecord) -> str:
        """Render a record; a traceback follows on lines of its own."""
        at = datetime.fromtimestamp(record.created, tz=UTC)
        level = f"[{level_name(record.levelno)}]"
        message = record.getMessage()
        if not message.isprintable():
            # Names and errors come from other hosts: no control codes, no broken UTF-8.
            message = "".join(c if c.isprintable() else "?" for c in message)
        line = (
            f"{self._indent}{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z "
            f"{level:<7} {record.name}: {message}"
        )
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the keys of Consul's."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        at = datetime.fromtimestamp(record.created, tz=UTC)
        line = {
            "@level": level_name(record.levelno).lower(),
            "@message": record.getMessage(),
            "@module": record.name,
            "@timestamp": f"{at:%Y-%m-%dT%H:%M:%S.%f}Z",
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


class Syslog(logging.Handler):
    """The system's log, by its socket. A line that it does not take at once is lost.

    Not the standard library's handler: that one waits for a system log that hangs.
    """

    def __init__(self, facility: str, path: str = SYSLOG_SOCKET) -> None:
        """Connect.

        Raises:
            OSError: Nobody listens there.
        """
        super().__init__()
        self._facility = SysLogHandler.facility_names[facility.lower()]
        self._path = path
        self._socket = self._connected()

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        severity = _SEVERITIES.get(record.levelno, SysLogHandler.LOG_INFO)
        text = f"<{self._facility << 3 | severity}>svcmesh: {self.format(record)}"
        line = text.encode("utf-8", "replace")
        try:
            self._socket.send(line)
        except BlockingIOError:
            return
        except OSError:
            self._send_anew(line)

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()
        super().close()

    def _send_anew(self, line: bytes) -> None:
        """Reach a system log that was restarted."""
        with suppress(OSError):
            fresh = self._connected()
            self._socket.close()
            self._socket = fresh
            self._socket.send(line)

    def _connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            connection.setblocking(False)
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        return connection


_OWN_HANDLERS: Final = (logging.StreamHandler, LogFiles, Syslog)


def set_up_logging(config: AgentConfig, stream: TextIO | None = None) -> None:
    """Send every logger's lines of at least `log_level` to a stream, and to files and syslog.

    Raises:
        ConfigError: A file cannot be made, or there is no syslog.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(stream or sys.stdout)]
    try:
        if config.log_file:
            handlers.append(
                LogFiles(
                    config.log_file,
                    bytes_max=config.log_rotate_bytes,
                    duration_s=config.log_rotate_duration_s,
                    files_max=config.log_rotate_max_files,
                )
            )
        if config.enable_syslog:
            handlers.append(Syslog(config.syslog_facility))
    except OSError as error:
        what = config.log_file if len(handlers) == 1 and config.log_file else SYSLOG_SOCKET
        raise ConfigError(f"Failed to setup logging: open {what}: {error.strerror}") from error
    for handler in handlers:
        handler.setFormatter(JsonFormatter() if config.log_json else LineFormatter())
    root = logging.getLogger()
    root.handlers = handlers
    set_log_level(config.log_level)


def set_log_level(level: str) -> None:
    """Log lines of at least `level` (a key of `LEVELS`) from now on."""
    root = logging.getLogger()
    root.setLevel(LEVELS[level.upper()])
    for handler in root.handlers:
        if type(handler) in _OWN_HANDLERS:
            # They have it too: a stream of the log may want more than they do.
            handler.setLevel(root.level)
    # aiohttp and asyncio speak of single connections; an operator wants those at debug only.
    quiet = LEVELS["WARN"] if root.level > LEVELS["DEBUG"] else root.level
    for name in ("asyncio", "aiohttp"):
        logging.getLogger(name).setLevel(quiet)

"""Reloading a running agent: reads, applies what can be applied, and says what was done."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from svcmesh.config import SETTINGS, AgentConfig, Reload, reload_config
from svcmesh.errors import ConfigError

logger = logging.getLogger("agent")

Apply = Callable[[AgentConfig], None]
"""Takes a setting's new value into use."""


def read_at_use(config: AgentConfig) -> None:
    """Apply a setting that is looked up in the configuration whenever it is needed."""


def applied_with_files(config: AgentConfig) -> None:
    """Apply a setting that `apply_files` has dealt with, together with files."""


class Reloading:
    """Owns the configuration in force, and brings what reads it up to date.

    `appliers` has a function for every setting that can be reloaded, by its path; a function that
    several changed settings share is called once. `apply_files` is called first and every
    time: for services, checks and certificates; it may refuse with a ConfigError.
    """

    def __init__(
        self,
        config: AgentConfig,
        *,
        appliers: Mapping[str, Apply],
        apply_files: Apply,
        read: Callable[[AgentConfig], Reload] = reload_config,
    ) -> None:
        unserved = set(appliers) ^ {one.path for one in SETTINGS if one.reloadable}
        assert not unserved, f"declared reloadable, or applied, but not both: {unserved}"
        self.config = config
        self._appliers, self._apply_files, self._read = appliers, apply_files, read
        self._reloads = self._failures = 0
        self._needs_restart: tuple[str, ...] = ()

    async def reload(self) -> Reload:
        """Read the configuration's sources again, and apply what can be applied.

        Raises:
            ConfigError: They are wrong. Nothing has changed.
        """
        try:
            # Files may be on slow disks, and large.
            found = await asyncio.to_thread(self._read, self.config)
            self._apply_files(found.config)
        except ConfigError as error:
            self._failures += 1
            logger.error("reload: %s; nothing has changed", error)
            raise
        self.config = found.config
        for apply in dict.fromkeys(self._appliers[one.setting.path] for one in found.applied):
            apply(found.config)
        self._reloads += 1
        self._needs_restart = tuple(one.setting.path for one in found.needs_restart)
        _log(found)
        return found

    def stats(self) -> dict[str, object]:
        """What `info` shows of it."""
        return {
            "reloads": self._reloads,
            "reload_failures": self._failures,
            "needs_restart": ", ".join(self._needs_restart),
        }


def _log(found: Reload) -> None:
    for warning in found.config.warnings:
        logger.warning("reload: %s", warning)
    for line in found.applied_lines():
        logger.info("reload: %s", line)
    for line in found.restart_lines():
        logger.warning("reload: %s: needs a restart, not changed", line)
    if not (found.applied_lines() or found.needs_restart):
        logger.info("reload: nothing has changed")

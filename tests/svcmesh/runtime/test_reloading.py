"""Applying a reloaded configuration: who is told, and what a failure leaves."""

import asyncio
from dataclasses import replace

import pytest

from svcmesh.config import SETTINGS, AgentConfig, Change, Reload, load_config
from svcmesh.config.settings import BY_PATH
from svcmesh.errors import ConfigError
from svcmesh.runtime.reloading import Apply, Reloading

CONFIG = load_config({"dev": True}, [])
FRESH = replace(CONFIG, log_level="DEBUG")


def found(*paths: str) -> Reload:
    changes = [Change(BY_PATH[path], "a", "b") for path in paths]
    return Reload(
        FRESH,
        applied=tuple(change for change in changes if change.setting.reloadable),
        needs_restart=tuple(change for change in changes if not change.setting.reloadable),
    )


class Told:
    def __init__(self, outcome: Reload | ConfigError) -> None:
        self.calls: list[str] = []
        self._outcome = outcome
        names = {one.path: one.path.split(".")[0] for one in SETTINGS if one.reloadable}
        by_name = {name: self._applier(name) for name in names.values()}
        self.reloading = Reloading(
            CONFIG,
            appliers={path: by_name[name] for path, name in names.items()},
            apply_files=self._applier("definitions"),
            read=self._read,
        )

    def _applier(self, name: str) -> Apply:
        return lambda config: self.calls.append(f"{name} {config.log_level}")

    def _read(self, running: AgentConfig) -> Reload:
        assert running is CONFIG
        if isinstance(self._outcome, ConfigError):
            raise self._outcome
        return self._outcome


def test_whoever_uses_a_changed_setting_is_told_once_and_definitions_always() -> None:
    told = Told(found("log_level", "dns_config.only_passing", "dns_config.soa.retry"))
    asyncio.run(told.reloading.reload())
    assert told.calls == ["definitions DEBUG", "log_level DEBUG", "dns_config DEBUG"]
    assert told.reloading.config is FRESH


def test_a_configuration_that_is_wrong_changes_nothing() -> None:
    told = Told(ConfigError("bad"))
    with pytest.raises(ConfigError):
        asyncio.run(told.reloading.reload())
    assert (told.calls, told.reloading.config) == ([], CONFIG)
    assert told.reloading.stats() == {"reloads": 0, "reload_failures": 1, "needs_restart": ""}


def test_what_awaits_a_restart_is_told(caplog: pytest.LogCaptureFixture) -> None:
    told = Told(found("ports.http", "bind_addr"))
    asyncio.run(told.reloading.reload())
    assert told.reloading.stats()["needs_restart"] == "ports.http, bind_addr"
    assert "reload: ports.http: a -> b: needs a restart, not changed" in caplog.text

"""Reading the configuration again: what has changed, and what of it a running agent takes up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from svcmesh.config.interfaces import InterfaceAddress, host_addresses
from svcmesh.config.loading import load_config
from svcmesh.config.setting import Setting, merged
from svcmesh.config.settings import SETTINGS, AgentConfig


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that differs from what the agent runs with; secrets are not shown."""

    setting: Setting
    before: str
    after: str

    def __str__(self) -> str:
        """Write it for logs and reports."""
        return f"{self.setting.path}: {self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class DefinitionChanges:
    """Ids of definitions of one kind, in their order."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def lines(self, kind: str) -> list[str]:
        """Write them for logs and reports: `service web: added`."""
        groups = (("added", self.added), ("changed", self.changed), ("removed", self.removed))
        return [f"{kind} {one}: {what}" for what, ids in groups for one in ids]


@dataclass(frozen=True, slots=True)
class Reload:
    """A configuration read again, and how it differs from the one that is in force."""

    config: AgentConfig = field(repr=False)
    """What is in force after the reload: settings that need a restart are as before."""
    applied: tuple[Change, ...]
    needs_restart: tuple[Change, ...]
    services: DefinitionChanges = DefinitionChanges()
    checks: DefinitionChanges = DefinitionChanges()

    def applied_lines(self) -> list[str]:
        """Everything that is different from now on, a line each."""
        return [
            *map(str, self.applied),
            *self.services.lines("service"),
            *self.checks.lines("check"),
        ]

    def restart_lines(self) -> list[str]:
        """Everything that only a restart changes, a line each."""
        return [str(change) for change in self.needs_restart]


def reload_config(
    running: AgentConfig,
    *,
    addresses_of_host: Callable[[], list[InterfaceAddress]] = host_addresses,
) -> Reload:
    """Read the sources of a configuration again. Nothing is applied here.

    Raises:
        ConfigError: A source is wrong, or what it says contradicts what stays.
    """
    origin = running.origin
    fresh = load_config(
        origin.flags,
        origin.files,
        addresses_of_host=addresses_of_host,
        host_name=lambda: running.node_name,
    )
    changes = [
        Change(one, one.show(before), one.show(after))
        for one in SETTINGS
        if (before := running.values.get(one.path)) != (after := fresh.values.get(one.path))
    ]
    values = {
        one.path: value
        for one in SETTINGS
        if (value := (fresh if one.reloadable else running).values.get(one.path)) is not None
    }
    return Reload(
        config=replace(merged(running, fresh), values=values),
        applied=tuple(change for change in changes if change.setting.reloadable),
        needs_restart=tuple(change for change in changes if not change.setting.reloadable),
        services=_definition_changes(
            {one.id: one for one in running.services}, {one.id: one for one in fresh.services}
        ),
        checks=_definition_changes(
            {one.id: one for one in running.checks}, {one.id: one for one in fresh.checks}
        ),
    )


def _definition_changes(
    before: Mapping[str, object], after: Mapping[str, object]
) -> DefinitionChanges:
    return DefinitionChanges(
        added=tuple(one for one in after if one not in before),
        changed=tuple(one for one in after if one in before and before[one] != after[one]),
        removed=tuple(one for one in before if one not in after),
    )

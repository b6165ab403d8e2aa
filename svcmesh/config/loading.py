"""From sources to one valid `AgentConfig`.

Order, later ones winning: defaults, what `-dev` changes, files in the order given, flags, `-hcl`
fragments. Lists are joined instead, those of flags first (as in Consul).
"""

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TypeVar

from svcmesh.checks.definition import SCRIPTS_DISABLED, CheckDefinition, ScriptProbe
from svcmesh.config.interfaces import InterfaceAddress, host_addresses
from svcmesh.config.resolving import Resolver
from svcmesh.config.settings import BY_PATH, DEV_VALUES, SETTINGS, AgentConfig, Origin
from svcmesh.config.sources import (
    Source,
    forced_format,
    read_files,
    read_flags,
    read_fragments,
)
from svcmesh.config.values import Value
from svcmesh.definitions import ServiceDefinition
from svcmesh.errors import ConfigError
from svcmesh.goformats import parse_bool

D = TypeVar("D", ServiceDefinition, CheckDefinition)


def load_config(
    flags: Mapping[str, object],
    files: Sequence[str | PathLike[str]],
    *,
    addresses_of_host: Callable[[], list[InterfaceAddress]] = host_addresses,
    host_name: Callable[[], str] = platform.node,
) -> AgentConfig:
    """Resolve the agent's configuration.

    `flags` are by name without the dash: text, booleans, or for repeatable ones sequences of text.
    `files` are files and folders in the order given.

    Raises:
        ConfigError: Something is wrong, in a source or between settings. The text names it.
    """
    given = read_flags(flags)
    dev = _flag_is_set(flags, "dev")
    paths = tuple(Path(path) for path in files)
    files_read = list(read_files(paths, forced_format(flags)))
    fragments = list(read_fragments(flags))
    values = _merge(files_read, given, fragments, dev=dev)
    sources = [*files_read, *fragments]
    warnings = [warning for source in (given, *sources) for warning in source.warnings]
    services, checks = _definitions(sources, warnings)
    resolver = Resolver(values, dev=dev, host_addresses=addresses_of_host, host_name=host_name)
    config = resolver.resolve(
        services=services,
        checks=checks,
        origin=Origin(flags=dict(flags), files=paths),
        warnings=warnings,
    )
    if not (config.enable_script_checks or config.enable_local_script_checks):
        _refuse_scripts(config)
    return config


def _refuse_scripts(config: AgentConfig) -> None:
    of_services = [check for service in config.services for check in service.checks]
    for check in (*config.checks, *of_services):
        if isinstance(check.source, ScriptProbe):
            raise ConfigError(f'Failed to register check "{check.id}": {SCRIPTS_DISABLED}')


def load_services(files: Sequence[str | PathLike[str]]) -> tuple[ServiceDefinition, ...]:
    """Read nothing but the service definitions of configuration files, in their order.

    Raises:
        ConfigError: A file cannot be read or is wrong.
    """
    sources = read_files([Path(path) for path in files], None)
    return tuple(service for source in sources for service in source.services)


def _flag_is_set(flags: Mapping[str, object], name: str) -> bool:
    raw = flags.get(name)
    if isinstance(raw, str):
        try:
            return parse_bool(raw)
        except ValueError as error:
            raise ConfigError(f'invalid boolean value "{raw}" for -{name}: {error}') from None
    return bool(raw)


def _merge(
    files: Iterable[Source], flags: Source, fragments: Iterable[Source], *, dev: bool
) -> dict[str, Value]:
    values: dict[str, Value] = {s.path: s.default for s in SETTINGS if s.default is not None}
    lists = {path: value for path, value in flags.values.items() if BY_PATH[path].is_list}
    scalars = {path: value for path, value in flags.values.items() if path not in lists}
    layers = [
        DEV_VALUES if dev else {},
        lists,
        *(source.values for source in files),
        scalars,
        *(source.values for source in fragments),
    ]
    for layer in layers:
        for path, value in layer.items():
            before = values.get(path)
            match before, value:
                case tuple(), tuple():
                    values[path] = (*before, *value)
                case dict(), dict():
                    values[path] = {**before, **value}
                case _:
                    values[path] = value
    return values


def _definitions(
    sources: Sequence[Source], warnings: list[str]
) -> tuple[tuple[ServiceDefinition, ...], tuple[CheckDefinition, ...]]:
    return (
        _unique([one for source in sources for one in source.services], "service", warnings),
        _unique([one for source in sources for one in source.checks], "check", warnings),
    )


def _unique(definitions: Iterable[D], what: str, warnings: list[str]) -> tuple[D, ...]:
    """The last definition of every id; an earlier one is worth a warning."""
    by_id: dict[str, D] = {}
    for one in definitions:
        if one.id in by_id:
            warnings.append(f'{what} id "{one.id}" is defined more than once; the last counts')
        by_id[one.id] = one
    return tuple(by_id.values())

"""Where settings come from: JSON files and folders of them, and flags.

A source gives parsed values by the paths of `settings.py`; how sources add up is in `loading.py`.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from svcmesh.config.foreign import FOREIGN_BY_FLAG, FOREIGN_BY_PATH, ForeignKey
from svcmesh.config.settings import BY_FLAG, BY_PATH, GROUPS
from svcmesh.config.values import Value, problem_list, value_from_flag, value_from_json
from svcmesh.definitions import (
    DefinitionError,
    ServiceDefinition,
    definition_warnings,
    parse_service_definition,
)
from svcmesh.errors import ConfigError
from svcmesh.goformats import parse_bool
from svcmesh.jsonvalues import json_kind

PROCESS_FLAGS = frozenset({"dev", "config-format"})
"""Flags that are no settings: they choose how the others are read."""


@dataclass(slots=True)
class Source:
    """What one file, or the command line, says."""

    values: dict[str, Value] = field(default_factory=dict)
    services: list[ServiceDefinition] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_files(paths: Sequence[Path], *, any_extension: bool) -> Iterator[Source]:
    """Read files, and folders' files sorted by name, in the order given.

    `any_extension`: the operator has said that they are all JSON.

    Raises:
        ConfigError: One cannot be read or is wrong; the text names file and key.
    """
    for path in paths:
        if path.is_dir():
            for inner in _folder(path):
                if inner.suffix in {".json", ".hcl"} or any_extension:
                    yield _read_file(inner, any_extension=any_extension)
        else:
            yield _read_file(path, any_extension=any_extension)


def read_flags(flags: Mapping[str, object]) -> Source:
    """Take flags by their names without the dash; None stands for a flag that was not given.

    Raises:
        ConfigError: A flag is unknown, refused or has a value that cannot be read.
    """
    source = Source()
    for flag, raw in flags.items():
        if raw is None or raw == () or flag in PROCESS_FLAGS:
            continue
        if setting := BY_FLAG.get(flag):
            try:
                source.values[setting.path] = value_from_flag(
                    setting.kind, raw, flag=flag, at=setting.path
                )
            except ValueError as error:
                raise ConfigError(str(error)) from None
        elif foreign := FOREIGN_BY_FLAG.get(flag):
            _judge_flag(foreign, raw, source)
        else:
            raise ConfigError(f"flag provided but not defined: -{flag}")
    return source


def _judge_flag(foreign: ForeignKey, raw: object, source: Source) -> None:
    values = raw if isinstance(raw, (tuple, list)) else [raw]
    for value in values:
        judged = value
        if foreign.flag_is_bool and isinstance(value, str):
            try:
                judged = parse_bool(value)
            except ValueError as error:
                raise ConfigError(
                    f'invalid boolean value "{value}" for -{foreign.flag}: {error}'
                ) from None
        if problem := foreign.error(judged, name=f"-{foreign.flag}"):
            raise ConfigError(problem)
    source.warnings.append(foreign.warning(name=f"-{foreign.flag}"))


def _folder(path: Path) -> list[Path]:
    try:
        return sorted(inner for inner in path.iterdir() if inner.is_file())
    except OSError as error:
        raise _open_failed(path, error) from error


def _read_file(path: Path, *, any_extension: bool) -> Source:
    if path.suffix == ".hcl" and not any_extension:
        raise ConfigError(f"failed to parse {path}: HCL is not built yet; write the file as JSON")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _open_failed(path, error) from error
    if path.suffix != ".json" and not any_extension:
        raise ConfigError(f"failed to parse {path}: the extension must be .json")
    try:
        obj = json.loads(content)
    except json.JSONDecodeError as error:
        is_cut = error.pos >= len(error.doc.rstrip())
        why = "unexpected end of JSON input" if is_cut else str(error)
        raise ConfigError(f"failed to parse {path}: {why}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"failed to parse {path}: {error}") from None
    if not isinstance(obj, dict):
        raise ConfigError(f"failed to parse {path}: expected a JSON object")
    reader = _FileReader()
    reader.walk(obj, prefix="")
    if reader.problems:
        raise ConfigError(f"failed to parse {path}: {problem_list(reader.problems)}")
    reader.source.warnings = [f"{path}: {warning}" for warning in reader.source.warnings]
    return reader.source


def _open_failed(path: Path, error: OSError) -> ConfigError:
    why = (error.strerror or str(error)).lower()
    return ConfigError(f"config: Open failed on {path}. open {os.fspath(path)}: {why}")


class _FileReader:
    """Collects the values of one file, and everything that is wrong with it."""

    def __init__(self) -> None:
        self.source = Source()
        self.problems: list[str] = []

    def walk(self, obj: Mapping[str, object], *, prefix: str) -> None:
        for key, raw in obj.items():
            path = f"{prefix}{key.lower()}"
            if raw is None:
                if not (path in BY_PATH or path in GROUPS or path in FOREIGN_BY_PATH):
                    self._unknown(prefix, key, path)
            elif setting := BY_PATH.get(path):
                try:
                    self.source.values[path] = value_from_json(setting.kind, raw, at=path)
                except ValueError as error:
                    self.problems.append(str(error))
            elif path in GROUPS:
                if isinstance(raw, dict):
                    self.walk(raw, prefix=f"{path}.")
                else:
                    self.problems.append(f"{path}: expected object, got {json_kind(raw)}")
            elif path == "service":
                self._service(raw, where=path)
            elif path == "services":
                self._services(raw)
            elif foreign := FOREIGN_BY_PATH.get(path):
                if problem := foreign.error(raw, name=path):
                    self.problems.append(problem)
                else:
                    self.source.warnings.append(foreign.warning(name=path))
            else:
                self._unknown(prefix, key, path)

    def _unknown(self, prefix: str, key: str, path: str) -> None:
        if path not in {"service", "services"}:
            self.problems.append(f"invalid config key {prefix}{key}")

    def _services(self, raw: object) -> None:
        if not isinstance(raw, list):
            self.problems.append("services: expected array of objects")
            return
        for index, item in enumerate(raw):
            self._service(item, where=f"services[{index}]")

    def _service(self, raw: object, *, where: str) -> None:
        try:
            definition = parse_service_definition(raw, where=where, strict=True)
        except DefinitionError as error:
            self.problems.append(str(error))
            return
        self.source.services.append(definition)
        self.source.warnings += definition_warnings(definition)

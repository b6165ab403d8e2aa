"""Where settings come from: files, fragments and flags; what their keys mean.

A source gives parsed values by the paths of `settings.py`; how sources add up is in `loading.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from svcmesh.checks.definition import CheckDefinition
from svcmesh.checks.parsing import parse_check_definition
from svcmesh.config.files import Document, Format, decode_hcl, read_documents
from svcmesh.config.foreign import FOREIGN_BY_FLAG, FOREIGN_BY_PATH, ForeignKey
from svcmesh.config.setting import Setting
from svcmesh.config.settings import BY_FLAG, BY_KEY, GROUPS
from svcmesh.config.values import Kind, Value, value_from_flag, value_from_json
from svcmesh.definitions import (
    DefinitionError,
    ServiceDefinition,
    definition_warnings,
    parse_service_definition,
)
from svcmesh.errors import ConfigError
from svcmesh.goformats import error_list, parse_bool
from svcmesh.jsonvalues import json_kind

PROCESS_FLAGS: Final = frozenset({"dev", "config-format", "hcl"})
"""Flags that are no settings: they choose how the others are read."""


DEFINITIONS: Final = ("service", "services", "check", "checks")
"""Keys of what is no setting: what runs on this node."""


@dataclass(slots=True)
class Source:
    """What one file, or the command line, says."""

    values: dict[str, Value] = field(default_factory=dict)
    services: list[ServiceDefinition] = field(default_factory=list)
    checks: list[CheckDefinition] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_files(paths: Sequence[Path], forced: Format | None) -> Iterator[Source]:
    """Read files, and folders' files sorted by name, in the order given.

    `forced`: the language that the operator says they all are in.

    Raises:
        ConfigError: One cannot be read or is wrong; the text names file and key.
    """
    for document in read_documents(paths, forced):
        yield _source(document)


def read_fragments(flags: Mapping[str, object]) -> Iterator[Source]:
    """Read the fragments of configuration that `-hcl` flags give.

    Raises:
        ConfigError: One is wrong; the text numbers it.
    """
    fragments = flags.get("hcl") or ()
    assert isinstance(fragments, Sequence)
    for number, text in enumerate([fragments] if isinstance(fragments, str) else fragments):
        yield _source(decode_hcl(str(text), name=f"flags-{number}.hcl"))


def forced_format(flags: Mapping[str, object]) -> Format | None:
    """The language that `-config-format` forces on every file.

    Raises:
        ConfigError: There is no such language.
    """
    given = str(flags.get("config-format") or "")
    if given and given not in tuple(Format):
        raise ConfigError("-config-format must be either 'hcl' or 'json'")
    return Format(given) if given else None


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


def _source(document: Document) -> Source:
    if document.content is None:
        return Source(
            warnings=[
                f"skipping file {document.name}, extension must be .hcl or .json, or config format "
                "must be set"
            ]
        )
    reader = _FileReader()
    reader.walk(document.content, prefix="")
    if reader.problems:
        raise ConfigError(f"failed to parse {document.name}: {error_list(reader.problems)}")
    reader.source.warnings = [f"{document.name}: {one}" for one in reader.source.warnings]
    return reader.source


class _FileReader:
    """Collects the values of one file, and everything that is wrong with it."""

    def __init__(self) -> None:
        self.source = Source()
        self.problems: list[str] = []

    def walk(self, obj: Mapping[str, object], *, prefix: str) -> None:
        for key, raw in obj.items():
            path = f"{prefix}{key.lower()}"
            if raw is None:
                if not (path in BY_KEY or path in GROUPS or path in FOREIGN_BY_PATH):
                    self._unknown(prefix, key, path)
            elif setting := BY_KEY.get(path):
                self._setting(setting, raw, at=path)
            elif path in GROUPS:
                if isinstance(raw, dict):
                    self.walk(raw, prefix=f"{path}.")
                else:
                    self.problems.append(f"{path}: expected one object, got {_given(raw)}")
            elif path == "service":
                self._one(raw, self._service, where=path)
            elif path == "services":
                self._each(raw, self._service, where=path)
            elif path == "check":
                self._one(raw, self._check, where=path)
            elif path == "checks":
                self._each(raw, self._check, where=path)
            elif foreign := FOREIGN_BY_PATH.get(path):
                if problem := foreign.error(raw, name=path):
                    self.problems.append(problem)
                else:
                    self.source.warnings.append(foreign.warning(name=path))
            else:
                self._unknown(prefix, key, path)

    def _setting(self, setting: Setting, raw: object, *, at: str) -> None:
        if at != setting.path and setting.kind is Kind.STRINGS and isinstance(raw, str):
            # The older name of a list, from when there could be one.
            raw = [raw]
        try:
            value = value_from_json(setting.kind, raw, at=at)
        except ValueError as error:
            self.problems.append(str(error))
            return
        before = self.source.values.get(setting.path)
        if isinstance(before, tuple) and isinstance(value, tuple):
            value = (*before, *value)
        self.source.values[setting.path] = value

    def _unknown(self, prefix: str, key: str, path: str) -> None:
        if path in DEFINITIONS:
            return
        known = [*BY_KEY, *GROUPS, *FOREIGN_BY_PATH, *DEFINITIONS]
        close = get_close_matches(path, known, n=1, cutoff=0.8)
        hint = f" (did you mean {close[0]}?)" if close else ""
        self.problems.append(f"invalid config key {prefix}{key}{hint}")

    def _one(self, raw: object, read: Callable[..., None], *, where: str) -> None:
        # Differs from Consul, which refuses `service { }` blocks beside each other.
        for one in raw if isinstance(raw, list) else [raw]:
            read(one, where=where)

    def _each(self, raw: object, read: Callable[..., None], *, where: str) -> None:
        if not isinstance(raw, list):
            self.problems.append(f"{where}: expected array of objects")
            return
        for index, item in enumerate(raw):
            read(item, where=f"{where}[{index}]")

    def _check(self, raw: object, *, where: str) -> None:
        try:
            self.source.checks.append(parse_check_definition(raw, where=where, strict=True))
        except DefinitionError as error:
            self.problems.append(str(error))
            return
        self._warn_of_token(raw, where=where)

    def _service(self, raw: object, *, where: str) -> None:
        try:
            definition = parse_service_definition(raw, where=where, strict=True)
        except DefinitionError as error:
            self.problems.append(str(error))
            return
        self.source.services.append(definition)
        self.source.warnings += definition_warnings(definition)
        self._warn_of_token(raw, where=where)

    def _warn_of_token(self, raw: object, *, where: str) -> None:
        """Say of tokens in a definition that there is nothing they could be for."""
        assert isinstance(raw, dict)
        for name, value in raw.items():
            key = name.lower()
            if key == "token" and value:
                self.source.warnings.append(f"{where}.token is ignored: there is no access control")
            elif key in {"check", "checks"}:
                for check in value if isinstance(value, list) else [value or {}]:
                    self._warn_of_token(check, where=f"{where}.{key}")


def _given(raw: object) -> str:
    if isinstance(raw, list) and raw and all(isinstance(one, dict) for one in raw):
        return f"{len(raw)} of them"
    return json_kind(raw)

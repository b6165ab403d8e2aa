"""Configuration files: which are read, in which order, and how their text becomes values.

JSON and HCL both end as decoded JSON values. What the keys mean is `sources.py`'s business.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from svcmesh.errors import ConfigError


class Format(StrEnum):
    """Languages of configuration files, by extension and by `-config-format`."""

    JSON = "json"
    HCL = "hcl"


LISTS: Final = frozenset(
    {"services", "checks", "service.checks", "services.checks", "watches", "segments"}
)
"""Paths of lists of objects. An object in a list of one anywhere else stands for itself."""


@dataclass(frozen=True, slots=True)
class Document:
    """The decoded content of one file or fragment; None when the file is to be passed over."""

    name: str
    content: dict[str, object] | None


def read_documents(paths: Sequence[Path], forced: Format | None) -> Iterator[Document]:
    """Read files, and folders' files sorted by name but not their folders, in the order given.

    `forced`: what the operator says they all are, whatever their extensions.

    Raises:
        ConfigError: One cannot be read or decoded; the text names it.
    """
    for path in paths:
        if path.is_dir():
            for inner in _folder(path):
                if forced or _format(inner):
                    yield _read(inner, forced or Format(inner.suffix[1:]))
                else:
                    yield Document(str(inner), None)
        elif found := forced or _format(path):
            yield _read(path, found)
        else:
            _content(path)
            raise ConfigError(
                f"failed to parse {path}: the extension must be .hcl or .json, or -config-format "
                "must say which it is"
            )


def decode_hcl(text: str, *, name: str) -> Document:
    """Decode HCL, or JSON, which HCL includes.

    Raises:
        ConfigError: It is neither; the text begins with `name`.
    """
    # Imported here: most configurations are JSON.
    from svcmesh.config.hcl import HclError, parse_hcl

    if text.lstrip().startswith("{"):
        return _decode_json(text, name=name)
    try:
        return Document(name, _unwrapped(parse_hcl(text)))
    except HclError as error:
        raise ConfigError(f"failed to parse {name}: {error}") from None


def _format(path: Path) -> Format | None:
    return next((one for one in Format if path.suffix == f".{one}"), None)


def _folder(path: Path) -> list[Path]:
    try:
        return sorted(inner for inner in path.iterdir() if inner.is_file())
    except OSError as error:
        raise _open_failed(path, error) from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _open_failed(path, error) from error


def _read(path: Path, language: Format) -> Document:
    name, content = str(path), _content(path)
    if not content:
        # As in Consul: an empty file says nothing.
        return Document(name, {})
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"failed to parse {name}: not UTF-8 at byte {error.start}") from None
    return _decode_json(text, name=name) if language is Format.JSON else decode_hcl(text, name=name)


def _decode_json(text: str, *, name: str) -> Document:
    try:
        obj = json.loads(text)
    except json.JSONDecodeError as error:
        is_cut = error.pos >= len(error.doc.rstrip())
        why = "unexpected end of JSON input" if is_cut else str(error)
        raise ConfigError(f"failed to parse {name}: {why}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"failed to parse {name}: {error}") from None
    if not isinstance(obj, dict):
        raise ConfigError(f"failed to parse {name}: expected a JSON object")
    return Document(name, _unwrapped(obj))


def _unwrapped(value: dict[str, object], at: str = "") -> dict[str, object]:
    """Take objects out of lists of one, except where lists belong.

    HCL cannot tell `check { }` from a list of one check, so that Consul reads them as one; it does
    the same with JSON.
    """
    found: dict[str, object] = {}
    for key, inner in value.items():
        path = f"{at}{key.lower()}"
        if isinstance(inner, dict):
            found[key] = _unwrapped(inner, f"{path}.")
        elif isinstance(inner, list) and any(isinstance(one, dict) for one in inner):
            plain = [_unwrapped(one, f"{path}.") if isinstance(one, dict) else one for one in inner]
            found[key] = plain[0] if len(plain) == 1 and path not in LISTS else plain
        else:
            found[key] = inner
    return found


def _open_failed(path: Path, error: OSError) -> ConfigError:
    why = (error.strerror or str(error)).lower()
    return ConfigError(f"config: Open failed on {path}. open {os.fspath(path)}: {why}")

"""Scenarios as files: TOML or JSON of the same shape (`docs/simulator.md`).

Unknown keys are errors, with the keys that are known: a setting that is spelled wrong would
otherwise be one that was never tried.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeVar

from gossip.config import GossipConfig, SerfConfig, SwimConfig, lan, local, wan
from gossip.errors import ConfigError as GossipConfigError
from svcmesh.errors import ConfigError
from svcmesh.simulate.network import Link
from svcmesh.simulate.scenario import Action, Expectations, Fault, Scenario, Start

E = TypeVar("E", Start, Action)

FILE_BYTES_MAX: Final = 1 << 20

PROFILES: Final = {"lan": lan, "wan": wan, "local": local}
_SCENARIO_KEYS: Final = (
    "name", "description", "members", "duration_s", "seed", "seeds", "start", "joining_s",
    "sample_s", "network", "gossip", "fault", "expect",
)  # fmt: skip
_LINK_KEYS: Final = ("latency_ms", "latency_tail_ms", "loss", "duplicate")
_FAULT_KEYS: Final = (
    "do", "at_s", "for_s", "every_s", "until_s", "members", "choose_again", "within_s",
)  # fmt: skip
_EXPECT_KEYS: Final = tuple(f.name for f in fields(Expectations))

# What a parser gives, before its keys and types have been looked at.
Table = Mapping[str, Any]


def builtin_names() -> list[str]:
    """The scenarios that come with the program."""
    folder = files("svcmesh.simulate") / "scenarios"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name[-5:] == ".toml")


def load(name_or_path: str) -> Scenario:
    """Read a built-in scenario by name, or a file.

    Raises:
        ConfigError: There is no such scenario, it cannot be read, or something in it is wrong.
    """
    if name_or_path in builtin_names():
        text = (files("svcmesh.simulate") / "scenarios" / f"{name_or_path}.toml").read_text()
        return parse(tomllib.loads(text), name=name_or_path)
    path = Path(name_or_path)
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ConfigError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
        text = path.read_text(encoding="utf-8")
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        names = ", ".join(builtin_names())
        raise ConfigError(f"no scenario and no file {path}; there are {names}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return parse(table, name=path.stem)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse(table: object, *, name: str) -> Scenario:
    """Check an unpacked file; it is called `name` unless it says otherwise.

    Raises:
        ConfigError: Something in it is wrong.
    """
    top = _table(table, "the scenario", _SCENARIO_KEYS)
    network = _table(top.get("network", {}), "network", (*_LINK_KEYS, "service_ms"))
    try:
        return Scenario(
            name=_text(top, "name", name),
            description=_text(top, "description", ""),
            members=_integer(top, "members", 32),
            duration_s=_number(top, "duration_s", 120.0),
            seeds=_seeds(top),
            start=_choice(Start, top.get("start", "joined"), "start"),
            joining_s=_number(top, "joining_s", 5.0),
            sample_s=_number(top, "sample_s", 1.0),
            link=_link(network),
            service_s=_number(network, "service_ms", 0.0) / 1000,
            gossip=_gossip(_table(top.get("gossip", {}), "gossip", _gossip_keys())),
            faults=tuple(_fault(item) for item in _list(top, "fault")),
            expect=_expectations(_table(top.get("expect", {}), "expect", _EXPECT_KEYS)),
        )
    except GossipConfigError as error:
        raise ConfigError(f"gossip: {error}") from error


def _seeds(top: Table) -> tuple[int, ...]:
    if "seed" in top:
        return (_integer(top, "seed", 1),)
    seeds = _list(top, "seeds") or [1]
    if not all(type(seed) is int for seed in seeds):
        raise ConfigError("seeds: integers")
    return tuple(seeds)


def _gossip_keys() -> tuple[str, ...]:
    return ("profile", *(f.name for c in (SwimConfig, SerfConfig) for f in fields(c)))


def _gossip(table: Table) -> GossipConfig:
    profile = table.get("profile", "lan")
    if profile not in PROFILES:
        raise ConfigError(f"gossip: profile: one of {', '.join(PROFILES)}, got {profile!r}")
    swim, serf = PROFILES[profile](), SerfConfig()
    # Off unless asked for: they cost half of the time and decide nothing about membership.
    settings = {"coordinates": False, **table}
    swim = replace(swim, **_settings(swim, settings))
    serf = replace(serf, **_settings(serf, settings))
    return GossipConfig(swim=swim, serf=serf)


def _settings(defaults: SwimConfig | SerfConfig, table: Table) -> dict[str, Any]:
    """Those of `table` that are fields of `defaults`, of the defaults' types."""
    chosen: dict[str, Any] = {}
    for f in fields(defaults):
        if f.name not in table:
            continue
        value, kind = table[f.name], type(getattr(defaults, f.name))
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise ConfigError(f"gossip: {f.name}: {kind.__name__}, got {value!r}")
        chosen[f.name] = value
    return chosen


def _fault(item: object) -> Fault:
    action = _choice(Action, _table(item, "fault", None).get("do"), "fault: do")
    more: tuple[str, ...] = ()
    if action == Action.SLOW:
        more = ("service_ms",)
    elif action == Action.LINK:
        more = _LINK_KEYS
    table = _table(item, f"fault {action}", (*_FAULT_KEYS, *more))
    return Fault(
        do=action,
        at_s=_number(table, "at_s", 0.0),
        for_s=_optional_number(table, "for_s"),
        every_s=_optional_number(table, "every_s"),
        until_s=_optional_number(table, "until_s"),
        members=_members(table.get("members", 1)),
        choose_again=_flag(table, "choose_again"),
        within_s=_number(table, "within_s", 0.0),
        service_s=_number(table, "service_ms", 0.0) / 1000,
        link=_link(table) if action == Action.LINK else None,
    )


def _members(value: object) -> int | float | tuple[str, ...]:
    if type(value) is int:
        return value
    if isinstance(value, str) and value.endswith("%"):
        try:
            return float(value[:-1]) / 100
        except ValueError:
            raise ConfigError(f"members: no share: {value!r}") from None
    if isinstance(value, list) and all(isinstance(name, str) for name in value) and value:
        return tuple(value)
    raise ConfigError(f'members: a number, a share as "25%", or a list of names, got {value!r}')


def _link(table: Table) -> Link:
    latency = table.get("latency_ms", [0.5, 2.0])
    bounds = latency if isinstance(latency, list) else [latency, latency]
    if len(bounds) != 2 or not all(_is_number(bound) for bound in bounds):
        raise ConfigError("latency_ms: a number, or [least, most]")
    link = Link(
        latency_s_min=bounds[0] / 1000,
        latency_s_max=bounds[1] / 1000,
        latency_tail_s=_number(table, "latency_tail_ms", 0.0) / 1000,
        loss=_number(table, "loss", 0.0),
        duplicate=_number(table, "duplicate", 0.0),
    )
    if not 0 <= link.latency_s_min <= link.latency_s_max or link.latency_tail_s < 0:
        raise ConfigError("latency_ms: not negative, and least before most")
    if not (0 <= link.loss <= 1 and 0 <= link.duplicate <= 1):
        raise ConfigError("loss, duplicate: 0 to 1")
    return link


def _expectations(table: Table) -> Expectations:
    return Expectations(
        converged_within_s=_optional_number(table, "converged_within_s"),
        detected_within_s=_optional_number(table, "detected_within_s"),
        no_false_failure=_flag(table, "no_false_failure"),
        no_resurrection=_flag(table, "no_resurrection"),
        event_within_s=_optional_number(table, "event_within_s"),
    )


def _table(value: object, what: str, keys: tuple[str, ...] | None) -> Table:
    if not isinstance(value, dict):
        raise ConfigError(f"{what}: not a table")
    if keys is not None and (unknown := [key for key in value if key not in keys]):
        raise ConfigError(f"{what}: unknown key {unknown[0]!r}; there are {', '.join(keys)}")
    return value


def _list(table: Table, key: str) -> list[Any]:
    value = table.get(key, [])
    if not isinstance(value, list):
        raise ConfigError(f"{key}: not a list")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(table: Table, key: str, default: float) -> float:
    value = table.get(key, default)
    if not _is_number(value):
        raise ConfigError(f"{key}: a number, got {value!r}")
    return float(value)


def _optional_number(table: Table, key: str) -> float | None:
    return _number(table, key, 0.0) if key in table else None


def _integer(table: Table, key: str, default: int) -> int:
    value = table.get(key, default)
    if type(value) is not int:
        raise ConfigError(f"{key}: an integer, got {value!r}")
    return value


def _text(table: Table, key: str, default: str) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise ConfigError(f"{key}: a text, got {value!r}")
    return value


def _flag(table: Table, key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise ConfigError(f"{key}: true or false, got {value!r}")
    return value


def _choice(kind: type[E], value: object, what: str) -> E:
    try:
        return kind(str(value))
    except ValueError:
        choices = ", ".join(kind)
        raise ConfigError(f"{what}: one of {choices}, got {value!r}") from None

"""How a setting is declared: key, type, default, range, flag, meaning, all in one place.

`settings.py` declares every setting as a field of a frozen dataclass:

    udp_answer_limit: int = setting("dns_config.udp_answer_limit", INT, 3, doc="Most records ...")

That line alone makes it a key in files, a flag when it names one, a checked attribute of the
configuration, a row of `docs/configuration.md` and, with `reloadable`, subject to a reload.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from svcmesh.config.values import Kind, Value, value_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")

_SETTING: Final = "setting"
_GROUP: Final = "group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Which numbers, or seconds, a setting may have. An end that is None is open."""

    least: float | None = None
    above: float | None = None
    """Like `least`, but excluded itself."""
    most: float | None = None

    def problem(self, value: float) -> str | None:
        """Say what is wrong with a value, in Consul's words where it has them; None: nothing."""
        if self.above is not None and value <= self.above:
            return f"must be greater than {'zero' if self.above == 0 else self.above}"
        if self.least is not None and value < self.least:
            least = "zero" if self.least == 0 else self.least
            return f"cannot be {value:g}. Must be greater than or equal to {least}"
        if self.most is not None and value > self.most:
            return f"cannot be {value:g}. Must be at most {self.most:g}"
        return None

    def text(self, kind: Kind) -> str:
        """Write it for the reference."""
        ends = {"above": self.above, "at least": self.least, "at most": self.most}
        return ", ".join(
            f"{word} {value_text(float(end) if kind is Kind.DURATION else int(end))}"
            for word, end in ends.items()
            if end is not None
        )


NOT_NEGATIVE: Final = Range(least=0)
POSITIVE: Final = Range(above=0)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    `default` None means that it is worked out from other settings or from the host; `doc` says
    how.
    """

    path: str
    """Key in a file; a dot leads into an object."""
    kind: Kind
    default: Value | None
    doc: str
    flag: str = ""
    reloadable: bool = False
    """Whether a reload applies it; the others keep their value until a restart."""
    within: Range | None = None
    choices: tuple[str, ...] = ()
    """What a text may be, in any letter case; empty: anything."""
    is_secret: bool = False
    """Never shown: not in logs, not in reports of a reload."""
    aliases: tuple[str, ...] = ()
    """Other keys that older or newer releases of Consul have for it."""

    @property
    def is_list(self) -> bool:
        """Values of several sources are joined, those of flags first."""
        return self.kind in (Kind.STRINGS, Kind.STRING_MAP, Kind.DURATION_MAP)

    @property
    def default_text(self) -> str:
        """The default as one would write it; empty when there is none."""
        return "" if self.default in (None, "", (), {}) else value_text(self.default)

    def problem(self, value: Value) -> str | None:
        """Say what is wrong with a value of the right type; None: nothing."""
        if self.within is not None:
            assert isinstance(value, (int, float)), self.path
            if problem := self.within.problem(value):
                # As Consul words them: `retry_max cannot be -1`, but `retry_interval: must be`.
                return f"{self.path}{' ' if problem.startswith('cannot') else ': '}{problem}"
        if self.choices and str(value).lower() not in [one.lower() for one in self.choices]:
            return f'{self.path}: must be one of {", ".join(self.choices)}, got "{value}"'
        return None

    def show(self, value: Value | None) -> str:
        """Write a value for people; a secret stays one."""
        if value is None:
            return "not set"
        return "(hidden)" if self.is_secret else value_text(value) or "none"


def setting(
    path: str,
    kind: Kind,
    default: Value | None,
    *,
    doc: str,
    flag: str = "",
    reloadable: bool = False,
    within: Range | None = None,
    choices: tuple[str, ...] = (),
    is_secret: bool = False,
    aliases: tuple[str, ...] = (),
) -> Any:  # noqa: ANN401 -- likewise
    """Declare a field of a configuration class as a setting."""
    declared = Setting(
        path, kind, default, doc, flag, reloadable, within, choices, is_secret, aliases
    )
    return field(metadata={_SETTING: declared}, repr=not is_secret)


def group(cls: type) -> Any:  # noqa: ANN401 -- like `setting`
    """Declare a field that holds a group of settings, an instance of `cls`."""
    return field(metadata={_GROUP: cls})


def settings_of(cls: type) -> Iterator[Setting]:
    """Every setting of a configuration class, those of its groups included, in order."""
    for one in fields(cls):
        if _SETTING in one.metadata:
            yield one.metadata[_SETTING]
        elif _GROUP in one.metadata:
            yield from settings_of(one.metadata[_GROUP])


def build(cls: type, values: Mapping[str, Value], known: Mapping[str, object]) -> Any:  # noqa: ANN401 -- an instance of `cls`
    """Make an instance of a configuration class and of its groups.

    A field is what `known` says under its setting's path, or under its own name if it is no
    setting; otherwise it is its setting's value. Values have been checked before.
    """
    arguments: dict[str, object] = {}
    for one in fields(cls):
        declared: Setting | None = one.metadata.get(_SETTING)
        name = declared.path if declared else one.name
        if name in known:
            arguments[one.name] = known[name]
        elif declared:
            arguments[one.name] = values[declared.path]
        else:
            arguments[one.name] = build(one.metadata[_GROUP], values, known)
    return cls(**arguments)


def merged(running: C, fresh: C) -> C:
    """Make the configuration that a reload leads to: what can be reloaded is as in `fresh`.

    Settings that cannot are as in `running`; what is no setting is fresh.
    """
    kept: dict[str, object] = {}
    for one in fields(running):
        declared: Setting | None = one.metadata.get(_SETTING)
        before = getattr(running, one.name)
        if declared and not declared.reloadable:
            kept[one.name] = before
        elif _GROUP in one.metadata:
            kept[one.name] = merged(before, getattr(fresh, one.name))
    return replace(fresh, **kept)

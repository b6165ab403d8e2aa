"""What `svcmesh watch` can watch: the parameters, the question, and the answer as Consul prints it.

Consul's tool reads answers into its own structures and prints those, so the order of fields and
the fields that an answer leaves out are its. `shape` does the same for the parts that differ.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from cli.client import Client, Json, NotFoundError
from cli.errors import CommandError

CONNECT_TYPES: Final = frozenset({"agent_service", "connect_leaf", "connect_roots"})
"""Types that Consul's agent has and its tool refuses."""

_DEFINITION: Final = {
    "Interval": "0s",
    "Timeout": "0s",
    "DeregisterCriticalServiceAfter": "0s",
    "HTTP": "",
    "Header": None,
    "Method": "",
    "Body": "",
    "TLSSkipVerify": False,
    "TCP": "",
}
_PAIR_FIELDS: Final = (
    "Key", "CreateIndex", "ModifyIndex", "LockIndex", "Flags", "Value", "Session",
)  # fmt: skip
_SERVICE_FIELDS: Final = ("ID", "Service", "Tags", "Meta", "Port", "Address")


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the flags say; a type takes some of them and refuses the others."""

    values: Mapping[str, str | bool | tuple[str, ...]]
    """By the name of the parameter, those that were given only."""

    def text(self, name: str) -> str:
        """A parameter that is a word; empty when it was not given."""
        return str(self.values.get(name, ""))


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked again and again."""

    path: str
    query: tuple[tuple[str, str], ...] = ()
    shape: Callable[[Json], Json] = lambda value: value
    is_event: bool = False
    """Whether the answer is a log, of which only what is new is handed on."""

    def ask(self, client: Client, base: Sequence[tuple[str, str]], index: int) -> tuple[Json, int]:
        """Ask, blocking until there is something after `index`.

        Raises:
            ApiError: No answer, or a refusal.
        """
        waiting = [("index", str(index))] if index else []
        try:
            answer = client.read(
                self.path, [*base, *self.query, *waiting], timeout_s=QUESTION_TIMEOUT_S
            )
        except NotFoundError as error:
            if not self.path.startswith("/v1/kv/"):
                raise
            # A key that is not there is an answer.
            return None, error.index
        return self.shape(answer.value), answer.index


QUESTION_TIMEOUT_S: Final = 660.0
"""Longer than an agent holds any question back: ten minutes and a sixteenth."""


def question(kind: str, parameters: Parameters) -> Question:
    """The question of one type.

    Raises:
        CommandError: There is no such type, or its parameters are wrong.
    """
    if kind in CONNECT_TYPES:
        raise CommandError(f"Type {kind} is not supported in the CLI tool")
    if kind not in _TYPES:
        raise CommandError(f"Unsupported watch type: {kind}")
    takes, make = _TYPES[kind]
    made = make(parameters)
    foreign = sorted(set(parameters.values) - takes)
    if foreign:
        raise CommandError(f"Invalid parameters: [{' '.join(foreign)}]")
    return made


def _key(parameters: Parameters) -> Question:
    key = parameters.text("key")
    if not key:
        raise CommandError("Must specify a single key to watch")
    return Question(f"/v1/kv/{quote(key)}", shape=lambda found: _shape_pairs(found)[0])


def _key_prefix(parameters: Parameters) -> Question:
    prefix = parameters.text("prefix")
    if not prefix:
        raise CommandError("Must specify a single prefix to watch")
    return Question(f"/v1/kv/{quote(prefix)}", (("recurse", ""),), _shape_pairs)


def _services(_: Parameters) -> Question:
    return Question("/v1/catalog/services")


def _nodes(_: Parameters) -> Question:
    return Question("/v1/catalog/nodes")


def _service(parameters: Parameters) -> Question:
    service = parameters.text("service")
    if not service:
        raise CommandError("Must specify a single service to watch")
    tags = parameters.values.get("tag", ())
    assert isinstance(tags, tuple)
    query = [("tag", tag) for tag in tags]
    if parameters.values.get("passingonly"):
        query.append(("passing", "1"))
    return Question(f"/v1/health/service/{quote(service, safe='')}", tuple(query), _shape_entries)


def _checks(parameters: Parameters) -> Question:
    service, state = parameters.text("service"), parameters.text("state")
    if service and state:
        raise CommandError("Cannot specify service and state")
    if service:
        path = f"/v1/health/checks/{quote(service, safe='')}"
    else:
        path = f"/v1/health/state/{quote(state or 'any', safe='')}"
    return Question(path, shape=lambda checks: [_shape_check(check) for check in checks])


def _event(parameters: Parameters) -> Question:
    name = parameters.text("name")
    return Question("/v1/event/list", (("name", name),) if name else (), is_event=True)


_TYPES: Final[Mapping[str, tuple[frozenset[str], Callable[[Parameters], Question]]]] = {
    "key": (frozenset({"key"}), _key),
    "keyprefix": (frozenset({"prefix"}), _key_prefix),
    "services": (frozenset(), _services),
    "nodes": (frozenset(), _nodes),
    "service": (frozenset({"service", "tag", "passingonly"}), _service),
    "checks": (frozenset({"service", "state"}), _checks),
    "event": (frozenset({"name"}), _event),
}


def _shape_pairs(entries: Json) -> Json:
    return [{**dict.fromkeys(_PAIR_FIELDS), "Session": "", **entry} for entry in entries]


def _shape_entries(entries: Json) -> Json:
    return [
        {
            **entry,
            "Service": _shape_service(entry["Service"]),
            "Checks": [_shape_check(check) for check in entry["Checks"]],
        }
        for entry in entries
    ]


def _shape_service(service: dict[str, Json]) -> dict[str, Json]:
    first = {name: service[name] for name in _SERVICE_FIELDS if name in service}
    mesh = {name: service[name] for name in ("Proxy", "Connect") if name in service}
    return first | {k: v for k, v in service.items() if k not in mesh} | mesh


def _shape_check(check: dict[str, Json]) -> dict[str, Json]:
    return {**check, "Definition": {**_DEFINITION, **(check.get("Definition") or {})}}


def event_index(event_id: str) -> int:
    """The index that stands for a user event: its UUID's halves, combined."""
    digits = event_id.replace("-", "")
    return int(digits[:16], 16) ^ int(digits[16:], 16)


def events_after(events: list[dict[str, Json]], index: int) -> list[dict[str, Json]]:
    """What came after the event that `index` stands for; all when it is not among them."""
    for position, event in enumerate(events):
        if event_index(event["ID"]) == index:
            return events[position + 1 :]
    return events

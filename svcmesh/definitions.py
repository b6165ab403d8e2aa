"""Service definitions, in every shape that Consul accepts them.

One parser for configuration files, bodies of `/v1/agent/service/register`, files of
`services register` and what the agent itself keeps on disk. Field names are matched without regard
to case, and snake case works. Health checks and the service mesh (Connect) are not built: a
definition that asks for them is refused, an empty value counts as absent.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from svcmesh.catalog.codec import replication_problem
from svcmesh.catalog.records import ServiceRecord, TaggedAddress
from svcmesh.errors import ConfigError
from svcmesh.jsonvalues import is_empty, json_kind

META_PAIRS_MAX: Final = 64
META_KEY_BYTES_MAX: Final = 128
META_VALUE_BYTES_MAX: Final = 512
META_RESERVED_PREFIX: Final = "consul-"
WEIGHT_MAX: Final = 65535
PORT_MAX: Final = 65535
DNS_LABEL_BYTES_MAX: Final = 63

_META_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_DNS_LABEL: Final = re.compile(r"[A-Za-z0-9-]+")
ANY_ADDRESSES: Final = frozenset({"0.0.0.0", "::", "[::]"})  # noqa: S104 -- refused, not bound

_FIELDS: Final = {
    name.casefold(): name
    for name in (
        "ID", "Name", "Tags", "Port", "Address", "TaggedAddresses", "Meta", "Weights",
        "EnableTagOverride",
    )
} | {"tagged_addresses": "TaggedAddresses", "enable_tag_override": "EnableTagOverride"}  # fmt: skip
"""What a definition may say, by every accepted spelling in lower case."""

_NOT_BUILT: Final = {
    "check": "health checks",
    "checks": "health checks",
    "connect": "the service mesh",
    "proxy": "the service mesh",
    "kind": "the service mesh",
    "token": "access control",
    "socketpath": "Unix sockets of services",
    "socket_path": "Unix sockets of services",
    "namespace": "namespaces",
    "partition": "admin partitions",
    "locality": "localities",
    "ports": "named ports",
}
"""Fields of Consul's that must be empty, and the feature that each belongs to."""

_WEIGHT_FIELDS: Final = {"passing": "Passing", "warning": "Warning"}
_ADDRESS_FIELDS: Final = {"address": "Address", "port": "Port"}

_NAMES: Final[dict[type, str]] = {str: "string", bool: "bool"}

T = TypeVar("T", str, bool)


class DefinitionError(ConfigError):
    """A service definition is refused; over HTTP this is a 400 with the text as the body."""


@dataclass(frozen=True, slots=True)
class ServiceDefinition:
    """A service instance to run on this agent, valid. The fields are `ServiceRecord`'s."""

    id: str
    name: str
    tags: tuple[str, ...] = ()
    port: int = 0
    address: str = ""
    tagged_addresses: dict[str, TaggedAddress] = field(default_factory=dict)
    meta: dict[str, str] = field(default_factory=dict)
    weight_passing: int = 1
    weight_warning: int = 1
    enable_tag_override: bool = False

    @property
    def record(self) -> ServiceRecord:
        """What the catalog holds of it."""
        return ServiceRecord(
            id=self.id,
            name=self.name,
            tags=self.tags,
            port=self.port,
            address=self.address,
            tagged_addresses=self.tagged_addresses,
            meta=self.meta,
            weight_passing=self.weight_passing,
            weight_warning=self.weight_warning,
            enable_tag_override=self.enable_tag_override,
        )


def parse_service_definition(obj: object, *, where: str, strict: bool) -> ServiceDefinition:
    """Read a decoded JSON value as a service definition.

    `where` is put before the name of a field in errors (`services[2]`); empty for the body of a
    request, whose errors read as Consul's API has them. Unless `strict`, unknown fields are
    ignored: state on disk may have been written by a later release.

    Raises:
        DefinitionError: It is not one, or asks for what is not built.
    """
    return _Parser(where=where, strict=strict).service(obj)


def definition_to_json(definition: ServiceDefinition) -> dict[str, object]:
    """The definition as a JSON object that `parse_service_definition` reads again."""
    return {
        "ID": definition.id,
        "Name": definition.name,
        "Tags": list(definition.tags),
        "Port": definition.port,
        "Address": definition.address,
        "TaggedAddresses": {
            key: {"Address": tagged.address, "Port": tagged.port}
            for key, tagged in definition.tagged_addresses.items()
        },
        "Meta": dict(definition.meta),
        "Weights": {"Passing": definition.weight_passing, "Warning": definition.weight_warning},
        "EnableTagOverride": definition.enable_tag_override,
    }


def definition_warnings(definition: ServiceDefinition) -> tuple[str, ...]:
    """What an operator should know of a valid definition: a name that DNS cannot ask for."""
    if not _DNS_LABEL.fullmatch(definition.name):
        why = "invalid characters. Valid characters include all alpha-numerics and dashes."
    elif len(definition.name) > DNS_LABEL_BYTES_MAX:
        why = f"it being too long. Valid lengths are between 1 and {DNS_LABEL_BYTES_MAX} bytes."
    else:
        return ()
    return (f'Service name "{definition.name}" will not be discoverable via DNS due to {why}',)


def check_metadata(meta: Mapping[str, str]) -> str | None:
    """Say what is wrong with metadata of a node or service, in Consul's words; None: nothing."""
    if len(meta) > META_PAIRS_MAX:
        return f"Node metadata cannot contain more than {META_PAIRS_MAX} key/value pairs"
    for key, value in meta.items():
        if not key:
            problem = "Key cannot be blank"
        elif not _META_KEY.fullmatch(key):
            problem = "Key contains invalid characters"
        elif len(key) > META_KEY_BYTES_MAX:
            problem = f"Key is too long (limit: {META_KEY_BYTES_MAX} characters)"
        elif key.startswith(META_RESERVED_PREFIX):
            problem = f"Key prefix '{META_RESERVED_PREFIX}' is reserved for internal use"
        elif len(value.encode()) > META_VALUE_BYTES_MAX:
            problem = f"Value is too long (limit: {META_VALUE_BYTES_MAX} characters)"
        else:
            continue
        return f"Couldn't load metadata pair ('{key}', '{value}'): {problem}"
    return None


class _Parser:
    """Reads one definition; knows how its source wants errors worded."""

    def __init__(self, *, where: str, strict: bool) -> None:
        self._where, self._strict = where, strict

    def service(self, obj: object) -> ServiceDefinition:
        given = self._fields(obj, _FIELDS, at="")
        name = self._scalar(given.get("Name"), str, at="Name") or ""
        if not name:
            raise self._refusal("Missing service name")
        address = self._scalar(given.get("Address"), str, at="Address") or ""
        if address in ANY_ADDRESSES:
            raise self._refusal("Invalid service address")
        meta = {
            key: self._scalar(value, str, at=f"Meta.{key}") or ""
            for key, value in self._object(given.get("Meta"), at="Meta").items()
        }
        if problem := check_metadata(meta):
            raise self._refusal(f"Invalid Service Meta: {problem}")
        passing, warning = self._weights(given.get("Weights"))
        definition = ServiceDefinition(
            id=self._scalar(given.get("ID"), str, at="ID") or name,
            name=name,
            tags=self._tags(given.get("Tags")),
            port=self._port(given.get("Port"), at="Port"),
            address=address,
            tagged_addresses=self._tagged_addresses(given.get("TaggedAddresses")),
            meta=meta,
            weight_passing=passing,
            weight_warning=warning,
            enable_tag_override=bool(
                self._scalar(given.get("EnableTagOverride"), bool, at="EnableTagOverride")
            ),
        )
        if (problem := replication_problem(definition.record)) is not None:
            raise self._refusal(f"a service {problem}")
        return definition

    def _fields(self, obj: object, known: Mapping[str, str], *, at: str) -> dict[str, object]:
        """The object's values by their canonical names; of two spellings the later one counts."""
        values: dict[str, object] = {}
        for key, value in self._object(obj, at=at).items():
            folded = key.casefold()
            if folded in known:
                values[known[folded]] = value
            elif not at and folded in _NOT_BUILT:
                if not is_empty(value):
                    raise self._refusal(f"{key}: {_NOT_BUILT[folded]}: not built yet")
            elif self._strict:
                raise self._unknown(key, at=at)
        return values

    def _tags(self, value: object) -> tuple[str, ...]:
        if value is None:
            return ()
        if not isinstance(value, list):
            raise self._wrong_type(value, at="Tags", expected="array of strings")
        return tuple(self._scalar(tag, str, at="Tags") or "" for tag in value)

    def _tagged_addresses(self, value: object) -> dict[str, TaggedAddress]:
        addresses = {}
        for key, tagged in self._object(value, at="TaggedAddresses").items():
            at = f"TaggedAddresses.{key}"
            given = self._fields(tagged, _ADDRESS_FIELDS, at=at)
            addresses[key] = TaggedAddress(
                self._scalar(given.get("Address"), str, at=f"{at}.Address") or "",
                self._port(given.get("Port"), at=f"{at}.Port"),
            )
        return addresses

    def _weights(self, value: object) -> tuple[int, int]:
        if value is None:
            return 1, 1
        given = self._fields(value, _WEIGHT_FIELDS, at="Weights")
        # As in Consul: a weight that is left out is 1 in a file and 0 in the body of a request.
        absent = 1 if self._where else 0
        passing = self._integer(given.get("Passing", absent), at="Weights.Passing")
        warning = self._integer(given.get("Warning", absent), at="Weights.Warning")
        if passing < 1:
            problem = "Passing must be greater than 0"
        elif warning < 0:
            problem = "Warning must be greater or equal than 0"
        elif passing > WEIGHT_MAX or warning > WEIGHT_MAX:
            problem = f"DNS Weight must be between 0 and {WEIGHT_MAX}"
        else:
            return passing, warning
        raise self._refusal(f"Invalid Weights: {problem}")

    def _port(self, value: object, *, at: str) -> int:
        port = self._integer(value, at=at)
        # Differs from Consul, which takes any number and answers DNS with its low 16 bits.
        if not 0 <= port <= PORT_MAX:
            raise self._refusal(f"Invalid {at}: must be between 0 and {PORT_MAX}, got {port}")
        return port

    def _integer(self, value: object, *, at: str) -> int:
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong_type(value, at=at, expected="int")
        return value

    def _scalar(self, value: object, wanted: type[T], *, at: str) -> T | None:
        if value is None:
            return None
        if not isinstance(value, wanted):
            raise self._wrong_type(value, at=at, expected=_NAMES[wanted])
        if isinstance(value, str):
            self._check_unicode(value, at=at)
        return value

    def _object(self, value: object, *, at: str) -> Mapping[str, object]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._wrong_type(value, at=at, expected="object")
        for key in value:
            self._check_unicode(key, at=at)
        return value

    def _check_unicode(self, text: str, *, at: str) -> None:
        """Refuse half a surrogate pair, which JSON can spell and UTF-8 cannot."""
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            raise self._refusal(f"{at or 'a field name'}: not valid Unicode")

    def _wrong_type(self, value: object, *, at: str, expected: str) -> DefinitionError:
        got = f"number {value}" if isinstance(value, float) else json_kind(value)
        if self._where:
            path = f"{self._where}.{at}" if at else self._where
            return DefinitionError(f"{path}: expected {expected}, got {got}")
        target = f"field {at}" if at else "a service definition"
        return DefinitionError(
            f"Request decode failed: json: cannot unmarshal {got} into {target} of type {expected}"
        )

    def _unknown(self, key: str, *, at: str) -> DefinitionError:
        if self._where:
            path = ".".join(part for part in (self._where, at, key) if part)
            return DefinitionError(f"invalid config key {path}")
        return DefinitionError(f'Request decode failed: json: unknown field "{key}"')

    def _refusal(self, problem: str) -> DefinitionError:
        return DefinitionError(f"{self._where}: {problem}" if self._where else problem)

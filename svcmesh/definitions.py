"""Service definitions, in every shape that Consul accepts them.

One parser for configuration files, bodies of `/v1/agent/service/register`, files of
`services register` and what the agent itself keeps on disk. What belongs to Consul's service mesh
(Connect) is refused when it asks for something; an empty value counts as absent.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from svcmesh.catalog.bodies import replication_problem
from svcmesh.catalog.records import ServiceRecord, TaggedAddress
from svcmesh.checks.definition import CheckDefinition
from svcmesh.checks.parsing import check_to_json, parse_service_checks
from svcmesh.reading import DefinitionError, Reader, spellings

__all__ = [
    "DefinitionError",
    "ServiceDefinition",
    "check_metadata",
    "definition_to_json",
    "definition_warnings",
    "parse_service_definition",
]

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

_FIELDS: Final = spellings(
    (
        "ID", "Name", "Tags", "Port", "Address", "TaggedAddresses", "Meta", "Weights",
        "EnableTagOverride", "Check", "Checks", "Token",
    )
)  # fmt: skip
"""What a definition may say, by every accepted spelling in lower case."""

_NOT_BUILT: Final = {
    "connect": "the service mesh and its proxies",
    "proxy": "the service mesh and its proxies",
    "kind": "the service mesh and its proxies",
    "socketpath": "Unix sockets of services",
    "socket_path": "Unix sockets of services",
    "namespace": "namespaces",
    "partition": "admin partitions",
    "locality": "localities",
    "ports": "named ports",
}
"""Fields of Consul's that must be empty, and the feature that each belongs to."""

_WEIGHT_FIELDS: Final = spellings(("Passing", "Warning"))
_ADDRESS_FIELDS: Final = spellings(("Address", "Port"))


@dataclass(frozen=True, slots=True)
class ServiceDefinition:
    """A service instance to run on this agent, valid.

    The fields but the last are `ServiceRecord`'s.
    """

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
    checks: tuple[CheckDefinition, ...] = ()
    """Of this instance; those that are registered by themselves are not among them."""

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
    value: dict[str, object] = {
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
    if definition.checks:
        value["Checks"] = [check_to_json(check, inside_service=True) for check in definition.checks]
    return value


def definition_warnings(definition: ServiceDefinition) -> tuple[str, ...]:
    """What an operator should know of a valid definition: a name that DNS cannot ask for."""
    if not _DNS_LABEL.fullmatch(definition.name):
        why = "invalid characters. Valid characters include all alpha-numerics and dashes."
    elif len(definition.name) > DNS_LABEL_BYTES_MAX:
        why = f"it being too long. Valid lengths are between 1 and {DNS_LABEL_BYTES_MAX} bytes."
    else:
        return ()
    return (f'Service name "{definition.name}" will not be discoverable via DNS due to {why}',)


def check_metadata(meta: Mapping[str, str], *, is_filter: bool = False) -> str | None:
    """Say what is wrong with metadata of a node or service, in Consul's words; None: nothing.

    With `is_filter` they are what is looked for, and the reserved keys may be among them.
    """
    if len(meta) > META_PAIRS_MAX:
        return f"Node metadata cannot contain more than {META_PAIRS_MAX} key/value pairs"
    for key, value in meta.items():
        if not key:
            problem = "Key cannot be blank"
        elif not _META_KEY.fullmatch(key):
            problem = "Key contains invalid characters"
        elif len(key) > META_KEY_BYTES_MAX:
            problem = f"Key is too long (limit: {META_KEY_BYTES_MAX} characters)"
        elif key.startswith(META_RESERVED_PREFIX) and not is_filter:
            problem = f"Key prefix '{META_RESERVED_PREFIX}' is reserved for internal use"
        elif len(value.encode()) > META_VALUE_BYTES_MAX:
            problem = f"Value is too long (limit: {META_VALUE_BYTES_MAX} characters)"
        else:
            continue
        return f"Couldn't load metadata pair ('{key}', '{value}'): {problem}"
    return None


class _Parser:
    """Reads one definition of a service."""

    def __init__(self, *, where: str, strict: bool) -> None:
        self._reader = Reader(where=where, strict=strict)

    def service(self, obj: object) -> ServiceDefinition:
        reader = self._reader
        given = reader.fields(obj, _FIELDS, at="", refused=_NOT_BUILT)
        name = reader.string(given.get("Name"), at="Name")
        # As in a Consul without access control: a token gives nothing, and is not needed.
        reader.string(given.get("Token"), at="Token")
        if not name:
            raise reader.refusal("Missing service name")
        service_id = reader.string(given.get("ID"), at="ID") or name
        address = reader.string(given.get("Address"), at="Address")
        if address in ANY_ADDRESSES:
            raise reader.refusal("Invalid service address")
        meta = reader.strings_map(given.get("Meta"), at="Meta")
        if problem := check_metadata(meta):
            raise reader.refusal(f"Invalid Service Meta: {problem}")
        passing, warning = self._weights(given.get("Weights"))
        definition = ServiceDefinition(
            id=service_id,
            name=name,
            tags=reader.strings(given.get("Tags"), at="Tags"),
            port=self._port(given.get("Port"), at="Port"),
            address=address,
            tagged_addresses=self._tagged_addresses(given.get("TaggedAddresses")),
            meta=meta,
            weight_passing=passing,
            weight_warning=warning,
            enable_tag_override=reader.boolean(
                given.get("EnableTagOverride"), at="EnableTagOverride"
            ),
            checks=parse_service_checks(
                reader,
                given.get("Check"),
                given.get("Checks"),
                service_id=service_id,
                service_name=name,
            ),
        )
        if (problem := replication_problem(definition.record)) is not None:
            raise reader.refusal(f"a service {problem}")
        return definition

    def _tagged_addresses(self, value: object) -> dict[str, TaggedAddress]:
        reader = self._reader
        addresses = {}
        for key, tagged in reader.mapping(value, at="TaggedAddresses").items():
            at = f"TaggedAddresses.{key}"
            given = reader.fields(tagged, _ADDRESS_FIELDS, at=at)
            addresses[key] = TaggedAddress(
                reader.string(given.get("Address"), at=f"{at}.Address"),
                self._port(given.get("Port"), at=f"{at}.Port"),
            )
        return addresses

    def _weights(self, value: object) -> tuple[int, int]:
        if value is None:
            return 1, 1
        reader = self._reader
        given = reader.fields(value, _WEIGHT_FIELDS, at="Weights")
        # As in Consul: a weight that is left out is 1 in a file and 0 in the body of a request.
        absent = 0 if reader.is_body else 1
        passing = reader.integer(given.get("Passing", absent), at="Weights.Passing")
        warning = reader.integer(given.get("Warning", absent), at="Weights.Warning")
        if passing < 1:
            problem = "Passing must be greater than 0"
        elif warning < 0:
            problem = "Warning must be greater or equal than 0"
        elif passing > WEIGHT_MAX or warning > WEIGHT_MAX:
            problem = f"DNS Weight must be between 0 and {WEIGHT_MAX}"
        else:
            return passing, warning
        raise reader.refusal(f"Invalid Weights: {problem}")

    def _port(self, value: object, *, at: str) -> int:
        port = self._reader.integer(value, at=at)
        # Differs from Consul, which takes any number and answers DNS with its low 16 bits.
        if not 0 <= port <= PORT_MAX:
            raise self._reader.refusal(
                f"Invalid {at}: must be between 0 and {PORT_MAX}, got {port}"
            )
        return port

"""`svcmesh services`: register services at an agent, and withdraw them."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import click

from cli.client import Client, client_flags, client_from_flags, read_flags
from cli.errors import ApiError, CommandError
from cli.flags import GoCommand, flag, key_value_pairs
from cli.groups import Entry, LazyGroup
from cli.printing import say

if TYPE_CHECKING:
    from svcmesh.definitions import ServiceDefinition

STDIN: Final = "-"
"""In place of a file: standard input, as JSON. Consul's tool has no such thing."""

services: Final = LazyGroup(
    "services",
    {
        "deregister": Entry("cli.services", "deregister", "Deregister services at an agent"),
        "register": Entry("cli.services", "register", "Register services at an agent"),
    },
    purpose="Register services at the local agent. `svcmesh catalog` knows those of the cluster.",
    no_command_status=1,
)


@click.command("register", cls=GoCommand, arguments="[FILE...]")
@client_flags
@read_flags
@flag("address", help="Address of the service. Default: the node's.")
@flag("id", help="Id of the instance. Default: the name.")
@flag("meta", kind="list", metavar="key=value", help="Metadata. Can be repeated.")
@flag("name", help="Name of the service.")
@flag("port", kind="int", metavar="int", help="Port of the service.")
@flag("tag", kind="list", help="Tag of the service. Can be repeated.")
@flag(
    "tagged-address",
    kind="list",
    metavar="key=address:port",
    help="Tagged address. Can be repeated.",
)
def register(
    args: tuple[str, ...],
    address: str | None,
    id: str | None,
    meta: tuple[str, ...],
    name: str | None,
    port: int | None,
    tag: tuple[str, ...],
    tagged_address: tuple[str, ...],
    **http: object,
) -> int:
    """Register services at an agent, by configuration files or by flags; `-` is standard input.

    The agent keeps them until they are deregistered.
    """
    if not args and not name:
        raise CommandError("Service registration requires at least one argument or flags.")
    if args and name:
        raise CommandError("Service registration requires arguments or -id, not both.")
    bodies: list[tuple[str, dict[str, object]]]
    if args:
        bodies = [(one.name, _body(one)) for one in _load(args)]
    else:
        tagged = {
            key: _address_and_port(value)
            for key, value in key_value_pairs("tagged-address", tagged_address)
        }
        body: dict[str, object] = {
            "ID": id or "",
            "Name": name,
            "Tags": list(tag),
            "Port": port or 0,
            "Address": address or "",
            "TaggedAddresses": tagged,
            "Meta": dict(key_value_pairs("meta", meta)),
        }
        bodies = [(str(name), body)]
    client = client_from_flags(http)
    for service, body in bodies:
        try:
            client.put("/v1/agent/service/register", body=body)
        except ApiError as error:
            raise CommandError(f'Error registering service "{service}": {error}') from None
        say(f"Registered service: {service}")
    return 0


@click.command("deregister", cls=GoCommand, arguments="[FILE...]")
@client_flags
@read_flags
@flag("id", help="Id of the instance to deregister.")
def deregister(args: tuple[str, ...], id: str | None, **http: object) -> int:
    """Deregister services at an agent, by the files that registered them or by id."""
    if not args and not id:
        raise CommandError("Service deregistration requires at least one argument or -id.")
    if args and id:
        raise CommandError("Service deregistration requires arguments or -id, not both.")
    ids = [one.id for one in _load(args)] if args else [str(id)]
    client = client_from_flags(http)
    for service_id in ids:
        _deregister(client, service_id)
    return 0


def _deregister(client: Client, service_id: str) -> None:
    try:
        client.put(f"/v1/agent/service/deregister/{quote(service_id, safe='')}")
    except ApiError as error:
        raise CommandError(f'Error deregistering service "{service_id}": {error}') from None
    say(f"Deregistered service: {service_id}")


def _load(files: tuple[str, ...]) -> "tuple[ServiceDefinition, ...]":
    # Imported here: registering by flags does without.
    from svcmesh.config import load_services
    from svcmesh.errors import ConfigError

    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "stdin.json")
        if STDIN in files:
            kept.write_bytes(sys.stdin.buffer.read())
        try:
            return load_services([kept if file == STDIN else file for file in files])
        except ConfigError as error:
            text = str(error).replace(str(kept), "standard input")
            raise CommandError(f"Error: {text}") from None


def _body(definition: "ServiceDefinition") -> dict[str, object]:
    from svcmesh.definitions import definition_to_json

    return definition_to_json(definition)


def _address_and_port(text: str) -> dict[str, object]:
    host, colon, port = text.rpartition(":")
    if not colon:
        raise CommandError(f"Invalid Tagged Address: address {text}: missing port in address")
    if not port.isdecimal():
        raise CommandError(f"Invalid Tagged Address: address {text}: invalid port")
    return {"Address": host.removeprefix("[").removesuffix("]"), "Port": int(port)}

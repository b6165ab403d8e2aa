"""`svcmesh kv`: reads and writes keys of the consistent store."""

import base64
import binascii
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

import click

from cli.client import Json, NotFoundError, client_flags, client_from_flags, read_flags, read_query
from cli.errors import ApiError, CommandError, FlagError
from cli.flags import GoCommand, check_arguments, flag
from cli.groups import Entry, LazyGroup
from cli.printing import say

F = TypeVar("F", bound=Callable[..., object])

FLAGS_MAX: Final = 2**64 - 1

kv: Final = LazyGroup(
    "kv",
    {
        "delete": Entry("cli.kv", "delete", "Delete a key, or all below a prefix"),
        "export": Entry("cli.kv", "export", "Print what is below a prefix as JSON"),
        "get": Entry("cli.kv", "get", "Show a key, or what is below a prefix"),
        "import": Entry("cli.kv", "import_", "Write what `kv export` has printed"),
        "put": Entry("cli.kv", "put", "Write a key"),
    },
    purpose="Read and write the keys of the consistent store.",
    no_command_status=1,
)


@click.command("get", cls=GoCommand, arguments="[KEY or PREFIX]")
@client_flags
@read_flags
@flag("base64", kind="bool", help="Show values in base 64.")
@flag("detailed", kind="bool", help="Show indexes, flags and the session as well.")
@flag("keys", kind="bool", help="List the keys that begin so, without their values.")
@flag("recurse", kind="bool", help="Show all keys that begin so.")
@flag("separator", help="With -keys: list keys up to this only. Default: /.")
def get(
    args: tuple[str, ...],
    base64: bool | None,
    detailed: bool | None,
    keys: bool | None,
    recurse: bool | None,
    separator: str | None,
    **http: object,
) -> int:
    """Show the value of a key, or what is below a prefix."""
    check_arguments(args, most=1)
    key = _without_slash(args[0] if args else "")
    if not key and not (recurse or keys):
        raise CommandError("Error! Missing KEY argument")
    client = client_from_flags(http)
    query = read_query(http)
    try:
        if keys:
            query += [("keys", ""), ("separator", "/" if separator is None else separator)]
            for name in client.get(_path(key), query):
                say(name)
            return 0
        found = client.get(_path(key), [*query, *([("recurse", "")] if recurse else [])])
    except NotFoundError:
        if keys or recurse:
            return 0
        raise CommandError(f"Error! No key exists at: {key}") from None
    except ApiError as error:
        raise CommandError(f"Error querying Consul agent: {error}") from None
    for number, entry in enumerate(found):
        value = (entry["Value"] or "").encode() if base64 else _value(entry)
        if detailed:
            if number:
                click.echo()
            _show_details(entry, value)
        else:
            click.echo(f"{entry['Key']}:".encode() + value if recurse else value)
    return 0


@click.command("put", cls=GoCommand, arguments="KEY [DATA]")
@client_flags
@read_flags
@flag("acquire", kind="bool", help="Lock the key with the session of -session.")
@flag("base64", kind="bool", help="The data is in base 64.")
@flag("cas", kind="bool", help="Write only if the key's index still is -modify-index.")
@flag("flags", metavar="uint", help="A number to keep with the key, for your use. Default: 0.")
@flag("modify-index", metavar="uint", help="The index that -cas expects.")
@flag("release", kind="bool", help="Let go of the lock that the session of -session has.")
@flag("session", metavar="id", help="The session of -acquire and -release.")
def put(
    args: tuple[str, ...],
    acquire: bool | None,
    base64: bool | None,
    cas: bool | None,
    flags: str | None,
    modify_index: str | None,
    release: bool | None,
    session: str | None,
    **http: object,
) -> int:
    """Write a key. DATA is the value, `@FILE` a file with it, or `-` for standard input."""
    number, expected = _unsigned("flags", flags), _unsigned("modify-index", modify_index)
    if not args:
        raise CommandError("Error! Missing KEY argument")
    if len(args) > 2:
        raise CommandError(f"Error! Too many arguments (expected 1 or 2, got {len(args)})")
    key = args[0]
    data = _data(args[1]) if len(args) > 1 else b""
    if base64:
        data = _from_base64(data, "Error! Cannot base 64 decode data")
    if cas and not expected:
        raise CommandError("Must specify -modify-index with -cas!")
    if (acquire or release) and not session:
        raise CommandError("Error! Missing -session (required with -acquire and -release)")
    query = read_query(http)
    if number:
        query.append(("flags", str(number)))
    done, refused = "Data written to", ""
    if cas:
        query.append(("cas", str(expected)))
        refused = f"Error! Did not write to {key}: CAS failed"
    elif acquire:
        query.append(("acquire", session or ""))
        done, refused = "Lock acquired on", "Error! Did not acquire lock"
    elif release:
        query.append(("release", session or ""))
        done, refused = "Lock released on", "Error! Did not release lock"
    is_done = _write(http, key, query, data, failure="Error! Failed writing data")
    if not is_done and refused:
        raise CommandError(refused)
    say(f"Success! {done}: {key}")
    return 0


@click.command("delete", cls=GoCommand, arguments="KEY or PREFIX")
@client_flags
@read_flags
@flag("cas", kind="bool", help="Delete only if the key's index still is -modify-index.")
@flag("modify-index", metavar="uint", help="The index that -cas expects.")
@flag("recurse", kind="bool", help="Delete all keys that begin so.")
def delete(
    args: tuple[str, ...],
    cas: bool | None,
    modify_index: str | None,
    recurse: bool | None,
    **http: object,
) -> int:
    """Delete a key, or all below a prefix. One that is not there is no error."""
    expected = _unsigned("modify-index", modify_index)
    check_arguments(args, most=1)
    key = _without_slash(args[0] if args else "")
    if not key and not (recurse and args):
        raise CommandError("Error! Missing KEY argument")
    if cas and not expected:
        raise CommandError("Must specify -modify-index with -cas!")
    if expected and not cas:
        raise CommandError("Cannot specify -modify-index without -cas!")
    if cas and recurse:
        raise CommandError("Cannot specify both -cas and -recurse!")
    query = read_query(http)
    query += [("recurse", "")] if recurse else [("cas", str(expected))] if cas else []
    try:
        is_done = client_from_flags(http).send("DELETE", _path(key), query)
    except ApiError as error:
        failure = "Error deleting key"
        if recurse or cas:
            failure = f"Error! Did not delete {'prefix' if recurse else 'key'}"
        raise CommandError(f"{failure} {key}: {error}") from None
    if cas and not is_done:
        raise CommandError(f"Error! Did not delete key {key}: CAS failed")
    say(f"Success! Deleted {'keys with prefix' if recurse else 'key'}: {key}")
    return 0


@click.command("export", cls=GoCommand, arguments="[KEY or PREFIX]")
@client_flags
@read_flags
def export(args: tuple[str, ...], **http: object) -> int:
    """Print what is below a prefix as JSON that `kv import` reads."""
    check_arguments(args, most=1)
    key = _without_slash(args[0] if args else "")
    try:
        found = client_from_flags(http).get(_path(key), [*read_query(http), ("recurse", "")])
    except NotFoundError:
        found = []
    except ApiError as error:
        raise CommandError(f"Error querying Consul agent: {error}") from None
    rows = [{"key": e["Key"], "flags": e["Flags"], "value": e["Value"] or ""} for e in found]
    click.echo(json.dumps(rows, indent="\t", ensure_ascii=False))
    return 0


@click.command("import", cls=GoCommand, arguments="[DATA]")
@client_flags
@read_flags
def import_(args: tuple[str, ...], **http: object) -> int:
    """Write what `kv export` has printed. DATA is that, `@FILE` or `-` for standard input."""
    if not args:
        raise CommandError("Error! Missing DATA argument")
    if len(args) > 1:
        raise CommandError(f"Error! Too many arguments (expected 1, got {len(args)})")
    if not args[0]:
        raise CommandError("Error! Empty DATA argument")
    try:
        rows = _exported(_data(args[0]))
    except (ValueError, RecursionError) as error:
        raise CommandError(f"Cannot unmarshal data: {error}") from None
    for key, flags, value in rows:
        data = _from_base64(value.encode(), f"Error base 64 decoding value for key {key}")
        query = [*read_query(http), *([("flags", str(flags))] if flags else [])]
        failure = f"Error! Failed writing data for key {key}"
        _write(http, key, query, data, failure=failure)
        say(f"Imported: {key}")
    return 0


def _exported(text: bytes) -> list[tuple[str, int, str]]:
    """Key, flags and value of each entry, read as strictly as the API reads a body.

    Raises:
        ValueError: It is not JSON, or something in it has another type.
    """
    # Imported here: the other commands do without.
    from svcmesh.jsonvalues import Fields, json_kind

    entries = json.loads(text)
    if entries is not None and not isinstance(entries, list):
        raise ValueError(f"json: cannot unmarshal {json_kind(entries)} into a list of keys")
    rows = [Fields(entry) for entry in entries or []]
    return [(row.string("key"), row.integer("flags"), row.string("value")) for row in rows]


def _write(
    http: Mapping[str, object],
    key: str,
    query: Sequence[tuple[str, str]],
    data: bytes,
    *,
    failure: str,
) -> bool:
    if key.startswith("/"):
        raise CommandError(f"{failure}: Invalid key. Key must not begin with a '/': {key}")
    try:
        return bool(client_from_flags(http).send("PUT", _path(key), query, data))
    except ApiError as error:
        raise CommandError(f"{failure}: {error}") from None


def _path(key: str) -> str:
    return f"/v1/kv/{quote(key, safe='/')}"


def _without_slash(key: str) -> str:
    """Readers drop a slash that begins a key: there is none that does."""
    return key.removeprefix("/")


def _unsigned(name: str, text: str | None) -> int:
    if text is None:
        return 0
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value <= FLAGS_MAX:
        raise FlagError(f'invalid value "{text}" for flag -{name}: parse error')
    return value


def _data(text: str) -> bytes:
    """The data itself, of a file, or of standard input."""
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode(errors="surrogateescape")
    path = text[1:]
    try:
        return Path(path).read_bytes()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise CommandError(f"Error! Failed to read file: open {path}: {why}") from None


def _from_base64(data: bytes, failure: str) -> bytes:
    try:
        return base64.b64decode(data.replace(b"\n", b"").replace(b"\r", b""), validate=True)
    except binascii.Error as error:
        raise CommandError(f"{failure}: illegal base64 data: {error}") from None


def _value(entry: dict[str, Json]) -> bytes:
    return base64.b64decode(entry["Value"] or "")


def _show_details(entry: dict[str, Json], value: bytes) -> None:
    for name in ("CreateIndex", "Flags", "Key", "LockIndex", "ModifyIndex"):
        say(f"{name:<17}{entry[name]}")
    say(f"{'Session':<17}{entry.get('Session') or '-'}")
    click.echo(f"{'Value':<17}".encode() + value if value else "Value")

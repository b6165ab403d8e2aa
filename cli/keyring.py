"""`svcmesh keyring`: the gossip keys of all members."""

from typing import Final

import click

from cli.client import Client, Json, client_flags, client_from_flags
from cli.errors import ApiError, CommandError, FlagError
from cli.flags import GoCommand, flag
from cli.printing import say

PATH: Final = "/v1/operator/keyring"
RELAY_FACTOR_MAX: Final = 5
_CHANGES: Final = {
    "install": ("POST", "Installing new gossip encryption key..."),
    "use": ("PUT", "Changing primary gossip encryption key..."),
    "remove": ("DELETE", "Removing gossip encryption key..."),
}


@click.command("keyring", cls=GoCommand)
@client_flags
@flag("install", metavar="key", help="Give all members a new key.")
@flag("use", metavar="key", help="Have all members encrypt with this key, which they have.")
@flag("remove", metavar="key", help="Take from all members a key that they do not encrypt with.")
@flag("list", kind="bool", help="Show how many members have each key.")
@flag("list-primary", kind="bool", help="Show how many members encrypt with each key.")
@flag("wan", kind="bool", help="The keys of the WAN pool only, where they are not the LAN's.")
@flag("local-only", kind="bool", help="With -list: ask no other data center.")
@flag(
    "relay-factor",
    kind="int",
    help="Have every answer sent by this many detours too, 0 to 5, where packets get lost.",
)
def keyring(
    args: tuple[str, ...],
    install: str | None,
    use: str | None,
    remove: str | None,
    list: bool | None,
    list_primary: bool | None,
    wan: bool | None,
    local_only: bool | None,
    relay_factor: int | None,
    **http: object,
) -> int:
    """Show or change the keys that encrypt gossip, on all members at once.

    To rotate: -install the new key, -use it when -list shows that all have it, -remove the old one
    when -list-primary shows that all use the new one.

    Ends with 0 only if every member has answered and done it.
    """
    changes = {
        action: key
        for action, key in (("install", install), ("use", use), ("remove", remove))
        if key
    }
    if len(changes) + bool(list) + bool(list_primary) != 1:
        text = "Only a single action is allowed" if changes or list or list_primary else ""
        raise FlagError(text) if text else CommandError(click.get_current_context().get_help())
    query = []
    if relay_factor is not None:
        if not 0 <= relay_factor <= RELAY_FACTOR_MAX:
            raise CommandError(
                "Error parsing relay factor: Relay factor must be in range: "
                f"[0, {RELAY_FACTOR_MAX}]"
            )
        query.append(("relay-factor", str(relay_factor)))
    if wan:
        query.append(("wan", "1"))
    if local_only:
        if changes:
            raise CommandError(
                "Error validating local-only: local-only can only be set for list requests"
            )
        query.append(("local-only", "true"))
    client = client_from_flags(http)
    try:
        if not changes:
            return _show(client, query, field="PrimaryKeys" if list_primary else "Keys")
        ((action, key),) = changes.items()
        method, said = _CHANGES[action]
        say(f"==> {said}")
        client.send(method, PATH, query, {"Key": key})
    except ApiError as error:
        raise CommandError(f"error: {error}") from None
    return 0


def _show(client: Client, query: "list[tuple[str, str]]", *, field: str) -> int:
    what = "primary" if field == "PrimaryKeys" else "installed"
    say(f"==> Gathering {what} encryption keys...")
    rings: Json = client.get(PATH, query)
    for ring in rings:
        pool = "WAN" if ring["WAN"] else f"{ring['Datacenter']} (LAN)"
        say(f"\n{pool}:")
        for name, note in sorted((ring.get("Messages") or {}).items()):
            say(f"  {name}: {note}")
        for key, count in sorted((ring.get(field) or {}).items()):
            say(f"  {key} [{count}/{ring['NumNodes']}]")
    return 0

"""Entry point of `svcmesh`: finds the command, turns its result or failure into an exit status."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from cli.errors import CommandError
from cli.groups import Entry, LazyGroup

UNKNOWN_COMMAND_STATUS: Final = 127
INTERRUPTED_STATUS: Final = 130

AUTOCOMPLETE_FLAGS: Final = (
    "-autocomplete-install",
    "--autocomplete-install",
    "-autocomplete-uninstall",
    "--autocomplete-uninstall",
)

COMMANDS: Final = {
    "agent": Entry("cli.agent", "agent", "Runs a svcmesh agent"),
    "catalog": Entry("cli.catalog", "catalog", "Interact with the catalog"),
    "consistency": Entry(
        "cli.consistency", "consistency", "Shows whether the agents agree on the catalog"
    ),
    "debug": Entry("cli.debugging", "debug", "Records a debugging archive for operators"),
    "doctor": Entry("cli.doctor", "doctor", "Examines the network between the members"),
    "event": Entry("cli.event", "event", "Fire a new event"),
    "force-leave": Entry(
        "cli.forceleave", "force_leave", "Forces a member of the cluster to enter the left state"
    ),
    "info": Entry("cli.info", "info", "Provides debugging information for operators"),
    "join": Entry("cli.joining", "join", "Tell a svcmesh agent to join a cluster"),
    "keygen": Entry("cli.keygen", "keygen", "Generates a new encryption key"),
    "keyring": Entry("cli.keyring", "keyring", "Manages gossip layer encryption keys"),
    "kv": Entry("cli.kv", "kv", "Interact with the key-value store"),
    "leave": Entry("cli.joining", "leave", "Leaves the cluster and shuts down gracefully"),
    "lock": Entry("cli.lock", "lock", "Execute a command holding a lock"),
    "maint": Entry("cli.maint", "maint", "Controls node or service maintenance mode"),
    "members": Entry("cli.members", "members", "Lists the members of the cluster"),
    "monitor": Entry("cli.monitor", "monitor", "Stream logs from a svcmesh agent"),
    "operator": Entry(
        "cli.operator", "operator", "Provides tools for the servers of the consistent store"
    ),
    "reload": Entry("cli.reload", "reload", "Triggers the agent to reload configuration files"),
    "rtt": Entry("cli.rtt", "rtt", "Estimates network round trip time between nodes"),
    "services": Entry("cli.services", "services", "Interact with services"),
    "session": Entry("cli.session", "session", "Interact with sessions"),
    "simulate": Entry("cli.simulate", "simulate", "Simulates a cluster under faults"),
    "snapshot": Entry(
        "cli.snapshot", "snapshot", "Saves, restores and inspects the consistent store"
    ),
    "tls": Entry("cli.tls", "tls", "Makes certificate authorities and certificates"),
    "validate": Entry("cli.validate", "validate", "Validate configuration files or folders"),
    "version": Entry("cli.version", "version", "Prints the version"),
    "why": Entry("cli.why", "why", "Shows why a node or a service has the state it has"),
    "watch": Entry("cli.watch", "watch", "Watch for changes"),
}

ROOT: Final = LazyGroup(
    "svcmesh",
    COMMANDS,
    purpose="Service discovery by gossip.",
    no_command_status=UNKNOWN_COMMAND_STATUS,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    if "COMP_LINE" in os.environ:
        # A shell that asks how the line may go on.
        from cli.completion import print_completions

        print_completions(ROOT, os.environ)
        return 0
    if args and args[0] in {"-v", "-version", "--version"}:
        args = ["version"]
    try:
        if args and args[0] in AUTOCOMPLETE_FLAGS:
            from cli.completion import install, uninstall

            (uninstall if "uninstall" in args[0] else install)(Path.home())
            return 0
        status = ROOT.main(args, prog_name="svcmesh", standalone_mode=False)
        sys.stdout.flush()
    except CommandError as error:
        click.echo(error.text, err=True)
        return error.status
    except click.exceptions.Abort:
        return INTERRUPTED_STATUS
    except BrokenPipeError:
        # Whoever read our output has gone. What is left to flush at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status if isinstance(status, int) else 0

"""Entry point of `svcmesh`: finds the command, turns its result or failure into an exit status."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from cli.errors import CommandError
from cli.groups import Entry, LazyGroup
from cli.printing import say

UNKNOWN_COMMAND_STATUS: Final = 127
INTERRUPTED_STATUS: Final = 130

AUTOCOMPLETE_FLAGS: Final = (
    "-autocomplete-install",
    "--autocomplete-install",
    "-autocomplete-uninstall",
    "--autocomplete-uninstall",
)

COMMANDS: Final = {
    "agent": Entry("cli.agent", "agent", "Run an agent"),
    "catalog": Entry("cli.catalog", "catalog", "List nodes, services and data centers"),
    "consistency": Entry(
        "cli.consistency", "consistency", "Show whether the agents agree on the catalog"
    ),
    "debug": Entry("cli.debugging", "debug", "Record a debugging archive for operators"),
    "doctor": Entry("cli.doctor", "doctor", "Examine the network between the members"),
    "event": Entry("cli.event", "event", "Send a user event"),
    "force-leave": Entry("cli.forceleave", "force_leave", "Have a failed member listed as left"),
    "info": Entry("cli.info", "info", "Print debugging information for operators"),
    "join": Entry("cli.joining", "join", "Tell an agent to join a cluster"),
    "keygen": Entry("cli.keygen", "keygen", "Make a gossip encryption key"),
    "keyring": Entry("cli.keyring", "keyring", "Show and change the gossip encryption keys"),
    "kv": Entry("cli.kv", "kv", "Read and write keys"),
    "leave": Entry("cli.joining", "leave", "Tell an agent to leave the cluster and end"),
    "lock": Entry("cli.lock", "lock", "Run a program while holding a lock"),
    "maint": Entry("cli.maint", "maint", "Put a node or service into maintenance"),
    "members": Entry("cli.members", "members", "List the members of the cluster"),
    "monitor": Entry("cli.monitor", "monitor", "Show the log of a running agent"),
    "operator": Entry("cli.operator", "operator", "Look after the servers of the consistent store"),
    "reload": Entry("cli.reload", "reload", "Tell an agent to read its configuration again"),
    "rtt": Entry("cli.rtt", "rtt", "Estimate the round trip between two nodes"),
    "services": Entry("cli.services", "services", "Register and deregister services"),
    "session": Entry("cli.session", "session", "Begin, keep and end sessions"),
    "simulate": Entry("cli.simulate", "simulate", "Simulate a cluster under faults"),
    "snapshot": Entry("cli.snapshot", "snapshot", "Save, restore and inspect the consistent store"),
    "tls": Entry("cli.tls", "tls", "Make certificate authorities and certificates"),
    "validate": Entry("cli.validate", "validate", "Check configuration files"),
    "version": Entry("cli.version", "version", "Print the version"),
    "why": Entry("cli.why", "why", "Show why a node or a service has the state it has"),
    "watch": Entry("cli.watch", "watch", "Print something, or run a program when it changes"),
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
        say(error.text, err=True)
        return error.status
    except click.exceptions.Abort:
        return INTERRUPTED_STATUS
    except BrokenPipeError:
        # Whoever read our output has gone. What is left to flush at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status if isinstance(status, int) else 0

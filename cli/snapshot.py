"""`svcmesh snapshot`: the whole consistent store as one file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from cli.client import client_flags, client_from_flags, read_flags, read_query
from cli.errors import ApiError, CommandError
from cli.flags import GoCommand, check_arguments
from cli.groups import Entry, LazyGroup

PATH: Final = "/v1/snapshot"

snapshot: Final = LazyGroup(
    "snapshot",
    {
        "inspect": Entry("cli.snapshot", "inspect", "Show what is in a snapshot file"),
        "restore": Entry("cli.snapshot", "restore", "Restore the consistent store from a file"),
        "save": Entry("cli.snapshot", "save", "Save the consistent store to a file"),
    },
    purpose="Save, restore and inspect the state of the consistent store.",
    no_command_status=1,
)


@click.command("save", cls=GoCommand, arguments="FILE")
@client_flags
@read_flags
def save(args: tuple[str, ...], **http: object) -> int:
    """Save everything in the consistent store as it is at one moment.

    The leader makes the snapshot; with -stale any server does, also when nobody leads. The file is
    checked before it takes the place of an older one.
    """
    name = _file(args)
    unverified = Path(f"{name}.unverified")
    try:
        with open(unverified, "wb", opener=_for_its_owner) as file:
            index = client_from_flags(http).download(PATH, read_query(http), file)
            os.fsync(file.fileno())
    except ApiError as error:
        unverified.unlink(missing_ok=True)
        raise CommandError(f"Error saving snapshot: {error}") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        text = f"Error writing unverified snapshot file: open {unverified}: {why}"
        raise CommandError(text) from None
    # Imported here: nothing else of the command line needs it.
    from svcmesh.consensus.archive import ArchiveError, read_archive_untrusted

    try:
        with unverified.open("rb") as saved, read_archive_untrusted(saved):
            pass
    except ArchiveError as error:
        raise CommandError(f"Error verifying snapshot file: {error}") from None
    try:
        unverified.replace(name)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        text = f'Error renaming "{unverified}" to "{name}": rename {unverified} {name}: {why}'
        raise CommandError(text) from None
    click.echo(f"Saved and verified snapshot to index {index}")
    return 0


@click.command("restore", cls=GoCommand, arguments="FILE")
@client_flags
@read_flags
def restore(args: tuple[str, ...], **http: object) -> int:
    """Replace everything in the consistent store by what is in a file.

    All servers do so at one place in their log. Sessions and locks are those of the file as well.
    """
    name = _file(args)
    try:
        with Path(name).open("rb") as file:
            client_from_flags(http).upload(PATH, read_query(http), file)
    except ApiError as error:
        raise CommandError(f"Error restoring snapshot: {error}") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise CommandError(f"Error opening snapshot file: open {name}: {why}") from None
    click.echo("Restored snapshot")
    return 0


@click.command("inspect", cls=GoCommand, arguments="FILE")
def inspect(args: tuple[str, ...]) -> int:
    """Show of when a snapshot file is, and what it holds. The file is checked whole."""
    from svcmesh.consensus.archive import ArchiveError, read_archive_untrusted
    from svcmesh.consensus.inspecting import count_state
    from svcmesh.errors import DecodeError

    name = _file(args)
    try:
        with Path(name).open("rb") as file, read_archive_untrusted(file) as archive:
            counts = count_state(archive.state()) if archive.meta.is_ours else []
            meta = archive.meta
    except (ArchiveError, DecodeError) as error:
        raise CommandError(f"Error verifying snapshot: {error}") from None
    except IsADirectoryError:
        text = f"failed to decompress snapshot: read {name}: is a directory"
        raise CommandError(f"Error verifying snapshot: {text}") from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise CommandError(f"Error opening snapshot file: open {name}: {why}") from None
    for label, value in (
        ("ID", meta.id), ("Size", meta.size_bytes), ("Index", meta.index), ("Term", meta.term),
        ("Version", meta.version),
    ):  # fmt: skip
        click.echo(f"{label:<13}{value}")
    click.echo()
    if counts:
        _show_counts(counts)
    return 0


def _show_counts(counts: Sequence[tuple[str, int, int]]) -> None:
    width = max(len(kind) for kind, _, _ in counts) + 2
    click.echo(f"{'Type':<{width}}{'Count':>9}{'Bytes':>13}")
    for kind, count, size_bytes in counts:
        click.echo(f"{kind:<{width}}{count:>9}{size_bytes:>13}")


def _for_its_owner(path: str, flags: int) -> int:
    """Open a file that only its owner can read: every key of the store is in it."""
    return os.open(path, flags, 0o600)


def _file(args: tuple[str, ...]) -> str:
    if not args:
        raise CommandError("Missing FILE argument")
    check_arguments(args, most=1)
    return args[0]

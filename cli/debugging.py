"""`svcmesh debug`: what an agent says about itself over some minutes, in one archive to pass on.

The layout is that of Consul's command, so that tools and people that know it find their way:

    agent.json cluster.json host.json index.json      once, at the start
    UNIX-TIME/metrics.json UNIX-TIME/svcmesh.log      in every interval
"""

import json
import os
import shutil
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Final

import click

from cli.client import Client, Json, Stream, client_flags, client_from_flags
from cli.errors import ApiError, CommandError, FlagError
from cli.flags import GoCommand, flag
from svcmesh import __version__
from svcmesh.goformats import duration_string, parse_duration

TARGETS: Final = ("metrics", "logs", "host", "agent", "cluster")
NOT_OURS: Final = {"pprof": "profiles of Go programs; a svcmesh agent has none"}
DURATION_S: Final = 120.0
INTERVAL_S: Final = 30.0
DURATION_S_MIN: Final = 10.0
INTERVAL_S_MIN: Final = 5.0
FORMAT_VERSION: Final = 1
LOG_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of the log of one interval."""

LOG_PIECE_BYTES: Final = 64 * 1024


@click.command("debug", cls=GoCommand)
@client_flags
@flag("archive", kind="bool", help="Make a .tar.gz of what was captured. Default: true.")
@flag(
    "capture",
    kind="list",
    metavar="target",
    help=f"What to capture: {', '.join(TARGETS)}. Can be repeated. Default: all.",
)
@flag("duration", metavar="duration", help="How long to capture. Default: 2m0s.")
@flag("interval", metavar="duration", help="Time between two looks at metrics. Default: 30s.")
@flag("output", metavar="path", help="Where to write. Default: svcmesh-debug-UNIX-TIME.")
def debug(
    args: tuple[str, ...],
    archive: bool | None,
    capture: tuple[str, ...],
    duration: str | None,
    interval: str | None,
    output: str | None,
    **http: object,
) -> int:
    """Record what an agent says about itself for a while: configuration, members, metrics, log.

    Keys and tokens are left out by the agent, but names and addresses are not: look through the
    files before passing them on.
    """
    if args:
        raise CommandError("==> debug: Too many arguments provided, expected 0")
    # As Consul: the flags' syntax first, then their values, then the agent.
    duration_s = _duration_flag("duration", duration, DURATION_S)
    interval_s = _duration_flag("interval", interval, INTERVAL_S)
    client = client_from_flags(http)
    folder = Path(output or f"svcmesh-debug-{int(time.time())}")
    wants_archive = archive is not False
    try:
        targets = _targets(capture, duration_s, interval_s)
        about = _about(client)
        _make_folder(folder, wants_archive=wants_archive)
    except CaptureError as error:
        raise CommandError(f"==> Capture validation failed: {error}") from None
    click.echo("==> Starting debugger and capturing static information...")
    for label, value in (
        ("Agent Version", about["Config"]["Version"]),
        ("Interval", duration_string(interval_s)),
        ("Duration", duration_string(duration_s)),
        ("Output", f"{folder}.tar.gz" if wants_archive else str(folder)),
        ("Capture", ", ".join(targets)),
    ):
        click.echo(f"{label:>18}: '{value}'")
    recording = Capture(client, folder, targets)
    recording.write_static(about, interval_s=interval_s, duration_s=duration_s)
    try:
        recording.run(duration_s=duration_s, interval_s=interval_s)
    except KeyboardInterrupt:
        click.echo("==> Interrupted: keeping what was captured")
    saved = folder
    if wants_archive:
        try:
            saved = _archive(folder)
        except OSError as error:
            raise CommandError(f"Archive creation failed: {error}") from None
    click.echo(f"    Saved debug archive: {saved}")
    return 0


class CaptureError(Exception):
    """The capture cannot begin, for this reason."""


def _duration_flag(name: str, text: str | None, default_s: float) -> float:
    if text is None:
        return default_s
    try:
        return parse_duration(text)
    except ValueError:
        raise FlagError(f'invalid value "{text}" for flag -{name}: parse error') from None


def _targets(given: Sequence[str], duration_s: float, interval_s: float) -> tuple[str, ...]:
    if duration_s < DURATION_S_MIN:
        raise CaptureError(f"duration must be longer than {duration_string(DURATION_S_MIN)}")
    if interval_s < INTERVAL_S_MIN:
        raise CaptureError(f"interval must be longer than {duration_string(INTERVAL_S_MIN)}")
    if duration_s < interval_s:
        raise CaptureError(
            f"duration ({duration_string(duration_s)}) must be longer than interval "
            f"({duration_string(interval_s)})"
        )
    for target in given:
        if target in NOT_OURS:
            raise CaptureError(f"{target}: {NOT_OURS[target]}")
        if target not in TARGETS:
            raise CaptureError(f"target not found: {target}")
    return tuple(dict.fromkeys(given)) or TARGETS


def _about(client: Client) -> Json:
    try:
        return client.get("/v1/agent/self")
    except ApiError as error:
        raise CaptureError(
            f"error querying target agent: {error}. verify connectivity and agent address"
        ) from None


def _make_folder(folder: Path, *, wants_archive: bool) -> None:
    archive = folder.with_name(f"{folder.name}.tar.gz")
    if wants_archive and archive.exists():
        raise CaptureError(f"output archive already exists: {archive}")
    try:
        folder.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        raise CaptureError(f"output directory already exists: {folder}") from None
    except OSError as error:
        raise CaptureError(f"could not create output directory: {error}") from None


class Capture:
    """One capture into one folder. What fails is told, and the rest goes on."""

    def __init__(self, client: Client, folder: Path, targets: Sequence[str]) -> None:
        self._client, self._folder, self._targets = client, folder, targets

    def write_static(self, about: Json, *, interval_s: float, duration_s: float) -> None:
        """Write what does not change."""
        if "agent" in self._targets:
            _write(self._folder / "agent.json", about)
        for target, path, query in (
            ("host", "/v1/agent/host", []),
            ("cluster", "/v1/agent/members", [("segment", "_all")]),
        ):
            if target in self._targets:
                self._save(self._folder / f"{target}.json", path, query)
        index: Mapping[str, Json] = {
            "Version": FORMAT_VERSION,
            "AgentVersion": about["Config"]["Version"],
            "ToolVersion": __version__,
            "Interval": duration_string(interval_s),
            "Duration": duration_string(duration_s),
            "Targets": list(self._targets),
        }
        _write(self._folder / "index.json", index)

    def run(self, *, duration_s: float, interval_s: float) -> None:
        """Write what changes, a folder for every interval."""
        start = datetime.now(UTC)
        click.echo(f"==> Beginning capture interval {start:%Y-%m-%d %H:%M:%S.%f} +0000 UTC (0)")
        ends_at = time.monotonic() + duration_s
        rounds = 0
        while (left_s := ends_at - time.monotonic()) > 0:
            rounds += 1
            self._interval(min(interval_s, left_s))
            now = datetime.now(UTC)
            click.echo(f"==> Capture successful {now:%Y-%m-%d %H:%M:%S} +0000 UTC ({rounds})")

    def _interval(self, length_s: float) -> None:
        ends_at = time.monotonic() + length_s
        folder = self._folder / str(int(time.time()))
        folder.mkdir(mode=0o700, exist_ok=True)
        with self._log(folder / "svcmesh.log", length_s):
            if "metrics" in self._targets:
                self._save(folder / "metrics.json", "/v1/agent/metrics", [])
            time.sleep(max(0.0, ends_at - time.monotonic()))

    def _save(self, path: Path, api_path: str, query: list[tuple[str, str]]) -> None:
        try:
            _write(path, self._client.get(api_path, query))
        except ApiError as error:
            click.echo(f"Error capturing {path.stem}: {error}", err=True)

    @contextmanager
    def _log(self, path: Path, length_s: float) -> Iterator[None]:
        """Write the log as long as the context lasts."""
        if "logs" not in self._targets:
            yield
            return
        query = [("loglevel", "DEBUG")]
        with ExitStack() as opened:
            try:
                log = opened.enter_context(
                    self._client.stream("/v1/agent/monitor", query, timeout_s=2 * length_s)
                )
            except ApiError as error:
                click.echo(f"Error capturing logs: {error}", err=True)
                yield
                return
            reader = threading.Thread(target=_copy_log, args=(log, path))
            reader.start()
            try:
                yield
            finally:
                log.abort()
                reader.join()


def _copy_log(log: Stream, path: Path) -> None:
    left_bytes = LOG_BYTES_MAX
    with path.open("wb") as out, suppress(OSError, HTTPException):
        while left_bytes > 0 and (piece := log.read(min(LOG_PIECE_BYTES, left_bytes))):
            out.write(piece)
            left_bytes -= len(piece)


def _write(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, indent="\t", ensure_ascii=False), encoding="utf-8")


def _archive(folder: Path) -> Path:
    """Pack the folder, which goes away."""
    archive = folder.with_name(f"{folder.name}.tar.gz")
    unfinished = folder.with_name(f".{folder.name}.tar.gz.unfinished")
    with tarfile.open(unfinished, "x:gz") as tar:
        tar.add(folder, arcname=folder.name)
    os.replace(unfinished, archive)
    shutil.rmtree(folder)
    return archive

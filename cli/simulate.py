"""`svcmesh simulate`: a pool of members in virtual time, under faults, before production."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from cli.errors import CommandError
from cli.flags import GoCommand, flag
from cli.tables import format_flag, pretty_json, print_table, wants_json

if TYPE_CHECKING:
    from svcmesh.simulate.results import Summary
    from svcmesh.simulate.running import Run
    from svcmesh.simulate.scenario import Scenario

VIOLATED_STATUS: Final = 2
"""The run ended and something that was expected did not come."""

OnProgress = Callable[[float, int], None]


@click.command("simulate", cls=GoCommand, arguments="SCENARIO")
@flag("list", kind="bool", help="List the scenarios that come with the program.")
@flag("seed", kind="list", metavar="number", help="Seed of a run; may be given more than once.")
@flag("members", kind="int", metavar="number", help="How many members the pool has.")
@flag("duration", kind="int", metavar="seconds", help="How many seconds to simulate.")
@flag("out", metavar="directory", help="Write results.json and the pictures (SVG) there.")
@format_flag()
def simulate(
    args: tuple[str, ...],
    list: bool | None,
    seed: tuple[str, ...],
    members: int | None,
    duration: int | None,
    out: str | None,
    format: str | None,
) -> int:
    """Run the real membership code on a simulated network and clock.

    SCENARIO is a TOML or JSON file (docs/simulator.md), or the name of one that comes with the
    program; flags take the place of what it says. Equal scenarios and seeds give equal results.

    The status is 2 if something that the scenario expects did not come.
    """
    # Imported here: with the flags wrong, it is not needed.
    from svcmesh.errors import ConfigError
    from svcmesh.simulate.results import as_json, summarize
    from svcmesh.simulate.running import run
    from svcmesh.simulate.scenario_files import builtin_names, load

    if list:
        rows = [(name, load(name).description) for name in builtin_names()]
        print_table(("Scenario", "What happens"), rows)
        return 0
    if len(args) != 1:
        raise CommandError(
            "Give one scenario, after the flags: a file, or a name of `svcmesh simulate -list`"
        )
    prints_json = wants_json(format)
    folder = None if out is None else _new_folder(out)
    try:
        scenario = _changed(load(args[0]), seeds=seed, members=members, duration=duration)
        with _progress(scenario) as begin:
            runs = [run(scenario, number, begin(number)) for number in scenario.seeds]
    except ConfigError as error:
        raise CommandError(f"Error: {error}") from None
    if folder is not None:
        _write(folder, runs)
    summary = summarize(runs)
    if prints_json:
        click.echo(pretty_json(as_json(runs)))
    else:
        _report(scenario, summary)
    return VIOLATED_STATUS if summary.violations else 0


def _changed(
    scenario: "Scenario", *, seeds: tuple[str, ...], members: int | None, duration: int | None
) -> "Scenario":
    try:
        numbers = tuple(int(seed) for seed in seeds) or scenario.seeds
    except ValueError:
        raise CommandError(f"-seed: an integer, got {' '.join(seeds)}") from None
    return replace(
        scenario,
        seeds=numbers,
        members=scenario.members if members is None else members,
        duration_s=scenario.duration_s if duration is None else float(duration),
    )


@contextmanager
def _progress(scenario: "Scenario") -> Iterator[Callable[[int], OnProgress | None]]:
    """Show on a terminal how far each run is; gives what to call with a run's seed."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda _seed: None
        return
    # Imported here: only a person waits for it.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[handled]:,} events"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def begin(seed: int) -> OnProgress:
            task = bar.add_task(f"{scenario.name}, seed {seed}", total=1.0, handled=0)
            return lambda part, handled: bar.update(task, completed=part, handled=handled)

        yield begin


def _new_folder(path: str) -> Path:
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"-out: {error}") from None
    return folder


def _write(folder: Path, runs: "list[Run]") -> None:
    from svcmesh.simulate.pictures import pictures
    from svcmesh.simulate.results import as_json

    texts = {"results.json": pretty_json(as_json(runs)) + "\n", **pictures(runs)}
    for name, text in texts.items():
        try:
            (folder / name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"-out: {error}") from None


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _report(scenario: "Scenario", summary: "Summary") -> None:
    click.echo(f"{scenario.name}: {scenario.description or 'a scenario of your own'}")
    click.echo(
        f"{scenario.members} members, {scenario.duration_s:g} s, {_runs(len(scenario.seeds))}, "
        f"{summary.handled:,} events\n"
    )
    converged = [_seconds(after) for after in summary.converged_after_s]
    rows = [
        ("failures told of members that had gone", str(summary.detections)),
        ("failures told of unresponsive members", str(summary.unresponsive)),
        ("false positives", str(summary.false_positives)),
        ("false positives at healthy members", str(summary.false_at_healthy)),
        ("all views right after the last fault", ", ".join(converged)),
        ("datagrams a member and second", f"{summary.packets_per_member_s:.2f}"),
        ("bytes a member and second", f"{summary.bytes_per_member_s:.0f}"),
    ]
    print_table(("Result", "Value"), rows)
    latencies = [
        ("first detection", summary.first_detection),
        ("full dissemination", summary.full_dissemination),
        ("user event at 99.99 %", summary.events),
    ]
    measured = [(name, each) for name, each in latencies if each.count]
    if measured:
        click.echo()
        print_table(
            ("Latency", "Count", "Median", "99 %", "99.9 %", "Most"),
            [
                (name, str(e.count), *map(_seconds, (e.median, e.p99, e.p999, e.most)))
                for name, e in measured
            ],
        )
    if summary.violations:
        click.echo("\nExpected, and did not come:")
        for violation in summary.violations:
            click.echo(f"  {violation}")


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"

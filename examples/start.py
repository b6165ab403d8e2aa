"""Start the agents of a folder beside this script and show what to try. Ctrl-C ends them.

    python examples/start.py local-cluster

Each JSON file is the configuration of one agent, which uses the default ports on an address of its
own; its data is in a temporary folder. `try.txt` is shown when all of them are up: when every agent
has every service of its data center and knows every data center.
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
START_S = 60.0

Config = dict[str, Any]


def datacenter(config: Config) -> str:
    found: str = config.get("datacenter", "dc1")
    return found


def get(config: Config, path: str) -> Any:  # noqa: ANN401  # JSON
    url = f"http://{config['client_addr']}:8500{path}"
    with urllib.request.urlopen(url, timeout=1) as answer:
        return json.load(answer)


def is_up(config: Config, configs: Mapping[str, Config]) -> bool:
    """Whether an agent knows all that there is."""
    mine = datacenter(config)
    services = {
        service["name"]
        for other in configs.values()
        if datacenter(other) == mine
        for service in other["services"]
    }
    with contextlib.suppress(urllib.error.URLError, OSError):
        known = set(get(config, "/v1/catalog/datacenters"))
        return known == {datacenter(other) for other in configs.values()} and services <= set(
            get(config, "/v1/catalog/services")
        )
    return False


def wait_until_up(
    configs: Mapping[str, Config], agents: Mapping[str, subprocess.Popen[bytes]], logs: Path
) -> None:
    """Return when every agent is up; exit with what went wrong otherwise."""
    give_up_at = time.monotonic() + START_S
    waiting = set(configs)
    while waiting:
        for name, process in agents.items():
            if process.poll() is not None:
                log = (logs / f"{name}.log").read_text()
                sys.exit(f"{log}\n{name} has stopped; is another agent using its address?")
        if time.monotonic() > give_up_at:
            sys.exit(f"not ready after {START_S:.0f} s: {', '.join(sorted(waiting))}; see {logs}")
        waiting = {name for name in waiting if not is_up(configs[name], configs)}
        time.sleep(0.05)


def run(folder: Path, data: Path) -> None:
    """Start the agents, show what to try, and wait for Ctrl-C."""
    program = [sys.executable, "-m", "cli"]
    beside = Path(sys.executable).with_name("svcmesh")
    files = {path.stem: path for path in sorted(folder.glob("*.json"))}
    configs = {name: json.loads(path.read_text()) for name, path in files.items()}
    agents: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, path in files.items():
            flags = ["-config-file", str(path), "-data-dir", str(data / name)]
            with (data / f"{name}.log").open("wb") as log:
                agents[name] = subprocess.Popen(
                    [*program, "agent", *flags],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C is for this script, which then ends the agents one by one.
                    start_new_session=True,
                )
        wait_until_up(configs, agents, data)
        text = (folder / "try.txt").read_text()
        shown = str(beside) if beside.exists() else " ".join(program)
        pids = {name: process.pid for name, process in agents.items()}
        print("\n" + text.format(svcmesh=shown, pid=pids))
        print(f"Logs and data: {data}\nCtrl-C ends all of it.", flush=True)
        while True:
            signal.pause()
    except KeyboardInterrupt:
        print("stopping")
    finally:
        for process in agents.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in agents.values():
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="such as local-cluster")
    folder = HERE / parser.parse_args().folder
    with tempfile.TemporaryDirectory(prefix="svcmesh-", ignore_cleanup_errors=True) as data:
        run(folder, Path(data))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()

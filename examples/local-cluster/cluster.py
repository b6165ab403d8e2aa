"""Start three agents on 127.0.0.2 to 127.0.0.4 and show what to dig. Ctrl-C ends them.

Every agent uses the default ports on an address of its own; its configuration is the JSON file of
its name beside this script, its data a temporary folder.
"""

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
AGENTS = {"n1": "127.0.0.2", "n2": "127.0.0.3", "n3": "127.0.0.4"}
SERVICES = {"web", "db", "cache"}
START_S = 30.0

TRY = """
Three agents are running. Every agent answers for all of them; try, in another terminal:

  dig @127.0.0.4 -p 8600 web.service.svcmesh +short          # asked of n3, runs on n1 and n2
  dig @127.0.0.2 -p 8600 db.service.svcmesh SRV              # port and target
  dig @127.0.0.3 -p 8600 primary.db.service.consul +short    # by tag; Consul's domain works too
  nslookup -port=8600 n3.node.svcmesh 127.0.0.2
  curl -s http://127.0.0.3:8500/v1/health/service/web?pretty
  {svcmesh} members -http-addr=127.0.0.2:8500

  {svcmesh} services register -http-addr=127.0.0.4:8500 -name=api -port=9000
  dig @127.0.0.2 -p 8600 api.service.svcmesh SRV +short

  kill -9 {n2_pid}     # n2 dies: within seconds its services are out of every answer
  {svcmesh} members -http-addr=127.0.0.4:8500

Logs and data: {data}
Ctrl-C ends the cluster.
"""


def wait_until_synchronised(agents: dict[str, subprocess.Popen[bytes]], logs: Path) -> None:
    """Return when every agent lists every service; exit with what went wrong otherwise."""
    give_up_at = time.monotonic() + START_S
    waiting = dict(AGENTS)
    while waiting:
        for name, process in agents.items():
            if process.poll() is not None:
                log = (logs / f"{name}.log").read_text()
                sys.exit(f"{log}\n{name} has stopped; is another agent using its address?")
        if time.monotonic() > give_up_at:
            sys.exit(f"not ready after {START_S:.0f} s: {', '.join(waiting)}; see {logs}")
        for name, address in list(waiting.items()):
            with contextlib.suppress(urllib.error.URLError, OSError):
                url = f"http://{address}:8500/v1/catalog/services"
                with urllib.request.urlopen(url, timeout=1) as answer:
                    if json.load(answer).keys() >= SERVICES:
                        del waiting[name]
        time.sleep(0.05)


def main() -> None:
    program = [sys.executable, "-m", "cli"]
    beside = Path(sys.executable).with_name("svcmesh")
    shown = str(beside) if beside.exists() else " ".join(program)
    with tempfile.TemporaryDirectory(prefix="svcmesh-", ignore_cleanup_errors=True) as folder:
        data = Path(folder)
        agents = {}
        try:
            for name in AGENTS:
                with (data / f"{name}.log").open("wb") as log:
                    agents[name] = subprocess.Popen(
                        [
                            *program,
                            "agent",
                            "-config-file",
                            str(HERE / f"{name}.json"),
                            "-data-dir",
                            str(data / name),
                        ],
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        # Ctrl-C is for this script, which then ends the agents one by one.
                        start_new_session=True,
                    )
            wait_until_synchronised(agents, data)
            print(TRY.format(svcmesh=shown, n2_pid=agents["n2"].pid, data=data), flush=True)
            while True:
                signal.pause()
        except KeyboardInterrupt:
            print("stopping")
        finally:
            for process in agents.values():
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
            for process in agents.values():
                try:
                    process.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()

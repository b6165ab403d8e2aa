"""How long `svcmesh` commands take from start to end, median and worst of several runs."""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ADDRESS = "127.0.31.2"
COMMANDS = [
    ["version"], ["keygen"], ["members"], ["info"], ["catalog", "services"], ["catalog", "nodes"],
    ["members", "-help"],
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11)
    options = parser.parse_args()
    program = str(Path(sys.executable).with_name("svcmesh"))
    with tempfile.TemporaryDirectory() as folder:
        started_at = time.monotonic()
        agent = subprocess.Popen(
            [program, "agent", "-dev", "-bind", ADDRESS, "-client", ADDRESS],
            cwd=folder, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while True:
                try:
                    urllib.request.urlopen(f"http://{ADDRESS}:8500/v1/agent/self", timeout=1)
                    break
                except OSError:
                    time.sleep(0.005)
            print(f"agent: HTTP answers after {time.monotonic() - started_at:.3f} s")
            for command in COMMANDS:
                address = [f"-http-addr={ADDRESS}:8500"]
                extra = [] if command[0] in ("version", "keygen") else address
                took = []
                for _ in range(options.runs):
                    start = time.monotonic()
                    subprocess.run([program, *command, *extra], capture_output=True, check=True)
                    took.append(time.monotonic() - start)
                print(f"{' '.join(command):18} median {statistics.median(took):.3f} s"
                      f"  worst {max(took):.3f} s")  # fmt: skip
        finally:
            agent.kill()
            agent.wait()


if __name__ == "__main__":
    main()

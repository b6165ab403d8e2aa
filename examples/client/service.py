"""A small web service that registers itself with the agent on this host, and leaves again.

    python examples/client/service.py            # as often as you like; each takes a free port
    python examples/client/service.py --fail     # one that answers every request with 503

Ctrl-C ends it; the agent forgets it at once. After kill -9, its check turns critical within 10 s.
"""

import argparse
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from svcmesh.client import Client, Registration


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agent", help="address of the agent's HTTP API; default 127.0.0.1:8500")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--fail", action="store_true")
    options = parser.parse_args()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if options.fail else 200)
            self.end_headers()
            self.wfile.write(f"hello from port {server.server_port}\n".encode())

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer((options.host, 0), Handler)
    registration = Registration(
        "hello", port=server.server_port, address=options.host, tags=("example",), ttl_s=10.0
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Client(options.agent) as client, client.register(registration):
        print(f"hello is registered, and listens on port {server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("leaving")
        finally:
            server.server_close()


if __name__ == "__main__":
    main()

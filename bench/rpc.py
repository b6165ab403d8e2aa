"""Small calls a second on one connection pair on loopback, in two processes; with TLS too.

bench/rpc.py --seconds 3 --at-once 64 --tls
"""

import argparse
import asyncio
import json
import multiprocessing
import ssl
import tempfile
import time
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from svcmesh.certificates import Purpose, Subject, make_authority, make_certificate
from svcmesh.rpc import AcceptRules, DialRules, Methods, RpcPool, RpcServer


async def echo(body: object, _: float) -> object:
    return body


def tls_context(folder: Path, protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname, context.verify_mode = False, ssl.CERT_REQUIRED
    context.load_cert_chain(folder / "server.pem", folder / "server-key.pem")
    context.load_verify_locations(folder / "ca.pem")
    return context


def make_files(folder: Path) -> None:
    authority = make_authority(days=1)
    subject = Subject(purpose=Purpose.SERVER, datacenter="dc1", domain="consul")
    server = make_certificate(authority, subject, days=1)
    (folder / "ca.pem").write_bytes(authority.certificate)
    (folder / "server.pem").write_bytes(server.certificate)
    (folder / "server-key.pem").write_bytes(server.key)


def serve(pipe: Pipe, folder: Path | None) -> None:
    async def main() -> None:
        tls = None if folder is None else tls_context(folder, ssl.PROTOCOL_TLS_SERVER)
        rules = AcceptRules(tls=tls, requires_tls=tls is not None)
        server = RpcServer(Methods({"echo": echo}, {}), rules=rules)
        pipe.send(await server.start("127.0.0.1", 0))
        await asyncio.to_thread(pipe.recv)
        pipe.send(time.process_time())
        await server.close()

    asyncio.run(main())


async def call(
    to: tuple[str, int], folder: Path | None, options: argparse.Namespace
) -> dict[str, float]:
    tls = None if folder is None else tls_context(folder, ssl.PROTOCOL_TLS_CLIENT)
    pool = RpcPool(rules=DialRules(tls=tls, datacenter="dc1"))
    body = b"x" * options.bytes
    ends_at = time.monotonic() + options.seconds
    count = 0

    async def caller() -> None:
        nonlocal count
        while time.monotonic() < ends_at:
            await pool.call(to, "echo", body, timeout_s=5)
            count += 1

    began = time.process_time()
    await asyncio.gather(*(caller() for _ in range(options.at_once)))
    used = time.process_time() - began
    await pool.close()
    return {"calls": count, "processor_s": used}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--bytes", type=int, default=64)
    parser.add_argument("--tls", action="store_true", help="mutual TLS")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) if options.tls else None
        if folder is not None:
            make_files(folder)
        ours, theirs = multiprocessing.Pipe()
        server = multiprocessing.Process(target=serve, args=(theirs, folder))
        server.start()
        made = asyncio.run(call(ours.recv(), folder, options))
        ours.send(None)
        server_s = ours.recv()
        server.join()
    calls = made["calls"]
    report = {
        "calls_per_s": round(calls / options.seconds),
        "at_once": options.at_once,
        "tls": options.tls,
        "caller_us_per_call": round(made["processor_s"] / calls * 1e6, 1),
        "server_us_per_call": round(server_s / calls * 1e6, 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()

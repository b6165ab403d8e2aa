"""The process around an agent: what it prints first, its signals, its exit code."""

import asyncio
import logging
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from dnsserver import DnsServerError
from gossip import WatchedEventLoop
from gossip.errors import GossipError
from svcmesh import __version__
from svcmesh.agent import Agent
from svcmesh.config import AgentConfig
from svcmesh.errors import ConfigError, SvcmeshError
from svcmesh.runtime.collector import CollectorWatch
from svcmesh.runtime.logs import set_up_logging
from svcmesh.storage import DataDir

logger = logging.getLogger("agent")

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(config: AgentConfig) -> int:
    """Run an agent until it has left or is told to end; the process's exit code.

    0 after a graceful leave, 1 when it ended without one or could not start (as Consul's agent).
    """
    try:
        with asyncio.Runner(loop_factory=WatchedEventLoop) as runner:
            return runner.run(_Process(config).run())
    except OSError as error:
        return _refuse(error.strerror or str(error))
    except (SvcmeshError, GossipError, DnsServerError) as error:
        return _refuse(str(error))


def _refuse(why: str) -> int:
    print(f"==> Error starting agent: {why}", file=sys.stderr)
    return 1


class _Process:
    """One run: signals arrive as attributes of it."""

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()

    async def run(self) -> int:
        config = self._config
        print("==> Starting svcmesh agent...", flush=True)
        set_up_logging(config)
        raise_descriptor_limit()
        agent = Agent(config, DataDir(config.data_dir))
        print(banner(agent), flush=True)
        for warning in config.warnings:
            logger.warning("%s", warning)
        if config.pid_file:
            write_pid_file(config.pid_file)
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        collector = CollectorWatch()
        try:
            await agent.start()
            collector.start()
            print("==> svcmesh agent running!", flush=True)
            return await self._until_ended(agent)
        finally:
            # From here on a signal ends the process as it ends any other.
            for number in SIGNALS:
                loop.remove_signal_handler(number)
            collector.stop()
            await agent.close()
            if config.pid_file:
                config.pid_file.unlink(missing_ok=True)

    async def _until_ended(self, agent: Agent) -> int:
        stopped: asyncio.Future[Any] = asyncio.ensure_future(agent.stopped.wait())
        while not stopped.done():
            number = await self._next_signal(stopped)
            if number is None:
                break
            if number is signal.SIGHUP:
                # What comes of it is in the log.
                with suppress(ConfigError):
                    await agent.reloading.reload()
                continue
            config = agent.config
            leaves = (
                not config.skip_leave_on_interrupt
                if number is signal.SIGINT
                else config.leave_on_terminate
            )
            logger.info("Caught: signal=%s", number.name)
            if not leaves:
                logger.info("Graceful shutdown disabled. Exiting")
                return 1
            leaving = asyncio.ensure_future(agent.leave())
            leaving.add_done_callback(_log_failure)
            # Whatever comes next but a SIGHUP ends it at once.
            while (again := await self._next_signal(stopped)) is signal.SIGHUP:
                logger.warning("SIGHUP ignored: leaving")
            if again is not None:
                logger.info("Caught a second signal: signal=%s. Exiting", again.name)
                leaving.cancel()
                return 1
        stopped.cancel()
        if agent.failure is not None:
            logger.error("%s", agent.failure)
            return 1
        return 0

    async def _next_signal(self, stopped: "asyncio.Future[Any]") -> signal.Signals | None:
        """The next signal, or None when the agent stopped first."""
        got = asyncio.ensure_future(self._signals.get())
        await asyncio.wait((got, stopped), return_when=asyncio.FIRST_COMPLETED)
        if got.done():
            return got.result()
        got.cancel()
        return None


def _log_failure(leaving: "asyncio.Future[None]") -> None:
    if not leaving.cancelled() and (error := leaving.exception()) is not None:
        logger.error("leave: %s", error)


def raise_descriptor_limit() -> None:
    """Use as many file descriptors as the system lets us: each parked watcher costs one.

    The soft limit is kept low for programs that use select(), which we do not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def write_pid_file(path: Path) -> None:
    """Write our process id.

    Raises:
        SvcmeshError: The file cannot be written.
    """
    try:
        path.write_text(f"{os.getpid()}\n")
    except OSError as error:
        raise SvcmeshError(f"pid_file {path}: {error.strerror}") from error


def banner(agent: Agent) -> str:
    """What the agent is and where it listens, as Consul's opening lines."""
    config = agent.config
    ports = config.ports
    wan = f", WAN: {ports.serf_wan}" if config.server and ports.serf_wan > 0 else ""
    encrypted = str(agent.keyring is not None).lower()
    clients = " ".join(dict.fromkeys(config.http_addrs + config.dns_addrs))
    rows = {
        "Version": f"'{__version__}'",
        "Node ID": f"'{agent.node_id}'",
        "Node name": f"'{config.node_name}'",
        "Datacenter": f"'{config.datacenter}'",
        "Server": f"{str(config.server).lower()} (Bootstrap: {str(config.bootstrap).lower()})",
        "Client Addr": f"[{clients}] (HTTP: {ports.http}, DNS: {ports.dns})",
        "Cluster Addr": f"{config.advertise_addr} (LAN: {ports.serf_lan}{wan})",
        "Encrypt": f"Gossip: {encrypted}",
    }
    lines = [f"{label:>18}: {value}" for label, value in rows.items()]
    return "\n".join([*lines, "", "==> Log data will now stream in as it occurs:", ""])

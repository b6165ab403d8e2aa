"""`/v1/agent/host`: the machine that the agent runs on, by the names of Consul's answer.

From /proc, as it is on Linux. What a machine does not tell is missing, and named in `Errors`.
"""

import asyncio
import os
import platform
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from svcmesh.api.responses import json_response
from svcmesh.api.routing import Call, Router

PROC: Final = Path("/proc")
DISK: Final = "/"

_KIB: Final = 1024
_MEMORY: Final = {
    "MemTotal": "total", "MemAvailable": "available", "MemFree": "free", "Active": "active",
    "Inactive": "inactive", "Buffers": "buffers", "Cached": "cached", "Writeback": "writeback",
    "Dirty": "dirty", "Shmem": "shared", "Slab": "slab", "SReclaimable": "sreclaimable",
    "SUnreclaim": "sunreclaim", "PageTables": "pagetables", "SwapCached": "swapcached",
    "CommitLimit": "commitlimit", "Committed_AS": "committedas", "SwapTotal": "swaptotal",
    "SwapFree": "swapfree", "Mapped": "mapped", "VmallocTotal": "vmalloctotal",
    "VmallocUsed": "vmallocused", "VmallocChunk": "vmallocchunk",
}  # fmt: skip

Json = dict[str, object]


def add_routes(router: Router) -> None:
    """Add this area's routes."""
    router.add("GET", "/v1/agent/host", host)


async def host(call: Call) -> web.Response:
    """Memory, processors, system and disk."""
    # On a thread: the files are made while they are read, and many processors make them long.
    return await json_response(call, await asyncio.to_thread(collect))


def collect() -> Json:
    """Read it all."""
    parts: dict[str, Callable[[], object]] = {
        "Memory": _memory,
        "CPU": _processors,
        "Host": _system,
        "Disk": _disk,
    }
    found: Json = {}
    errors = []
    for name, read in parts.items():
        try:
            found[name] = read()
        except (OSError, ValueError, KeyError) as error:
            found[name] = None
            errors.append(f"{name}: {error}")
    return {**found, "CollectionTime": time.time_ns(), "Errors": errors or None}


def _memory() -> Json:
    kib = {}
    for line in (PROC / "meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        kib[name] = int(rest.split()[0])
    memory: dict[str, float] = {
        shown: kib[name] * _KIB for name, shown in _MEMORY.items() if name in kib
    }
    used = memory["total"] - memory["free"] - memory["buffers"]
    used -= memory["cached"] + memory.get("sreclaimable", 0)
    return {**memory, "used": used, "usedPercent": 100 * used / memory["total"]}


def _processors() -> list[Json]:
    return [
        _processor(block)
        for block in (PROC / "cpuinfo").read_text().split("\n\n")
        if "processor" in block
    ]


def _processor(block: str) -> Json:
    fields = {}
    for line in block.splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    return {
        "cpu": int(fields["processor"]),
        "vendorId": fields.get("vendor_id", ""),
        "family": fields.get("cpu family", ""),
        "model": fields.get("model", ""),
        "stepping": int(fields.get("stepping", "0")),
        "physicalId": fields.get("physical id", ""),
        "coreId": fields.get("core id", ""),
        "cores": 1,
        "modelName": fields.get("model name", ""),
        "mhz": float(fields.get("cpu MHz", "0")),
        "cacheSize": int(fields.get("cache size", "0").split()[0]),
        "flags": fields.get("flags", fields.get("Features", "")).split(),
        "microcode": fields.get("microcode", ""),
    }


def _system() -> Json:
    release = platform.freedesktop_os_release()
    uptime_s = float((PROC / "uptime").read_text().split()[0])
    return {
        "hostname": socket.gethostname(),
        "uptime": int(uptime_s),
        "bootTime": int(time.time() - uptime_s),
        "procs": sum(1 for entry in os.listdir(PROC) if entry.isdigit()),
        "os": platform.system().lower(),
        "platform": release.get("ID", ""),
        "platformFamily": release.get("ID_LIKE", release.get("ID", "")),
        "platformVersion": release.get("VERSION_ID", ""),
        "kernelVersion": platform.release(),
        "kernelArch": platform.machine(),
        "hostid": (PROC / "sys/kernel/random/boot_id").read_text().strip(),
    }


def _disk() -> Json:
    disk = os.statvfs(DISK)
    total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    used = total - disk.f_bfree * disk.f_frsize
    inodes_used = disk.f_files - disk.f_ffree
    return {
        "path": DISK,
        "total": total,
        "free": free,
        "used": used,
        "usedPercent": 100 * used / max(used + free, 1),
        "inodesTotal": disk.f_files,
        "inodesUsed": inodes_used,
        "inodesFree": disk.f_ffree,
        "inodesUsedPercent": 100 * inodes_used / max(disk.f_files, 1),
    }

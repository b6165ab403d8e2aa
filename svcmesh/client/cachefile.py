"""The last known instances of a query on disk, so that a process can start while its agent is down.

One file a query, replaced whole. What cannot be read is as good as absent.
"""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from svcmesh.client.instances import HealthStatus, Instance, Json, ServiceQuery

logger = logging.getLogger("svcmesh.client")

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """What was on disk."""

    instances: tuple[Instance, ...]
    saved_utc: float
    """Unix time."""


class CacheFile:
    """One query's file. Both methods block; they are called off the event loop."""

    def __init__(self, folder: Path, query: ServiceQuery) -> None:
        fields = json.dumps(asdict(query), sort_keys=True).encode()
        readable = "".join(c if c.isalnum() or c in "-_" else "_" for c in query.service)[:64]
        self.path = folder / f"{readable}-{hashlib.sha256(fields).hexdigest()[:16]}.json"
        self._query: Json = json.loads(fields)

    def load(self) -> Kept | None:
        """What was saved last, or None."""
        try:
            content = json.loads(self.path.read_bytes())
            if content["version"] != VERSION or content["query"] != self._query:
                return None
            instances = tuple(_read(entry) for entry in content["instances"])
            return Kept(instances, float(content["saved_utc"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            logger.warning("cache file %s is not readable: %r", self.path, error)
            return None

    def save(self, instances: Sequence[Instance], *, saved_utc: float) -> None:
        """Replace the file; a failure is logged, since the cache is only a help."""
        content = {
            "version": VERSION,
            "query": self._query,
            "saved_utc": saved_utc,
            "instances": [_write(instance) for instance in instances],
        }
        unfinished = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(content), encoding="utf-8")
            os.replace(unfinished, self.path)
        except OSError as error:
            logger.warning("cache file %s is not writable: %s", self.path, error)
            with suppress(OSError):
                unfinished.unlink()


def _write(instance: Instance) -> Json:
    return {**asdict(instance), "status": instance.status.value}


def _read(entry: Json) -> Instance:
    # Each field once more, since anybody may have edited the file.
    return Instance(
        service=str(entry["service"]),
        id=str(entry["id"]),
        node=str(entry["node"]),
        address=str(entry["address"]),
        port=int(entry["port"]),
        status=HealthStatus(entry["status"]),
        weight=int(entry["weight"]),
        tags=tuple(map(str, entry["tags"])),
        meta=dict(entry["meta"]),
        node_meta=dict(entry["node_meta"]),
        datacenter=str(entry["datacenter"]),
    )

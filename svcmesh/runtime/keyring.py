"""The keys of a gossip pool, on disk and in memory."""

import logging
from collections.abc import Sequence

from gossip import Keyring
from svcmesh.errors import StorageError
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import DataDir, PoolFiles

logger = logging.getLogger("agent")


def load_keyring(
    data_dir: DataDir, pool: PoolFiles, first: Sequence[bytes], *, setting: str = ""
) -> Keyring | None:
    """The keys on disk; `first`, the primary one first, start the keyring, and kept ones win.

    If they come from a `setting`, the log says when they have no effect.

    Raises:
        StorageError: The data directory refuses.
    """
    keys = data_dir.keyring(pool)
    if not keys and first:
        keys = list(first)
        data_dir.commit(data_dir.keyring_file(keys, pool))
    elif setting and not set(first) <= set(keys):
        logger.warning("%s: ignored, the keyring %s has other keys", setting, pool.keyring)
    return Keyring(keys) if keys else None


class KeyringFile:
    """Keeps the changed keys of one pool."""

    def __init__(self, data_dir: DataDir, pool: PoolFiles, committer: GroupCommitter) -> None:
        self._data_dir, self._pool, self._committer = data_dir, pool, committer

    async def save(self, keys: Sequence[bytes]) -> None:
        """Make `keys` durable.

        Raises:
            OSError: The disk refuses.
        """
        try:
            await self._committer.commit(self._data_dir.keyring_file(keys, self._pool))
        except StorageError as error:
            raise OSError(str(error)) from error

"""The keys of a gossip pool, on disk and in memory."""

import logging
from collections.abc import Sequence

from gossip import Keyring
from svcmesh.errors import StorageError
from svcmesh.runtime.writer import GroupCommitter
from svcmesh.storage import DataDir

logger = logging.getLogger("agent")


def load_keyring(data_dir: DataDir, configured: bytes | None) -> Keyring | None:
    """The keys on disk; a configured one starts the keyring, and kept ones win over it.

    Raises:
        StorageError: The data directory refuses.
    """
    keys = data_dir.keyring()
    if not keys and configured is not None:
        keys = [configured]
        data_dir.commit(data_dir.keyring_file(keys))
    elif keys and configured is not None and configured not in keys:
        logger.warning("encrypt: ignored, the keyring in data_dir has other keys")
    return Keyring(keys) if keys else None


class KeyringFile:
    """Keeps changed keys."""

    def __init__(self, data_dir: DataDir, committer: GroupCommitter) -> None:
        self._data_dir, self._committer = data_dir, committer

    async def save(self, keys: Sequence[bytes]) -> None:
        """Make `keys` durable.

        Raises:
            OSError: The disk refuses.
        """
        try:
            await self._committer.commit(self._data_dir.keyring_file(keys))
        except StorageError as error:
            raise OSError(str(error)) from error

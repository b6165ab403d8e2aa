"""Writing files so that a crash at any instant leaves the old content or the new. Blocking."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Give a file new content: written beside it, fsynced, renamed. For its owner only.

    The name is durable after `fsync_folder`.

    Raises:
        OSError: The disk refused; the file is as it was.
    """
    beside = path.with_name(path.name + ".tmp")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(beside, path)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: The disk refused.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write everything, also where the system takes it in parts.

    Raises:
        OSError: The disk refused; a part may have been written.
    """
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]

"""What can go wrong with a write to the catalog."""

from svcmesh.errors import ConfigError


class RecordTooLargeError(ConfigError):
    """A record's encoding is over the bound. Nothing has changed."""

    def __init__(self, size_bytes: int, bytes_max: int) -> None:
        super().__init__(f"record: {size_bytes} bytes encoded, at most {bytes_max} are allowed")


class CatalogFullError(ConfigError):
    """One more record would be over the bound on their number. Nothing has changed."""

    def __init__(self, records_max: int) -> None:
        super().__init__(f"catalog: at most {records_max} records are allowed")

import json
from pathlib import Path

import pytest

from svcmesh.client import HealthStatus, Instance, ServiceQuery
from svcmesh.client.cachefile import CacheFile, Kept

QUERY = ServiceQuery("web", tags=("a",), node_meta=(("k", "v"),))
INSTANCES = (
    Instance(
        service="web", id="web-1", node="n1", address="::1", port=80, tags=("a",),
        meta={"m": "1"}, status=HealthStatus.WARNING, weight=3, datacenter="dc1",
    ),
)  # fmt: skip


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    CacheFile(tmp_path / "new", QUERY).save(INSTANCES, saved_utc=12.5)
    assert CacheFile(tmp_path / "new", QUERY).load() == Kept(INSTANCES, 12.5)
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_each_query_has_a_file_of_its_own(tmp_path: Path) -> None:
    CacheFile(tmp_path, QUERY).save(INSTANCES, saved_utc=1.0)
    assert CacheFile(tmp_path, ServiceQuery("web")).load() is None


def test_the_name_of_a_service_is_no_path(tmp_path: Path) -> None:
    file = CacheFile(tmp_path, ServiceQuery("../../etc/passwd"))
    assert file.path.parent == tmp_path


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"version": 1}', b'{"version": 99}']
)
def test_what_cannot_be_read_is_as_good_as_absent(tmp_path: Path, content: bytes) -> None:
    file = CacheFile(tmp_path, QUERY)
    file.path.write_bytes(content)
    assert file.load() is None


def test_an_edited_instance_is_checked(tmp_path: Path) -> None:
    file = CacheFile(tmp_path, QUERY)
    file.save(INSTANCES, saved_utc=1.0)
    content = json.loads(file.path.read_text())
    content["instances"][0]["port"] = "eighty"
    file.path.write_text(json.dumps(content))
    assert file.load() is None


def test_a_folder_that_cannot_be_written_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    CacheFile(tmp_path / "file", QUERY).save(INSTANCES, saved_utc=1.0)
    assert "is not writable" in caplog.text

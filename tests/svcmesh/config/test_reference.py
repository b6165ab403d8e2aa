from pathlib import Path

from svcmesh.config.foreign import FOREIGN
from svcmesh.config.reference import reference
from svcmesh.config.settings import SETTINGS

FILE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_reference_in_docs_is_what_the_declarations_say() -> None:
    assert FILE.read_text() == reference(), "run `make docs`"


def test_the_reference_names_every_setting_once() -> None:
    text = FILE.read_text()
    for setting in SETTINGS:
        assert text.count(f"**`{setting.path}`**") == 1, setting.path
    for key in FOREIGN:
        assert f"`{key.path}`" in text, key.path

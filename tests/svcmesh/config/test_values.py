import pytest

from svcmesh.config.values import Kind, value_from_flag, value_from_json


@pytest.mark.parametrize(
    ("kind", "raw", "got"),
    [
        (Kind.STRING, 5, "number"),
        (Kind.INTEGER, "5", "string"),
        (Kind.INTEGER, True, "bool"),
        (Kind.INTEGER, 5.5, "number"),
        (Kind.BOOLEAN, "true", "string"),
        (Kind.DURATION, 5, "number"),
        (Kind.STRINGS, "a", "string"),
        (Kind.STRING_MAP, ["a"], "array"),
    ],
)
def test_files_are_strictly_typed(kind: Kind, raw: object, got: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        value_from_json(kind, raw, at="some.key")
    assert str(caught.value) == f"some.key: expected {kind}, got {got}"


def test_elements_of_lists_and_objects_are_named_in_errors() -> None:
    with pytest.raises(ValueError, match=r"^retry_join\[1\]: expected string, got number$"):
        value_from_json(Kind.STRINGS, ["a", 5], at="retry_join")
    with pytest.raises(ValueError, match=r"^node_meta\.k: expected string, got null$"):
        value_from_json(Kind.STRING_MAP, {"k": None}, at="node_meta")


def test_flags_are_text_and_read_by_kind() -> None:
    def read(kind: Kind, raw: object) -> object:
        return value_from_flag(kind, raw, flag="f", at="key")

    assert read(Kind.INTEGER, "-1") == -1
    assert read(Kind.BOOLEAN, "f") is False
    assert read(Kind.BOOLEAN, True) is True
    assert read(Kind.DURATION, "5s") == 5.0
    assert read(Kind.STRINGS, ("a", "b")) == ("a", "b")
    assert read(Kind.STRING_MAP, ("a:b:c", "d")) == {"a": "b:c", "d": ""}

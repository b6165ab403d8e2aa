"""Texts are those of a recorded Consul 1.8.7 (`cli-transcripts.md`)."""

import base64
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run, StubApi


def entry(key: str, value: str, flags: int = 0) -> dict[str, object]:
    return {
        "LockIndex": 0, "Key": key, "Flags": flags, "CreateIndex": 24, "ModifyIndex": 25,
        "Value": base64.b64encode(value.encode()).decode() or None,
    }  # fmt: skip


DETAILS = (
    "CreateIndex      24\nFlags            42\nKey              a/b\nLockIndex        0\n"
    "ModifyIndex      25\nSession          -\nValue            v\n"
)


@pytest.mark.parametrize(
    ("args", "path", "out"),
    [
        (("a/b",), "/v1/kv/a/b", "v\n"),
        (("/a/b",), "/v1/kv/a/b", "v\n"),
        (("-base64", "a/b"), "/v1/kv/a/b", "dg==\n"),
        (("-detailed", "a/b"), "/v1/kv/a/b", DETAILS),
        (("-recurse", "-stale", "a/b"), "/v1/kv/a/b?recurse=&stale=", "a/b:v\n"),
    ],
)
def test_get(run: Run, api: StubApi, args: tuple[str, ...], path: str, out: str) -> None:
    api.answer("/v1/kv/a/b", [entry("a/b", "v", 42)])
    result = run("kv", "get", *args)
    assert (result.status, result.out, result.err) == (0, out, "")
    assert api.paths() == [path]


def test_details_of_several_are_apart_and_an_empty_value_leaves_no_blanks(
    run: Run, api: StubApi
) -> None:
    api.answer("/v1/kv/a", [entry("a/b", "v", 42), entry("a/c", "")])
    out = run("kv", "get", "-recurse", "-detailed", "a").out
    assert out.startswith(f"{DETAILS}\nCreateIndex")
    assert out.endswith("Session          -\nValue\n")


def test_keys_are_listed_up_to_a_slash_unless_told_otherwise(run: Run, api: StubApi) -> None:
    api.answer("/v1/kv/", ["a/", "b"])
    assert run("kv", "get", "-keys", "").out == "a/\nb\n"
    run("kv", "get", "-keys", "-separator=", "")
    assert api.paths() == ["/v1/kv/?keys=&separator=%2F", "/v1/kv/?keys=&separator="]


def test_what_is_not_there(run: Run, api: StubApi) -> None:
    result = run("kv", "get", "a/none")
    assert (result.status, result.out, result.err) == (1, "", "Error! No key exists at: a/none\n")
    for option in ("-recurse", "-keys"):
        assert run("kv", "get", option, "none").status == 0
    assert run("kv", "export", "none/").out == "[]\n"


@pytest.mark.parametrize(
    ("args", "path", "text"),
    [
        (("k", "v"), "/v1/kv/k", "Data written to: k"),
        (("-flags=42", "k", "v"), "/v1/kv/k?flags=42", "Data written to: k"),
        (("-base64", "k", "dg=="), "/v1/kv/k", "Data written to: k"),
        (("-cas", "-modify-index=7", "k", "v"), "/v1/kv/k?cas=7", "Data written to: k"),
        (("-acquire", "-session=s", "k", "v"), "/v1/kv/k?acquire=s", "Lock acquired on: k"),
        (("-release", "-session=s", "k", "v"), "/v1/kv/k?release=s", "Lock released on: k"),
    ],
)
def test_put(run: Run, api: StubApi, args: tuple[str, ...], path: str, text: str) -> None:
    api.answer("/v1/kv/k", True)
    result = run("kv", "put", *args)
    assert (result.status, result.out, result.err) == (0, f"Success! {text}\n", "")
    (request,) = api.requests
    assert (request.method, request.path, request.body) == ("PUT", path, "v")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("put", "-cas", "-modify-index=7", "k"), "Error! Did not write to k: CAS failed"),
        (("put", "-acquire", "-session=s", "k"), "Error! Did not acquire lock"),
        (("put", "-release", "-session=s", "k"), "Error! Did not release lock"),
        (
            ("delete", "-cas", "-modify-index=1", "k"),
            "Error! Did not delete key k: CAS failed",
        ),
    ],
)
def test_a_write_that_is_refused_fails(
    run: Run, api: StubApi, args: tuple[str, ...], text: str
) -> None:
    api.answer("/v1/kv/k", False)
    result = run("kv", *args)
    assert (result.status, result.out, result.err) == (1, "", f"{text}\n")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("get",), "Error! Missing KEY argument"),
        (("get", "a", "b"), "Too many arguments (expected 1, got 2)"),
        (("put",), "Error! Missing KEY argument"),
        (("put", "a", "b", "c"), "Error! Too many arguments (expected 1 or 2, got 3)"),
        (("put", "-cas", "a", "x"), "Must specify -modify-index with -cas!"),
        (("put", "-cas", "-modify-index=0", "a"), "Must specify -modify-index with -cas!"),
        (
            ("put", "-acquire", "a"),
            "Error! Missing -session (required with -acquire and -release)",
        ),
        (
            ("put", "/lead", "x"),
            "Error! Failed writing data: Invalid key. Key must not begin with a '/': /lead",
        ),
        (
            ("put", "a", "@no"),
            "Error! Failed to read file: open no: no such file or directory",
        ),
        (("delete",), "Error! Missing KEY argument"),
        (("delete", "-cas", "a"), "Must specify -modify-index with -cas!"),
        (("delete", "-cas", "-recurse", "a"), "Must specify -modify-index with -cas!"),
        # Consul takes a forgotten argument for the empty prefix and deletes everything.
        (("delete", "-recurse"), "Error! Missing KEY argument"),
        (
            ("delete", "-cas", "-recurse", "-modify-index=3", "a"),
            "Cannot specify both -cas and -recurse!",
        ),
        (("delete", "-modify-index=3", "a"), "Cannot specify -modify-index without -cas!"),
        (("import",), "Error! Missing DATA argument"),
        (("import", ""), "Error! Empty DATA argument"),
    ],
)
def test_command_lines_that_make_no_sense(
    run: Run, api: StubApi, args: tuple[str, ...], text: str
) -> None:
    result = run("kv", *args)
    assert (result.status, result.out, result.err) == (1, "", f"{text}\n")
    assert api.requests == []


@pytest.mark.parametrize(
    ("args", "path", "text"),
    [
        (("a/b",), "/v1/kv/a/b", "Deleted key: a/b"),
        (("-recurse", "a/"), "/v1/kv/a/?recurse=", "Deleted keys with prefix: a/"),
        (("-cas", "-modify-index=3", "a"), "/v1/kv/a?cas=3", "Deleted key: a"),
    ],
)
def test_delete(run: Run, api: StubApi, args: tuple[str, ...], path: str, text: str) -> None:
    api.answer(path.partition("?")[0], True)
    result = run("kv", "delete", *args)
    assert (result.status, result.out, result.err) == (0, f"Success! {text}\n", "")
    assert [(r.method, r.path) for r in api.requests] == [("DELETE", path)]


def test_what_is_exported_is_imported(run: Run, api: StubApi, tmp_path: Path) -> None:
    api.answer("/v1/kv/a", [entry("a/b", "v", 42), entry("a/c", "")])
    exported = run("kv", "export", "a").out
    assert exported.startswith('[\n\t{\n\t\t"key": "a/b",\n\t\t"flags": 42,\n')
    assert [row["value"] for row in json.loads(exported)] == ["dg==", ""]
    file = tmp_path / "keys.json"
    file.write_text(exported)
    for key in ("b", "c"):
        api.answer(f"/v1/kv/a/{key}", True)
    assert run("kv", "import", f"@{file}").out == "Imported: a/b\nImported: a/c\n"
    assert [(r.path, r.body) for r in api.requests[1:]] == [
        ("/v1/kv/a/b?flags=42", "v"),
        ("/v1/kv/a/c", None),
    ]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('[{"Key": "a", "FLAGS": 3, "Value": "MQ==", "more": 1}]', "/v1/kv/a?flags=3"),
        ('[{"key": "a", "flags": null, "value": null}]', "/v1/kv/a"),
        ("null", None),
    ],
)
def test_an_import_reads_keys_as_go_does(
    run: Run, api: StubApi, text: str, path: str | None
) -> None:
    api.answer("/v1/kv/a", True)
    assert run("kv", "import", text).status == 0
    assert api.paths() == ([path] if path else [])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[{"key": 1}]', "cannot unmarshal number into field key of type string"),
        ('[{"key": "a", "flags": "1"}]', "cannot unmarshal string into field flags of type int"),
        ('{"key": "a"}', "cannot unmarshal object into a list"),
        ("[1]", "cannot unmarshal number into"),
    ],
)
def test_an_import_of_other_types_writes_nothing(
    run: Run, api: StubApi, text: str, why: str
) -> None:
    result = run("kv", "import", text)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("Cannot unmarshal data: ")
    assert why in result.err
    assert api.requests == []


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("delete", "a"), "Error deleting key a: "),
        (("delete", "-recurse", "a"), "Error! Did not delete prefix a: "),
        (("delete", "-cas", "-modify-index=1", "a"), "Error! Did not delete key a: "),
        (("export", "a"), "Error querying Consul agent: "),
    ],
)
def test_what_failed_is_named_when_the_agent_is_down(
    run: Run, args: tuple[str, ...], text: str
) -> None:
    command, *rest = args
    result = run("kv", command, "-http-addr=127.0.0.1:1", *rest)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(text)
    assert "connection refused" in result.err

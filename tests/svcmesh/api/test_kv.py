"""`/v1/kv` and `/v1/txn`: parameters, answers and refusals, over the real state machine."""

import base64
import gzip

import pytest

from svcmesh.consensus.service import NoLeaderError, OutcomeUnknownError, ReadMode
from svcmesh.consensus.store import keys
from tests.svcmesh.api.fakes import Client, FakeAgent, run


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_key_is_written_read_and_deleted() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.put("/v1/kv/a/b?flags=7", data=b"x")).json is True
        answer = await client.get("/v1/kv/a/b")
        (entry,) = answer.json
        assert entry == {
            "LockIndex": 0, "Key": "a/b", "Flags": 7, "Value": b64("x"),
            "CreateIndex": 1, "ModifyIndex": 1,
        }  # fmt: skip
        assert answer.index == 1
        assert (await client.call("DELETE", "/v1/kv/a/b")).json is True
        gone = await client.get("/v1/kv/a/b")
        assert (gone.status, gone.body, gone.index) == (404, b"", 2)

    run(scenario)


def test_a_raw_value_is_text_that_no_browser_runs() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        await client.put("/v1/kv/a", data=b"<script>")
        answer = await client.get("/v1/kv/a?raw")
        assert answer.body == b"<script>"
        assert answer.headers["Content-Type"] == "text/plain"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == "sandbox"

    run(scenario)


def test_trees_keys_and_separators() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        for key in ("a/1", "a/2/x", "a/2/y", "b"):
            await client.put(f"/v1/kv/{key}", data=b"")
        assert (await client.get("/v1/kv/a/?keys&separator=/")).json == ["a/1", "a/2/"]
        tree = await client.get("/v1/kv/a/2/?recurse")
        assert [entry["Key"] for entry in tree.json] == ["a/2/x", "a/2/y"]
        assert (await client.get("/v1/kv/c?recurse")).status == 404
        await client.call("DELETE", "/v1/kv/a/2?recurse")
        assert (await client.get("/v1/kv/?keys")).json == ["a/1", "b"]

    run(scenario)


def test_changes_are_followed_without_a_gap() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        await client.put("/v1/kv/b", data=b"w")
        start = (await client.get("/v1/kv/a/?changes&recurse")).index
        for key, value in (("a/1", b"x"), ("b", b"y"), ("a/1", b"z")):
            await client.put(f"/v1/kv/{key}", data=value)
        await client.call("DELETE", "/v1/kv/a/1")
        answer = await client.get(f"/v1/kv/a/?changes&recurse&index={start}")
        assert [(c["Deleted"], c.get("Value")) for c in answer.json] == [
            (False, "eA=="), (False, "eg=="), (True, None),
        ]  # fmt: skip
        assert answer.index == answer.json[-1]["Index"]
        waited = await client.get(f"/v1/kv/a/?changes&recurse&index={answer.index}&wait=10ms")
        assert (waited.json, waited.index) == ([], answer.index)

    run(scenario)


def test_a_past_that_is_forgotten_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "HISTORY_CHANGES_MAX", 1)

    async def scenario(client: Client, _: FakeAgent) -> None:
        for value in (b"x", b"y", b"z"):
            await client.put("/v1/kv/a", data=value)
        for query in ("changes&index=1", "revision=1"):
            answer = await client.get(f"/v1/kv/a?{query}")
            assert answer.status == 410
            assert answer.text == "index 1 has been compacted: history begins at 2"

    run(scenario)


def test_an_earlier_revision_is_read() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        await client.put("/v1/kv/a", data=b"old")
        await client.put("/v1/kv/a", data=b"new")
        assert (await client.get("/v1/kv/a?revision=1&raw")).body == b"old"
        assert (await client.get("/v1/kv/a?raw")).body == b"new"

    run(scenario)


def test_sequence_numbers_the_keys_of_a_prefix() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        made = [(await client.put("/v1/kv/q/?sequence", data=b"x")).json for _ in range(2)]
        assert made == ["q/0000000000", "q/0000000001"]

    run(scenario)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/kv/", 400),
        ("PUT", "/v1/kv/", 400),
        ("DELETE", "/v1/kv/", 400),
        ("PUT", "/v1/kv/a?flags=x", 500),
        ("PUT", "/v1/kv/a?cas=x", 500),
        ("PUT", "/v1/kv/a?cas=1&acquire=s", 400),
        ("PUT", "/v1/kv/a?acquire=nobody", 500),
        ("DELETE", "/v1/kv/a?recurse&cas=1", 400),
        ("PUT", "/v1/kv/a?dc=elsewhere", 500),
        ("GET", "/v1/kv/a?index=x", 400),
        ("GET", "/v1/kv/a?stale&consistent", 400),
    ],
)
def test_what_makes_no_sense_is_refused(method: str, path: str, status: int) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        assert (await client.call(method, path)).status == status
        assert len(agent.store.state.keys) == 0

    run(scenario)


@pytest.mark.parametrize(
    ("query", "mode"),
    [("", ReadMode.DEFAULT), ("?stale", ReadMode.STALE), ("?consistent", ReadMode.CONSISTENT)],
)
def test_a_read_is_as_fresh_as_it_asks(query: str, mode: ReadMode) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        await client.get(f"/v1/kv/a{query}")
        assert agent.store.modes == [mode]

    run(scenario)


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (NoLeaderError(), "No cluster leader"),
        (OutcomeUnknownError("it may have happened"), "it may have happened"),
    ],
)
def test_what_the_store_cannot_promise_is_an_error(failure: Exception, text: str) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.store.failure = failure
        answer = await client.put("/v1/kv/a", data=b"x")
        assert (answer.status, answer.text) == (500, text)

    run(scenario)


def test_a_transaction_is_all_or_nothing() -> None:
    def set_(key: str, value: str) -> dict[str, object]:
        return {"KV": {"Verb": "set", "Key": key, "Value": b64(value)}}

    async def scenario(client: Client, _: FakeAgent) -> None:
        good = await client.put("/v1/txn", json=[set_("a", "1"), set_("b", "2")])
        assert [each["KV"]["Key"] for each in good.json["Results"]] == ["a", "b"]
        stale = {"KV": {"Verb": "cas", "Key": "a", "Value": b64("3"), "Index": 99}}
        bad = await client.put("/v1/txn", json=[set_("c", "1"), stale])
        assert bad.status == 409
        assert [error["OpIndex"] for error in bad.json["Errors"]] == [1]
        assert (await client.get("/v1/kv/?keys")).json == ["a", "b"]
        read = await client.put("/v1/txn", json=[{"KV": {"Verb": "get", "Key": "a"}}])
        assert read.json["Results"][0]["KV"]["Value"] == b64("1")
        assert read.json["KnownLeader"] is True

    run(scenario)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ([{"Bogus": {}}], 400),
        ([{"KV": {"Verb": "get", "Key": "a", "Bogus": 1}}], 400),
        ([{"KV": {"Verb": "set", "Key": "a", "Value": "***"}}], 400),
        ([{"KV": {"Verb": "set", "Key": 1}}], 400),
        ([{"KV": {"Verb": "explode", "Key": "a"}}], 409),
        ([{"KV": {"Verb": "get", "Key": "a"}}] * 65, 413),
    ],
)
def test_what_is_no_transaction_is_refused(body: object, status: int) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        assert (await client.put("/v1/txn", json=body)).status == status
        assert len(agent.store.state.keys) == 0

    run(scenario)


UUID = "9e2a5909-2e2a-d1dc-649c-56ef6283e3a2"
NO_UUID = "failed session lookup: index error: UUID must be 36 characters"


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("PUT", "/v1/kv/k?acquire=", "missing session"),
        ("PUT", "/v1/kv/k?acquire=abc", NO_UUID),
        ("PUT", "/v1/kv/k?release=", "missing session"),
        ("PUT", f"/v1/kv/k?acquire={UUID}", f'invalid session "{UUID}"'),
        ("GET", "/v1/session/info/abc", NO_UUID),
        ("PUT", "/v1/session/renew/abc", NO_UUID),
        ("PUT", "/v1/session/destroy/abc", NO_UUID),
        (
            "GET",
            f"/v1/session/info/g{UUID[1:]}",
            "failed session lookup: index error: Invalid UUID: encoding/hex: invalid byte: U+0067 "
            "'g'",
        ),
        ("PUT", "/v1/kv/k?cas=1&acquire=a", "Conflicting flags: acquire=a&cas=1"),
        ("DELETE", "/v1/kv/k?recurse&cas=1", "Conflicting flags: cas=1&recurse="),
        (
            "PUT",
            "/v1/kv/k?cas=18446744073709551616",
            'strconv.ParseUint: parsing "18446744073709551616": value out of range',
        ),
    ],
)
def test_refusals_are_in_consuls_words(method: str, path: str, text: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.call(method, path)).text == text

    run(scenario)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"TTL": "9s"}, "Invalid Session TTL '9000000000', must be between [10s=24h0m0s]"),
        ({"TTL": "x"}, "Session TTL 'x' invalid: time: invalid duration \"x\""),
        ({"Behavior": "bad"}, "Invalid Behavior setting 'bad'"),
        ({"Node": "nope"}, "Missing node registration"),
        ({"LockDelay": "5"}, 'Request decode failed: time: missing unit in duration "5"'),
    ],
)
def test_sessions_are_refused_in_consuls_words(body: object, text: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.put("/v1/session/create", json=body)).text == text

    run(scenario)


def test_what_a_transaction_can_never_do_is_a_problem_of_that_operation() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        body = [
            {"KV": {"Verb": "set", "Key": "", "Value": "YQ=="}},
            {"KV": {"Verb": "lock", "Key": "k"}},
            {},
            {"KV": {"Verb": "lock", "Key": "k", "Session": "abc"}},
        ]
        answer = await client.put("/v1/txn", json=body)
        assert answer.status == 409
        assert answer.json["Errors"] == [
            {"OpIndex": 0, "What": "Must provide key"},
            {"OpIndex": 1, "What": "missing session"},
            {"OpIndex": 2, "What": NO_UUID},
        ]
        assert (await client.put("/v1/txn", data=b"null")).json["Results"] == []

    run(scenario)


def test_the_root_is_never_missing_but_other_prefixes_are() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.get("/v1/kv/?keys")).json == []
        assert (await client.get("/v1/kv/a/?keys")).status == 404
        assert (await client.get("/v1/kv/?recurse")).status == 404

    run(scenario)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("query", ["index=x", "wait=x", "stale&consistent", "max_stale=x"])
def test_a_write_with_options_that_no_read_may_have_is_refused(method: str, query: str) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        await client.put("/v1/kv/a", data=b"1")
        answer = await client.call(method, f"/v1/kv/a?{query}", data=b"2")
        assert answer.status == 400
        assert agent.store.state.keys.get("a").value == b"1"

    run(scenario)


def test_a_value_is_kept_as_it_came_whatever_its_encoding_is_said_to_be() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        for value in (gzip.compress(b"x" * 100), b"no gzip"):
            headers = {"Content-Encoding": "gzip"}
            answer = await client.call("PUT", "/v1/kv/a", data=value, headers=headers)
            assert answer.json is True
            assert (await client.get("/v1/kv/a?raw")).body == value

    run(scenario)


@pytest.mark.parametrize(
    ("verb", "what"),
    [
        ("get", 'key "none" doesn\'t exist'),
        ("check-index", 'failed to check index, key "none" doesn\'t exist'),
        ("check-session", 'failed to check session, key "none" doesn\'t exist'),
    ],
)
def test_a_transaction_says_what_it_missed_the_key_for(verb: str, what: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.put("/v1/txn", json=[{"KV": {"Verb": verb, "Key": "none"}}])
        assert (answer.status, answer.json["Errors"]) == (409, [{"OpIndex": 0, "What": what}])

    run(scenario)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            b"{}",
            "Failed to parse body: json: cannot unmarshal object into Go value of type api.TxnOps",
        ),
        (
            b'[{"KV": {"Verb": "set", "Key": "k", "Value": "eA!="}}]',
            "Failed to parse body: illegal base64 data at input byte 2",
        ),
        (
            b'[{"KV": {"Verb": "set", "Key": "k", "Value": "eA"}}]',
            "Failed to parse body: illegal base64 data at input byte 2",
        ),
        (b'[{"KV": {"Verb": "set", "Key": "k", "Value": 1}}]', "operation 0: Value: expected str"),
    ],
)
def test_a_transaction_that_cannot_be_read_is_400(body: bytes, text: str) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        answer = await client.put("/v1/txn", data=body)
        assert (answer.status, answer.text) == (400, text)
        assert agent.store.state.index == 0

    run(scenario)

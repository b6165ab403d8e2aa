"""What counts as a JSON body: what Go's decoder takes, which is more than valid JSON."""

import pytest

from tests.svcmesh.api.fakes import Client, FakeAgent, run

REGISTER = "/v1/agent/service/register"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"Name":"a\xff"}', "a\ufffd"),
        (b'{"Name":"a\\ud800"}', "a\ufffd"),
        (b'{"Name":"\\ud83d\\ude00"}', "\U0001f600"),
        (b'{"Name":"a"}{"Name":"b"}', "a"),
        (b'{"Name":"a"} and so on', "a"),
        (b'{"Name":"a","Name":"b"}', "b"),
        (b'{"nAME":"a"}', "a"),
    ],
)
def test_a_body_that_go_decodes_is_taken(body: bytes, name: str) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        assert (await client.put(REGISTER, data=body)).status == 200
        assert [service.name for service in agent.local.services.values()] == [name]

    run(scenario)


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"nope", b"{", b'{"Name":"a"', b"{'Name':'a'}", b'{"Name":"a",}', b"\xff\xfe",
        b'\xef\xbb\xbf{"Name":"a"}', b'{"Name":"a\nb"}', b'{"Port":1e999,"Name":"a"}',
        b'{"Port":NaN,"Name":"a"}', b"[" * 100_000, b'{"a":' * 100_000,
        b'{"a":' * 700 + b'"\xff"' + b"}" * 700,
    ],
)  # fmt: skip
def test_other_bodies_are_400(body: bytes) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        answer = await client.put(REGISTER, data=body)
        assert answer.status == 400
        assert answer.text.startswith("Request decode failed: ")
        assert not agent.local.services

    run(scenario)


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("PUT", REGISTER, "Request decode failed: EOF"),
        ("PUT", "/v1/txn", "Failed to parse body: EOF"),
        ("PUT", "/v1/operator/keyring", "Bad request: Request decode failed: EOF"),
        (
            "PUT",
            "/v1/operator/autopilot/configuration",
            "Bad request: Error parsing autopilot config: EOF",
        ),
    ],
)
def test_a_missing_body_is_refused_in_the_words_of_the_endpoint(
    method: str, path: str, text: str
) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.call(method, path)
        assert (answer.status, answer.text) == (400, text)

    run(scenario)

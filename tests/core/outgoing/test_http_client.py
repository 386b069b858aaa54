"""The HTTP client: only public addresses are reached, in any spelling of a URL; failures report what was sent."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address

import httpcore
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from activities.outgoing.client import MAX_REPLY, HttpClient, HttpRequest, Unanswered
from activities.outgoing.public_addresses import why_not_public
from activities.outgoing.url_policy import UrlNotAllowed, check_url
from tests.support.reached import must_reach, reached

INSIDE = """
https://127.0.0.1/ https://127.1/ https://127.0.1/ https://2130706433/ https://017700000001/ https://0x7f000001/ https://0x7f.1/
https://0x7f.0x0.0x0.0x1/ https://0177.0.0.1/ https://127.0.0.1./ https://0/ https://0.0.0.0/ https://00000177.1/
https://1.2.3.4.5/ https://256.1.1.1/ https://[::1]/ https://[::]/ https://[0:0:0:0:0:0:0:1]/ https://[::ffff:127.0.0.1]/
https://[::ffff:7f00:1]/ https://[::127.0.0.1]/ https://[::ffff:169.254.169.254]/ https://[64:ff9b::127.0.0.1]/
https://[64:ff9b::a9fe:a9fe]/ https://[64:ff9b:1::1]/ https://[2002:7f00:1::]/ https://[2002:c0a8:101::1]/
https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/ https://[fe80::1]/ https://[fe80::1%25eth0]/ https://[fec0::1]/ https://[fc00::1]/
https://[fd12:3456::1]/ https://[ff02::1]/ https://[2001:db8::1]/ https://[2a00::5efe:7f00:1]/ https://[2001:20::1]/
https://[100::1]/ https://10.0.0.1/ https://172.16.0.1/ https://172.31.255.255/ https://192.168.1.1/ https://169.254.169.254/
https://100.64.0.1/ https://100.127.255.254/ https://192.0.0.192/ https://198.18.0.1/ https://224.0.0.1/ https://240.0.0.1/
https://255.255.255.255/ https://192.88.99.1/ https://localhost/ https://localhost./ https://LOCALHOST/ https://a.localhost/
https://printer.local/ https://metadata.google.internal/ https://intranet/ https://１２７.０.０.１/ https://①②⑦.⓪.⓪.①/
https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/ https://127。0。0。1/ https://example.com@127.0.0.1/ https://127.0.0.1@example.com/ https://user:pw@example.com/
https://example.com:22/ https://example.com:0/ https://example.com:6379/ https://example.com:99999/ http://example.com/
file:///etc/passwd gopher://127.0.0.1:6379/_INFO ftp://example.com/ //example.com/ https:///path https:// javascript:alert(1)
https://example.com\\@127.0.0.1/ https://-a..b/ https://exa_mple.com/
""".split()  # noqa: SIM905 -- one string is easier to read than 90
WITH_CONTROLS = [
    "https://example.com/\r\nHost: 127.0.0.1",
    "https://example.com/\nX: y",
    "https://exam\tple.com/",
    "https://example.com/ HTTP/1.1",
    "https://example.com\x00.evil.com/",
    "https://" + "a" * 5_000 + ".com/",
]
PUBLIC = ["8.8.8.8", "2606:4700::1111", "2a00:1450:4001:830::200e", "1.1.1.1"]


@pytest.mark.parametrize("url", INSIDE + WITH_CONTROLS)
def test_a_url_of_an_internal_address_or_with_control_characters_is_refused(url):
    with pytest.raises(UrlNotAllowed) as refused:
        check_url(url)
    assert len(str(refused.value)) > 15


def test_there_are_more_than_seventy_internal_urls():
    assert len(set(INSIDE)) > 70


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_accepted(address):
    assert why_not_public(ip_address(address)) is None


@must_reach(not_global=5)
@given(st.ip_addresses(v=4))
def test_an_ipv4_address_that_is_not_global_is_refused(address: IPv4Address):
    if not address.is_global or address.is_multicast or address.is_reserved:
        reached("not_global")
        assert why_not_public(address)


@given(st.ip_addresses(v=4))
def test_an_ipv6_address_that_contains_an_ipv4_address_is_refused(address: IPv4Address):
    number = int(address)
    tunnels = [
        number,
        0xFFFF << 32 | number,
        0x64FF9B << 96 | number,
        0x2002 << 112 | number << 80,
        0x20010000 << 96 | number,
    ]
    assert all(why_not_public(IPv6Address(tunnel)) for tunnel in tunnels)


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [
        ("https://api.example.com", "api.example.com", "/"),
        ("https://API.Example.com./a%2Fb?x=1&y=ä", "api.example.com", "/a%2Fb?x=1&y=%C3%A4"),
        ("https://bücher.example/", "xn--bcher-kva.example", "/"),
        ("https://example.com:8443/#part", "example.com", "/"),
    ],
)
def test_a_url_is_split_into_host_and_target(url, host, target):
    url_parts = check_url(url)
    assert (url_parts.host, url_parts.target) == (host, target)


class Sockets(httpcore.AsyncNetworkBackend):
    """Connects every request to one local port and records the requested addresses."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requested: list[tuple[str, int]] = []
        self._real = httpcore.AnyIOBackend()

    async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        self.requested.append((host, port))
        return await self._real.connect_tcp("127.0.0.1", self.port, timeout)


class RecordingServer:
    """A server that sends `answer` after `waits` seconds and records the requests received."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.waits = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = int(next((line[16:] for line in lines if line.startswith(b"content-length: ")), b"0"))
            self.received.append(head + await reader.readexactly(length))
            await asyncio.sleep(self.waits)
            writer.write(self.answer)
            await writer.drain()
        writer.close()


@pytest_asyncio.fixture
async def recording_server() -> AsyncIterator[tuple[RecordingServer, int]]:
    server = RecordingServer()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listener:
        yield server, listener.sockets[0].getsockname()[1]


def client_for(port: int) -> HttpClient:
    return HttpClient(frozenset({f"127.0.0.1:{port}"}))


async def test_the_host_is_resolved_once_per_request_and_the_checked_address_is_used(recording_server):
    server, port = recording_server
    answers = [["93.184.215.14"], ["127.0.0.1"]]

    async def rebinding(host, _):
        return answers.pop(0)

    sockets = Sockets(port)
    client = HttpClient(resolver=rebinding, sockets=sockets, tls=ssl.create_default_context())
    with pytest.raises(Unanswered) as failed:  # the server has no TLS: nothing is sent, and the host is resolved once
        await client.send(HttpRequest("POST", "https://hooks.example.com/in", body=b"{}", seconds=0.5))
    assert sockets.requested == [("93.184.215.14", 443)]
    assert not failed.value.left
    with pytest.raises(UrlNotAllowed, match="loopback"):
        await client.send(HttpRequest("POST", "https://hooks.example.com/in", body=b"{}", seconds=0.5))
    assert len(sockets.requested) == 1
    await client.close()
    assert not [request for request in server.received if request.startswith(b"POST")]


async def test_a_host_with_one_internal_address_is_refused():
    async def mixed(host, _):
        return ["93.184.215.14", "169.254.169.254"]

    sockets = Sockets(1)
    with pytest.raises(UrlNotAllowed, match="link-local"):
        await HttpClient(resolver=mixed, sockets=sockets).send(HttpRequest("GET", "https://example.com/"))
    assert not sockets.requested


async def test_a_request_has_the_name_in_its_host_header_and_all_its_parts(recording_server):
    server, port = recording_server
    sockets = Sockets(port)
    client = HttpClient(frozenset({"hooks.example.com:80"}), sockets=sockets, resolver=_public)
    reply = await client.send(HttpRequest("POST", "http://hooks.example.com/in?a=1", {"X-One": "1"}, b"{}"))
    assert (reply.status, reply.body) == (200, b"ok")
    assert server.received[0].startswith(b"POST /in?a=1 HTTP/1.1\r\n")
    assert b"host: hooks.example.com\r\n" in server.received[0].lower()
    assert b"x-one: 1\r\n" in server.received[0].lower()
    await client.close()


async def _public(host, _):
    return ["93.184.215.14"]


async def test_a_redirect_is_returned_and_not_followed(recording_server):
    server, port = recording_server
    server.answer = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    reply = await client_for(port).send(HttpRequest("GET", f"http://127.0.0.1:{port}/"))
    assert reply.status == 302
    assert len(server.received) == 1


async def test_a_reply_is_read_up_to_the_limit_and_is_not_decompressed(recording_server):
    server, port = recording_server
    server.answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + b"x" * (MAX_REPLY * 4)
    reply = await client_for(port).send(HttpRequest("GET", f"http://127.0.0.1:{port}/"))
    assert not reply.whole
    assert len(reply.body) <= MAX_REPLY
    assert set(reply.body) <= {ord("x")}


@pytest.mark.parametrize(
    "headers",
    [
        {"x-a": "1\r\nx-b: 2"},
        {"x-a": "1\nx"},
        {"x-a\r\nx-b": "1"},
        {"x a": "1"},
        {"": "1"},
        {"x-a": "ä"},
        {"x-a": "\x00"},
    ],
)
async def test_a_request_with_an_invalid_header_or_method_is_not_sent(recording_server, headers):
    server, port = recording_server
    with pytest.raises(UrlNotAllowed, match="header"):
        await client_for(port).send(HttpRequest("GET", f"http://127.0.0.1:{port}/", headers))
    with pytest.raises(UrlNotAllowed):
        await client_for(port).send(HttpRequest("GET /x HTTP/1.1\r\nX:", f"http://127.0.0.1:{port}/"))
    assert not server.received


async def test_the_allow_list_compares_host_and_port(recording_server):
    _, port = recording_server
    with pytest.raises(UrlNotAllowed):
        await HttpClient(frozenset({f"127.0.0.1:{port + 1}"})).send(HttpRequest("GET", f"http://127.0.0.1:{port}/"))


async def test_a_request_that_times_out_may_have_arrived(recording_server):
    server, port = recording_server
    server.waits = 0.5
    with pytest.raises(Unanswered) as failed:
        await client_for(port).send(HttpRequest("POST", f"http://127.0.0.1:{port}/", body=b"{}", seconds=0.2))
    assert failed.value.left


async def test_a_request_whose_connection_is_refused_has_not_left(recording_server):
    _, port = recording_server
    with pytest.raises(Unanswered) as failed:
        await client_for(port + 1).send(HttpRequest("POST", f"http://127.0.0.1:{port + 1}/", body=b"{}"))
    assert not failed.value.left


async def test_a_request_is_not_sent_after_its_deadline(recording_server):
    server, port = recording_server
    late = datetime.now(UTC) - timedelta(milliseconds=1)
    with pytest.raises(Unanswered) as failed:
        await client_for(port).send(HttpRequest("POST", f"http://127.0.0.1:{port}/", body=b"{}", until=late))
    assert not failed.value.left
    assert not [request for request in server.received if request]


async def test_a_request_that_waits_for_a_busy_host_has_not_left_and_blocks_no_other_host(
    recording_server,
):
    server, port = recording_server
    server.waits = 30.0
    client = HttpClient(frozenset({"a.example:80", "b.example:80"}), each=1, sockets=Sockets(port), resolver=_public)
    hanging = asyncio.create_task(client.send(HttpRequest("POST", "http://a.example/", body=b"{}")))
    while not server.received:
        await asyncio.sleep(0.01)
    server.waits = 0.0
    with pytest.raises(Unanswered) as failed:
        await client.send(HttpRequest("POST", "http://a.example/", body=b"{}", seconds=0.2))
    assert (failed.value.left, len(server.received)) == (False, 1)
    assert (await client.send(HttpRequest("POST", "http://b.example/", body=b"{}"))).status == 200
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    assert (await client.send(HttpRequest("POST", "http://a.example/", body=b"{}"))).status == 200
    await client.close()


async def test_proxies_of_the_environment_are_not_used(recording_server, monkeypatch):
    _, port = recording_server
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await client_for(port).send(HttpRequest("GET", f"http://127.0.0.1:{port}/"))).status == 200


def certificate(folder, name: str):
    """A key and a certificate of its own for a name, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / f"{name}.pem"
    path.write_bytes(private + built.public_bytes(Encoding.PEM))
    return path


async def test_tls_verifies_the_host_name_although_the_socket_connects_to_the_address(tmp_path):
    path, server, names = certificate(tmp_path, "hooks.example.com"), RecordingServer(), []
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(path)
    server_context.sni_callback = lambda _, name, __: names.append(name)
    client_context = ssl.create_default_context(cafile=str(path))
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=server_context) as listener:
        sockets = Sockets(listener.sockets[0].getsockname()[1])
        client = HttpClient(resolver=_public, sockets=sockets, tls=client_context)
        assert (await client.send(HttpRequest("POST", "https://hooks.example.com/in", body=b"{}"))).status == 200
        with pytest.raises(Unanswered) as other:
            await client.send(HttpRequest("POST", "https://other.example.com/in", body=b"{}"))
        await client.close()
    assert not other.value.left
    assert names == ["hooks.example.com", "other.example.com"]
    assert {host for host, _ in sockets.requested} == {"93.184.215.14"}
    assert b"host: hooks.example.com\r\n" in server.received[0]

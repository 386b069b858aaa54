"""The way out: what is public is reached by its checked address, what leads inside is refused, in whatever spelling."""

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
""".split()  # noqa: SIM905 -- as one pastes them into a browser
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
def test_a_url_that_leads_inside_or_plays_a_trick_is_refused_with_a_reason(url):
    with pytest.raises(UrlNotAllowed) as refused:
        check_url(url)
    assert len(str(refused.value)) > 15


def test_there_are_more_than_forty_vectors():
    assert len(set(INSIDE)) > 70


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_taken(address):
    assert why_not_public(ip_address(address)) is None


@must_reach(not_global=5)
@given(st.ip_addresses(v=4))
def test_an_address_that_python_does_not_call_global_is_never_taken(address: IPv4Address):
    if not address.is_global or address.is_multicast or address.is_reserved:
        reached("not_global")
        assert why_not_public(address)


@given(st.ip_addresses(v=4))
def test_no_tunnel_hides_an_address_of_version_four(address: IPv4Address):
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
def test_a_url_is_read_into_parts(url, host, target):
    found = check_url(url)
    assert (found.host, found.target) == (host, target)


class Sockets(httpcore.AsyncNetworkBackend):
    """Connects to one place whatever it is asked for, and keeps what that was."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[tuple[str, int]] = []
        self._real = httpcore.AnyIOBackend()

    async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        self.asked.append((host, port))
        return await self._real.connect_tcp("127.0.0.1", self.port, timeout)


class Stranger:
    """A server that answers with what it is given, and keeps what it got."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.waits = 0.0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = int(next((line[16:] for line in lines if line.startswith(b"content-length: ")), b"0"))
            self.got.append(head + await reader.readexactly(length))
            await asyncio.sleep(self.waits)
            writer.write(self.answer)
            await writer.drain()
        writer.close()


@pytest_asyncio.fixture
async def stranger() -> AsyncIterator[tuple[Stranger, int]]:
    made = Stranger()
    async with await asyncio.start_server(made.talk, "127.0.0.1", 0) as server:
        yield made, server.sockets[0].getsockname()[1]


def inside(port: int) -> HttpClient:
    return HttpClient(frozenset({f"127.0.0.1:{port}"}))


async def test_the_host_is_resolved_once_and_the_checked_address_connected_to(stranger):
    made, port = stranger
    answers = [["93.184.215.14"], ["127.0.0.1"]]

    async def rebinding(host, _):
        return answers.pop(0)

    sockets = Sockets(port)
    way = HttpClient(resolver=rebinding, sockets=sockets, tls=ssl.create_default_context())
    with pytest.raises(Unanswered) as failed:  # it speaks no TLS: nothing was sent, and the name was asked for once
        await way.send(HttpRequest("POST", "https://hooks.example.com/in", body=b"{}", seconds=0.5))
    assert sockets.asked == [("93.184.215.14", 443)]
    assert not failed.value.left
    with pytest.raises(UrlNotAllowed, match="loopback"):
        await way.send(HttpRequest("POST", "https://hooks.example.com/in", body=b"{}", seconds=0.5))
    assert len(sockets.asked) == 1
    await way.close()
    assert not [each for each in made.got if each.startswith(b"POST")]


async def test_one_inside_address_among_public_ones_refuses_them_all():
    async def mixed(host, _):
        return ["93.184.215.14", "169.254.169.254"]

    sockets = Sockets(1)
    with pytest.raises(UrlNotAllowed, match="link-local"):
        await HttpClient(resolver=mixed, sockets=sockets).send(HttpRequest("GET", "https://example.com/"))
    assert not sockets.asked


async def test_the_name_stays_in_the_host_header_and_the_request_is_whole(stranger):
    made, port = stranger
    sockets = Sockets(port)
    way = HttpClient(frozenset({"hooks.example.com:80"}), sockets=sockets, resolver=_public)
    reply = await way.send(HttpRequest("POST", "http://hooks.example.com/in?a=1", {"X-One": "1"}, b"{}"))
    assert (reply.status, reply.body) == (200, b"ok")
    assert made.got[0].startswith(b"POST /in?a=1 HTTP/1.1\r\n")
    assert b"host: hooks.example.com\r\n" in made.got[0].lower()
    assert b"x-one: 1\r\n" in made.got[0].lower()
    await way.close()


async def _public(host, _):
    return ["93.184.215.14"]


async def test_a_redirect_is_an_answer_and_is_not_followed(stranger):
    made, port = stranger
    made.answer = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    reply = await inside(port).send(HttpRequest("GET", f"http://127.0.0.1:{port}/"))
    assert reply.status == 302
    assert len(made.got) == 1


async def test_a_reply_is_read_up_to_its_limit_and_a_compressed_one_is_not_unpacked(stranger):
    made, port = stranger
    made.answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + b"x" * (MAX_REPLY * 4)
    reply = await inside(port).send(HttpRequest("GET", f"http://127.0.0.1:{port}/"))
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
async def test_a_header_with_a_line_break_in_it_never_leaves(stranger, headers):
    made, port = stranger
    with pytest.raises(UrlNotAllowed, match="header"):
        await inside(port).send(HttpRequest("GET", f"http://127.0.0.1:{port}/", headers))
    with pytest.raises(UrlNotAllowed):
        await inside(port).send(HttpRequest("GET /x HTTP/1.1\r\nX:", f"http://127.0.0.1:{port}/"))
    assert not made.got


async def test_what_is_asked_of_the_allow_list_is_host_and_port(stranger):
    _, port = stranger
    with pytest.raises(UrlNotAllowed):
        await HttpClient(frozenset({f"127.0.0.1:{port + 1}"})).send(HttpRequest("GET", f"http://127.0.0.1:{port}/"))


async def test_an_answer_that_does_not_come_in_time_may_have_arrived(stranger):
    made, port = stranger
    made.waits = 0.5
    with pytest.raises(Unanswered) as failed:
        await inside(port).send(HttpRequest("POST", f"http://127.0.0.1:{port}/", body=b"{}", seconds=0.2))
    assert failed.value.left


async def test_a_connection_that_is_refused_has_sent_nothing(stranger):
    _, port = stranger
    with pytest.raises(Unanswered) as failed:
        await inside(port + 1).send(HttpRequest("POST", f"http://127.0.0.1:{port + 1}/", body=b"{}"))
    assert not failed.value.left


async def test_nothing_leaves_after_its_time(stranger):
    made, port = stranger
    late = datetime.now(UTC) - timedelta(milliseconds=1)
    with pytest.raises(Unanswered) as failed:
        await inside(port).send(HttpRequest("POST", f"http://127.0.0.1:{port}/", body=b"{}", until=late))
    assert not failed.value.left
    assert not [each for each in made.got if each]


async def test_who_waits_for_their_turn_at_a_host_that_strangers_chose_has_sent_nothing_and_holds_up_no_other_host(
    stranger,
):
    made, port = stranger
    made.waits = 30.0
    way = HttpClient(frozenset({"a.example:80", "b.example:80"}), each=1, sockets=Sockets(port), resolver=_public)
    hanging = asyncio.create_task(way.send(HttpRequest("POST", "http://a.example/", body=b"{}")))
    while not made.got:
        await asyncio.sleep(0.01)
    made.waits = 0.0
    with pytest.raises(Unanswered) as failed:
        await way.send(HttpRequest("POST", "http://a.example/", body=b"{}", seconds=0.2))
    assert (failed.value.left, len(made.got)) == (False, 1)
    assert (await way.send(HttpRequest("POST", "http://b.example/", body=b"{}"))).status == 200
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    assert (await way.send(HttpRequest("POST", "http://a.example/", body=b"{}"))).status == 200
    await way.close()


async def test_no_proxy_of_the_environment_is_asked(stranger, monkeypatch):
    _, port = stranger
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await inside(port).send(HttpRequest("GET", f"http://127.0.0.1:{port}/"))).status == 200


def certificate(folder, name: str):
    """A key and a certificate of its own for a name, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
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
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


async def test_tls_asks_for_the_name_and_checks_it_while_the_socket_goes_to_the_address(tmp_path):
    path, made, names = certificate(tmp_path, "hooks.example.com"), Stranger(), []
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(path)
    ours.sni_callback = lambda _, name, __: names.append(name)
    trusting = ssl.create_default_context(cafile=str(path))
    async with await asyncio.start_server(made.talk, "127.0.0.1", 0, ssl=ours) as server:
        sockets = Sockets(server.sockets[0].getsockname()[1])
        way = HttpClient(resolver=_public, sockets=sockets, tls=trusting)
        assert (await way.send(HttpRequest("POST", "https://hooks.example.com/in", body=b"{}"))).status == 200
        with pytest.raises(Unanswered) as other:
            await way.send(HttpRequest("POST", "https://other.example.com/in", body=b"{}"))
        await way.close()
    assert not other.value.left
    assert names == ["hooks.example.com", "other.example.com"]
    assert {host for host, _ in sockets.asked} == {"93.184.215.14"}
    assert b"host: hooks.example.com\r\n" in made.got[0]

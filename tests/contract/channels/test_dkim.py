"""Mails over SMTP have a valid DKIM signature that covers the one-click headers (RFC 8058 §4)."""

from __future__ import annotations

import base64

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from activities.channels.email.dkim import DkimKey
from activities.channels.email.relay_settings import SmtpRelay
from activities.channels.email.smtp import EmailChannel, EmailSettings
from activities.ports import AttemptResult, Outgoing
from journeys.tokens.signed_links import Links
from tests.support.provider import templates
from worker.stack.mail_sink import listen_for_mail


@pytest.fixture(scope="module")
def pair() -> tuple[str, bytes]:
    """A private key, and the DNS record of its public key."""
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return private, b"v=DKIM1; k=rsa; p=" + public


async def test_the_dkim_signature_verifies_a_delivered_mail_and_not_a_changed_one(tmp_path, pair):
    private, record = pair
    async with await listen_for_mail(tmp_path / "mail") as sink:
        settings = EmailSettings(
            relay=SmtpRelay(port=sink.sockets[0].getsockname()[1]),
            links=Links("https://tenure.example", ("k" * 32,)),
            dkim=DkimKey("tenure.example", "s1", private),
        )
        channel = EmailChannel(templates(tmp_path / "templates"), settings)
        message = Outgoing("k>u_1", "export/ready", "ada@example.com", {"first_name": "Adä"}, {}, {}, "notices")
        prepared = channel.prepare(message)
        assert (await channel.deliver(prepared, "k")).result is AttemptResult.SENT
        await channel.close()
    files = [path.read_bytes() for path in (tmp_path / "mail").rglob("*") if path.is_file()]
    content = next(file for file in files if b"DKIM-Signature" in file)
    queried: list[bytes] = []

    def resolver(name, timeout=5):
        queried.append(name)
        return record

    mail = content[content.index(b"DKIM-Signature") :]
    assert dkim.verify(mail, dnsfunc=resolver)
    assert queried == [b"s1._domainkey.tenure.example."]
    assert b"list-unsubscribe-post" in mail.partition(b"\r\n\r\n")[0].lower().partition(b"h=")[2].partition(b";")[0]
    assert not dkim.verify(mail.replace(b"Your export", b"Your exports"), dnsfunc=resolver)
    assert b"DKIM" not in prepared.body


def test_an_unusable_dkim_key_is_refused_at_the_start():
    with pytest.raises(ValueError, match="DKIM needs"):
        DkimKey("tenure.example", "s1", "no key")

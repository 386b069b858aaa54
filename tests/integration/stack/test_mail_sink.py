"""The mail sink stores every accepted mail, finds it by Message-ID, and fails as real servers do."""

import asyncio
import mailbox
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from email.message import EmailMessage

import aiosmtplib
import pytest

from worker.stack.mail_sink import MailFaults, listen_for_mail
from worker.stack.maildir import Maildir, count_mails, find_mails, message_id_of


@pytest.fixture
def maildir(tmp_path):
    return tmp_path / "mail"


@asynccontextmanager
async def sink(maildir, **faults):
    server = await listen_for_mail(maildir, faults=MailFaults(**faults))
    async with server:
        yield server.sockets[0].getsockname()[1]


def mail(message_id, to="ann@shop.example"):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "us@tenure.example", to, "Hello"
    message["Message-ID"] = message_id
    message.set_content("A line\n.\nafter a lonely dot")
    return message


async def send(port, message):
    return await aiosmtplib.send(message, hostname="127.0.0.1", port=port, timeout=10)


async def test_an_accepted_mail_is_found_by_its_message_id_and_readable_as_a_maildir(maildir):
    async with sink(maildir) as port:
        await send(port, mail("<one@tenure>"))
        assert find_mails(maildir, "<one@tenure>").count == 1
        assert find_mails(maildir, "<other@tenure>").count == 0
    (stored,) = mailbox.Maildir(maildir, create=False)
    assert stored["Delivered-To"] == "ann@shop.example"
    assert stored.get_payload().splitlines() == ["A line", ".", "after a lonely dot"]


async def test_a_mail_that_comes_twice_is_counted_twice(maildir):
    async with sink(maildir) as port:
        await send(port, mail("<twice@tenure>"))
        await send(port, mail("<twice@tenure>"))
    result = find_mails(maildir, "<twice@tenure>")
    assert (result.count, len(set(result.files)), count_mails(maildir)) == (2, 2, 2)


async def test_a_connection_closed_after_acceptance_leaves_the_mail_findable(maildir):
    async with sink(maildir, close_after_accept_rate=1.0) as port:
        with pytest.raises(aiosmtplib.SMTPServerDisconnected):
            await send(port, mail("<unknown@tenure>"))
    assert find_mails(maildir, "<unknown@tenure>").count == 1


async def test_a_temporary_failure_stores_nothing(maildir):
    async with sink(maildir, fail_rate=1.0) as port:
        with pytest.raises(aiosmtplib.SMTPDataError) as refused:
            await send(port, mail("<later@tenure>"))
    assert refused.value.code == 451
    assert count_mails(maildir) == 0


@pytest.mark.parametrize(("domain", "code"), [("bounce.example", 550), ("busy.example", 451), ("BOUNCE.Example", 550)])
async def test_two_domains_are_refused_permanently_or_temporarily(maildir, domain, code):
    async with sink(maildir) as port:
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
            await send(port, mail("<x@tenure>", to=f"bob@{domain}"))
    assert refused.value.recipients[0].code == code
    assert count_mails(maildir) == 0


async def test_the_same_seed_gives_the_same_faults(tmp_path):
    async def outcomes(folder):
        async with sink(folder, fail_rate=0.5, seed=7) as port:
            results = [await asyncio.gather(send(port, mail(f"<{n}@t>")), return_exceptions=True) for n in range(20)]
        return [isinstance(result[0], Exception) for result in results]

    first = await outcomes(tmp_path / "a")
    assert first == await outcomes(tmp_path / "b")
    assert 0 < sum(first) < 20


async def test_fifty_concurrent_senders_lose_no_mail(maildir):
    async with sink(maildir) as port:
        await asyncio.gather(*(send(port, mail(f"<{n}@tenure>")) for n in range(50)))
    assert Maildir(maildir).message_ids() == {f"<{n}@tenure>": 1 for n in range(50)}


def test_the_process_prints_its_port_keeps_mails_after_sigkill_and_ends_on_sigterm(maildir):
    def start():
        command = [sys.executable, "-m", "worker.stack.mail_sink", "--maildir", str(maildir)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        return process, int(process.stdout.readline().rpartition(":")[2])

    first, port = start()
    with first:
        asyncio.run(send(port, mail("<kept@tenure>")))
        first.kill()
    second, _ = start()
    with second:
        assert find_mails(maildir, "<kept@tenure>").count == 1
        second.send_signal(signal.SIGTERM)
        assert second.wait(10) == 0


def test_a_mail_accepted_before_a_crash_is_moved_to_new_at_the_next_start(maildir):
    folder = Maildir(maildir)
    folder.create()
    folder.add(b"Message-ID: <half@tenure>\r\n\r\nx").unlink()
    folder.create()
    assert folder.find("<half@tenure>").count == 1
    assert len(list((maildir / "new").iterdir())) == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"Subject: x\r\nMessage-ID: <a@b>\r\n\r\nbody", "<a@b>"),
        (b"message-id:<a@b>\n\nbody", "<a@b>"),
        (b"Message-ID:\r\n <folded@b>\r\n\r\n", "<folded@b>"),
        (b"Subject: x\r\n\r\nMessage-ID: <in-the-body@b>", ""),
        (b"", ""),
    ],
)
def test_the_message_id_is_read_from_the_header_only(content, expected):
    assert message_id_of(content) == expected

"""The page of the caught mails: shown as a mail program shows them, and nothing remote is fetched."""

import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest

from worker.settings import ROOT
from worker.stack.free_ports import free_ports
from worker.stack.mail_page.app import SANDBOX, mail_page
from worker.stack.maildir import Maildir

TRACKED = '<p>Grüße</p><script>alert(1)</script><img src="https://tracker.example/pixel.gif">'


def mail(subject: str = "Für Ada", html: str = TRACKED) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Tenure <hello@tenure.example>", "ada@example.com", subject
    message["Message-ID"] = "<one@tenure.example>"
    message["List-Unsubscribe"] = "<https://tenure.example/u/1>"
    message.set_content("Hallo <Ada>\n")
    message.add_alternative(html, subtype="html")
    return b"Delivered-To: ada@example.com\r\n" + message.as_bytes()


@pytest.fixture
def maildir(tmp_path: Path) -> Maildir:
    folder = Maildir(tmp_path / "mail")
    folder.create()
    return folder


@pytest.fixture
async def page(maildir):
    transport = httpx.ASGITransport(mail_page(maildir.folder))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8025") as client:
        yield client


def policy(answer: httpx.Response) -> dict[str, str]:
    """The directives of an answer's Content-Security-Policy."""
    directives = (part.strip().partition(" ") for part in answer.headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in directives}


async def test_the_list_names_recipient_and_subject_with_the_newest_mail_first(page, maildir):
    assert "No mail has been sent yet" in (await page.get("/")).text
    maildir.add(mail("First"))
    maildir.add(mail("Second & <b>"))
    text = (await page.get("/")).text
    assert text.index("Second &amp; &lt;b&gt;") < text.index("First")
    assert "ada@example.com" in text


async def test_a_mail_is_shown_with_its_decoded_headers_its_text_and_its_html_in_a_sandboxed_frame(page, maildir):
    name = maildir.add(mail()).name
    shown = await page.get(f"/mails/{name}")
    assert "Für Ada" in shown.text
    assert "Hallo &lt;Ada&gt;" in shown.text
    assert "List-Unsubscribe" in shown.text
    assert f'<iframe sandbox="{SANDBOX}" src="/mails/{name}/html"' in shown.text
    assert "tracker.example" not in shown.text, "the mail's own HTML is in the frame only"
    assert policy(shown)["default-src"] == "'none'"
    assert "script-src" not in policy(shown)


async def test_the_html_of_a_mail_may_load_nothing_and_run_nothing(page, maildir):
    name = maildir.add(mail()).name
    html = await page.get(f"/mails/{name}/html")
    rules = policy(html)
    assert "Grüße" in html.text
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert set(rules) == {
        "default-src",
        "style-src",
        "img-src",
        "base-uri",
        "form-action",
        "frame-ancestors",
        "sandbox",
    }
    assert "allow-scripts" not in rules["sandbox"]
    assert "allow-same-origin" not in rules["sandbox"]
    assert (html.headers["referrer-policy"], html.headers["x-content-type-options"]) == ("no-referrer", "nosniff")


async def test_the_source_of_a_mail_is_plain_text(page, maildir):
    name = maildir.add(mail()).name
    raw = await page.get(f"/mails/{name}/raw")
    assert raw.headers["content-type"] == "text/plain; charset=utf-8"
    assert "Delivered-To: ada@example.com" in raw.text


@pytest.mark.parametrize(
    "content",
    [b"", b"no header at all", b"Subject: =?x-none?q?=ff?=\r\nContent-Type: text/html; charset=x-none\r\n\r\n<p>\xff"],
    ids=["empty", "text", "unknown charset"],
)
async def test_a_mail_that_cannot_be_read_well_is_shown_all_the_same(page, maildir, content):
    name = maildir.add(content).name
    assert (await page.get("/")).status_code == 200
    assert (await page.get(f"/mails/{name}")).status_code == 200


@pytest.mark.parametrize("path", ["/mails/none", "/mails/%2e%2e", "/mails/%2e%2e%2fsecret", "/mails/none/html"])
async def test_nothing_outside_the_mails_is_shown(page, maildir, path):
    (maildir.folder / "secret").write_text("secret")
    answer = await page.get(path)
    assert answer.status_code == 404
    assert "secret" not in answer.text


async def test_another_host_name_is_refused_so_that_no_foreign_page_reads_the_mails(page, maildir):
    maildir.add(mail())
    assert (await page.get("/", headers={"Host": "rebound.example"})).status_code == 400


def test_the_sink_serves_the_page_and_stops_on_sigterm(tmp_path):
    smtp, port = free_ports(2)
    options = ("--maildir", str(tmp_path / "mail"), "--port", str(smtp), "--page-port", str(port))
    with subprocess.Popen(
        [sys.executable, "-m", "worker.stack.mail_sink", *options], cwd=ROOT, stdout=subprocess.PIPE
    ) as sink:
        transport = httpx.HTTPTransport(retries=10)
        with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            assert "Caught mails" in client.get("/").text
        sink.terminate()
        assert sink.wait(10) == 0

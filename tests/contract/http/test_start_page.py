"""The start page says what is where, and `/docs` shows the routes; nothing is loaded from another origin."""

import re
from hashlib import sha256

import httpx
import pytest

from api.start_page.endpoints import FILES
from tests.support.api import application, client
from worker.setting_values import split_links

NPM = {
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}
"""SHA-256 of the files in `swagger-ui-dist` 5.35.0."""


@pytest.fixture
async def stranger():
    """A browser without a key."""
    links = split_links("Mails=http://127.0.0.1:8025, <b>=https://x.example")
    async with client(application("postgresql://nowhere/none", links=links), key="") as made:
        made.auth = None
        yield made


async def test_the_start_page_leads_to_the_documentation_and_to_what_else_runs(stranger):
    page = await stranger.get("/")
    assert page.status_code == 200
    for text in ('href="/docs"', 'href="/openapi.json"', 'href="http://127.0.0.1:8025">Mails<', "&lt;b&gt;"):
        assert text in page.text
    assert "<b>" not in page.text


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_loads_only_files_that_this_api_serves(stranger, path):
    page = await stranger.get(path)
    loaded = re.findall(r'(?:src|rel="stylesheet" href)="([^"]+)"', page.text)
    assert loaded
    for address in loaded:
        file = await stranger.get(address)
        assert (file.status_code, file.headers["x-content-type-options"]) == (200, "nosniff"), address
        assert address.startswith("/docs/")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert "<style" not in page.text
    assert not re.search(r"<script(?! src)", page.text)


async def test_the_document_that_the_page_reads_makes_a_browser_ask_for_a_key(stranger):
    refused = await stranger.get("/openapi.json")
    assert (refused.status_code, refused.headers["www-authenticate"].partition(" ")[0]) == (401, "Basic")


async def test_an_unknown_file_and_a_path_out_of_the_folder_are_not_found(stranger):
    for path in ("/docs/none.js", "/docs/..%2Fendpoints.py"):
        answer: httpx.Response = await stranger.get(path)
        assert answer.status_code == 404


def test_swagger_ui_is_unchanged():
    assert {name: sha256(FILES[name][0].read_bytes()).hexdigest() for name in NPM} == NPM


@pytest.mark.parametrize("text", ["Mails", "Mails=ftp://x", "=", "Mails=javascript:alert(1)"])
def test_a_link_without_a_web_address_is_refused(text):
    with pytest.raises(ValueError, match="is no link"):
        split_links(text)

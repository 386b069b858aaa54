"""The preference page in a real browser without JavaScript, by keyboard alone, at a telephone's and a desk's width (C5)."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from tests.support.api import CATALOG, OPERATE, application, served

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
RATIO = """
element => {
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(Number)
      .map(part => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  let behind = element
  while (behind && /, 0\\)$/.test(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement
  const [one, other] = [getComputedStyle(element).color, getComputedStyle(behind || document.body).backgroundColor]
    .map(light).sort((a, b) => b - a)
  return (one + 0.05) / (other + 0.05)
}
"""


@pytest.fixture(scope="module")
def url(module_database_url: str) -> Iterator[str]:
    with served(application(module_database_url)) as found:
        yield found


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        await made.close()


@pytest.fixture(scope="module")
def address(url: str) -> str:
    """Of the page of somebody about whom a journey wants to write."""
    with httpx.Client(base_url=url, auth=(OPERATE, "")) as api:
        text = (CATALOG / "journeys" / "setup-and-activation.yaml").read_bytes()
        api.put("/v1/journeys/setup-and-activation", content=text).raise_for_status()
        api.post("/v1/users/ada/signals", json={"name": "signed_up"}).raise_for_status()
        answer = api.post("/v1/users/ada/preference-link").raise_for_status()
        return url + httpx.URL(answer.json()["url"]).path


async def page_in(browser: Browser, width: int, *, dark: bool = False, script: bool = False) -> Page:
    context = await browser.new_context(
        java_script_enabled=script, viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    return await context.new_page()


async def picture(page: Page, name: str) -> None:
    """For a person to look at, where one asked for it."""
    if folder := os.environ.get("TENURE_TEST_PICTURES"):
        await page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


async def test_C5_choices_are_made_by_keyboard_without_javascript(browser: Browser, url: str, address: str) -> None:
    page = await page_in(browser, 360)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(address)
    box = page.get_by_role("group", name="Getting started").get_by_role("checkbox", name="By e-mail")
    assert await box.is_checked()
    for _ in range(20):
        if await box.evaluate("element => element === document.activeElement"):
            break
        await page.keyboard.press("Tab")
    await page.keyboard.press("Space")
    assert not await box.is_checked()
    await picture(page, "choosing-360")
    await page.keyboard.press("Enter")
    status = page.get_by_role("status")
    await status.wait_for()
    assert "Your choices are saved." in await status.inner_text()
    assert await page.title() == "Saved – Your messages"
    assert not await box.is_checked()
    assert "you said no to “Getting started” by e-mail" in await page.content()
    await picture(page, "saved-360")
    assert {httpx.URL(each).host for each in asked} == {httpx.URL(url).host}
    wide = await page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360
    await page.context.close()


async def test_C5_stopping_everything_and_lifting_it(browser: Browser, address: str) -> None:
    page = await page_in(browser, 1024)
    await page.goto(address)
    await page.get_by_role("button", name="Stop all messages").click()
    await page.get_by_role("heading", name="You have unsubscribed from everything").wait_for()
    assert await page.get_by_role("checkbox", checked=True).count() == 0
    await picture(page, "stopped-1024")
    await page.get_by_role("button", name="Resume messages").click()
    await page.get_by_text("Messages are resumed").wait_for()
    assert await page.get_by_role("checkbox", checked=True).count() > 0
    await page.context.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_everything_written_stands_out_enough_to_be_read(browser: Browser, address: str, dark: bool) -> None:
    """WCAG 2.2 AA, 1.4.3: 4.5 to 1."""
    page = await page_in(browser, 800, dark=dark)
    await page.goto(address)
    await picture(page, f"page-800-{'dark' if dark else 'light'}")
    written = page.locator("h1, h2, p, legend, label, button, .why, a")
    ratios = [await each.evaluate(RATIO) for each in await written.all()]
    assert len(ratios) > 10
    assert min(ratios) >= 4.5
    sizes = [await each.bounding_box() for each in await page.get_by_role("button").all()]
    assert all(size is not None and size["height"] >= 44 for size in sizes)
    await page.context.close()


async def test_the_page_has_no_errors_with_scripting_on_either(browser: Browser, address: str) -> None:
    """A policy that forbids what the page itself needs would show here: its style is allowed by its hash."""
    page = await page_in(browser, 800, script=True)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    await page.goto(address)
    assert await page.locator("button").first.evaluate("element => getComputedStyle(element).borderRadius") == "8px"
    assert [each for each in said if "favicon" not in each] == []
    await page.context.close()

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
    with served(application(module_database_url)) as address:
        yield address


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        await launched.close()


@pytest.fixture(scope="module")
def address(url: str) -> str:
    """The address of the preference page of a person in a journey."""
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


async def save_picture(page: Page, name: str) -> None:
    """Save a screenshot to the folder in TENURE_TEST_PICTURES, if it is set."""
    if folder := os.environ.get("TENURE_TEST_PICTURES"):
        await page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


async def test_C5_choices_can_be_made_by_keyboard_without_javascript(browser: Browser, url: str, address: str) -> None:
    page = await page_in(browser, 360)
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    await page.goto(address)
    box = page.get_by_role("group", name="Getting started").get_by_role("checkbox", name="By e-mail")
    assert await box.is_checked()
    for _ in range(20):
        if await box.evaluate("element => element === document.activeElement"):
            break
        await page.keyboard.press("Tab")
    await page.keyboard.press("Space")
    assert not await box.is_checked()
    await save_picture(page, "choosing-360")
    await page.keyboard.press("Enter")
    status = page.get_by_role("status")
    await status.wait_for()
    assert "Your choices are saved." in await status.inner_text()
    assert await page.title() == "Saved – Your messages"
    assert not await box.is_checked()
    assert "you said no to “Getting started” by e-mail" in await page.content()
    await save_picture(page, "saved-360")
    assert {httpx.URL(request_url).host for request_url in requested} == {httpx.URL(url).host}
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360
    await page.context.close()


async def test_C5_stop_clears_every_box_and_resume_restores_them(browser: Browser, address: str) -> None:
    page = await page_in(browser, 1024)
    await page.goto(address)
    await page.get_by_role("button", name="Stop all messages").click()
    await page.get_by_role("heading", name="You have unsubscribed from everything").wait_for()
    assert await page.get_by_role("checkbox", checked=True).count() == 0
    await save_picture(page, "stopped-1024")
    await page.get_by_role("button", name="Resume messages").click()
    await page.get_by_text("Messages are resumed").wait_for()
    assert await page.get_by_role("checkbox", checked=True).count() > 0
    await page.context.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_text_has_the_wcag_contrast_and_buttons_are_44_pixels_high(
    browser: Browser, address: str, dark: bool
) -> None:
    """WCAG 2.2 AA, 1.4.3: 4.5 to 1."""
    page = await page_in(browser, 800, dark=dark)
    await page.goto(address)
    await save_picture(page, f"page-800-{'dark' if dark else 'light'}")
    written = page.locator("h1, h2, p, legend, label, button, .why, a")
    ratios = [await element.evaluate(RATIO) for element in await written.all()]
    assert len(ratios) > 10
    assert min(ratios) >= 4.5
    sizes = [await button.bounding_box() for button in await page.get_by_role("button").all()]
    assert all(size is not None and size["height"] >= 44 for size in sizes)
    await page.context.close()


async def test_the_page_has_no_console_errors_with_scripts_enabled(browser: Browser, address: str) -> None:
    """The content security policy allows the page's own style by its hash; a mistake there is a console error."""
    page = await page_in(browser, 800, script=True)
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    await page.goto(address)
    assert await page.locator("button").first.evaluate("element => getComputedStyle(element).borderRadius") == "8px"
    assert [message for message in messages if "favicon" not in message] == []
    await page.context.close()

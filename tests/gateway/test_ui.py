"""The dashboard in a browser, before a live gateway under traffic.

Set ``LIKEWISE_TEST_SHOTS`` to a folder to have a screenshot of every view, in both themes and at
two sizes.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from likewise import AsyncCache
from likewise.config import parse
from likewise.demo.prompts import load_prompts

from .support import Gateway, chat, gateway_over

KEY = "secret-ü"
VIEWS = {
    "overview": "#/",
    "category code": "#/category/code",
    "ledger": "#/ledger",
    "entries": "#/entries",
    "playground": "#/playground",
    "policies": "#/policies",
}
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
SCREENS = ("light-desk", "dark-desk", "light-phone", "dark-phone")
SHOTS = os.environ.get("LIKEWISE_TEST_SHOTS")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or ""
PATIENCE_MS = 20_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; where it is not installed tests are skipped, or fail where CI is set."""
    if not BROWSER:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("chromium is not installed")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - slow to import

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"]
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def busy(stand_in: str) -> Iterator[Gateway]:
    """A gateway that is asked the demo's questions all the while."""
    prices = {"stand-in-1": {"input": 2.5, "output": 10}}
    config = parse({"gateway": {"admin_key": KEY}, "prices": prices, "load": {"max_wait": None}})
    cache = AsyncCache(store="memory://", categories=config.policies, rules=config.rules)
    ending = threading.Event()
    with gateway_over(config, cache, stand_in) as gateway:

        def ask() -> None:
            while not ending.is_set():
                for prompt in load_prompts():
                    headers = {"x-likewise-category": prompt.category}
                    gateway.post(chat(prompt.text), headers, settle=False)
                    if ending.wait(0.01):
                        break

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            yield gateway
        finally:
            ending.set()
            asking.join()


class Visit:
    """A browser's tab on the dashboard; what it complains of is kept."""

    def __init__(self, browser: Any, gateway: Gateway, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.complaints: list[str] = []
        self.url = f"{gateway.url}/ui/"
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def enter(self, key: str = KEY) -> None:
        """Sign in."""
        self.page.goto(self.url)
        self.page.get_by_label("Key").fill(key)
        self.page.get_by_role("button", name="Enter").click()

    def open(self, view: str) -> None:
        """Go to a view, and wait until it is there."""
        self.page.goto(self.url + VIEWS[view])
        self.page.get_by_role("heading", level=1, name=view.capitalize(), exact=True).wait_for()


@pytest.fixture
def visit(browser: Any, busy: Gateway) -> Iterator[Visit]:
    """A tab that is signed in; it must have had nothing to complain of in the end."""
    found = Visit(browser, busy, viewport={"width": 1280, "height": 900})
    found.enter()
    found.page.locator(".tile").first.wait_for()
    yield found
    found.context.close()
    assert found.complaints == []


@pytest.mark.parametrize("screen", SCREENS if SHOTS else SCREENS[:3])
def test_every_view(browser: Any, busy: Gateway, screen: str) -> None:
    """Each view comes up whole: charts, no complaint, nothing too wide, nothing against axe."""
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - slow to import

    theme, _, size = screen.partition("-")
    width, height = SIZES[size]
    visit = Visit(browser, busy, viewport={"width": width, "height": height}, color_scheme=theme)
    visit.enter()
    visit.page.locator(".tile").first.wait_for()
    for name in VIEWS:
        visit.open(name)
        charts = visit.page.locator("figure .plot")
        for number in range(charts.count()):
            charts.nth(number).locator(".main-svg").first.wait_for()
        if name == "playground":
            visit.page.get_by_label("Question").fill("How do I undo my last git commit?")
            visit.page.get_by_role("button", name="Decide").click()
            visit.page.locator(".steps li").first.wait_for()
        assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        found = Axe().run(visit.page).response["violations"]
        assert [one["id"] for one in found if one["impact"] in {"serious", "critical"}] == [], name
        if SHOTS:
            shot = Path(SHOTS) / f"{name.partition(' ')[0]}-{screen}.png"
            visit.page.screenshot(path=shot, full_page=True)
    dark = visit.page.evaluate("document.documentElement.dataset.theme")
    assert dark == theme
    assert visit.complaints == []
    visit.context.close()


def test_the_first_view_needs_little(browser: Any, busy: Gateway) -> None:
    """Besides the chart library it is under 300 KB, with all figures; nothing is from elsewhere."""
    visit = Visit(browser, busy)
    sizes: dict[str, int] = {}
    visit.page.on(
        "response", lambda response: sizes.__setitem__(response.url, len(response.body()))
    )
    visit.enter()
    visit.page.locator(".main-svg").first.wait_for()
    assert all(url.startswith(busy.url) for url in sizes)
    assert sum(size for url, size in sizes.items() if "plotly" not in url) < 300_000
    visit.context.close()


def test_a_wrong_key(browser: Any, busy: Gateway) -> None:
    """It is said, and nothing is shown; signing out forgets the key."""
    visit = Visit(browser, busy)
    visit.enter("wrong")
    visit.page.get_by_text("the admin key is missing or wrong").wait_for()
    assert visit.page.locator(".tile").count() == 0
    visit.enter()
    visit.page.locator(".tile").first.wait_for()
    visit.page.get_by_role("button", name="Sign out").click()
    visit.page.get_by_label("Key").wait_for()
    assert visit.page.evaluate("sessionStorage.length") == 0
    visit.context.close()


def test_drop_an_entry(visit: Visit, busy: Gateway) -> None:
    """It is found by its text, seen with its answer, dropped, and asked of the model again."""
    question = "Which entry will be dropped by hand?"
    assert busy.ask(question) == "MISS"
    assert busy.ask(question) == "HIT"
    page = visit.page
    visit.open("entries")
    page.get_by_label("Search").fill("DROPPED BY HAND")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("button", name=question).click()
    page.get_by_text("Where it came from").wait_for()
    assert "stand-in-1" in page.locator("dialog").inner_text()
    page.get_by_role("button", name="Drop this entry").click()
    page.locator("dialog").get_by_text("The entry was dropped.").wait_for()
    assert busy.ask(question) == "MISS"


def test_mark_one_wrong_from_the_search_by_meaning(visit: Visit, busy: Gateway) -> None:
    """A question is found by its meaning; marked wrong, it is not answered with that entry."""
    question = "At what height do storks build their nests?"
    assert busy.ask(question) == "MISS"
    assert busy.ask(question) == "HIT"
    page = visit.page
    visit.open("entries")
    page.get_by_label("meaning").check()
    page.get_by_label("Search").fill("how high are nests of storks")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("button", name=question).click()
    page.get_by_role("button", name="Mark wrong").click()
    page.locator("dialog").get_by_text("Marked wrong").wait_for()
    assert busy.ask(question) == "MISS"


def test_drop_everything_near(visit: Visit, busy: Gateway) -> None:
    """What is near is shown before it is dropped."""
    questions = ["Where do storks spend the winter?", "Where do storks spend winter?"]
    for question in questions:
        busy.ask(question, headers={"cache-control": "no-cache"})
    page = visit.page
    visit.open("entries")
    page.get_by_label("Search").fill("spend the winter")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("button", name=questions[0]).click()
    page.get_by_role("button", name="Show what is near").click()
    page.get_by_role("button", name="Drop these 2").click()
    page.locator("dialog").get_by_text("2 entries were dropped.").wait_for()
    assert busy.ask(questions[1]) == "MISS"


def test_what_if(visit: Visit, busy: Gateway) -> None:
    """The slider says what the latest decisions would have been, and names those that differ."""
    for question in ("How do storks sleep at night?", "Where do storks rest during the night?"):
        assert busy.ask(question, headers={"x-likewise-category": "code"}) == "MISS"
    page = visit.page
    visit.open("category code")
    slider = page.get_by_label("Least similarity of a hit")
    page.get_by_text("latest decisions, as many as there were").wait_for()
    slider.focus()
    page.keyboard.press("Home")
    page.get_by_text("Would become hits").wait_for()
    assert page.get_by_text("At 0.500:").count() == 1


def test_a_policy_is_changed_and_taken_back(visit: Visit, busy: Gateway) -> None:
    """What is put in force here is in force in the cache; a wrong one is refused in words."""
    page = visit.page
    visit.open("policies")
    page.get_by_role("button", name="Change prices").click()
    text = page.locator("dialog textarea")
    text.fill('{"ttl": "1h", "no_such": 1}')
    page.get_by_role("button", name="Put in force").click()
    page.locator("dialog").get_by_text("no_such").first.wait_for()
    visit.complaints.clear()  # the browser notes every answer that is an error
    text.fill('{"ttl": "1h"}')
    page.get_by_role("button", name="Put in force").click()
    page.locator("dialog").get_by_text("In force.", exact=True).wait_for()
    engine = busy.cache.engine
    assert engine.force.policies.of("prices").ttl_s == 3600.0
    page.get_by_role("button", name="Back to the configuration").click()
    page.locator("dialog").get_by_text("Back to the configuration.", exact=True).wait_for()
    assert engine.force.policies.of("prices").ttl_s == 120.0


def test_the_receipt_of_a_recent_decision(visit: Visit) -> None:
    """It is shown step by step, and comes out the same when it is made again."""
    visit.open("playground")
    visit.page.locator("table button.link").first.click()
    visit.page.get_by_text("Decided again on the same ground it comes out the same.").wait_for()


def test_by_keyboard_alone(visit: Visit) -> None:
    """The first stop is the way past the navigation; views are reached by it."""
    page = visit.page
    visit.open("overview")
    page.reload()
    page.locator(".tile").first.wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    for _ in range(3):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Ledger"
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Ledger").wait_for()
    assert page.evaluate("document.activeElement.id") == "view"

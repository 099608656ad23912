"""The page as the user sees it: first load, a switch, edits in two tabs, keyboard, and both themes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.browser.conftest import ARTEFACTS, HOLDINGS
from tests.browser.person import Person

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.support.processes import Tree

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
METRICS = 5


def test_the_first_look_has_the_portfolio_and_fits_one_screen(person: Person) -> None:
    assert set(person.held()) == set(HOLDINGS)
    person.sees("#totals", r"Net value\s+\d")
    # Where the risk is, in words and in the first row.
    told = person.sees("#analysis", r"Most risk comes from (\w+): (\d+) % of it, at \d+ % of gross value\.")
    person.sees("#holdings tbody tr", rf"^{told[1]}\s")
    person.sees("#chips", r"Connected")
    person.sees("#chips", r"Prices \d+ s old")
    assert person.measure(
        "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    ) == [1280, 800]


def test_a_tile_says_its_detail_and_gives_its_receipt(person: Person) -> None:
    person.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    person.analyse("AAPL")
    person.tiles("done", METRICS)
    tile = person.page.locator(".tile").first
    tile.locator("summary").click()
    assert "Snapshot" in tile.inner_text()
    tile.get_by_role("button", name="Copy receipt").click()
    tile.get_by_text("Copied").first.wait_for()
    receipt = person.measure("navigator.clipboard.readText().then(JSON.parse)")
    assert receipt["type"] == "analysis_result"
    assert receipt["receipt"]["holdings"] == HOLDINGS


def test_cancelling_stops_what_runs(person: Person) -> None:
    person.analyse("MSFT")
    person.page.get_by_role("button", name="Cancel").click()
    person.sees(".ghostrun", r"MSFT cancelled after \d of 5")
    person.sees("#chips", "Idle")


def test_the_keyboard_gets_everywhere(person: Person) -> None:
    person.page.locator("button.ticker").first.focus()
    person.page.keyboard.press("ArrowDown")
    chosen = str(person.measure("document.activeElement.innerText"))
    person.page.keyboard.press("Enter")
    person.sees("#analysis h2", f"Analysis of {chosen}")
    person.page.locator("#tab-what_if").focus()
    person.page.keyboard.press("ArrowRight")
    person.page.locator("#panel-plan").wait_for(state="visible")
    assert person.measure("document.activeElement.id") == "tab-plan"


def test_two_tabs_agree_and_neither_overwrites_the_other(person: Person) -> None:
    other = person.other_tab()
    for each in (person, other):
        each.page.click("#tab-edit")
    # The other begins to type, and this one is faster.
    other.page.locator(".editor tbody input").nth(1).fill("7")
    row = person.page.locator(".editor tbody tr", has=person.page.locator("input[value=KO]"))
    row.get_by_role("button").click()
    person.page.get_by_role("button", name="Save holdings").click()
    person.sees("#notice", "Save holdings: done")
    for each in (person, other):
        each.page.wait_for_function(
            "![...document.querySelectorAll('.ticker')].some(each => each.innerText === 'KO')"
        )
    other.sees(".editor .words", "changed elsewhere")
    assert other.page.get_by_role("button", name="Save holdings").is_disabled()
    assert other.page.locator(".editor tbody input").nth(1).input_value() == "7"
    other.page.get_by_role("button", name="Discard changes").click()
    other.sees(".editor .words", "Version 2")
    assert other.held() == person.held()
    assert other.complaints == []


def test_a_paste_shows_what_is_read_and_names_what_is_not(person: Person) -> None:
    person.page.click("#tab-edit")
    person.page.fill(".editor textarea", "Symbol\tQuantity\nAAPL\t1,200\nTotal\t\nGOOGL\tmany\nTSLA\t-3.5\n")
    person.sees(".preview", r"2 names read, 2 lines refused")
    assert "Line 3: no number of shares" in person.text(".preview")
    assert "Line 4: many is no number of shares" in person.text(".preview")
    person.page.get_by_role("button", name="Use these instead").click()
    person.page.get_by_role("button", name="Save holdings").click()
    person.page.wait_for_function("() => document.querySelectorAll('#holdings tbody tr').length === 2")
    assert person.held() == {"AAPL": "1,200", "TSLA": "\N{MINUS SIGN}3.5"}


def test_the_log_can_be_filtered_paused_and_copied(person: Person) -> None:
    person.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    person.analyse("JPM")
    person.tiles("done", METRICS)
    person.page.click("#tab-log")
    person.page.get_by_label("Which events").select_option("run")
    person.sees(".log", "JPM run 1: completed, 5 results")
    person.page.get_by_role("button", name="Pause").click()
    person.sees(".logpanel .bar", r"Paused, [1-9]\d* new")
    person.page.get_by_label("Search events").fill("started")
    assert person.page.locator(".log li").count() == 1
    person.page.locator(".logpanel").get_by_role("button", name="Copy").click()
    person.page.locator(".logpanel").get_by_text("Copied").wait_for()
    assert "JPM run 1: started" in str(person.measure("navigator.clipboard.readText()"))


def test_a_session_outlives_a_reload_with_what_was_recorded(person: Person) -> None:
    person.analyse("NVDA")
    person.tiles("done", METRICS)
    before = person.page.locator(".tile .number").all_inner_texts()
    fragment = person.fragment
    person.page.reload()
    person.tiles("done", METRICS)
    assert person.fragment == fragment
    assert person.page.locator(".tile .number").all_inner_texts() == before
    person.sees("#analysis header", "Analysis of NVDA")
    person.sees("#analysis header", "recorded")


def test_dragging_asks_and_the_last_place_is_what_is_shown_and_traded(person: Person) -> None:
    """Fifty moves a second, for a second; nothing is recorded until it is applied."""
    person.analyse("KO")
    person.tiles("done", METRICS)
    person.sees(".sides", r"KO, weight\s+\d")
    person.measure(
        """async () => {
          const slider = document.querySelector('#panel-what_if input[type=range]');
          for (let move = 1; move <= 50; move++) {
            slider.value = -move;
            slider.dispatchEvent(new Event('input'));
            await new Promise((resolve) => setTimeout(resolve, 20));
          }
        }"""
    )
    person.sees("#panel-what_if .words", r"To sell 50 KO brings [\d,.]+ of cash")
    person.sees(".sides", "Gross value\\s+[\\d,.]+\\s+[\\d,.]+\\s+\N{MINUS SIGN}")
    assert person.held()["KO"] == "110"
    person.page.get_by_role("button", name="Apply").click()
    person.sees("#notice", "Sell 50 KO: done")
    person.page.wait_for_function(
        "() => document.querySelector('#holdings tr.selected td').innerText === '60'"
    )
    assert person.held()["KO"] == "60"


def test_targets_colour_what_left_its_band_and_the_plan_leads_back(person: Person) -> None:
    person.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    person.page.click("#tab-plan")
    person.page.get_by_role("button", name="Targets", exact=True).click()
    for name, weight in (("KO", "10"), ("AAPL", "90")):
        person.page.get_by_label(f"weight of {name} in per cent").fill(weight)
    person.page.get_by_role("button", name="Save targets").click()
    person.sees("#notice", "Save targets: done")
    person.page.wait_for_selector("#holdings tr.outside")
    person.page.get_by_role("button", name="Targets", exact=True).click()
    person.sees(".plan .words", r"Turnover \d+ %")
    person.sees(".plan .lines", "Buy AAPL")
    person.page.get_by_role("button", name="Copy CSV").click()
    person.page.locator(".plan").get_by_text("Copied").wait_for()
    person.sees("#live", "Copied")
    table = str(person.measure("navigator.clipboard.readText()"))
    assert table.startswith("ticker,shares,value,weight_before,weight_after,risk_before,risk_after")
    assert "AAPL," in table


def test_past_values_and_correlations_are_drawn(person: Person) -> None:
    person.sees(".value .words", r"since \d{4}-\d\d-\d\d; no past trades")
    assert len(str(person.page.get_attribute("path.past", "d"))) > 1_000
    person.page.click("#tab-correlations")
    person.page.locator(".heat").focus()
    person.page.wait_for_selector(".heat rect")
    person.page.keyboard.press("ArrowRight")
    person.sees(".matrix .words", r"AAPL and \w+: \S+")


def test_a_followed_analysis_runs_again_with_the_tick(person: Person) -> None:
    person.page.get_by_label("Follow").check()
    person.analyse("AAPL")
    first = person.sees("#analysis header", r"run (\d+), .*following")
    person.sees("#analysis header", f"run {int(first[1]) + 1},")
    person.page.get_by_label("Follow").uncheck()
    person.sees("#chips", "Idle")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_both_themes_at_both_widths(
    browser: Browser, server: Tree, theme: Literal["light", "dark"], width: int
) -> None:
    """Nothing overflows and axe-core's rules hold, panel by panel; the pictures are for people to look at."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    with browser.new_context(viewport={"width": width, "height": 800}, color_scheme=theme) as context:
        person = Person(context.new_page(), f"http://127.0.0.1:{server.port}/")
        person.open()
        person.analyse("AAPL")
        person.sees("#chips", "Running")
        person.analyse("KO")
        person.tiles("done", METRICS)
        person.page.screenshot(path=ARTEFACTS / f"{theme}-{width}.png", full_page=width < 1000)
        assert person.measure("document.documentElement.scrollWidth") == width
        for work, side in (("what_if", "value"), ("plan", "correlations"), ("edit", "log")):
            person.page.click(f"#tab-{work}")
            person.page.click(f"#tab-{side}")
            assert person.measure("document.documentElement.scrollWidth") == width
            assert accessible(person) == []
        assert person.complaints == []


def accessible(person: Person) -> list[str]:
    """What axe-core finds wrong; nothing where it is not installed, which the summary of a run says."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: nox -s browser brings it")
    person.page.evaluate(AXE.read_text())
    found = person.measure("axe.run().then(result => result.violations)")
    return [f"{each['id']}: {each['help']}: {[node['html'] for node in each['nodes']]}" for each in found]

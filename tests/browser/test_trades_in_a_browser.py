"""The user's actions on the page: hedge, budget, apply, targets; small windows; many names."""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import serving
from tests.browser.person import PATIENCE_MS, Person

if TYPE_CHECKING:
    from playwright.sync_api import Browser, WebSocketRoute

    from tests.support.processes import Tree

MINUS = "\N{MINUS SIGN}"
AMOUNT = "#panel-what_if input[type=number]"
MANY = 500
# The head of the table and one row; one row; two lines of text.
LEAST_ROWS_PX = 56
LEAST_ROW_PX = 20
LEAST_PREVIEW_PX = 34
LEAST_GAP_PX = 4
TALL_PX = 800


def test_a_trade_to_budget_is_that_of_the_score(person: Person) -> None:
    budget = person.page.get_by_role("button", name="To budget")
    assert budget.is_disabled()
    person.analyse("NVDA")
    person.tiles("done", 5)
    told = person.sees("#analysis", r"NVDA is (above|below) its budget of \S+ %; (buy|sell) ([\d.,]+) shares")
    budget.click()
    person.sees("#panel-what_if .words", f"To {told[2]} ")
    amount = float(person.page.input_value(AMOUNT))
    assert round(abs(amount), 2) == float(told[3].replace(",", ""))
    assert (amount < 0) == (told[2] == "sell")


def test_the_best_hedge_is_where_nothing_is_left_to_trade(person: Person) -> None:
    person.page.click("#holdings tr:has-text('SPY') .ticker")
    person.sees(".sides", r"SPY, weight\s+\S")
    before = person.held()["SPY"]
    person.page.get_by_role("button", name="Best hedge").click()
    person.sees(".sides", rf"Volatility\s+\S+ %\s+\S+ %\s+{MINUS}")
    person.page.get_by_role("button", name="Apply").click()
    person.sees("#notice", r"(Buy|Sell) [\d.,]+ SPY: done")
    person.page.wait_for_function(
        "before => document.querySelector('#holdings tr.selected td').innerText !== before", arg=before
    )
    # At its best it carries none of the risk, and takes none away.
    person.sees("#holdings tr.selected", rf"{MINUS}?0\.0 %\s*$")


def test_a_trade_on_holdings_that_changed_meanwhile_is_not_made(browser: Browser, server: Tree) -> None:
    """The other tab's change is held back on its way here, so that this tab acts on what it shows."""
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        url = f"http://127.0.0.1:{server.port}/"
        slow, quick = Person(context.new_page(), url), Person(context.new_page(), url)
        held_back: list[tuple[WebSocketRoute, str | bytes]] = []
        holding: list[bool] = []

        def route(socket: WebSocketRoute) -> None:
            real = socket.connect_to_server()

            def pass_on(message: str | bytes) -> None:
                if holding and '"trade:' not in str(message):
                    held_back.append((socket, message))
                else:
                    socket.send(message)

            real.on_message(pass_on)

        slow.page.route_web_socket(re.compile("/ws/"), route)
        slow.open()
        quick.open(slow.fragment)
        slow.analyse("KO")
        slow.tiles("done", 5)
        slow.page.fill(AMOUNT, "-10")
        slow.sees("#panel-what_if .words", "To sell 10 KO")
        holding.append(True)
        quick.page.fill("#panel-what_if .tickerfield", "MSFT")
        quick.page.keyboard.press("Enter")
        quick.page.fill(AMOUNT, "5")
        quick.sees("#panel-what_if .words", "To buy 5 MSFT")
        quick.page.get_by_role("button", name="Apply").click()
        quick.sees("#notice", "Buy 5 MSFT: done")
        slow.page.get_by_role("button", name="Apply").click()
        slow.sees("#notice", "holdings changed while you looked at version 1; nothing was done")
        assert slow.page.input_value(AMOUNT) == "-10"
        assert slow.held()["MSFT"] == "90"
        holding.clear()
        for socket, message in held_back:
            socket.send(message)
        slow.sees("#holdings header", "version 2")
        assert slow.held() == quick.held()
        assert slow.held()["KO"] == "110"
        # Seen by now, and still wanted.
        slow.sees("#panel-what_if .words", "To sell 10 KO")
        slow.page.get_by_role("button", name="Apply").click()
        slow.sees("#notice", "Sell 10 KO: done")
        quick.sees("#holdings tbody", r"KO\s+100\s")


def test_a_trade_is_for_the_holdings_that_are_drawn(browser: Browser, server: Tree) -> None:
    """The other tab's change has arrived, but the screen does not show it yet when the click comes."""
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        url = f"http://127.0.0.1:{server.port}/"
        person, quick = Person(context.new_page(), url), Person(context.new_page(), url)
        sent: list[str] = []
        arrived: list[str] = []

        def route(socket: WebSocketRoute) -> None:
            real = socket.connect_to_server()

            def pass_on(message: str | bytes) -> None:
                sent.append(str(message))
                real.send(message)

            def hand_over(message: str | bytes) -> None:
                socket.send(message)
                arrived.append(str(message))

            socket.on_message(pass_on)
            real.on_message(hand_over)

        person.page.route_web_socket(re.compile("/ws/"), route)
        person.open()
        quick.open(person.fragment)
        person.page.fill("#panel-what_if .tickerfield", "KO")
        person.page.keyboard.press("Enter")
        person.page.fill(AMOUNT, "-10")
        person.sees("#panel-what_if .words", "To sell 10 KO")
        person.measure("window.drawn = window.requestAnimationFrame, window.held = []")
        person.measure("void (window.requestAnimationFrame = (frame) => window.held.push(frame))")
        quick.page.fill("#panel-what_if .tickerfield", "MSFT")
        quick.page.keyboard.press("Enter")
        quick.page.fill(AMOUNT, "5")
        quick.sees("#panel-what_if .words", "To buy 5 MSFT")
        quick.page.get_by_role("button", name="Apply").click()
        quick.sees("#holdings header", "version 2")
        while not [each for each in arrived if '"portfolio"' in each and '"version":2' in each]:
            person.measure("null")
        assert "version 1" in person.text("#holdings header")
        person.page.get_by_role("button", name="Apply").evaluate("(button) => button.click()")
        person.measure("void (window.requestAnimationFrame = window.drawn)")
        person.measure("window.held.forEach((frame) => frame(0))")
        person.sees("#notice", "Sell 10 KO: not sent. The connection or the holdings have just changed")
        person.sees("#holdings header", "version 2")
        assert person.page.input_value(AMOUNT) == "-10"
        assert not [each for each in sent if '"action":"trade"' in each]
        assert quick.held()["KO"] == "110"
        assert person.complaints == []


def test_a_target_that_is_not_held_has_a_row_and_can_be_tried(person: Person) -> None:
    person.page.click("#tab-plan")
    person.page.get_by_role("button", name="Targets", exact=True).click()
    person.page.get_by_label("Add a name that is not held").fill("gld")
    person.page.keyboard.press("Enter")
    assert person.measure("document.activeElement.name") == "GLD"
    person.page.keyboard.type("40")
    person.page.get_by_label("weight of AAPL in per cent").fill("-60")
    person.sees(".targets .bar", "The weight of AAPL is below 0")
    assert person.page.get_by_role("button", name="Save targets").is_disabled()
    person.page.get_by_label("weight of AAPL in per cent").fill("60")
    person.page.get_by_role("button", name="Save targets").click()
    person.sees("#notice", "Save targets: done")
    row = person.page.locator("#holdings tbody tr", has=person.page.locator("button:text-is('GLD')"))
    row.wait_for()
    assert re.sub(r"\s+", " ", row.inner_text()) == f"GLD{MINUS}40 pp 0 0.00 0.0 % \N{EN DASH}"
    assert row.locator("line.goal:not([visibility])").count() == 1
    row.locator("button").click()
    person.page.click("#tab-what_if")
    person.sees("#panel-what_if .words", "You hold 0 GLD")
    assert person.text("#analysis h2") == "Analysis"


def test_targets_that_were_typed_outlive_an_edit_from_elsewhere(person: Person) -> None:
    other = person.other_tab()
    person.page.click("#tab-plan")
    person.page.get_by_role("button", name="Targets", exact=True).click()
    person.page.get_by_label("weight of KO in per cent").fill("30")
    other.page.click("#tab-edit")
    other.page.locator(".editor tbody input").nth(1).fill("7")
    other.page.get_by_role("button", name="Save holdings").click()
    other.sees(".editor .words", "Version 2")
    person.sees(".targets .bar", "changed elsewhere")
    assert person.page.get_by_label("weight of KO in per cent").input_value() == "30"
    assert person.page.get_by_role("button", name="Save targets").is_disabled()
    person.page.locator(".targets").get_by_role("button", name="Discard changes").click()
    assert person.page.get_by_label("weight of KO in per cent").input_value() == ""
    assert other.complaints == []


def test_input_for_a_session_that_was_lost_is_not_saved_in_the_next(browser: Browser) -> None:
    """The next one has the same address and version; the first state of its connection is held back."""
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        held_back: list[tuple[WebSocketRoute, str | bytes]] = []
        sent: list[str] = []
        with serving() as first:
            port = first.port
            person = Person(context.new_page(), f"http://127.0.0.1:{port}/")
            person.open()
            person.page.click("#tab-edit")
            person.page.locator(".editor tbody input").nth(1).fill("7")
            person.sees(".editor .words", "Not saved yet")

        def route(socket: WebSocketRoute) -> None:
            real = socket.connect_to_server()

            def pass_on(message: str | bytes) -> None:
                sent.append(str(message))
                real.send(message)

            socket.on_message(pass_on)
            real.on_message(lambda message: held_back.append((socket, message)))

        person.page.route_web_socket(re.compile("/ws/"), route)
        save = person.page.get_by_role("button", name="Save holdings")
        with serving("--port", str(port), "--default-holdings", '{"TSLA": 5}'):
            person.sees("#chips", "Connected")
            # The screen still has the old holdings, at the version that the new session has, too.
            person.sees("#holdings header", "version 1")
            assert save.is_disabled()
            person.page.evaluate("document.querySelector('.editor button.primary').disabled = false")
            save.click()
            person.sees("#notice", "Save holdings: not sent")
            for socket, message in held_back:
                socket.send(message)
            person.sees(".editor .words", r"changed elsewhere or were lost \(now version 1\)")
            person.sees("#holdings tbody", "TSLA")
            assert save.is_disabled()
            assert person.page.locator(".editor tbody input").nth(1).input_value() == "7"
            person.page.locator(".editor").get_by_role("button", name="Discard changes").click()
            assert person.page.locator(".editor tbody input").nth(1).input_value() == "5"
            assert not [each for each in sent if "set_holdings" in each]


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1280, 720), (1280, 640), (390, 800), (320, 700)])
def test_both_sides_of_a_trade_are_in_sight(browser: Browser, server: Tree, width: int, height: int) -> None:
    with browser.new_context(viewport={"width": width, "height": height}) as context:
        context.set_default_timeout(PATIENCE_MS)
        person = Person(context.new_page(), f"http://127.0.0.1:{server.port}/")
        person.open()
        person.analyse("KO")
        person.tiles("done", 5)
        person.page.fill(AMOUNT, "-40")
        person.sees("#panel-what_if .words", "To sell 40 KO")
        inside = """() => {
          const [table, panel] = [".sides", "#work"]
            .map((place) => document.querySelector(place).getBoundingClientRect());
          return table.bottom <= panel.bottom && table.right <= panel.right;
        }"""
        assert person.measure(inside)
        # The ends of the scale, which stand in the narrowest column, do not touch.
        ends = person.measure(
            "[...document.querySelectorAll('.axis span:not([hidden])')].map((each) => {"
            " const box = each.getBoundingClientRect(); return [box.left, box.right]; })"
        )
        assert all(left[1] + LEAST_GAP_PX <= right[0] for left, right in itertools.pairwise(ends))
        assert person.measure("document.documentElement.scrollWidth") == width


def test_long_numbers_cover_nothing(browser: Browser) -> None:
    holdings = {"AAPL": 1e6, "MSFT": 750_000, "GOOGL": -1.5e6, "TSLA": 12345.678901234, "CASH": 1.5e13}
    with (
        serving("--default-holdings", json.dumps(holdings)) as server,
        browser.new_context(viewport={"width": 1280, "height": 800}) as context,
    ):
        context.set_default_timeout(PATIENCE_MS)
        person = Person(context.new_page(), f"http://127.0.0.1:{server.port}/")
        person.open()
        person.sees("#totals", r"Net value\s+15,\d\d\d,\d+,\d+,\d+\s+\S+ \(\S+ %\)")
        person.analyse("AAPL")
        person.sees("#chips", "Running")
        cells = person.measure(
            "[...document.querySelectorAll('#holdings td.wide')].map((cell) => [cell.textContent, cell.title,"
            " cell.scrollWidth > cell.clientWidth, getComputedStyle(cell).overflowX])"
        )
        too_long = [each for each in cells if each[2]]
        assert "12,345.678901234" in [text for text, *_ in too_long]
        # It ends within its cell, and all of it can be read.
        assert all(title == text and overflow == "hidden" for text, title, _, overflow in too_long)
        totals, chips = person.measure(
            "() => { const box = (each) => each.getBoundingClientRect();"
            " return [Math.max(...[...document.querySelectorAll('#totals *')].map((one) => box(one).right)),"
            " box(document.querySelector('#chips')).left]; }"
        )
        assert totals <= chips
        assert person.measure("document.documentElement.scrollWidth") == 1280
        assert person.complaints == []


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1280, 600), (600, 800), (390, 844), (320, 700)])
def test_holdings_can_be_edited_in_a_window_of_any_size(
    browser: Browser, server: Tree, width: int, height: int
) -> None:
    with browser.new_context(viewport={"width": width, "height": height}) as context:
        context.set_default_timeout(PATIENCE_MS)
        person = Person(context.new_page(), f"http://127.0.0.1:{server.port}/")
        person.open()
        person.page.click("#tab-edit")
        assert person.measure("document.documentElement.scrollWidth") == width
        person.page.fill(".editor textarea", "AAPL\t1,200\nGOOGL\tmany\nTSLA\t-3.5\n")
        person.sees(".preview", "2 names read, 1 line refused")
        # Of the part that the box around it lets be seen.
        rows, preview = person.measure(
            "['.editor .scroll', '.preview'].map((place) => document.querySelector(place).clientHeight)"
        )
        assert rows >= LEAST_ROWS_PX
        assert preview >= LEAST_PREVIEW_PX
        # Playwright clicks only what nothing else covers.
        person.page.get_by_role("button", name="Use these instead").click()
        assert person.page.locator(".editor tbody tr").count() == 2
        row = person.page.locator(".editor tbody tr").last.bounding_box()
        assert row is not None
        assert row["height"] >= LEAST_ROW_PX
        person.page.locator(".editor tbody input").last.fill("-4")
        person.page.get_by_role("button", name="Save holdings").click()
        person.sees("#notice", "Save holdings: done")
        assert person.complaints == []


def test_five_hundred_names_are_edited_by_those_that_are_looked_for(browser: Browser) -> None:
    flags = ("--default-holdings", json.dumps({f"N{number:03}": 10 + number for number in range(MANY)}))
    with serving(*flags) as server, browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        person = Person(context.new_page(), f"http://127.0.0.1:{server.port}/")
        person.open()
        person.page.click("#tab-edit")
        rows = person.page.locator(".editor tbody tr")
        person.sees(".editor", f"50 of {MANY} shown")
        # Taller than a telephone, yet what an analysis says begins on its first screen.
        person.page.set_viewport_size({"width": 390, "height": 844})
        assert (
            person.measure("document.querySelector('#analysis .scroll').getBoundingClientRect().top")
            < TALL_PX
        )
        person.page.set_viewport_size({"width": 1280, "height": 800})
        assert rows.count() == MANY - 450
        person.page.locator(".editor").get_by_label("Find a name").fill("n49")
        person.sees(".editor", "10 found")
        person.page.get_by_label("Shares of N497").fill("-3")
        person.page.get_by_role("button", name="Remove N498").click()
        assert rows.count() == 10 - 1
        person.page.get_by_role("button", name="Add a name").click()
        person.page.keyboard.type("gld")
        person.page.keyboard.press("Tab")
        person.page.keyboard.type("2.5")
        person.page.get_by_role("button", name="Save holdings").click()
        person.sees("#notice", "Save holdings: done")
        person.page.get_by_role("button", name=f"Show all {MANY}").click()
        held = person.held()
        assert held["N497"] == f"{MINUS}3"
        assert held["GLD"] == "2.5"
        assert "N498" not in held
        # The others have come along without having been drawn.
        assert len(held) == MANY
        assert held["N499"] == "509"
        assert person.complaints == []


def test_five_hundred_names_are_shown_by_what_they_carry(browser: Browser) -> None:
    flags = ("--default-holdings", json.dumps({f"N{number:03}": 10 + number for number in range(MANY)}))
    with serving(*flags) as server, browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        person = Person(context.new_page(), f"http://127.0.0.1:{server.port}/")
        person.open()
        rows = person.page.locator("#holdings tbody tr")
        person.sees("#holdings .rest", r"400 smaller positions: \S+ % of risk together")
        assert rows.count() == MANY - 400
        # A name that is not among the first is shown once it is selected.
        person.page.fill("#panel-what_if .tickerfield", "N000")
        person.page.keyboard.press("Enter")
        person.page.wait_for_selector("#holdings tr.selected button:text-is('N000')")
        person.page.click("#tab-correlations")
        person.sees(".matrix .words", "limited to 60 holdings")
        assert person.page.locator(".heat *").count() == 0
        person.page.click("#tab-plan")
        person.sees(".plan .words", "Turnover")
        assert person.page.locator(".plan .lines tbody tr").count() <= MANY - 400
        person.page.get_by_role("button", name=f"Show all {MANY}").click()
        assert rows.count() == MANY
        person.page.get_by_role("button", name="Show the largest").click()
        assert rows.count() == MANY - 400
        assert person.complaints == []

"""Early ends, as the user sees them: a switch, a restart, a silent socket, an older server."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tests.browser.conftest import serving
from tests.browser.person import PATIENCE_MS, Person
from tests.support.processes import json_or_skip
from tests.support.redis_servers import private_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, WebSocketRoute

    from tests.support.processes import Tree


def test_a_switch_leaves_nothing_of_the_run_before(browser: Browser) -> None:
    slow = ("--metric-delay-seconds", "0.5,8")
    with serving(*slow) as server, browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        person = Person(context.new_page(), f"http://127.0.0.1:{server.port}/")
        person.open()
        person.analyse("AAPL")
        person.page.wait_for_selector(".tile[data-state=done]")
        person.analyse("KO")
        told = person.sees(
            ".ghostrun", r"AAPL cancelled after (\d) of 5 in [\d.,]+ ms; nothing of it arrived afterwards\."
        )
        assert person.page.locator(".ghostrun .had").count() == int(told[1]) >= 1
        person.tiles("done", 5)
        assert "Analysis of KO" in person.text("#analysis header")
        assert re.search("from KO, |KO is a hedge", person.text(".tile"))
        assert "nothing of it arrived afterwards" in person.text(".ghostrun")
        assert person.complaints == []


def test_a_restart_is_told_and_overcome(browser: Browser) -> None:
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        with serving() as first:
            port = first.port
            person = Person(context.new_page(), f"http://127.0.0.1:{port}/")
            person.open()
            person.analyse("AAPL")
            person.tiles("done", 5)
        person.sees("#chips", r"Reconnecting in \d+ s")
        person.sees("#banner", r"cannot be reached.* The numbers below are of \d\d:\d\d:\d\d")
        assert person.measure("document.body.classList.contains('offline')")
        assert not person.page.get_by_role("button", name="Run again").is_visible()
        person.page.get_by_role("button", name="Try now").click()
        person.sees("#chips", r"Reconnecting in \d+ s")
        # It connects by itself as soon as it can; a click might come too late to find its button.
        with serving("--port", str(port)):
            person.sees("#chips", "Connected")
            person.page.wait_for_selector("#banner", state="hidden")
            assert not person.measure("document.body.classList.contains('offline')")
            person.analyse("KO")
            person.tiles("done", 5)


def test_a_connection_that_went_silent_is_given_up(browser: Browser, server: Tree) -> None:
    """As after a laptop's sleep: nothing is closed, but nothing arrives any longer."""
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        person = Person(context.new_page(), f"http://127.0.0.1:{server.port}/")
        silent: list[bool] = []

        def route(socket: WebSocketRoute) -> None:
            real = socket.connect_to_server()
            deaf = not silent
            socket.on_message(lambda message: None if deaf and silent else real.send(message))
            real.on_message(lambda message: None if deaf and silent else socket.send(message))

        person.page.route_web_socket(re.compile("/ws/"), route)
        person.open()
        silent.append(True)
        person.measure("window.dispatchEvent(new Event('online'))")
        person.sees("#chips", "Reconnecting|Connecting")
        person.sees("#chips", "Connected")
        person.sees("#chips", "Prices [0-2] s old")


def test_a_store_that_is_away_is_told_and_what_was_asked_works_later(browser: Browser) -> None:
    with (
        private_server(json_or_skip()) as store,
        serving("--redis-url", store.url) as server,
        browser.new_context() as context,
    ):
        context.set_default_timeout(PATIENCE_MS)
        person = Person(context.new_page(), f"http://127.0.0.1:{server.port}/")
        person.open()
        person.analyse("KO")
        person.tiles("done", 5)
        store.kill()
        person.analyse("AAPL")
        person.sees("#analysis header", "cannot reach its store")
        assert person.page.locator(".tile[data-state=done]").count() == 0
        person.page.fill("#panel-what_if input[type=number]", "5")
        person.sees("#panel-what_if .words", "store cannot be reached")
        assert person.page.get_by_role("button", name="Apply").is_disabled()
        store.start()
        # It kept nothing: the session begins again, and the page says so.
        person.sees("#notice", "session had expired or was lost; a new one with the default holdings")
        person.analyse("AAPL")
        person.tiles("done", 5)
        assert person.complaints == []


def test_an_older_server_gets_a_page_that_says_what_it_has_not(browser: Browser, server: Tree) -> None:
    def refuse(socket: WebSocketRoute) -> None:
        real = socket.connect_to_server()

        def on_request(message: str | bytes) -> None:
            request: dict[str, Any] = json.loads(message)
            if request["action"] in {"get_risk", "what_if", "plan", "get_history"}:
                answer = {"type": "error", "code": "unknown_action", "detail": "?", "retryable": False}
                socket.send(json.dumps({**answer, "id": request["id"]}))
            else:
                real.send(message)

        socket.on_message(on_request)

    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        person = Person(context.new_page(), f"http://127.0.0.1:{server.port}/")
        person.page.route_web_socket(re.compile("/ws/"), refuse)
        person.open()
        person.sees("#holdings header", "older")
        person.sees("#holdings tbody tr", r"\d+\.\d %")
        person.analyse("AAPL")
        person.tiles("done", 5)
        person.sees("#panel-what_if", "older and does not answer")
        assert person.complaints == []

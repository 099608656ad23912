"""Tokens and limits as a person meets them: a token, its expiry and renewal, too many new sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser.conftest import serving
from tests.browser.person import PATIENCE_MS, Person

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Response

SECRET = ("--auth-secret", "a-secret-for-this-test-alone-0123456789")
KEPT = "Object.entries(sessionStorage).find(([key]) => key.includes(':token:'))[1]"
LIFE_SECONDS = 4
CREATED, TOO_MANY = 201, 429


def test_a_token_opens_the_session_and_is_in_no_address(browser: Browser) -> None:
    with serving(*SECRET) as server, browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        person = Person(context.new_page(), f"http://127.0.0.1:{server.port}/")
        person.open()
        token = str(
            person.measure("Object.entries(sessionStorage).find(([key]) => key.includes(':token:'))[1]")
        )
        assert token.count(".") == 2
        person.page.reload()
        person.page.wait_for_selector("#holdings tbody tr")
        assert not [address for address in person.addresses if token[:20] in address or "token" in address]
        # Another tab that was given the address alone.
        other = Person(context.new_page(), person.url)
        other.page.goto(person.url + person.fragment)
        other.sees("#banner", "needs its token")
        other.page.fill("#banner input", "x.y.z")
        other.page.click("#banner form button")
        other.sees("#banner", "not a token of this server")
        other.page.fill("#banner input", token)
        other.page.click("#banner form button")
        other.page.wait_for_selector("#holdings tbody tr")
        assert other.held() == person.held()
        person.analyse("AAPL")
        other.sees("#analysis h2", "Analysis of AAPL")


def test_a_token_that_expired_meanwhile_is_told_with_what_to_do(browser: Browser) -> None:
    """As after a laptop's sleep: the page could not renew it, and the socket it had is gone."""
    short = (*SECRET, "--token-ttl-seconds", str(LIFE_SECONDS))
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        with serving(*short) as first:
            port = first.port
            person = Person(context.new_page(), f"http://127.0.0.1:{port}/")
            person.open()
            expires = person.measure(f"JSON.parse(atob({KEPT}.split('.')[1])).exp * 1000")
            context.route("**/session", lambda route: route.abort())
            person.page.wait_for_function("(expires) => Date.now() > expires", arg=expires)
            # What is open stays open.
            person.sees("#chips", "Connected")
            person.analyse("KO")
            person.tiles("done", 5)
        with serving(*short, "--port", str(port)):
            person.sees(
                "#banner", "token of this session has expired: paste a newer one, or start a new session"
            )
            assert person.measure("document.body.classList.contains('offline')")
            assert person.page.locator("#banner").get_by_label("Token").is_visible()
            assert not person.page.get_by_role("button", name="Try now").is_visible()
            before = person.fragment
            context.unroute("**/session")
            person.page.get_by_role("button", name="Start a new session").click()
            person.sees("#chips", "Connected")
            person.page.wait_for_selector("#banner", state="hidden")
            assert person.fragment != before
            person.analyse("KO")
            person.tiles("done", 5)


def test_a_token_is_renewed_before_it_expires(browser: Browser) -> None:
    short = (*SECRET, "--token-ttl-seconds", str(LIFE_SECONDS))
    with serving(*short) as server, browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        person = Person(context.new_page(), f"http://127.0.0.1:{server.port}/")
        person.open()
        first = person.measure(KEPT)
        person.page.wait_for_function(f"(first) => {KEPT} !== first", arg=first)
        person.sees("#chips", "Connected")
        # The same socket and the same session: nothing on the page has moved.
        assert len([address for address in person.addresses if address.startswith("ws")]) == 1
        assert person.complaints == []


def test_too_many_new_sessions_are_waited_for_as_the_server_says(browser: Browser) -> None:
    with serving("--sessions-per-second-per-address", "0.1") as server, browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        person = Person(context.new_page(), f"http://127.0.0.1:{server.port}/")
        answers: list[tuple[int, str | None]] = []
        person.page.on("response", lambda answer: note(answer, answers))
        # Somebody else at this address has created as many as may come at once.
        while context.request.post(f"{person.url}session").ok:
            pass
        person.page.goto(person.url)
        person.sees("#banner", r"Too many new sessions at once.* The page tries again by itself\.")
        left = int(person.sees("#chips", r"Reconnecting in (\d+) s")[1])
        person.page.wait_for_selector("#holdings tbody tr")
        person.page.wait_for_selector("#banner", state="hidden")
        (status, wait), *later = answers
        assert status == TOO_MANY
        assert left <= int(str(wait))
        # Refused once, and not again: it came when it was told to.
        assert later == [(CREATED, None)]


def note(answer: Response, answers: list[tuple[int, str | None]]) -> None:
    if answer.url.endswith("/session"):
        answers.append((answer.status, answer.headers.get("retry-after")))


def test_a_wait_for_a_new_session_can_be_cut_short(browser: Browser) -> None:
    with serving() as server, browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        person = Person(context.new_page(), f"http://127.0.0.1:{server.port}/")
        busy = {"status": 429, "headers": {"retry-after": "3600"}, "json": {"detail": "Not now."}}
        context.route("**/session", lambda route: route.fulfill(**busy), times=1)
        person.page.goto(person.url)
        person.sees("#chips", r"Reconnecting in 3\d\d\d s")
        person.page.get_by_role("button", name="Try now").click()
        person.page.wait_for_selector("#holdings tbody tr")


def test_a_full_server_is_told_and_waited_for(browser: Browser) -> None:
    with serving("--max-connections", "1") as server, browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        first, second = (Person(context.new_page(), f"http://127.0.0.1:{server.port}/") for _ in range(2))
        first.open()
        second.page.goto(second.url)
        second.sees("#banner", r"takes no more connections from here at the moment\. The page tries again")
        second.sees("#chips", r"Reconnecting in \d+ s")
        first.page.close()
        second.page.wait_for_selector("#holdings tbody tr")
        second.page.wait_for_selector("#banner", state="hidden")

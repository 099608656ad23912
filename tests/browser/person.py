"""A user's actions on the page, and what the user sees."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

ARGUMENTS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
PATIENCE_MS: Final = 20_000

# Violations of the policy reach the console, too; this tells what was blocked.
_WATCH: Final = """
document.addEventListener("securitypolicyviolation", (event) =>
    console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


class Person:
    """One tab."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self.addresses: list[str] = []
        page.add_init_script(_WATCH)
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.addresses.append(request.url))
        page.on("websocket", lambda socket: self.addresses.append(socket.url))

    def _hear(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(text)

    def open(self, fragment: str = "") -> None:
        self.page.goto(self.url + fragment)
        self.page.wait_for_selector("#holdings tbody tr")

    def other_tab(self, context: BrowserContext | None = None) -> Person:
        """The same session in another tab."""
        other = Person((context or self.page.context).new_page(), self.url)
        other.open(self.fragment)
        return other

    @property
    def fragment(self) -> str:
        return "#" + self.page.url.partition("#")[2]

    def analyse(self, ticker: str) -> None:
        self.page.click(f"button.ticker:text-is('{ticker}')")

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def sees(self, selector: str, pattern: str) -> re.Match[str]:
        """Wait until a text matches; the match."""
        # A function, not an expression: the page's policy lets nothing evaluate text.
        # The text that matched is what it returns: read once more, it may have changed.
        matched = self.page.wait_for_function(
            """([place, pattern]) => {
                const text = document.querySelector(place)?.innerText ?? '';
                return new RegExp(pattern).test(text) ? { text } : null;
            }""",
            arg=[selector, pattern],
        )
        found = re.search(pattern, matched.json_value()["text"])
        assert found is not None
        return found

    def tiles(self, state: str, count: int) -> None:
        """Wait until a number of tiles are in a state."""
        self.page.wait_for_function(
            "([state, count]) => document.querySelectorAll(`.tile[data-state=${state}]`).length === count",
            arg=[state, count],
        )

    def held(self) -> dict[str, str]:
        """Shares by ticker, as the rows say it."""
        rows: list[list[str]] = self.page.eval_on_selector_all(
            "#holdings tbody tr",
            "rows => rows.map(row => [row.querySelector('button').innerText, row.cells[1].innerText])",
        )
        return dict(rows)

    def measure(self, script: str) -> Any:
        return self.page.evaluate(script)

"""The pages, and the blocks of code in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from typing_extensions import override

ROOT: Final = Path(__file__).parents[2]
_BESIDE: Final = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
PAGES: Final = sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in _BESIDE)])

_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^#+ +(.*)$", re.MULTILINE)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    @override
    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(language: str, page: Path | None = None) -> list[Block]:
    """The blocks in a language, of one page or of all."""
    found = []
    for each in PAGES if page is None else [page]:
        text = each.read_text()
        found += [
            Block(each, text.count("\n", 0, match.start()) + 1, match[1], match[2])
            for match in _BLOCK.finditer(text)
            if match[1] == language
        ]
    return found


def links(page: Path) -> list[str]:
    """Where the page's links lead, those to other hosts left out."""
    prose = _BLOCK.sub("", page.read_text())
    return [link for link in _LINK.findall(prose) if "://" not in link]


def anchors(page: Path) -> set[str]:
    """The fragments that its headings can be linked by, as GitHub makes them."""
    headings = _HEADING.findall(_BLOCK.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

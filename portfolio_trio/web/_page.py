"""The files of the page, under addresses that change whenever one of them does."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

INDEX: Final = "index.html"
# Where the index says that its files are; behind it comes the digest of all of them.
PLACE: Final = "/page/"

_ANNOTATION: Final = re.compile(rb"/\*\* @(?:type|param) [^*]*\*/ ?")

TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, in both forms that go over the wire.

    Attributes:
        path: Where it lives on the server.
        content_type: The header.
        plain: Its bytes.
        packed: The same, as gzip.
        digest: Of its bytes; what an entity tag is made of.
    """

    path: str
    content_type: str
    plain: bytes = field(repr=False)
    packed: bytes = field(repr=False)
    digest: str


@dataclass(frozen=True, slots=True)
class Page:
    """The page of one release.

    Attributes:
        index: The document; its address stays, so it has to be asked for each time.
        assets: What the document wants; each has an address of this release, and may be kept for ever.
    """

    index: Asset
    assets: tuple[Asset, ...]


def open_page() -> Page:
    """Read the files and pack them; takes milliseconds."""
    texts = dict(_read())
    document = texts.pop(INDEX)
    release = _digest(name.encode() + b"\0" + body for name, body in sorted(texts.items()))
    # Modules import each other by relative addresses, so that the directory is all that needs a name.
    place = f"{PLACE}{release}/"
    document = _with_modules(document, sorted(name for name in texts if name.endswith(".js")))
    return Page(
        index=_asset("/", INDEX, document.replace(PLACE.encode(), place.encode())),
        assets=tuple(_asset(place + name, name, body) for name, body in sorted(texts.items())),
    )


def _with_modules(document: bytes, names: Iterable[str]) -> bytes:
    """Name all modules in the document: a browser asks for them at once, not for each when it reads of it."""
    links = "".join(f'<link rel="modulepreload" href="{PLACE}{name}">' for name in names)
    return document.replace(b"</head>", f"{links}\n</head>".encode())


def _read() -> Iterable[tuple[str, bytes]]:
    for each in files("portfolio_trio.web").joinpath("static").iterdir():
        if each.is_file():
            body = each.read_bytes()
            yield each.name, _lean(body) if each.name.endswith((".js", ".css")) else body


def _lean(source: bytes) -> bytes:
    """Without indentation, and with empty lines for comment: types and reasons are for who works on it.

    They stay lines, so that an error in a browser names the line of the source. No text of a module may span
    lines: it would lose its spaces.
    """
    inside = False
    lines = []
    for line in source.split(b"\n"):
        text = line.strip()
        begins = text.startswith(b"/*")
        comment = inside or begins or text.startswith(b"//")
        if inside or begins:
            inside = not text.endswith(b"*/")
        lines.append(b"" if comment else _ANNOTATION.sub(b"", text))
    return b"\n".join(lines)


def _asset(path: str, name: str, body: bytes) -> Asset:
    kind = TYPES["." + name.rpartition(".")[2]]
    # Without a time in it, so that each process of a release has the same bytes.
    return Asset(path, kind, body, gzip.compress(body, mtime=0), _digest([body]))


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]

"""The files of the page, with URLs that change whenever one of the files does."""

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
# The path of the files in the index; in URLs the digest of all of them follows.
PLACE: Final = "/page/"

_ANNOTATION: Final = re.compile(rb"/\*\* @(?:type|param) [^*]*\*/ ?")
# In a style sheet without such characters in strings and values, these spaces separate nothing.
_STYLE_SPACE: Final = re.compile(rb"(?<=[:;,{}]) |;? (?=[{}])")
# Nor do these among the names with which a line of a module begins.
_NAMES: Final = re.compile(rb"^(?:import|const) \{[^}\"'`]*\} ?")
_NAMES_SPACE: Final = re.compile(rb"(?<=[,{}]) | (?=[{}])")

TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, in both forms that are sent.

    Attributes:
        path: Its path on the server.
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
        index: The document; its URL never changes, so it has to be revalidated each time.
        assets: The files the document needs; each has a URL of this release, and may be cached forever.
    """

    index: Asset
    assets: tuple[Asset, ...]


def open_page() -> Page:
    """Read and compress the files; takes milliseconds."""
    texts = dict(_read())
    document = texts.pop(INDEX)
    release = _digest(name.encode() + b"\0" + body for name, body in sorted(texts.items()))[:8]
    # Modules import each other by relative URLs, so that only the directory needs a name.
    place = f"{PLACE}{release}/"
    document = _with_modules(document, sorted(name for name in texts if name.endswith(".js")))
    return Page(
        index=_asset("/", INDEX, document.replace(PLACE.encode(), place.encode())),
        assets=tuple(_asset(place + name, name, body) for name, body in sorted(texts.items())),
    )


def _with_modules(document: bytes, names: Iterable[str]) -> bytes:
    """List all modules in the document, so that a browser requests them at once instead of one by one."""
    links = "".join(f'<link rel="modulepreload" href="{PLACE}{name}">' for name in names)
    return document.replace(b"</head>", f"{links}\n</head>".encode())


def _read() -> Iterable[tuple[str, bytes]]:
    for each in files("portfolio_trio.web").joinpath("static").iterdir():
        if each.is_file():
            body = each.read_bytes()
            if each.name.endswith((".js", ".css")):
                body = _lean(body)
            yield each.name, _STYLE_SPACE.sub(b"", body) if each.name.endswith(".css") else body


def _lean(source: bytes) -> bytes:
    """Remove indentation and blank out comments, which are only for developers.

    Lines are kept, so that an error in a browser has the line number of the source. No string of a module may
    span lines: it would lose its spaces.
    """
    inside = False
    lines = []
    for line in source.split(b"\n"):
        text = line.strip()
        begins = text.startswith(b"/*")
        comment = inside or begins or text.startswith(b"//")
        if inside or begins:
            inside = not text.endswith(b"*/")
        text = _NAMES.sub(lambda names: _NAMES_SPACE.sub(b"", names[0]), _ANNOTATION.sub(b"", text))
        lines.append(b"" if comment else text)
    return b"\n".join(lines)


def _asset(path: str, name: str, body: bytes) -> Asset:
    kind = TYPES["." + name.rpartition(".")[2]]
    # Without a timestamp, so that every process of a release has the same bytes.
    return Asset(path, kind, body, gzip.compress(body, mtime=0), _digest([body]))


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]

"""The files of the page: their size, their references, and what they never do."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

import portfolio_trio.web
from portfolio_trio.web import Asset, open_page
from portfolio_trio.web import _page as page_module

STATIC = Path(portfolio_trio.web.__file__).parent / "static"
MODULES = sorted(STATIC.glob("*.js"))
PAGE = open_page()
EVERYTHING: tuple[Asset, ...] = (PAGE.index, *PAGE.assets)
MOST_BYTES = 120_000


def test_all_of_it_weighs_no_more_than_one_photograph() -> None:
    assert sum(len(asset.plain) for asset in EVERYTHING) <= MOST_BYTES
    assert sum(len(asset.packed) for asset in EVERYTHING) <= MOST_BYTES / 2


@pytest.mark.parametrize("asset", EVERYTHING, ids=lambda asset: asset.path.rpartition("/")[2] or "index")
def test_both_forms_say_the_same(asset: Asset) -> None:
    assert gzip.decompress(asset.packed) == asset.plain
    assert asset.content_type


def test_every_process_of_a_release_has_the_same_bytes() -> None:
    assert open_page() == PAGE


def test_an_address_changes_with_any_of_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    original = dict(page_module._read())
    changed = {**original, "main.js": original["main.js"] + b"\n"}
    monkeypatch.setattr(page_module, "_read", changed.items)
    other = open_page()
    assert {asset.path for asset in other.assets}.isdisjoint(asset.path for asset in PAGE.assets)
    assert other.index.digest != PAGE.index.digest


def test_the_document_names_files_that_are_there() -> None:
    named = set(re.findall(r'(?:href|src)="([^"]+)"', PAGE.index.plain.decode()))
    assert named <= {asset.path for asset in PAGE.assets}
    assert any(path.endswith("/main.js") for path in named)


def test_modules_import_files_that_are_there_and_nothing_from_elsewhere() -> None:
    names = {path.name for path in STATIC.iterdir()}
    for path in MODULES:
        for imported in re.findall(r'(?:from|import)\s*\(?"([^"]+)"', _code(path.name)):
            assert imported.removeprefix("./") in names, f"{path.name} imports {imported}"


def test_all_modules_are_asked_for_at_once() -> None:
    preloaded = re.findall(r'<link rel="modulepreload" href="([^"]+)">', PAGE.index.plain.decode())
    assert preloaded == sorted(asset.path for asset in PAGE.assets if asset.path.endswith(".js"))


def test_all_that_a_browser_loads_is_reached_and_nothing_else_is_shipped() -> None:
    reached, ahead = set(), ["main.js"]
    while ahead:
        name = ahead.pop()
        reached.add(name)
        ahead += set(re.findall(r'from "\./([^"]+)"', _code(name))) - reached
    assert reached == {path.name for path in MODULES}


@pytest.mark.parametrize("path", [*MODULES, STATIC / "index.html"], ids=lambda path: path.name)
def test_text_never_becomes_markup_or_code(path: Path) -> None:
    text = path.read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
    )
    assert not re.search(r'style="|<style|javascript:|\bon[a-z]+="', text)
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


@pytest.mark.parametrize("path", [*MODULES, STATIC / "style.css"], ids=lambda path: path.name)
def test_what_is_left_out_on_the_way_is_comment_and_indentation(path: Path) -> None:
    source, sent = path.read_text().split("\n"), _code(path.name).split("\n")
    assert len(source) == len(sent)
    inside = False
    for before, after in zip(source, sent, strict=True):
        if path.suffix == ".css" and after and not inside:
            # Spaces go only from beside a character that separates as well.
            parts = [[part for part in re.split(r"[ :;,{}]+", line) if part] for line in (before, after)]
            assert parts[0] == parts[1]
        elif re.match(r"\s*(import|const) \{", before):
            plain = re.sub(r"/\*\* @(type|param) .*?\*/ ?", "", before.strip())
            assert re.split("[ ,{}]+", after) == re.split("[ ,{}]+", plain)
        elif after != re.sub(r"/\*\* @(type|param) .*?\*/ ?", "", before.strip()):
            assert after == ""
            assert inside or before.lstrip().startswith(("//", "/*"))
        elif not inside:
            assert before.count("`") % 2 == 0, f"a text of {path.name} goes on in the next line"
        inside = (inside or before.lstrip().startswith("/*")) and "*/" not in before
    assert not inside


def test_no_module_is_past_its_one_subject() -> None:
    assert {path.name: n for path in MODULES if (n := len(path.read_text().splitlines())) > 350} == {}


def _code(name: str) -> str:
    return next(asset.plain.decode() for asset in PAGE.assets if asset.path.endswith(f"/{name}"))

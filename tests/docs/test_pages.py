"""What a page shows can be typed, and its links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import io
import json
import re
import shlex
from contextlib import redirect_stdout, suppress
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from pydantic import TypeAdapter

from portfolio_trio.cli.main import COMMANDS, main
from tests.docs.pages import PAGES, ROOT, Block, anchors, blocks, links

if TYPE_CHECKING:
    from collections.abc import Iterator

SESSION: Final = re.compile(r"^def (\w+)\(session", re.MULTILINE)
TESTS: Final = re.compile(r"\btests/[\w/]+(?:\.py)?")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if fragment and target.suffix == ".md":
            assert fragment in anchors(target), link


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_compiles_and_imports_what_there_is(block: Block) -> None:
    # Pieces may await outside a function, as a reader's function does.
    tree = compile(block.text, str(block), "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            assert not [alias.name for alias in node.names if not hasattr(module, alias.name)]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)


@cache
def help_of(command: str) -> str:
    said = io.StringIO()
    with redirect_stdout(said), suppress(SystemExit):
        main([command, "--help"])
    return said.getvalue()


def typed() -> Iterator[tuple[str, list[str]]]:
    """Each line of a shell block that a reader types, and its words."""
    for language in ("sh", "console"):
        for block in blocks(language):
            for line in block.text.replace("\\\n", " ").splitlines():
                if language == "sh" or line.startswith("$ "):
                    yield str(block), shlex.split(line.removeprefix("$ "), comments=True)


def calls(program: str) -> Iterator[tuple[str, list[str]]]:
    """Each call of a program in a shell block: where, and the words behind its name."""
    for where, words in typed():
        for place, word in enumerate(words):
            if word.rsplit("/", 1)[-1] == program and words[place - 1 : place] != ["install"]:
                yield where, list(takewhile(lambda each: each not in {"&&", "|"}, words[place + 1 :]))


def test_each_command_and_flag_exists() -> None:
    seen = set()
    for where, (command, *flags) in calls("portfolio-trio"):
        assert command in COMMANDS, where
        known = set(re.findall(r"--[a-z][a-z-]*", help_of(command)))
        for flag in flags:
            if flag.startswith("--"):
                assert flag.partition("=")[0] in known, f"{where}: {command} {flag}"
        seen.add(command)
    assert {"serve", "watch", "check", "demo"} <= seen


def test_each_nox_session_and_each_path_of_tests_exists() -> None:
    sessions = set(SESSION.findall((ROOT / "noxfile.py").read_text()))
    text = "\n".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"nox -s ([a-z]+)", text))
    assert named
    assert named <= sessions
    assert not [path for path in set(TESTS.findall(text)) if not (ROOT / path).exists()]


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    # One message, or one a line; "..." stands for what is left out.
    whole = re.sub(r",?\s*\.\.\.", "", block.text)
    try:
        json.loads(whole)
    except ValueError:
        for line in whole.strip().splitlines():
            TypeAdapter(dict[str, object]).validate_json(line)

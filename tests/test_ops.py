"""The files for operators refer only to existing things."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

from portfolio_trio.settings import Settings

ROOT: Final = Path(__file__).parents[1]
OPS: Final = ROOT / "ops"
DASHBOARD: Final = OPS / "grafana/dashboards/portfolio.json"
METRIC: Final = re.compile(r"\bportfolio_[a-z_]+")
SUFFIXES: Final = ("", "_bucket", "_sum", "_count")


def documented() -> set[str]:
    """The metrics in the table of docs/operations.md."""
    rows = re.findall(r"^\| (`portfolio_.*?) \|", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    return {name for row in rows for name in METRIC.findall(row)}


@pytest.mark.parametrize("file", ["grafana/dashboards/portfolio.json", "alerts.yml", "alerts_test.yml"])
def test_only_metrics_that_are_documented_are_asked_for(file: str) -> None:
    asked = METRIC.findall((OPS / file).read_text())
    assert asked
    known = {name + suffix for name in documented() for suffix in SUFFIXES}
    assert not set(asked) - known


def test_the_dashboard_has_a_place_for_each_panel() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize(
    "file", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda file: str(file.name)
)
def test_workflows_run_sessions_and_tests_that_exist(file: Path) -> None:
    text = file.read_text()
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE))
    named = {name for row in re.findall(r"session: \[(.*)\]", text) for name in row.split(", ")}
    named |= set(re.findall(r"nox --session (\w+)", text))
    assert named <= sessions
    assert not [
        path for path in re.findall(r"\b(?:tests|examples)/[\w/.]+", text) if not (ROOT / path).exists()
    ]


@pytest.mark.parametrize("file", ["compose.yaml", "ops/Dockerfile", "ops/kubernetes.yaml"])
def test_each_setting_that_is_set_exists(file: str) -> None:
    named = set(re.findall(r"\bPORTFOLIO_([A-Z_]+)\b", (ROOT / file).read_text()))
    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)

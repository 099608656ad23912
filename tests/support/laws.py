"""What always holds for the messages that one socket has received, whatever happened meanwhile."""

from __future__ import annotations

import json

from tests.support.app import METRICS, Frame


def check_versions(frames: list[Frame]) -> None:
    """Once a subscriber has seen holdings, no number on older ones."""
    version = 0
    of_run: dict[int, int] = {}
    for frame in frames:
        if frame["type"] == "portfolio":
            assert frame["version"] >= version
            version = frame["version"]
        elif frame["type"] == "analysis_started":
            of_run[frame["run_id"]] = frame["version"]
        elif frame["type"] == "analysis_result":
            assert of_run[frame["run_id"]] >= version, f"{frame} is on older holdings than {version}"


def check_values(frames: list[Frame]) -> None:
    """No older tick is shown after a newer one."""
    shown = [f["tick_id"] for f in frames if f["type"] == "portfolio_update"]
    assert shown == sorted(shown)


def check_order(frames: list[Frame]) -> None:
    """Results of a newer run are never followed by one of an older run, and none comes twice."""
    results = [(f["run_id"], f["metric"]) for f in frames if f["type"] == "analysis_result"]
    assert [run for run, _ in results] == sorted(run for run, _ in results)
    assert len(set(results)) == len(results)


def check_snapshots(frames: list[Frame], ticks: dict[int, dict[str, float]]) -> None:
    """All results of a run saw the same holdings at the prices of one tick."""
    seen: dict[int, str] = {}
    for frame in frames:
        if frame["type"] != "analysis_result":
            continue
        saw = json.dumps([frame[name] for name in ("snapshot", "tick_id", "as_of", "receipt")])
        assert seen.setdefault(frame["run_id"], saw) == saw, f"run {frame['run_id']} saw two snapshots"
        prices = ticks[frame["tick_id"]]
        assert frame["receipt"]["prices"] == {name: prices[name] for name in frame["receipt"]["holdings"]}


def check_completed(frames: list[Frame]) -> None:
    """A completed run has an outcome for each metric, once."""
    for end in frames:
        if end["type"] == "analysis_completed":
            told = [
                f["metric"]
                for f in frames
                if f["type"] in {"analysis_result", "metric_error"} and f["run_id"] == end["run_id"]
            ]
            assert sorted(told) == sorted(METRICS)
            assert end["results"] + end["errors"] == len(METRICS)


def check_recorded(watched: list[Frame], recorded: list[Frame], *, in_order: bool = True) -> None:
    """What was seen is in the document, once; a completed run as a whole.

    Runs are seen in their order. So are the results of each, unless batches get lost: what one should have
    brought is read in the document, when later results may have been seen.
    """
    # The receipt of a run stands with its first result only.
    receipts = {f["run_id"]: {"receipt": f["receipt"]} for f in recorded if "receipt" in f}
    recorded = [{**f, **receipts.get(f["run_id"], {})} for f in recorded]
    keys = [(f["run_id"], f["metric"]) for f in recorded]
    assert len(set(keys)) == len(keys), "a result is recorded twice"
    streamed = [
        {key: value for key, value in frame.items() if key != "type"}
        for frame in watched
        if frame["type"] == "analysis_result"
    ]
    seen_runs = [frame["run_id"] for frame in streamed]
    assert seen_runs == sorted(seen_runs), "a result of a run behind those of a newer one"
    if not in_order:
        for results in (streamed, recorded):
            results.sort(key=lambda result: (result["run_id"], result["metric"]))
    rest = iter(recorded)
    assert all(frame in rest for frame in streamed), "a streamed result is not recorded, or out of order"
    completed = {f["run_id"] for f in watched if f["type"] == "analysis_completed"}
    assert [f for f in recorded if f["run_id"] in completed] == [
        f for f in streamed if f["run_id"] in completed
    ]

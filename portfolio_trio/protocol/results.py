"""Results of a run, built directly as the text that the model `AnalysisResult` would write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic_core import to_json

from portfolio_trio.protocol.messages import joined

if TYPE_CHECKING:
    from portfolio_trio.protocol.messages import Receipt


class ComputedResult(NamedTuple):
    """One metric of one run, as its record; can be used wherever a message can.

    Building a model would cost more than the metric's arithmetic. A test compares the texts of both.

    Attributes:
        metric: Its name.
        value: Its value.
        run_id: The run.
        record: The message without its envelope and receipt, a JSON object.
        receipt: The run's inputs, if requested.
        id: Of the request that this frame answers.
    """

    metric: str
    value: float
    run_id: int
    record: str
    receipt: Receipt | None = None
    id: str | int | None = None

    @property
    def type(self) -> Literal["analysis_result"]:
        """The type of the message."""
        return "analysis_result"

    def echo(self, request_id: str | int | None) -> ComputedResult:
        """The same message as the answer to a request with this id."""
        return self if request_id is None else self._replace(id=request_id)

    def to_record(self, *, receipt: bool = True) -> str:
        """The text that the session document keeps: the message without its envelope.

        Args:
            receipt: Include its receipt, if it has one; the document keeps it with the first result of a run.
        """
        if self.receipt is None or not receipt:
            return self.record
        return joined(self.record, f'{{"receipt":{self.receipt.text}}}')

    def to_json(self) -> str:
        """The text of the frame: the envelope around the record."""
        record = self.to_record()
        if self.id is None:
            return f'{{"type":"analysis_result",{record[1:]}'
        return joined(to_json({"id": self.id, "type": "analysis_result"}).decode(), record)


def common_text(
    *, snapshot: str, tick_id: int, as_of: str, last_bar: str | None, stale: bool, method: str
) -> str:
    """The end of every result of one portfolio at one tick, serialised once: fields without braces.

    Args:
        snapshot: The hash of the snapshot.
        tick_id: The tick of its prices.
        as_of: When those prices were quoted.
        last_bar: Date of the newest closed bar it was computed from.
        stale: Whether prices or bars are older than they should be.
        method: The version of the method.
    """
    common: dict[str, object] = {
        "snapshot": snapshot,
        "tick_id": tick_id,
        "as_of": as_of,
        "last_bar": last_bar,
        "stale": stale or None,
        "method": method,
    }
    there = {name: value for name, value in common.items() if value is not None}
    return to_json(there).decode()[1:-1]


class RunTexts:
    """The part that all results of one run have in common, serialised once.

    Args:
        ticker: The name analysed.
        run_id: The run.
        common: The part that it has in common with other runs, from `common_text`.
        receipt: The run's inputs, if requested.
    """

    __slots__ = ("_begin", "_end", "_receipt", "_run_id")

    def __init__(self, ticker: str, run_id: int, common: str, receipt: Receipt | None) -> None:
        self._begin = to_json({"ticker": ticker}).decode()[:-1]
        self._end = f'"run_id":{run_id},{common}'
        self._run_id, self._receipt = run_id, receipt

    def result(self, metric: str, value: float, timestamp: str, detail: str | None) -> ComputedResult:
        """One result of the run.

        Args:
            metric: Its name, which needs no escaping.
            value: Its value, finite and canonical.
            timestamp: When it was computed.
            detail: Its detail as JSON text.
        """
        number = to_json(value).decode()
        end = "}" if detail is None else f',"detail":{detail}}}'
        record = (
            f'{self._begin},"metric":"{metric}","value":{number},"timestamp":"{timestamp}",{self._end}{end}'
        )
        return ComputedResult(metric, value, self._run_id, record, self._receipt)

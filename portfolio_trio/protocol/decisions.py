"""Answers about the portfolio as a whole: risk, what-if, plan, history.

The server writes them with `exact_json`, as rows of plain numbers; these models describe and read them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from portfolio_trio.protocol.messages import Message, Receipt

Errors = Annotated[
    dict[str, str],
    Field(description="error code of each number that is null; left out if there are none"),
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Decision(Message):
    """The fields of all these answers about the snapshot they were computed from."""

    version: int
    tick_id: int
    as_of: str
    snapshot: str
    last_bar: str | None = Field(None, description="date of the newest close it was computed from")
    stale: Literal[True] | None = Field(
        None, description="present if prices or bars are older than they should be"
    )
    method: str
    errors: Errors = Field(default_factory=dict)
    receipt: Receipt | None = None

    @override
    def to_json(self) -> str:
        """The text of the frame; a missing number is null."""
        fields = type(self).model_fields.items()
        absent = {name for name, field in fields if not field.is_required() and not getattr(self, name)}
        return self.model_dump_json(exclude=absent - self.errors.keys())


class Totals(_Part):
    """A whole portfolio in six numbers."""

    value: float = Field(description="net, in currency units")
    gross: float = Field(description="sum of the sizes of all positions")
    volatility: float | None = Field(description="annual, as a fraction of gross value")
    risk: float | None = Field(description="the volatility in currency units")
    effective_holdings: float | None = Field(description="1 / sum of squared weights")
    n_obs: int = Field(description="common returns used")
    errors: Errors = Field(default_factory=dict)


class Change(_Part):
    """Totals after less totals before; null if either is, with the code of that."""

    value: float
    gross: float
    volatility: float | None
    risk: float | None
    effective_holdings: float | None
    errors: Errors = Field(default_factory=dict)


class HoldingRisk(_Part):
    """One holding; its numbers are those that its analysis gives from the same snapshot."""

    ticker: str
    shares: float
    price: float
    value: float = Field(description="shares times price, in currency units")
    weight: float = Field(description="of gross value, signed")
    risk: float | None = Field(description="share of variance, `portfolio_risk`")
    volatility: float | None = Field(description="annual, as a fraction")
    beta: float | None = Field(description="to the portfolio")
    correlation: float | None = Field(description="with the rest of the portfolio")
    target_weight: float
    budget: float | None = Field(description="target share of risk")
    score: float | None = Field(description="budget less share of risk, `allocation_score`")
    errors: Errors = Field(default_factory=dict)


class Risk(Decision):
    """The risk of every holding, in the order of `portfolio`, and of the whole portfolio."""

    type: Literal["risk"] = "risk"
    holdings: tuple[HoldingRisk, ...]
    totals: Totals
    matrix: tuple[tuple[float | None, ...], ...] | None = Field(
        None,
        description="EWMA correlations in the order of the holdings, if requested; null for a name whose "
        "volatility is 0; the whole matrix is null if `errors` says why",
    )


class Side(_Part):
    """One name on one side of a trade."""

    shares: float
    value: float
    weight: float
    risk: float | None = Field(description="share of variance")
    errors: Errors = Field(default_factory=dict)


class Traded(_Part):
    """One name before and after."""

    ticker: str
    before: Side
    after: Side


class Hedge(_Part):
    """The size of one position at which the portfolio's risk is least, all others unchanged."""

    ticker: str
    value: float
    shares: float


class WhatIf(Decision):
    """The effect of trades, with both sides computed from the same days; nothing is recorded."""

    type: Literal["what_if"] = "what_if"
    trades: dict[str, float]
    before: Totals
    after: Totals
    change: Change
    holdings: tuple[Traded, ...]
    cash: float = Field(description="proceeds of the trades: minus the sum of shares times price")
    best_hedge: Hedge | None = Field(
        description="of the traded name; null without an error if the trades are not of exactly one name"
    )


class PlanLine(_Part):
    """One trade of a plan."""

    ticker: str
    shares: float = Field(description="shares to buy, or to sell if negative")
    value: float
    weight_before: float
    weight_after: float
    risk_before: float | None
    risk_after: float | None
    errors: Errors = Field(default_factory=dict)


class Plan(Decision):
    """The trades that together reach the targets, largest first; nothing is traded."""

    type: Literal["plan"] = "plan"
    to: Literal["weights", "budgets"]
    cash: float
    only_buy: bool
    whole_shares: bool
    lines: tuple[PlanLine, ...]
    before: Totals
    after: Totals
    turnover: float = Field(description="sum of the sizes of all trades, as a fraction of gross value before")
    cash_left: float = Field(description="cash less purchases, plus sales")


class Drawdown(_Part):
    """The deepest fall from a peak."""

    depth: float = Field(description="peak less trough, as a fraction of gross value at the peak")
    peak: str = Field(description="date of the peak; `as_of` if it is the live value")
    trough: str = Field(description="date of the trough; `as_of` if it is the live value")


class History(Decision):
    """How today's holdings would have performed: no dividends, no past trades."""

    type: Literal["history"] = "history"
    basis: Literal["current_holdings"] = "current_holdings"
    bars: int
    since: str | None
    dates: tuple[str, ...]
    values: tuple[float, ...] = Field(description="one for each date, oldest first")
    value: float = Field(description="today's live value, at `as_of`")
    drawdown: Drawdown | None

"""Plans reach their targets, and equal the results of independent minimisers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, minimize  # type: ignore[import-untyped]
from skfolio.moments import EWCovariance  # type: ignore[import-untyped]
from skfolio.optimization import RiskBudgeting  # type: ignore[import-untyped]
from skfolio.prior import EmpiricalPrior  # type: ignore[import-untyped]

from portfolio_trio.canonical import canonical_shares
from portfolio_trio.metrics import AnalysisError, MetricError, ReturnsCache, Targets, risk_budgets
from portfolio_trio.metrics.plan import Goal, Plan, Wish, plan, positions_to_plan
from portfolio_trio.metrics.risk import COLUMNS, holding_risks
from portfolio_trio.metrics.risk_budgets import budgeted_sizes
from tests.metrics.support import LAW, Portfolio, ewma_covariance, make_bars, make_portfolio, portfolios, walk

FEW = settings(LAW, max_examples=25)


class Case(NamedTuple):
    portfolio: Portfolio
    targets: Targets
    wish: Wish

    def plan(self, wish: Wish | None = None) -> Plan:
        wish, portfolio = wish or self.wish, self.portfolio
        cache = ReturnsCache(portfolio.bars, cash=("CASH",))
        found = positions_to_plan(cache, portfolio.holdings, portfolio.prices, self.targets, wish.to)
        return plan(found, wish)


@st.composite
def cases(
    draw: st.DrawFn, to: Goal, *, shorts: bool = True, withdrawals: bool = True, whole: bool = False
) -> Case:
    """Some of the names are held and some are wanted."""
    portfolio = draw(portfolios(shorts=shorts, least=2))
    names = list(portfolio.holdings)
    for name in draw(st.sets(st.sampled_from(names), max_size=len(names) - 1)):
        del portfolio.holdings[name]
    shares = draw(st.none() | st.dictionaries(st.sampled_from(names), st.floats(0.01, 1.0), min_size=1))
    gross = sum(abs(count) * portfolio.prices[name] for name, count in portfolio.holdings.items())
    cash = draw(st.floats(-0.9 if withdrawals else 0.0, 2.0)) * gross
    targets = Targets(weights=shares) if to == "weights" else Targets(budgets=shares)
    return Case(portfolio, targets, Wish(to, cash, whole_shares=whole))


def wanted(case: Case, plan: Plan) -> npt.NDArray[np.float64]:
    """Signed target values straight from the definition."""
    held = [name for name in plan.before.tickers if case.portfolio.holdings.get(name)]
    shares = case.targets.weights or dict.fromkeys(held, 1.0)
    values = case.portfolio.prices
    gross = sum(abs(case.portfolio.holdings[name]) * values[name] for name in held) + case.wish.cash
    signs = [-1.0 if case.portfolio.holdings.get(name, 0.0) < 0.0 else 1.0 for name in plan.before.tickers]
    total = sum(shares.values())
    return np.array(
        [
            sign * shares.get(name, 0.0) / total * gross
            for name, sign in zip(plan.before.tickers, signs, strict=True)
        ]
    )


@LAW
@given(cases("weights"))
def test_to_weights_every_drift_is_closed_and_the_cash_is_spent(case: Case) -> None:
    done = case.plan()
    assert done.after.values == pytest.approx(wanted(case, done), rel=1e-9, abs=1e-9 * done.after.gross)
    assert done.after.gross == pytest.approx(done.before.gross + case.wish.cash, rel=1e-9)
    drifts = case.targets.outside(dict(zip(done.after.tickers, done.after.values.tolist(), strict=True)))
    assert all(abs(drift) > case.targets.band for drift in drifts.values())
    assert not Targets(case.targets.weights, band=0.0).outside(
        dict(zip(done.after.tickers, done.after.values.tolist(), strict=True))
    )
    traded = done.after.values - done.before.values
    assert done.cash_left == pytest.approx(case.wish.cash - traded.sum(), abs=1e-9 * done.before.gross)
    if min(case.portfolio.holdings.values()) > 0.0:
        assert done.cash_left == 0.0


@LAW
@given(cases("budgets", shorts=False))
def test_to_budgets_every_holding_carries_its_budget(case: Case) -> None:
    done = case.plan()
    held = np.array([name in case.portfolio.holdings for name in done.after.tickers])
    shares = case.targets.budgets_of(done.after.tickers)
    budgets = held / held.sum() if shares is None else np.array(shares)
    assert not isinstance(done.risks_after, str)
    assert done.risks_after == pytest.approx(budgets, abs=1e-9)
    assert done.after.gross == pytest.approx(done.before.gross + case.wish.cash, rel=1e-9)
    assert ((done.after.shares == 0.0) == (budgets == 0.0)).all()


@LAW
@given(portfolios(shorts=False, least=2), st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-2.0, 6.0))
def test_budgets_that_are_not_set_are_those_of_the_risk(
    portfolio: Portfolio, sign: float, size: float
) -> None:
    """With and without cash, which has none and is sold."""
    holdings = portfolio.holdings | {"CASH": sign * 10.0**size}
    portfolio = portfolio._replace(holdings=holdings, prices=portfolio.prices | {"CASH": 1.0})
    done = Case(portfolio, Targets(), Wish("budgets")).plan()
    cache = ReturnsCache(portfolio.bars, cash=("CASH",))
    found = holding_risks(cache.portfolio(portfolio.holdings, portfolio.prices))
    assert found.tickers == done.after.tickers
    assert done.risks_after == pytest.approx(found.numbers[:, COLUMNS.index("budget")], abs=1e-9)
    assert dict(zip(done.after.tickers, done.after.shares, strict=True)).get("CASH", 0.0) == 0.0
    assert done.after.gross == pytest.approx(done.before.gross, rel=1e-9)


@FEW
@given(portfolios(least=2), st.data())
def test_to_budgets_is_what_scipy_minimises_long_and_short(portfolio: Portfolio, data: st.DataObject) -> None:
    budgets = {name: data.draw(st.floats(0.1, 1.0)) for name in portfolio.holdings}
    case = Case(portfolio, Targets(budgets=budgets), Wish("budgets"))
    done = case.plan()
    closes, names = portfolio.bars.closes, done.before.tickers
    signs = np.sign([portfolio.holdings[name] for name in names])
    covariance = 1e4 * ewma_covariance((closes[1:] / closes[:-1] - 1.0)[-252:])
    matrix = covariance * np.outer(signs, signs)
    shares = np.array([budgets[name] for name in names])
    shares /= shares.sum()

    def objective(logs: npt.NDArray[np.float64]) -> float:
        sizes = np.exp(logs)
        return float(sizes @ matrix @ sizes / 2.0 - shares @ logs)

    def slope(logs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        sizes = np.exp(logs)
        return np.asarray(sizes * (matrix @ sizes) - shares)

    best = minimize(objective, np.zeros(len(names)), jac=slope, method="BFGS", options={"gtol": 1e-9})
    sizes = np.exp(best.x) / np.exp(best.x).sum()
    assert done.after.weights == pytest.approx(signs * sizes, abs=1e-5)


@settings(LAW, max_examples=5)
@given(portfolios(shorts=False, least=2), st.data())
def test_to_budgets_is_what_skfolio_finds(portfolio: Portfolio, data: st.DataObject) -> None:
    budgets = {name: data.draw(st.floats(0.2, 1.0)) for name in portfolio.holdings}
    done = Case(portfolio, Targets(budgets=budgets), Wish("budgets")).plan()
    closes = portfolio.bars.closes
    model = RiskBudgeting(
        risk_budget=[budgets[name] for name in done.before.tickers],
        prior_estimator=EmpiricalPrior(
            covariance_estimator=EWCovariance(half_life=63, assume_centered=True, nearest=False)
        ),
    ).fit((closes[1:] / closes[:-1] - 1.0)[-252:])
    assert done.after.weights == pytest.approx(model.weights_, abs=2e-4)


@FEW
@given(cases("weights", shorts=False, withdrawals=False))
def test_only_buy_is_what_scipy_minimises(case: Case) -> None:
    assume(case.portfolio.holdings)
    done = case.plan(case.wish._replace(only_buy=True))
    bought = done.after.values - done.before.values
    gross = done.before.gross
    assert (done.trades >= 0.0).all()
    assert bought.sum() == pytest.approx(case.wish.cash, abs=1e-9 * gross)
    gaps = (wanted(case, done) - done.before.values) / gross
    budget = case.wish.cash / gross
    best = minimize(
        lambda buys: ((buys - gaps) ** 2).sum(),
        np.full(len(gaps), budget / len(gaps)),
        jac=lambda buys: 2.0 * (buys - gaps),
        bounds=[(0.0, None)] * len(gaps),
        constraints=LinearConstraint(np.ones((1, len(gaps))), budget, budget),
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    assert bought / gross == pytest.approx(best.x, abs=1e-6)


@LAW
@given(cases("weights", whole=True))
def test_whole_shares_are_whole_and_near_what_is_wanted(case: Case) -> None:
    done, exact = case.plan(), case.plan(case.wish._replace(whole_shares=False))
    assert done.trades.tolist() == [float(round(each)) for each in done.trades.tolist()]
    over = done.trades - exact.trades
    assert (over < 1.0 + 1e-6).all()
    if (done.before.shares == np.round(done.before.shares)).all():
        assert (over > -1.0 - 1e-6).all()
    signs = np.sign(done.before.shares)
    assert (signs * done.after.shares >= -1e-12 * np.abs(done.before.shares)).all()
    prices = done.after.prices
    assert done.cash_left == pytest.approx(
        case.wish.cash - float(done.trades @ prices), abs=1e-9 * done.before.gross
    )
    # What is left pays no share of a line that is still short of what is wanted.
    short = (exact.trades - done.trades > 1e-6) & (signs * (done.after.shares + 1.0) >= 0.0)
    assert not (short & (prices <= done.cash_left)).any()


@LAW
@given(
    st.floats(0.5, 3.0), st.lists(st.sampled_from([1e-3, 1.0, 60.0, 1e4]), min_size=3, max_size=6), st.data()
)
def test_cash_that_is_left_pays_no_share_that_is_wanted(
    held: float, prices: list[float], data: st.DataObject
) -> None:
    """Selling whole shares of something dear lacks cash; what that leaves may pay many cheap shares."""
    names = [f"N{place}" for place in range(len(prices))]
    market = make_portfolio(dict.fromkeys(["DEAR", *names], 1.0))
    market = market._replace(
        holdings={"DEAR": held}, prices={"DEAR": 1e6, **dict(zip(names, prices, strict=True))}
    )
    weights = {name: data.draw(st.floats(0.1, 1.0)) for name in names}
    exact, done = (
        Case(market, Targets(weights), Wish("weights", whole_shares=whole)).plan() for whole in (False, True)
    )
    assert done.cash_left >= 0.0
    short = exact.trades - done.trades > 1e-6
    # Rounding errors of the sum may lack the last share.
    assert not (short & (done.after.prices + 1e-6 <= done.cash_left)).any()


def test_what_whole_shares_cannot_take_out_is_said_to_lack() -> None:
    held = make_portfolio({"A": 1.0, "B": 1.0})._replace(holdings={"A": 0.44}, prices={"A": 100.0, "B": 7.0})
    done = Case(held, Targets(), Wish("weights", cash=-20.0, whole_shares=True)).plan()
    assert done.trades.tolist() == [0.0]
    assert done.cash_left == -20.0
    held = held._replace(holdings={"A": 1.44})
    assert Case(held, Targets(), Wish("weights", cash=-120.0, whole_shares=True)).plan().cash_left == -20.0
    assert Case(held, Targets(), Wish("weights", cash=-20.0, whole_shares=True)).plan().cash_left == 80.0


def test_cash_that_is_left_pays_many_shares_of_a_line() -> None:
    held = make_portfolio(dict.fromkeys("ABCD", 1.0))
    held = held._replace(holdings={"A": 1.9}, prices={"A": 1e6, "B": 0.001, "C": 60.0, "D": 60.0})
    done = Case(held, Targets(dict.fromkeys("BCD", 1.0)), Wish("weights", whole_shares=True)).plan()
    # Only one of 1.9 A can be sold: B gets nothing at first, and C so much less that 40 are left, which pay
    # 40,000 B.
    assert done.trades.tolist() == [-1.0, 40_000.0, 6_111.0, 10_555.0]
    assert done.cash_left == pytest.approx(0.0, abs=1e-3)


@FEW
@given(cases("weights", withdrawals=False, whole=True))
def test_whole_shares_lack_no_more_cash_than_the_plan_itself(case: Case) -> None:
    done, exact = case.plan(), case.plan(case.wish._replace(whole_shares=False))
    lacking = max(0.0, -exact.cash_left)
    assert done.cash_left >= -lacking - 1e-9 * exact.before.gross


@LAW
@given(cases("weights", shorts=False, withdrawals=False, whole=True))
def test_whole_shares_cost_no_more_than_there_is(case: Case) -> None:
    done = case.plan()
    assert done.cash_left >= -1e-9 * done.before.gross


@LAW
@given(cases("budgets"), st.integers(-20, 20))
def test_scale_of_shares_scales_the_plan(case: Case, exponent: int) -> None:
    factor = 2.0**exponent
    holdings = {name: factor * shares for name, shares in case.portfolio.holdings.items()}
    scaled = case._replace(
        portfolio=case.portfolio._replace(holdings=holdings),
        wish=case.wish._replace(cash=factor * case.wish.cash),
    )
    try:
        ours = case.plan()
    except MetricError as error:
        with pytest.raises(MetricError, match=error.code):
            scaled.plan()
        return
    assert scaled.plan().trades == pytest.approx(factor * ours.trades, rel=1e-12)


def is_made(held: float, traded: float) -> bool:
    """Whether ``trade`` makes a trade: it refuses those that change nothing."""
    traded = canonical_shares(traded)
    return canonical_shares(held + traded, held, traded) != canonical_shares(held)


@LAW
@given(cases("weights"), st.integers(0, 14))
def test_every_line_is_a_trade_that_is_made(case: Case, power: int) -> None:
    holdings = {
        name: canonical_shares(count * 10.0**power) for name, count in case.portfolio.holdings.items()
    }
    # The second plan has what rounding has left of the first.
    for _ in range(2):
        done = replace_holdings(case, holdings).plan(Wish("weights"))
        for held, traded in zip(done.before.shares.tolist(), done.trades.tolist(), strict=True):
            assert not traded or is_made(held, traded)
        after = zip(done.after.tickers, done.after.shares.tolist(), strict=True)
        holdings = {name: kept for name, shares in after if (kept := canonical_shares(shares))}
        assume(holdings)


def test_what_rounding_leaves_of_a_reached_target_is_no_line() -> None:
    case = Case(make_portfolio({"A": 1e12, "B": 1e12, "C": 3e11}), Targets(), Wish("weights"))
    after = case.plan().after
    reached = zip(after.tickers, map(canonical_shares, after.shares.tolist()), strict=True)
    again = replace_holdings(case, dict(reached)).plan()
    assert again.trades.tolist()[:2] == [0.0, 0.0]
    assert again.after.shares.tolist()[:2] == again.before.shares.tolist()[:2]


def replace_holdings(case: Case, holdings: dict[str, float]) -> Case:
    return case._replace(portfolio=case.portfolio._replace(holdings=holdings))


def test_without_targets_it_is_equal_shares_of_what_is_held() -> None:
    portfolio = make_portfolio({"A": 3.0, "B": 1.0})._replace(prices={"A": 10.0, "B": 10.0})
    done = Case(portfolio, Targets(), Wish("weights")).plan()
    assert done.trades.tolist() == [-1.0, 1.0]
    assert done.turnover == 0.5
    assert done.cash_left == 0.0
    done = Case(portfolio, Targets(), Wish("weights", cash=20.0, only_buy=True)).plan()
    assert done.trades.tolist() == [0.0, 2.0]


def test_a_plan_over_a_short_that_lacks_cash_is_rounded_and_not_left_out() -> None:
    held = make_portfolio({"A": 1.0, "B": -60.0})._replace(prices={"A": 30.0, "B": 7.0})
    exact, done = (
        Case(held, Targets(), Wish("weights", whole_shares=whole)).plan() for whole in (False, True)
    )
    # Gross 450, half of it each: 225 of A, and 225 of B short. Both are bought, with money that is not there.
    assert exact.trades.tolist() == pytest.approx([6.5, 195.0 / 7.0])
    # Rounded they are 6 and 27, which leaves 21 of what the plan itself lacks, and so one more B.
    assert done.trades.tolist() == [6.0, 28.0]
    assert exact.cash_left <= done.cash_left < 0.0


def test_an_empty_portfolio_is_built_from_cash() -> None:
    empty = make_portfolio({"A": 1.0, "B": 1.0})._replace(holdings={}, prices={"A": 30.0, "B": 7.0})
    done = Case(empty, Targets({"A": 3.0, "B": 1.0}), Wish("weights", cash=100.0, whole_shares=True)).plan()
    # 75 and 25: 2 and 3 whole shares leave 19, which pay one more B.
    assert done.trades.tolist() == [2.0, 4.0]
    assert done.cash_left == 12.0
    assert done.risks_before == "empty_portfolio"
    with pytest.raises(AnalysisError, match="empty_portfolio"):
        Case(empty, Targets(), Wish("weights", cash=100.0)).plan()


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        (Wish("weights", cash=-1e9), "value_too_low"),
        (Wish("weights", cash=1.0, only_buy=True), "not_long_only"),
        (Wish("budgets"), "zero_variance"),
    ],
)
def test_what_cannot_be_planned_is_said(wish: Wish, code: str) -> None:
    portfolio = with_peg({"A": 1.0, "B": -1.0, "PEG": 5.0})
    with pytest.raises(MetricError) as caught:
        Case(portfolio, Targets(budgets=dict.fromkeys(portfolio.holdings, 1.0)), wish).plan()
    assert caught.value.code == code
    assert caught.value.tickers == {"not_long_only": ("B",), "zero_variance": ("PEG",)}.get(code, ())


@pytest.mark.parametrize("budgets", [None, {"A": 1.0, "B": 1.0}])
def test_what_does_not_move_is_sold_unless_it_has_a_budget(budgets: dict[str, float] | None) -> None:
    portfolio = with_peg({"A": 1.0, "B": -1.0, "PEG": 5.0})
    assert Case(portfolio, Targets(budgets=budgets), Wish("budgets")).plan().trades[2] == -5.0


def test_nothing_that_moves_has_no_budgets_to_reach() -> None:
    with pytest.raises(MetricError) as caught:
        Case(with_peg({"PEG": 5.0}), Targets(), Wish("budgets")).plan()
    assert (caught.value.code, caught.value.tickers) == ("zero_variance", ("PEG",))


def with_peg(holdings: dict[str, float]) -> Portfolio:
    """Two names that move and one that does not."""
    closes = np.column_stack((walk(["A", "B"], 300), np.ones(300)))
    bars = make_bars(("A", "B", "PEG"), closes)
    return Portfolio(bars, holdings, {"A": 10.0, "B": 20.0, "PEG": 1.0})


def test_too_little_history_is_said() -> None:
    with pytest.raises(MetricError, match="insufficient_history"):
        Case(make_portfolio({"A": 1.0, "B": 2.0}, rows=40), Targets(), Wish("budgets")).plan()
    done = Case(make_portfolio({"A": 1.0, "B": 2.0}, rows=40), Targets(), Wish("weights")).plan()
    assert done.risks_after == "insufficient_history"


@pytest.mark.parametrize("apart", [0.0, 1e-5])
def test_of_twins_that_hedge_each_other_no_budgeted_sizes_are_found(apart: float) -> None:
    """Twins that are not quite the same have such sizes, so it is not said that there are none."""
    one, other, third = np.random.default_rng(5).normal(size=(3, 252)) * 0.01
    returns = np.vstack((one, -one - apart * other, third))
    with pytest.raises(MetricError, match="no sizes were found") as caught:
        budgeted_sizes(returns, np.full(3, 1.0 / 3.0))
    assert caught.value.code == "no_plan"


@pytest.mark.parametrize("count", [100, 500])
def test_many_holdings_take_few_steps(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"N{place:03}" for place in range(count)]
    sizes = 10.0 ** np.random.default_rng(count).uniform(-2.0, 2.0, (2, count))
    portfolio = make_portfolio(dict(zip(names, sizes[0].tolist(), strict=True)))
    targets = Targets(budgets=dict(zip(names, sizes[1].tolist(), strict=True)))
    steps, solve = [], risk_budgets.solved

    def counted(*system: npt.NDArray[np.float64]) -> object:
        steps.append(system)
        return solve(*system)

    monkeypatch.setattr(risk_budgets, "solved", counted)
    done = Case(portfolio, targets, Wish("budgets")).plan()
    assert done.risks_after == pytest.approx(targets.budgets_of(done.after.tickers), abs=1e-9)
    assert len(steps) <= 9

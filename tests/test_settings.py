"""Settings from flags, environment and file; a wrong one stops the start with one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portfolio_trio.settings import Delay, Settings, SettingsError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the person who runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"PORTFOLIO_{name.upper()}", raising=False)


def test_defaults() -> None:
    settings = Settings.read()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.redis_url.get_secret_value() == "embedded://"
    assert settings.session_ttl_seconds == 86_400
    assert settings.market_update_interval_seconds == 30.0
    assert settings.metric_delay_seconds is None
    assert settings.default_holdings == {"AAPL": 100, "GOOGL": 50, "MSFT": 75}


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(
        "PORTFOLIO_PORT=1\nPORTFOLIO_DRAIN_SECONDS=1\nPORTFOLIO_MAX_RESULTS=1\nX=1\n"
    )
    monkeypatch.setenv("PORTFOLIO_PORT", "2")
    monkeypatch.setenv("PORTFOLIO_DRAIN_SECONDS", "2")
    settings = Settings.read(["--port", "3"])
    assert (settings.port, settings.drain_seconds, settings.max_results) == (3, 2.0, 1)


def test_holdings_and_delays_are_read_from_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTFOLIO_DEFAULT_HOLDINGS", '{"tsla": 3, "MSFT": -1.5}')
    monkeypatch.setenv("PORTFOLIO_METRIC_DELAY_SECONDS", "2,5")
    settings = Settings.read()
    assert settings.default_holdings == {"TSLA": 3, "MSFT": -1.5}
    assert settings.metric_delay_seconds == Delay(2, 5)
    assert Settings.read(["--metric-delay-seconds", "1"]).metric_delay_seconds == Delay(1, 1)
    assert Settings.read(["--metric-delay-seconds", ""]).metric_delay_seconds is None


def test_cash_is_a_list_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.read().cash == ("CASH",)
    assert Settings.read(["--cash", "cash, Usd,"]).cash == ("CASH", "USD")
    assert Settings.read(["--cash", ""]).cash == ()
    monkeypatch.setenv("PORTFOLIO_CASH", "EUR")
    assert Settings.read().cash == ("EUR",)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--port", "x"], "PORTFOLIO_PORT (--port)"),
        (["--port", "70000"], "PORTFOLIO_PORT (--port)"),
        (["--metric-delay-seconds", "5,2"], "PORTFOLIO_METRIC_DELAY_SECONDS"),
        (["--metric-delay-seconds", "1,2,3"], "PORTFOLIO_METRIC_DELAY_SECONDS"),
        (["--metric-delay-seconds", "nan"], "PORTFOLIO_METRIC_DELAY_SECONDS"),
        (["--metric-delay-seconds", "soon"], "PORTFOLIO_METRIC_DELAY_SECONDS"),
        (["--market-update-interval-seconds", "0"], "PORTFOLIO_MARKET_UPDATE_INTERVAL_SECONDS"),
        (["--market-update-interval-seconds", "inf"], "PORTFOLIO_MARKET_UPDATE_INTERVAL_SECONDS"),
        (["--cash", "CASH,A B"], "A B cannot name a holding"),
        (["--default-holdings", '{"A B": 1}'], "'A B' is not a ticker"),
        (["--default-holdings", '{"A"'], "default_holdings"),
        *(
            (["--redis-url", url], "PORTFOLIO_REDIS_URL (--redis-url): write embedded://, local:DIRECTORY")
            for url in ("", "local", "LOCAL:data", "localhost:6379", "./portfolio-data")
        ),
        (["--redis-url", "local://data"], "PORTFOLIO_REDIS_URL (--redis-url): write local:data"),
        (["--host", "0.0.0.0"], "--insecure"),  # noqa: S104 - that this is refused is the point
        (["--host", "example.org"], "--insecure"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(flags: list[str], named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.read(flags)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_secret_in_the_redis_url_is_not_shown() -> None:
    settings = Settings.read(["--redis-url", "redis://user:hunter2@127.0.0.1"])
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_permission(host: str) -> None:
    assert Settings.read(["--host", host]).host == host


def test_another_address_is_served_when_it_is_said_so() -> None:
    assert Settings.read(["--host", "0.0.0.0", "--insecure"]).insecure  # noqa: S104 - as above

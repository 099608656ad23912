"""Settings from flags, environment and file; an invalid one stops the start with one line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from portfolio_trio.settings import Delay, Settings, SettingsError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings from the environment of the tests."""
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
        (["--cash", "CASH,A B"], "A B cannot be names of holdings"),
        (["--default-holdings", '{"A B": 1}'], "'A B' is not a ticker"),
        *(
            (
                ["--default-holdings", text],
                "PORTFOLIO_DEFAULT_HOLDINGS (--default-holdings): write a JSON object",
            )
            for text in ('{"A"', "AAPL=3", "[]", '{"AAPL": "3"}', '{"AAPL": true}', "3")
        ),
        (["--auth-secret-file", "none"], "PORTFOLIO_AUTH_SECRET_FILE: none cannot be read: No such file"),
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


def test_a_secret_is_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "s3cret-" * 8
    (tmp_path / "secret").write_text(f"{secret}\n")
    flags = ["--host", "0.0.0.0", "--auth-secret-file", "secret"]  # noqa: S104 - a secret permits it
    read = Settings.read(flags).auth_secret
    assert read is not None
    assert read.get_secret_value() == secret
    (tmp_path / "secret").write_text("short")
    with pytest.raises(SettingsError, match="32 bytes"):
        Settings.read(flags)
    monkeypatch.setenv("PORTFOLIO_AUTH_SECRET", secret)
    with pytest.raises(SettingsError, match="give one of"):
        Settings.read(flags)


def test_a_misspelt_name_is_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PORTFOLIO_")]:
        monkeypatch.delenv(name)
    assert Settings.ignored() == []
    (tmp_path / ".env").write_text(
        "# PORTFOLIO_X=1\nPORTFOLIO_PORT=1\nexport PORTFOLIO_PRICE=csv:x\nOTHER=1\n"
    )
    monkeypatch.setenv("PORTFOLIO_REDS_URL", "redis://user:hunter2@x")
    # Kubernetes sets such for a service of that name.
    monkeypatch.setenv("PORTFOLIO_SERVICE_HOST", "10.0.0.1")
    first, second = Settings.ignored()
    assert first.startswith("PORTFOLIO_REDS_URL in the environment is not a setting, and is ignored")
    assert first.endswith("did you mean PORTFOLIO_REDIS_URL?")
    assert "hunter2" not in first
    assert second.startswith("PORTFOLIO_PRICE in .env is not a setting")


def test_help_describes_each_flag_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        Settings.read(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    words = " ".join(text.split())
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in text
    for python in ("SecretStr", "tuple", "dict[", "<lambda>", "****", "None", "Settings.", "PositiveInt"):
        assert python not in text
    assert "(default: embedded://)" in words
    assert '(default: {"AAPL": 100, "GOOGL": 50, "MSFT": 75})' in words
    for group in ("addresses and access:", "prices:", "limits:"):
        assert f"\n{group}\n" in text


def test_the_help_of_a_command_names_its_own_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Settings.read(["-h"], program="check", description="Looks at a Redis.", shown=("redis_url",))
    text = capsys.readouterr().out
    assert "Looks at a Redis." in text
    assert "--redis-url URL" in text
    assert "--port" not in text
    assert Settings.read(["--port", "3"], program="check", shown=("redis_url",)).port == 3


def test_an_unknown_flag_is_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Settings.read(["--no-such"])
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:9464", ("127.0.0.1", 9464)), ("[::1]:0", ("::1", 0)), ("host:1", ("host", 1)), ("", None)],
)
def test_the_address_as_it_is_set(text: str, address: tuple[str, int] | None) -> None:
    assert Settings.read(["--metrics-address", text]).metrics_address == address


@pytest.mark.parametrize("text", ["9464", ":9464", "host:", "host:65536", "host:-1", "host:x"])
def test_what_is_no_address_is_said(text: str) -> None:
    with pytest.raises(SettingsError, match="HOST:PORT"):
        Settings.read(["--metrics-address", text])

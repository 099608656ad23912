"""Every setting of the server, in one place: environment, ``.env`` and flags of ``serve``."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from portfolio_trio.protocol.fields import Holdings  # noqa: TC001 - pydantic reads the annotation
from portfolio_trio.settings_flags import PREFIX, read_flags, unknown_names
from portfolio_trio.settings_values import (
    Address,
    Delay,
    check_cash,
    check_delay,
    check_hosts,
    check_origins,
    check_redis_url,
    check_secret,
    parse_address,
    parse_delay,
    parse_holdings,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self


__all__ = ["EMBEDDED", "Delay", "Settings", "SettingsError"]

EMBEDDED: Final = "embedded://"
ABOUT: Final = (
    "Serve WebSockets until SIGTERM or Ctrl-C. Each setting is a flag, an environment variable "
    "(--redis-url is PORTFOLIO_REDIS_URL) and a line of .env; the flag wins over the variable, the variable "
    "over the file."
)


class SettingsError(Exception):
    """A setting has a value that the server cannot start with; the message is one line that says which."""


class Settings(BaseSettings):
    """Settings of one server process.

    Each field is read from the environment variable ``PORTFOLIO_<NAME>``, from a line of ``.env`` and from
    a flag of ``portfolio-trio serve``; the flag wins over the variable, the variable over the file.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    insecure: bool = Field(
        default=False, description="serve an address that is not loopback without authentication"
    )
    workers: PositiveInt = Field(
        1,
        description="processes that share the port and one Redis; limits of sockets, requests and sessions "
        "apply to each of them",
    )
    auth_secret: Annotated[SecretStr | None, AfterValidator(check_secret)] = Field(
        None,
        description="signs session tokens; 32 bytes or more; of several, separated by commas, the first "
        "signs; flags are visible in the process list: set PORTFOLIO_AUTH_SECRET, or name a file",
    )
    auth_secret_file: Path | None = Field(None, description="a file that contains only the secret")
    token_ttl_seconds: PositiveInt = Field(604_800, description="seconds for which a token opens its session")
    auth_seconds: PositiveFloat = Field(
        5.0, allow_inf_nan=False, description="seconds for a client to send its token in the first message"
    )
    allowed_origins: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(split), AfterValidator(check_origins)
    ] = Field(
        (),
        description="permitted web origins besides the server's own, separated by commas; also null or *",
    )
    allowed_hosts: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(split), AfterValidator(check_hosts)
    ] = Field(
        (),
        description="without a secret: names of the server besides localhost and IP addresses, separated by "
        "commas; pages from other hosts are refused",
    )
    tls_certificate: Path | None = Field(None, description="PEM file: serve TLS with this certificate")
    tls_key: Path | None = Field(None, description="PEM file: the certificate's private key")
    dashboard: bool = Field(default=True, description="serve the page at /")
    redis_url: Annotated[SecretStr, AfterValidator(check_redis_url)] = Field(
        SecretStr(EMBEDDED),
        description="embedded:// (in memory), local:DIRECTORY (a Redis started by the server, which keeps "
        "its data there), redis://, rediss://, unix:// or redis+cluster://; set one with a password as "
        "PORTFOLIO_REDIS_URL: flags are visible in the process list",
    )
    redis_timeout_seconds: PositiveFloat = Field(
        5.0,
        allow_inf_nan=False,
        description="seconds Redis may take to answer before it counts as unreachable",
    )
    session_ttl_seconds: NonNegativeInt = Field(
        86_400,
        description="seconds without a request of its clients after which a session expires; 0: never. "
        "Watching alone does not count as a request",
    )
    market_update_interval_seconds: PositiveFloat = Field(
        30.0, allow_inf_nan=False, description="seconds from one market tick to the next"
    )
    prices: str = Field("simulated", description="price source: simulated or csv:PATH")
    live_prices: str | None = Field(
        None, description="with csv: a JSON file of live prices, read again at each tick"
    )
    max_bar_age_days: PositiveFloat = Field(
        7.0, allow_inf_nan=False, description="days after which the newest closed bar is stale"
    )
    max_price_age_seconds: PositiveFloat = Field(
        300.0, allow_inf_nan=False, description="seconds after which a file of live prices is stale"
    )
    cash: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split), AfterValidator(check_cash)] = Field(
        ("CASH",),
        description="names that always cost 1 and need no column, separated by commas; empty for none",
    )
    metric_delay_seconds: Annotated[
        Delay | None, NoDecode, BeforeValidator(parse_delay), AfterValidator(check_delay)
    ] = Field(None, description="LOW,HIGH: each metric first waits a random time in this range")
    default_holdings: Annotated[Holdings, NoDecode, BeforeValidator(parse_holdings)] = Field(
        default_factory=lambda: {"AAPL": 100.0, "GOOGL": 50.0, "MSFT": 75.0},
        description="holdings of a new session, as a JSON object of shares by ticker; if not set, those of "
        "the usual three names that have prices, else the first three that do",
    )
    freshness_tolerance: NonNegativeFloat = Field(
        0.01,
        allow_inf_nan=False,
        description="fraction of gross value by which a tick may move a portfolio during a run",
    )
    drain_notice_seconds: NonNegativeFloat = Field(
        0.0,
        allow_inf_nan=False,
        description="seconds before the drain in which /ready answers 503 and new sockets are refused, but "
        "the port stays open: for load balancers",
    )
    drain_seconds: NonNegativeFloat = Field(
        10.0,
        allow_inf_nan=False,
        description="seconds for running analyses to finish in a drain",
    )
    metrics_address: Annotated[Address | None, NoDecode, BeforeValidator(parse_address)] = Field(
        None,
        description="address for Prometheus, such as 127.0.0.1:9464: GET /metrics there has no access "
        "control; off unless given",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lowest level that is logged: debug, info, warning or error"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="format of the log: text, or json with one object per line"
    )
    access_log: bool = Field(
        default=False, description="log each HTTP answer and each socket that closes, with its address"
    )
    max_results: PositiveInt = Field(1000, description="results kept per session; the oldest are dropped")
    max_results_bytes: int = Field(
        1_048_576,
        ge=65_536,
        description="total length of the results kept per session, as JSON text",
    )
    max_message_bytes: PositiveInt = Field(262_144, description="longest message a client may send")
    max_queue_bytes: PositiveInt = Field(
        1_048_576, description="bytes that may wait to be sent to one socket before it is closed as too slow"
    )
    max_connections: PositiveInt = Field(10_000, description="open sockets in total; more are answered 503")
    max_sockets_per_session: PositiveInt = Field(32, description="open sockets of one session; more get 429")
    max_sockets_per_address: NonNegativeInt = Field(
        200, description="open sockets of one address that is not loopback; more get 429; 0: no limit"
    )
    max_pending_per_address: NonNegativeInt = Field(
        1_000,
        description="connections of one address, loopback too, that have not sent a request yet or not "
        "closed after their answer; beyond it the oldest is closed; 0: no limit",
    )
    requests_per_second: PositiveFloat = Field(
        2_000.0, allow_inf_nan=False, description="requests one socket may send in the long run"
    )
    request_burst: PositiveInt = Field(4_000, description="requests one socket may send at once")
    sessions_per_second: PositiveFloat = Field(
        50.0, allow_inf_nan=False, description="new sessions per second of all clients; more get 429"
    )
    sessions_per_second_per_address: NonNegativeFloat = Field(
        10.0,
        allow_inf_nan=False,
        description="new sessions per second of one address; more get 429; 0: no limit",
    )
    socket_sessions_per_second_per_address: NonNegativeFloat = Field(
        50.0,
        allow_inf_nan=False,
        description="new sessions per second that one address creates by opening sockets, with bursts of 20 "
        "times as many; more are answered rate_limited; 0: no limit",
    )
    ping_interval_seconds: PositiveFloat = Field(
        20.0, allow_inf_nan=False, description="seconds from one ping to the next"
    )
    ping_timeout_seconds: PositiveFloat = Field(
        20.0,
        allow_inf_nan=False,
        description="seconds for a client to answer a ping before it counts as gone",
    )
    header_seconds: PositiveFloat = Field(
        10.0, allow_inf_nan=False, description="seconds for a client to send its HTTP head"
    )
    send_seconds: PositiveFloat = Field(
        10.0,
        allow_inf_nan=False,
        description="seconds for a client to accept what is sent before it is closed",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_secret(cls, values: dict[str, Any]) -> dict[str, Any]:
        file = values.get("auth_secret_file")
        if file is None:
            return values
        if values.get("auth_secret") is not None:
            raise ValueError("give one of PORTFOLIO_AUTH_SECRET and PORTFOLIO_AUTH_SECRET_FILE, not both")
        try:
            secret = Path(file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ValueError(f"PORTFOLIO_AUTH_SECRET_FILE: {file} cannot be read: {reason}") from None
        return {**values, "auth_secret": secret}

    @model_validator(mode="after")
    def _check_exposure(self) -> Self:
        if not (self.insecure or self.auth_secret or self.listens_on_loopback):
            raise ValueError(
                f"host {self.host} is reachable from other machines and there is no authentication: set "
                "PORTFOLIO_AUTH_SECRET or --auth-secret-file, listen on 127.0.0.1, or say --insecure if the "
                "network in front keeps strangers out"
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("--tls-certificate and --tls-key go together")
        return self

    @property
    def listens_on_loopback(self) -> bool:
        """Whether other machines cannot reach the server."""
        return _is_loopback(self.host)

    @property
    def embedded(self) -> bool:
        """Whether the Redis is the embedded engine, which no other process can reach."""
        return self.redis_url.get_secret_value() == EMBEDDED

    @classmethod
    def read(
        cls,
        flags: Sequence[str] = (),
        *,
        program: str = "portfolio-trio serve",
        description: str = ABOUT,
        shown: Sequence[str] | None = None,
    ) -> Settings:
        """Read flags, environment and ``.env``.

        Args:
            flags: The words after the command.
            program: The name of the command, for its help.
            description: The description of the command.
            shown: The settings listed in its help; by default all.

        Raises:
            SettingsError: A value is wrong; the text is one line that names the setting.
            SystemExit: The flags asked for help, or one of them does not exist.
        """
        told = read_flags(flags, cls.model_fields, program=program, description=description, shown=shown)
        try:
            return cls(**told)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0]) if first["loc"] else ""
            setting = f"{PREFIX}{name.upper()} (--{name.replace('_', '-')}): " if name else ""
            raise SettingsError(setting + first["msg"].removeprefix("Value error, ")) from None

    @classmethod
    def ignored(cls) -> list[str]:
        """Unknown names in the environment or in ``.env`` that look like settings; one sentence each."""
        return unknown_names(cls.model_fields)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

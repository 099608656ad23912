"""Pages of the server's own host and listed ones may connect; other pages may not."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from portfolio_trio.access import OriginError, OriginPolicy, OriginRefused

names = st.from_regex(r"[a-z][a-z0-9-]{0,10}(\.[a-z]{2,5}){0,2}", fullmatch=True)
ports = st.integers(1, 65_535)
schemes = st.sampled_from(["http", "https"])
DEFAULTS = {"http": 80, "https": 443}


def authority(name: str, port: int, scheme: str) -> str:
    """As browsers write it: the default port is left out."""
    return name if DEFAULTS[scheme] == port else f"{name}:{port}"


@given(names, ports, schemes)
def test_the_own_host_is_permitted(name: str, port: int, scheme: str) -> None:
    where = authority(name, port, scheme)
    assert OriginPolicy().permits(f"{scheme}://{where}", where)
    assert OriginPolicy().permits(f"{scheme}://{where}", f"{name.upper()}:{port}")


@given(st.tuples(names, ports), st.tuples(names, ports), schemes)
def test_no_other_host_is_permitted(own: tuple[str, int], other: tuple[str, int], scheme: str) -> None:
    assume(own != other)
    host = f"{own[0]}:{own[1]}"
    origin = f"{scheme}://{authority(*other, scheme)}"
    assert not OriginPolicy().permits(origin, host)
    assert OriginPolicy([origin]).permits(origin, host)


@given(names, names)
def test_a_name_that_begins_or_ends_alike_is_another(name: str, other: str) -> None:
    policy = OriginPolicy([f"https://{name}"])
    for origin in (f"https://{name}.{other}", f"https://{other}.{name}", f"https://{other}{name}"):
        assert not policy.permits(origin, name)


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_header_raises(origin: str, host: str) -> None:
    assert OriginPolicy().permits(origin, host) in {True, False}


@given(st.text(max_size=40).filter(lambda text: text != "null"))
def test_an_origin_that_cannot_be_read_is_refused(text: str) -> None:
    assume("://" not in text)
    assert not OriginPolicy(["https://app.example.com", "null"]).permits(text, text)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://example.com", "example.com"),
        ("https://example.com", "example.com:443"),
        ("http://example.com", "example.com:80"),
        ("http://example.com:8000", "example.com:8000"),
        ("http://EXAMPLE.com:8000", "example.COM:8000"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("https://[2001:db8::1]", "[2001:db8::1]"),
    ],
)
def test_one_host_in_two_spellings(origin: str, host: str) -> None:
    assert OriginPolicy().permits(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://example.com", "example.com:80"),
        ("http://example.com", "example.com:443"),
        ("http://example.com:8000", "example.com"),
        ("http://example.com", "example.com:8000"),
        ("http://localhost:8000", "127.0.0.1:8000"),
        ("http://example.com", ""),
        ("", ""),
        ("", "example.com"),
        ("null", "null"),
        ("http://", ""),
        ("://example.com", "example.com"),
        ("//example.com", "example.com"),
        ("example.com", "example.com"),
        ("file://example.com", "example.com"),
        ("ws://example.com", "example.com"),
        ("chrome-extension://example.com", "example.com"),
        ("http://example.com/", "example.com"),
        ("http://example.com/path", "example.com"),
        ("http://user@example.com", "example.com"),
        ("http://user@example.com", "user@example.com"),
        ("http://evil.com#example.com", "example.com"),
        ("http://evil.com?example.com", "example.com"),
        ("http://example.com, http://evil.com", "example.com"),
        ("http://example.com http://evil.com", "example.com"),
        ("http://example.com:", "example.com:"),
        ("http://example.com\n", "example.com"),
        ("http://example.com:80:80", "example.com:80:80"),
        ("http://example.com", "example.com/path"),
        ("http://example.com", "example.com, evil.com"),
        ("http://example.com", "example.com@evil.com"),
        ("http://\u212aelvin.com", "kelvin.com"),
        ("http://kelvin.com", "\u212aelvin.com"),
    ],
)
def test_what_is_no_own_host(origin: str, host: str) -> None:
    assert not OriginPolicy().permits(origin, host)
    with pytest.raises(OriginRefused) as refused:
        OriginPolicy().check(origin, host)
    assert refused.value.status == 403
    assert "evil" not in refused.value.detail


def test_no_browser_no_origin() -> None:
    OriginPolicy().check(None, "example.com")
    assert OriginPolicy(hosts=()).permits(None, "example.com")


def test_null_has_to_be_listed() -> None:
    assert not OriginPolicy(["https://app.example.com"]).permits("null", "example.com")
    assert OriginPolicy(["null"]).permits("null", "example.com")
    assert not OriginPolicy(["null"]).permits("https://evil.com", "example.com")


def test_a_star_lists_all() -> None:
    for origin in ("https://evil.com", "null", "what is this"):
        assert OriginPolicy(["*"]).permits(origin, "example.com")
        assert OriginPolicy(["https://app.example.com", "*"]).permits(origin, "example.com")


def test_a_listed_origin_is_exact() -> None:
    policy = OriginPolicy(["https://app.example.com", "http://localhost:5173", "app://portfolio"])
    for origin in ("https://app.example.com", "https://APP.example.com", "http://localhost:5173"):
        assert policy.permits(origin, "api.example.com")
    assert policy.permits("app://portfolio", "api.example.com")
    for origin in ("http://app.example.com", "https://app.example.com:8443", "http://localhost", "app://x"):
        assert not policy.permits(origin, "api.example.com")


@pytest.mark.parametrize(
    "entry",
    ["", "app.example.com", "https://app.example.com/", "https://*.example.com", "https://", "*.com", "a b"],
)
def test_an_entry_that_would_never_match_is_refused(entry: str) -> None:
    with pytest.raises(OriginError, match="write scheme, host and port") as refused:
        OriginPolicy(["https://fine.example.com", entry])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "host", ["localhost", "app.localhost", "127.0.0.1", "127.1.2.3", "[::1]", "192.0.2.1", "[2001:db8::1]"]
)
def test_names_that_no_dns_resolves_are_the_servers_own(host: str) -> None:
    assert OriginPolicy(hosts=()).permits(f"http://{host}:8000", f"{host}:8000")


@pytest.mark.parametrize(
    "host",
    ["evil.com", "localhost.evil.com", "evillocalhost", "127.0.0.1.evil.com", "1.2.3", "0x7f000001", "[::1"],
)
def test_a_name_that_points_here_is_not_believed(host: str) -> None:
    for where in (host, f"{host}:8000"):
        assert not OriginPolicy(hosts=()).permits(f"http://{where}", where)
        assert not OriginPolicy(hosts=["example.com"]).permits(f"http://{where}", where)


def test_a_listed_name_is_the_servers_own_on_each_port() -> None:
    policy = OriginPolicy(hosts=["Example.com"])
    for where in ("example.com", "EXAMPLE.com", "example.com:8000"):
        assert policy.permits(f"https://{where}", where)
    assert not policy.permits("https://example.com", "example.com:8000")
    assert not policy.permits("https://app.example.com", "app.example.com")
    assert not policy.permits("https://evil.com", "example.com")


def test_a_listed_origin_needs_no_name_of_the_server() -> None:
    assert OriginPolicy(["http://evil.com:8000"], hosts=()).permits("http://evil.com:8000", "evil.com:8000")


@pytest.mark.parametrize(
    "entry", ["", "https://example.com", "example.com:80", "example.com/", "*", "a b", "\u212aelvin.com"]
)
def test_a_host_that_would_never_match_is_refused(entry: str) -> None:
    with pytest.raises(OriginError, match="is not a host: write only a name"):
        OriginPolicy(hosts=["example.com", entry])


def test_a_permitted_page_may_read_the_answer() -> None:
    policy = OriginPolicy(["https://app.example.com"])
    vary = ("Vary", "Origin")
    assert policy.cors_headers(None, "example.com") == (vary,)
    assert policy.cors_headers("https://evil.com", "example.com") == (vary,)
    for origin in ("https://app.example.com", "https://example.com"):
        assert policy.cors_headers(origin, "example.com") == (vary, ("Access-Control-Allow-Origin", origin))

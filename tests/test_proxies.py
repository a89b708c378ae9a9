"""How a proxy is written, and when the environment's is used."""

from __future__ import annotations

import pytest

from isthmus.proxies import Proxy, bypassed, from_environment


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://proxy.test:3128", Proxy("proxy.test", 3128)),
        ("http://proxy.test:3128/", Proxy("proxy.test", 3128)),
        ("proxy.test:3128", Proxy("proxy.test", 3128)),
        ("http://proxy.test", Proxy("proxy.test", 80)),
        ("http://[::1]:8080", Proxy("::1", 8080)),
        ("http://user:p%40ss@proxy.test:1", Proxy("proxy.test", 1, "Basic dXNlcjpwQHNz")),
        ("http://user@proxy.test:1", Proxy("proxy.test", 1, "Basic dXNlcjo=")),
    ],
)
def test_a_proxy_is_read(url: str, expected: Proxy) -> None:
    assert Proxy.of(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://proxy.test",
        "socks5://user:canary@proxy.test",
        "http://",
        "http://user:canary@",
        "http://proxy.test:99999",
        "http://proxy.test/path",
        "http://proxy.test?a=1",
        "http://[::1",
    ],
)
def test_a_proxy_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="HTTP proxy") as failure:
        Proxy.of(url)
    assert "canary" not in str(failure.value)


def test_a_password_is_not_shown() -> None:
    assert "Basic" not in repr(Proxy.of("http://user:canary@proxy.test"))


HTTPS = "https://api.test"


@pytest.mark.parametrize(
    ("environ", "url", "expected"),
    [
        ({}, HTTPS, None),
        ({"HTTPS_PROXY": "p:1"}, HTTPS, ("HTTPS_PROXY", "p:1")),
        ({"HTTPS_PROXY": "p:1", "https_proxy": "q:1"}, HTTPS, ("https_proxy", "q:1")),
        ({"HTTPS_PROXY": "p:1", "https_proxy": ""}, HTTPS, ("HTTPS_PROXY", "p:1")),
        ({"HTTP_PROXY": "p:1"}, HTTPS, None),
        ({"HTTP_PROXY": "p:1"}, "http://api.test", ("HTTP_PROXY", "p:1")),
        ({"HTTPS_PROXY": "p:1", "NO_PROXY": "api.test"}, HTTPS, None),
        ({"HTTPS_PROXY": "p:1", "no_proxy": "x", "NO_PROXY": "*"}, HTTPS, ("HTTPS_PROXY", "p:1")),
        ({"HTTP_PROXY": "p:1"}, "http://localhost:8000", None),
        ({"HTTP_PROXY": "p:1"}, "http://127.0.0.9:8000", None),
        ({"HTTP_PROXY": "p:1"}, "http://[::1]:8000", None),
        ({"HTTP_PROXY": "p:1"}, "ftp://api.test", None),
        ({"HTTP_PROXY": "p:1"}, "http://[api", None),
    ],
)
def test_environment(environ: dict[str, str], url: str, expected: tuple[str, str] | None) -> None:
    assert from_environment(environ, url) == expected


@pytest.mark.parametrize(
    ("excluded", "host", "port", "expected"),
    [
        ("api.test", "api.test", 443, True),
        ("API.Test", "api.TEST.", 443, True),
        ("test", "api.test", 443, True),
        (".test", "api.test", 443, True),
        ("*.test", "api.test", 443, True),
        (".api.test", "api.test", 443, True),
        ("pi.test", "api.test", 443, False),
        ("api.test.evil", "api.test", 443, False),
        ("x, api.test", "api.test", 443, True),
        ("x api.test", "api.test", 443, True),
        ("api.test:443", "api.test", 443, True),
        ("api.test:80", "api.test", 443, False),
        ("*", "api.test", 443, True),
        ("", "api.test", 443, False),
        (",, .", "api.test", 443, False),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.1.2.3:80", "10.1.2.3", 443, False),
        ("10.1.2.3", "api.test", 443, False),
        ("fd00::/8", "fd00::1", 443, True),
        ("[fd00::1]:443", "fd00::1", 443, True),
        ("[fd00::1]:80", "fd00::1", 443, False),
        ("fd00::1", "fd00::1", 443, True),
    ],
)
def test_exclusions(excluded: str, host: str, port: int, expected: bool) -> None:
    assert bypassed(excluded, host, port) is expected

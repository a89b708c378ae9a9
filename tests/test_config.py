"""The configuration: what wins, what is refused and where, and that nothing else is ever raised."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus import reference, yamldoc
from isthmus.cli import banner_lines, check_lines
from isthmus.config import (
    BACKEND_TYPES,
    SETTINGS,
    BackendConfig,
    Config,
    ConfigErrors,
    Resolved,
    first_backend,
    is_loopback,
    leaves,
    load,
    pools,
)
from isthmus.profile_settings import ProfileConfig
from isthmus.request import Place
from isthmus.routing_settings import ModelDefaults, RetryConfig, RewriteConfig
from isthmus.sections import Section

DOCS = Path(__file__).parents[1] / "docs"
KEY = {"ANTHROPIC_API_KEY": "sk-ant-api03-abcdefghijklmnop"}
MINIMAL = "backends:\n  anthropic:\n    type: anthropic\n"
SIM = "backends: {sim: {type: simulator}}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(
    text: str | bytes,
    environ: Mapping[str, str] = KEY,
    flags: Mapping[str, object] | None = None,
) -> Resolved:
    Path("config.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    return load(None, environ, flags or {})


def refused(
    text: str | bytes,
    environ: Mapping[str, str] = KEY,
    flags: Mapping[str, object] | None = None,
) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        loaded(text, environ, flags)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.errors), "one line for each mistake"
    return lines


def test_the_page_first_block() -> None:
    text = "# config.yaml\nbackends:\nanthropic:\ntype: anthropic\ndefault_backend: anthropic\n"
    # The page's copy lost its indentation; this is the block as it is meant to be pasted.
    text = text.replace("\nanthropic:", "\n  anthropic:").replace("\ntype:", "\n    type:")
    config = loaded(text).config
    assert config.default_backend == "anthropic"
    assert config.backends["anthropic"].type == "anthropic"
    assert config.backends["anthropic"].keys == {"": KEY["ANTHROPIC_API_KEY"]}
    assert config.backends["anthropic"].base_url == "https://api.anthropic.com"


def test_the_page_second_block() -> None:
    config = loaded(
        '# config.yaml (root-level; see configuration.md)\nhost: "127.0.0.1"\nport: 8000\n'
        "anthropic_port: 8001 # Omit or null to disable the dedicated Anthropic listener\n"
    ).config
    assert (config.host, config.port, config.anthropic_port) == ("127.0.0.1", 8000, 8001)
    assert loaded("anthropic_port: null").config.anthropic_port is None


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "~\n", "backends:\nauth:\ntimeouts: {}\n"]
)
def test_without_a_word_it_is_anthropic(text: str) -> None:
    resolved = loaded(text)
    assert list(resolved.config.backends) == ["anthropic"]
    assert resolved.config.default_backend == "anthropic"
    assert resolved.sources["backends.anthropic.api_key"] == "environment ANTHROPIC_API_KEY"
    assert resolved.sources["port"] == "default"
    assert list(resolved.sources) == [".".join(map(str, key)) for key, _ in leaves(resolved.config)]


PROXY = "http://user:canary@proxy.test"


@pytest.mark.parametrize(
    ("text", "environ", "expected", "source"),
    [
        ("", {}, None, "default"),
        ("", {"HTTPS_PROXY": PROXY}, "proxy.test", "environment HTTPS_PROXY"),
        ("", {"https_proxy": PROXY}, "proxy.test", "environment https_proxy"),
        ("", {"HTTP_PROXY": PROXY}, None, "default"),
        ("", {"HTTPS_PROXY": PROXY, "NO_PROXY": ".anthropic.com"}, None, "default"),
        ("proxy: http://mine.test:81", {"HTTPS_PROXY": PROXY}, "mine.test", "file config.yaml:4"),
        ("proxy: direct", {"HTTPS_PROXY": PROXY}, None, "file config.yaml:4"),
        ("base_url: http://a.test", {"HTTP_PROXY": PROXY}, "proxy.test", "environment HTTP_PROXY"),
        ("base_url: http://localhost:1", {"HTTP_PROXY": PROXY}, None, "default"),
    ],
)
def test_proxies(text: str, environ: dict[str, str], expected: str | None, source: str) -> None:
    resolved = loaded(
        f"backends:\n  anthropic:\n    type: anthropic\n    {text}\n", {**KEY, **environ}
    )
    way = resolved.config.backends["anthropic"].way
    assert (way.host if way else None) == expected
    assert resolved.sources["backends.anthropic.proxy"] == source
    assert "canary" not in repr(resolved) + "\n".join(check_lines(resolved))


def test_a_proxy_of_the_environment_that_is_none() -> None:
    with pytest.raises(ConfigErrors) as failure:
        loaded("", {**KEY, "HTTPS_PROXY": "socks5://user:canary@proxy.test"})
    assert str(failure.value).startswith(
        "environment HTTPS_PROXY: backends.anthropic.proxy: must be the URL of an HTTP proxy"
    )
    assert "canary" not in str(failure.value)


def test_what_is_shown_of_a_proxy_is_no_password() -> None:
    for url in ("http://user:canary@h", "http://user:canary@proxy.test/", "http://u:canary@h:1"):
        resolved = loaded("", {**KEY, "HTTPS_PROXY": url})
        (line,) = [each for each in check_lines(resolved) if ".proxy" in each]
        assert "ary" not in line


def test_without_a_file() -> None:
    assert load(None, KEY, {}).config == loaded("").config


VALUES: dict[str, tuple[object, str, object]] = {
    # key: in the file, in the environment, as a flag
    "host": ("127.0.0.2", "127.0.0.3", "127.0.0.4"),
    "port": (1002, "1003", 1004),
    "anthropic_port": (2002, "2003", 2004),
    "workers": (2, "3", 4),
    "default_backend": ("b", "c", "d"),
    "force_model": ("in-file", "in-environment", "as-flag"),
    "force_context_window": (1000, "2000", 3000),
    "auth.keys": (["in-file-key"], "in-environment-key, second-key,", None),
}


@pytest.mark.parametrize(
    "setting",
    [setting for setting in SETTINGS if setting.key != "model_aliases"],
    ids=lambda setting: setting.key,
)
def test_precedence(setting: object) -> None:
    key, variable, flag = setting  # type: ignore[misc]
    in_file, in_environ, as_flag = VALUES[key]
    backends = "backends: {" + ", ".join(f"{n}: {{type: simulator}}" for n in "abcd") + "}\n"
    line = f"auth: {{keys: {in_file}}}" if key == "auth.keys" else f"{key}: {in_file}"
    file = f"{backends}{line}\n"
    if key != "default_backend":
        backends += "default_backend: a\n"
        file += "default_backend: a\n"

    def outcome(text: str, environ: dict[str, str], flags: dict[str, object]) -> tuple[object, str]:
        resolved = loaded(text, environ, flags)
        value = {".".join(map(str, k)): v for k, v in leaves(resolved.config)}[key]
        plain = [k.get_secret_value() for k in value] if isinstance(value, list) else value
        return plain, resolved.sources[key]

    environ = {variable: in_environ}
    from_environ = (
        ["in-environment-key", "second-key"] if key == "auth.keys" else type(in_file)(in_environ)  # type: ignore[call-arg]
    )
    assert outcome(file, {}, {}) == (in_file, "file config.yaml:2")
    assert outcome(file, {variable: ""}, {key: None}) == (in_file, "file config.yaml:2")
    assert outcome(file, environ, {}) == (from_environ, f"environment {variable}")
    if flag:
        assert outcome(file, environ, {key: as_flag}) == (as_flag, f"flag {flag}")
        assert outcome(backends, {}, {key: as_flag}) == (as_flag, f"flag {flag}")


ROW = "{pattern: '%s', replacement: '%s'}"
ALIASES = f"model_aliases:\n  - {ROW % ('a(.*)', 'b-1')}\n  - {ROW % ('c', 'd')}\n"


def test_a_source_of_rewrites_replaces_the_others() -> None:
    def outcome(environ: str, flags: list[str] | None) -> tuple[list[tuple[str, str]], str]:
        resolved = loaded(ALIASES, {**KEY, "MODEL_ALIASES": environ}, {"model_aliases": flags})
        rows = [(row.pattern, row.replacement) for row in resolved.config.model_aliases]
        return rows, resolved.sources["model_aliases"]

    in_file = [("a(.*)", "b-1"), ("c", "d")], "file config.yaml:2"
    environ = '[{"pattern": "(e)", "replacement": "f-\\\\1"}]'
    in_environ = [("(e)", r"f-\1")], "environment MODEL_ALIASES"
    assert outcome("", None) == outcome("[]", []) == in_file
    assert outcome(environ, None) == outcome(environ, []) == in_environ
    as_flags = outcome(environ, ["g=h?top_k=1", "i(j)=k|l"])
    assert as_flags == ([("g", "h?top_k=1"), ("i(j)", "k|l")], "flag --model-alias")


@pytest.mark.parametrize(
    ("environ", "flags", "lines"),
    [
        ("{}", [], ["environment MODEL_ALIASES: model_aliases: must be a JSON list such as"]),
        ("null", [], ["environment MODEL_ALIASES: model_aliases: must be a JSON list"]),
        ("a=b", [], ["environment MODEL_ALIASES: model_aliases: must be a JSON list"]),
        ("[" * 100_000, [], ["environment MODEL_ALIASES: model_aliases: must be a JSON list"]),
        ("[1]", [], ["environment MODEL_ALIASES: model_aliases.0: must be a section"]),
        (
            '[{"patern": "a", "pattern": "a", "replacement": "b"}]',
            [],
            ["environment MODEL_ALIASES: model_aliases.0: unknown key 'patern'; did you mean"],
        ),
        (
            '[{"pattern": "(", "replacement": "b"}, {"pattern": "a", "replacement": "\\\\2"}]',
            [],
            [
                "environment MODEL_ALIASES: model_aliases.0.pattern: is no pattern: missing )",
                "environment MODEL_ALIASES: model_aliases.1.replacement: there is no group",
            ],
        ),
        ("", ["a"], ["flag --model-alias: model_aliases: 'a' must be PATTERN=REPLACEMENT"]),
        ("", ["a="], ["flag --model-alias: model_aliases.0.replacement: must be a line of text"]),
        ("", ["a=b", "=b"], ["flag --model-alias: model_aliases.1.pattern: must be a line of"]),
        ("", ["(a=b"], ["flag --model-alias: model_aliases.0.pattern: is no pattern: missing )"]),
        (
            "",
            ["a=b?c=d"],
            ["flag --model-alias: model_aliases.0.replacement: column 3: unknown parameter"],
        ),
    ],
)
def test_mistakes_in_rewrites(environ: str, flags: list[str], lines: list[str]) -> None:
    found = refused("", {**KEY, "MODEL_ALIASES": environ}, {"model_aliases": flags})
    assert [line[: len(start)] for line, start in zip(found, lines, strict=True)] == lines


def test_selectors_are_not_judged_beside_mistakes_in_backends() -> None:
    text = "backends: {a: {type: simulator, api_keys: [1]}}\nforce_model: 'a.1:'\n"
    [line] = refused(text)
    assert "backends.a.api_keys.0" in line


def test_defaults_of_a_model() -> None:
    resolved = loaded(
        "model_defaults:\n  claude-x:\n    parameters: {temperature: 0.2, effort: high, top_k: '5'}\n"
        "    limits: {max_input_tokens: 1000}\n  other:\nforce_context_window: 5000\n"
    )
    config = resolved.config
    given = config.model_defaults["claude-x"]
    assert given.parameters == {"temperature": 0.2, "effort": "high", "top_k": 5}
    assert (given.limits.context_window, given.limits.max_input_tokens) == (None, 1000)
    assert config.model_defaults["other"] == ModelDefaults()
    assert config.force_context_window == 5000
    shown = [" ".join(line.split()) for line in check_lines(resolved) if "defaults" in line]
    assert shown == [
        "model_defaults.claude-x.parameters.temperature = 0.2 # file config.yaml:3",
        "model_defaults.claude-x.parameters.effort = high # file config.yaml:3",
        "model_defaults.claude-x.parameters.top_k = 5 # file config.yaml:3",
        "model_defaults.claude-x.limits.max_input_tokens = 1000 # file config.yaml:4",
    ]


def test_what_is_repeated_by_default() -> None:
    assert Config().retry.model_dump() == {
        "repeats": 2,
        "budget_percent": 20,
        "budget_per_second": 10,
        "cool_seconds": 60,
        "long_cool_seconds": 600,
        "longest_cool_seconds": 3600,
        "bench_seconds": 300,
        "failures": 5,
        "eject_seconds": 30,
    }


def test_which_file(folder: Path) -> None:
    for name, port in (("config.yaml", 1), ("other.yaml", 2), ("third.yaml", 3)):
        Path(name).write_text(f"port: {port}\n")
    other = {**KEY, "ISTHMUS_CONFIG": "other.yaml"}
    assert load(None, KEY, {}).sources["port"] == "file config.yaml:1"
    assert load(None, other, {}).sources["port"] == "file other.yaml:1"
    assert load(Path("third.yaml"), other, {}).sources["port"] == "file third.yaml:1"


def test_anthropic_base_url_is_not_read() -> None:
    environ = {**KEY, "ANTHROPIC_BASE_URL": "http://127.0.0.1:8000"}
    config = loaded("", environ).config
    assert config.backends["anthropic"].base_url == "https://api.anthropic.com"


def test_references(folder: Path) -> None:
    (folder / "secrets").mkdir()
    (folder / "secrets" / "key").write_text("sk-from-a-file\r\n")
    environ = {"P": "9001", "REGION": "eu", "A": "${P}", "K": "client-key-1"}
    resolved = loaded(
        "port: ${P}\nforce_model: 'x-${REGION}-${A}-$${P}-$P'\n"
        "backends:\n  a:\n    type: anthropic\n    api_key: ${file:secrets/key}\n"
        "    base_url: https://${REGION}.example.com/\nauth:\n  keys:\n    - ${K}\n",
        environ,
    )
    config, sources = resolved.config, resolved.sources
    assert config.port == 9001
    assert config.force_model == "x-eu-${P}-${P}-$P"
    assert config.backends["a"].keys == {"": "sk-from-a-file"}
    assert config.backends["a"].base_url == "https://eu.example.com"
    assert sources["port"] == "file config.yaml:1 via ${P}"
    assert sources["force_model"] == "file config.yaml:2 via ${REGION}, ${A}"
    assert sources["backends.a.api_key"] == "file config.yaml:6 via ${file:secrets/key}"
    assert sources["auth.keys"] == "file config.yaml:10 via ${K}"


def test_a_switch_may_come_from_the_environment() -> None:
    for text, strict in (("true", True), ("False", False)):
        assert loaded("strict: ${STRICT}\n", {**KEY, "STRICT": text}).config.strict is strict


def test_several_keys_and_their_order() -> None:
    text = "backends: {a: {type: anthropic, api_keys: [one, two]}}\n"
    assert loaded(text, {}).config.backends["a"].keys == {"1": "one", "2": "two"}
    # The variable is for a backend that has no key of its own.
    assert loaded(text, KEY).config.backends["a"].keys == {"1": "one", "2": "two"}


def test_keys_by_label() -> None:
    text = (
        "backends:\n  a:\n    type: anthropic\n    api_keys:\n      team-a: ${ANTHROPIC_API_KEY}\n"
    )
    resolved = loaded(text + "      team-b: two\n")
    keys = {"team-a": KEY["ANTHROPIC_API_KEY"], "team-b": "two"}
    assert resolved.config.backends["a"].keys == keys
    shown = [" ".join(line.split()) for line in check_lines(resolved) if ".api_keys." in line]
    assert shown == [
        "backends.a.api_keys.team-a = sk-ant-…mnop # file config.yaml:5 via ${ANTHROPIC_API_KEY}",
        "backends.a.api_keys.team-b = **** # file config.yaml:6",
    ]


NAMED = "ANTHROPIC_API_KEY"
NUMBERED = [
    # the variables behind NAMED; the labels of the keys, or the beginnings of the lines
    ({"": "a"}, {"": "a"}),
    ({"": "a", "_1": ""}, {"": "a"}),
    ({"": "a", "_1": "b"}, {"0": "a", "1": "b"}),
    ({"_3": "c", "_10": "d", "_1": "b"}, {"1": "b", "3": "c", "10": "d"}),
    ({"_2": "c"}, {"2": "c"}),
    ({"": "a", "_FOO": "x", "_1x": "x", "1": "x", "_1_2": "x", "_-1": "x", "_²": "x"}, {"": "a"}),
    ({"": "a", "_01": "b", "_2": "c"}, ["environment ANTHROPIC_API_KEY_01: a number behind it is"]),
    ({"_0": "a"}, ["environment ANTHROPIC_API_KEY_0: a number behind it is 1 or more"]),
    (
        {"": "a", "_1": "a"},
        ["environment ANTHROPIC_API_KEY_1: backends.anthropic.api_keys.1: is the same key as '0'"],
    ),
    (
        {"_1": "a b"},
        ["environment ANTHROPIC_API_KEY_1: backends.anthropic.api_keys.1: holds a space"],
    ),
    (
        {"_" + "9" * 5000: "a"},
        [f"environment ANTHROPIC_API_KEY_{'9' * 5000}: backends.anthropic.api_keys."],
    ),
]


@pytest.mark.parametrize(("variables", "expected"), NUMBERED)
def test_numbered_keys(variables: dict[str, str], expected: dict[str, str] | list[str]) -> None:
    environ = {NAMED + suffix: key for suffix, key in variables.items()}
    if isinstance(expected, list):
        lines = refused("", environ)
        assert [line[: len(start)] for line, start in zip(lines, expected, strict=True)] == expected
        return
    resolved = loaded("", environ)
    keys = resolved.config.backends["anthropic"].keys
    assert list(keys.items()) == list(expected.items())
    for label in set(keys) - {"", "0"}:
        source = resolved.sources[f"backends.anthropic.api_keys.{label}"]
        assert source == f"environment {NAMED}_{label}"


def test_numbered_keys_are_for_backends_without_keys() -> None:
    environ = {"ANTHROPIC_API_KEY_1": "one", "ANTHROPIC_API_KEY_2": "two", NAMED + "_03": "three"}
    lines = refused("backends: {a: {type: anthropic}, b: {type: anthropic}}\n", environ)
    assert len([line for line in lines if line.startswith("environment")]) == 1
    for keys in ("api_key: own", "api_keys: [own]", "api_keys: {x: own}"):
        config = loaded(f"backends: {{a: {{type: anthropic, {keys}}}}}\n", environ).config
        assert list(config.backends["a"].keys.values()) == ["own"]
    for empty in ("[]", "{}", "null"):
        text = f"backends: {{a: {{type: anthropic, api_keys: {empty}}}}}\n"
        assert list(loaded(text, {NAMED + "_4": "four"}).config.backends["a"].keys) == ["4"]


POOLS = """
backends:
  a: {type: anthropic, api_key: one}
  b: {type: anthropic, api_keys: [two, three], weight: 2.5}
  c.d: {type: anthropic, api_keys: {x: four, y: five}}
  sim: {type: simulator}
"""


def test_the_names_of_pools() -> None:
    config = loaded(POOLS + "default_backend: b.2\n").config
    assert config.backends["b"].weight == 2.5
    a, b, c = [Place("a", "")], [Place("b", "1"), Place("b", "2")], [Place("c.d", x) for x in "xy"]
    expected = {"a": a, "b": b, "c.d": c, "sim": [Place("sim", "")]}
    expected |= {"b.1": b[:1], "b.2": b[1:], "c.d.x": c[:1], "c.d.y": c[1:]}
    expected |= {"anthropic": a + b + c, "simulator": [Place("sim", "")]}
    assert pools(config) == {name: tuple(places) for name, places in expected.items()}
    # A type's name that a backend has is that backend's only.
    own = loaded(
        "backends: {simulator: {type: anthropic}, s: {type: simulator}}\ndefault_backend: s\n"
    ).config
    assert pools(own)["simulator"] == (Place("simulator", ""),)


@pytest.mark.parametrize(
    ("default", "first"), [("b.2", "b"), ("anthropic", "a"), ("simulator", "sim"), ("c.d.x", "c.d")]
)
def test_a_default_that_is_a_pool(default: str, first: str) -> None:
    config = loaded(f"{POOLS}default_backend: {default}\n").config
    assert (config.default_backend, first_backend(config)) == (default, first)
    assert f"backend {first} " in "\n".join(banner_lines(config, {"main": 1}))


@pytest.mark.parametrize("default", ["one.x", "anthropic"])
def test_a_default_in_a_backend_with_a_mistake_is_no_second_one(default: str) -> None:
    text = f"backends: {{one: {{type: antropic}}, b: {{type: simulator}}}}\ndefault_backend: {default}\n"
    [line] = refused(text)
    assert "backends.one.type" in line


@pytest.mark.parametrize(
    ("names", "default"), [("a", "a"), ("a, anthropic", "anthropic"), ("anthropic, z", "anthropic")]
)
def test_the_default_backend(names: str, default: str) -> None:
    backends = ", ".join(f"{name}: {{type: simulator}}" for name in names.split(", "))
    assert loaded(f"backends: {{{backends}}}\n").config.default_backend == default


KUBERNETES = "; Kubernetes sets it for a service named isthmus: use enableServiceLinks: false"
ONE_MISTAKE = [
    # the file, the beginning of the only line
    ("prot: 1\n", "config.yaml:1:1: unknown key 'prot'; did you mean 'port'?"),
    ("zzz: 1\n", "config.yaml:1:1: unknown key 'zzz'; known here: host, port, anthropic_port"),
    ("model_aliases: {}\n", "config.yaml:1:16: model_aliases: must be a list"),
    (
        "model_alias: []\n",
        "config.yaml:1:1: unknown key 'model_alias'; did you mean 'model_aliases'?",
    ),
    (
        "model_aliases:\n  - pattern: a\n    replacment: b\n    replacement: c\n",
        "config.yaml:3:5: model_aliases.0: unknown key 'replacment'; did you mean 'replacement'?",
    ),
    (
        "model_aliases: [{pattern: a}]\n",
        "config.yaml:1:17: model_aliases.0.replacement: is missing",
    ),
    ("model_aliases: [a=b]\n", "config.yaml:1:17: model_aliases.0: must be a section of"),
    (
        "model_aliases:\n- {pattern: a, replacement: b}\n- {pattern: '(', replacement: b}\n",
        "config.yaml:3:13: model_aliases.1.pattern: is no pattern: missing ): (",
    ),
    (
        "model_aliases: [{pattern: 'a(?=b)', replacement: b}]\n",
        "config.yaml:1:27: model_aliases.0.pattern: RE2 has no lookahead and no lookbehind: (?=",
    ),
    (
        "model_aliases: [{pattern: '(a)\\1', replacement: b}]\n",
        "config.yaml:1:27: model_aliases.0.pattern: RE2 has no references back to a group: \\1",
    ),
    (
        "model_aliases: [{pattern: '', replacement: b}]\n",
        "config.yaml:1:27: model_aliases.0.pattern",
    ),
    (
        f"model_aliases: [{{pattern: {'a' * 1001}, replacement: b}}]\n",
        "config.yaml:1:27: model_aliases.0.pattern: must have 1,000 characters at most",
    ),
    (
        "model_aliases: [{pattern: '(a)', replacement: 'b\\2'}]\n",
        "config.yaml:1:47: model_aliases.0.replacement: there is no group \\2: the pattern has 1 group",
    ),
    (
        "model_aliases: [{pattern: a, replacement: 'b\\x'}]\n",
        "config.yaml:1:43: model_aliases.0.replacement: behind a backslash stands the number of a group",
    ),
    (
        "model_aliases: [{pattern: a, replacement: 'b?temprature=1'}]\n",
        "config.yaml:1:43: model_aliases.0.replacement: column 3: unknown parameter 'temprature'; did you mean",
    ),
    (
        "model_aliases: [{pattern: a, replacement: 'b?temperature=9'}]\n",
        "config.yaml:1:43: model_aliases.0.replacement: column 3: parameter 'temperature' must be a number",
    ),
    (
        "model_aliases: [{pattern: a, replacement: 'é'}]\n",
        "config.yaml:1:43: model_aliases.0.replacement: holds a character other than ASCII",
    ),
    (
        "force_model: 'b?effort=huge'\n",
        "config.yaml:1:14: force_model: column 3: parameter 'effort' must be",
    ),
    ("force_model: 'anthropic:'\n", "config.yaml:1:14: force_model: "),
    ("force_model: 'hybrid:[a,b]'\n", "config.yaml:1:14: force_model: hybrid:[...] is not served"),
    ("force_context_window: 0\n", "config.yaml:1:23: force_context_window: must be a whole number"),
    ("model_defaults: []\n", "config.yaml:1:17: model_defaults: must be a section"),
    (
        "model_defaults: {m: {limit: {}}}\n",
        "config.yaml:1:22: model_defaults.m: unknown key 'limit'; did you mean 'limits'?",
    ),
    (
        "model_defaults: {m: {limits: {context: 1}}}\n",
        "config.yaml:1:31: model_defaults.m.limits: unknown key 'context'; did you mean 'context_w",
    ),
    (
        "model_defaults: {m: {limits: {context_window: 2, max_input_tokens: 3}}}\n",
        "config.yaml:1:68: model_defaults.m.limits.max_input_tokens: max_input_tokens 3 is above",
    ),
    (
        "model_defaults: {m: {parameters: {temprature: 1}}}\n",
        "config.yaml:1:47: model_defaults.m.parameters.temprature: unknown parameter 'temprature'; did",
    ),
    (
        "model_defaults: {m: {parameters: {temperature: 9}}}\n",
        "config.yaml:1:48: model_defaults.m.parameters.temperature: parameter 'temperature' must be a number from",
    ),
    (
        "model_defaults: {m: {parameters: {top_k: true}}}\n",
        "config.yaml:1:42: model_defaults.m.parameters.top_k: parameter 'top_k' must be a whole number from 0",
    ),
    (
        "model_defaults: {m: {parameters: {effort: [low]}}}\n",
        "config.yaml:1:43: model_defaults.m.parameters.effort: parameter 'effort' must be low, medium",
    ),
    (
        "model_defaults: {m: {parameters: {effort: null}}}\n",
        "config.yaml:1:43: model_defaults.m.parameters.effort: parameter 'effort' must be low, medium",
    ),
    (
        "model_defaults: {'a|b': {}}\n",
        "config.yaml:1:25: model_defaults.a|b: visible ASCII characters but ?|^! make the name",
    ),
    (
        "retry: {repeats: 11}\n",
        "config.yaml:1:18: retry.repeats: must be a whole number from 0 to 10",
    ),
    ("retry: {failures: 0}\n", "config.yaml:1:19: retry.failures: must be a whole number from 1"),
    ("retry: {budget_percent: 101}\n", "config.yaml:1:25: retry.budget_percent: must be a number"),
    ("retry: {bench_seconds: 0}\n", "config.yaml:1:24: retry.bench_seconds: must be a number of"),
    ("retry: {cool: 1}\n", "config.yaml:1:9: retry: unknown key 'cool'"),
    (
        MINIMAL + "    wieght: 2\n    models: [a]\n",
        "config.yaml:4:5: backends.anthropic: unknown key 'wieght'",
    ),
    (
        MINIMAL + "    api_kye: x\n",
        "config.yaml:4:5: backends.anthropic: unknown key 'api_kye'; did you mean 'api_key'?",
    ),
    (
        "timeouts:\n  conect: 1\n",
        "config.yaml:2:3: timeouts: unknown key 'conect'; did you mean 'c",
    ),
    ("port: 1\nport: 2\n", "config.yaml:2:1: key 'port' is already given in line 1"),
    (
        "auth: {keys: [], keys: []}\n",
        "config.yaml:1:18: auth: key 'keys' is already given in line 1",
    ),
    ("port: 70000\n", "config.yaml:1:7: port: must be a whole number from 0 to 65535"),
    ("port: -1\n", "config.yaml:1:7: port: must be a whole number"),
    ("port: true\n", "config.yaml:1:7: port: must be a whole number"),
    ("port: 1.5\n", "config.yaml:1:7: port: must be a whole number"),
    ("port: null\n", "config.yaml:1:7: port: must be a whole number"),
    ("port: [1]\n", "config.yaml:1:7: port: must be a whole number"),
    ("port: " + "9" * 5000, "config.yaml:1:7: port: must be a whole number"),
    ("anthropic_port: yes\n", "config.yaml:1:17: anthropic_port: must be a whole number"),
    (
        "anthropic_port: 8000\n",
        "config.yaml:1:17: anthropic_port: must be another port than `port`",
    ),
    ('host: ""\n', "config.yaml:1:7: host: must be an IP address"),
    ("host: '[::1]'\n", "config.yaml:1:7: host: must be an IP address (IPv6 without brackets)"),
    ("host: 0.0.0.0\n", "config.yaml:1:7: host: is not a loopback address, so clients need keys"),
    ("host: gateway.example.com\n", "config.yaml:1:7: host: is not a loopback address"),
    ("force_model: 5\n", "config.yaml:1:14: force_model: must be text: put it in quotes"),
    ("force_model: 'a b'\n", "config.yaml:1:14: force_model: holds a space"),
    ("limits: {body_bytes: 0}\n", "config.yaml:1:22: limits.body_bytes: must be a whole number"),
    ("timeouts: {idle: 0}\n", "config.yaml:1:18: timeouts.idle: must be a number of seconds"),
    ("timeouts: {idle: .inf}\n", "config.yaml:1:18: timeouts.idle: must be a number of seconds"),
    ("timeouts: {idle: .nan}\n", "config.yaml:1:18: timeouts.idle: must be a number of seconds"),
    ("timeouts: {idle: false}\n", "config.yaml:1:18: timeouts.idle: must be a number of seconds"),
    ("strict: maybe\n", "config.yaml:1:9: strict: must be true or false"),
    ("strict: 1\n", "config.yaml:1:9: strict: must be true or false"),
    ("profiles: []\n", "config.yaml:1:11: profiles: must be a section"),
    (
        "profiles: {m: {max_ouput: 1}}\n",
        "config.yaml:1:16: profiles.m: unknown key 'max_ouput'; did",
    ),
    (
        "profiles:\n  m:\n    prices: {inptu: 1}\n",
        "config.yaml:3:14: profiles.m.prices: unknown key 'inptu'; did you mean 'input'?",
    ),
    (
        "profiles: {m: {prices: {input: -1}}}\n",
        "config.yaml:1:32: profiles.m.prices.input: must be a number of dollars from 0",
    ),
    (
        "profiles: {m: {max_output: null}}\n",
        "config.yaml:1:28: profiles.m.max_output: must be a whole number from 1 to",
    ),
    (
        "profiles: {m: {thinking: [adaptive, deep]}}\n",
        "config.yaml:1:37: profiles.m.thinking.1: must be 'adaptive', 'enabled'",
    ),
    (
        "profiles: {m: {thinking: null}}\n",
        "config.yaml:1:26: profiles.m.thinking: must be a list",
    ),
    (
        "profiles: {m: {thinking_default: null}}\n",
        "config.yaml:1:34: profiles.m.thinking_default: must be 'always', 'on' or 'off'",
    ),
    (
        "profiles: {m: {effort_default: huge}}\n",
        "config.yaml:1:32: profiles.m.effort_default: must be 'low', 'medium'",
    ),
    (
        "profiles: {m: {efforts: [low], effort_default: max}}\n",
        "config.yaml:1:48: profiles.m.effort_default: is none of its efforts: low",
    ),
    (
        "profiles: {m: {efforts: [], thinking_off_effort: low}}\n",
        "config.yaml:1:50: profiles.m.thinking_off_effort: is none of its efforts: none",
    ),
    ("profiles: {m: {fast: 1}}\n", "config.yaml:1:22: profiles.m.fast: must be true or false"),
    ("profiles: {m: {released: soon}}\n", "config.yaml:1:26: profiles.m.released: must be a date"),
    (
        "profiles: {m: {display_name: ''}}\n",
        "config.yaml:1:30: profiles.m.display_name: must be a line of text",
    ),
    (
        "profiles: {m: {like: claude-opus-5-6}}\n",
        "config.yaml:1:22: profiles.m.like: no model above this one is named 'claude-opus-5-6'; did",
    ),
    (
        "profiles: {a: {like: b}, b: {like: a}}\n",
        "config.yaml:1:22: profiles.a.like: no model above this one is named 'b'",
    ),
    (
        "profiles: {m: {aliases: [a, claude-opus-5-5]}}\n",
        "config.yaml:1:29: profiles.m.aliases.1: is the name of another model",
    ),
    (
        "profiles: {m: {context_window: 10}}\n",
        "config.yaml:1:32: profiles.m.context_window: max_output 128000 is above context_window 10",
    ),
    ("profiles: {'a b': {}}\n", "config.yaml:1:19: profiles.a b: visible ASCII characters but ?"),
    (
        "profiles: {" + "x" * 129 + ": {}}\n",
        "config.yaml:1:143: profiles.",
    ),
    ("timeouts: 5\n", "config.yaml:1:11: timeouts: must be a section"),
    ("backends: []\n", "config.yaml:1:11: backends: must be a section"),
    ("backends: false\n", "config.yaml:1:11: backends: must be a section"),
    ("backends: {a: 5}\n", "config.yaml:1:15: backends.a: must be a section"),
    ("backends:\n  a:\n", "config.yaml:2:3: backends.a.type: must be one of anthropic, simulator"),
    ("backends: {a: {}}\n", "config.yaml:1:12: backends.a.type: must be one of anthropic"),
    (
        "backends: {a: {type: antropic}}\n",
        "config.yaml:1:22: backends.a.type: must be one of anthropic, simulator; did you mean 'anth",
    ),
    ("backends: {a: {type: [x]}}\n", "config.yaml:1:22: backends.a.type: must be one of"),
    ("backends: {'a b': {type: simulator}}\n", "config.yaml:1:19: backends.a b: letters, digits"),
    (
        "backends: {a: {type: simulator, base_url: http://x}}\n",
        "config.yaml:1:43: backends.a.base_url: a simulator has no base_url",
    ),
    (
        "backends: {a: {type: simulator, proxy: http://x}}\n",
        "config.yaml:1:40: backends.a.proxy: a simulator has no proxy",
    ),
    (
        "backends: {a: {type: anthropic, proxy: 'socks5://x'}}\n",
        "config.yaml:1:40: backends.a.proxy: must be the URL of an HTTP proxy, such as",
    ),
    (
        "limits: {connections_per_backend: 0}\n",
        "config.yaml:1:35: limits.connections_per_backend: must be a whole number from 1 to",
    ),
    (
        "backends: {a: {type: anthropic, api_key: x, api_keys: [y]}}\n",
        "config.yaml:1:55: backends.a.api_keys: give either api_key or api_keys, not both",
    ),
    (
        "backends: {a: {type: anthropic, api_keys: [y, z, y]}}\n",
        "config.yaml:1:50: backends.a.api_keys.2: the same key stands at places 1 and 3",
    ),
    (
        "backends: {a: {type: anthropic, api_keys: {x: y, z: y}}}\n",
        "config.yaml:1:53: backends.a.api_keys.z: is the same key as 'x'",
    ),
    (
        "backends: {a: {type: anthropic, api_keys: {a.b: y}}}\n",
        "config.yaml:1:49: backends.a.api_keys.a.b: letters, digits and _ - make the label of a key",
    ),
    (
        "backends: {a: {type: anthropic, api_keys: {x: 1}}, b: {type: simulator}}\n"
        "default_backend: a.x\n",
        "config.yaml:1:47: backends.a.api_keys.x: must be text: put it in quotes",
    ),
    (
        "backends: {a: {type: anthropic, api_keys: [x, '']}}\n",
        "config.yaml:1:47: backends.a.api_keys.1: is empty",
    ),
    (
        "backends: {a: {type: anthropic, api_keys: x}}\n",
        "config.yaml:1:43: backends.a.api_keys: must be a list of keys, or a section of `label: key`",
    ),
    (
        "backends: {a: {type: anthropic, api_keys: [x]}, a.1: {type: simulator}}\n"
        "default_backend: a\n",
        "config.yaml:1:54: backends.a.1: is the name of the key '1' of the backend 'a' too",
    ),
    (
        "backends: {a: {type: anthropic, weight: 0}}\n",
        "config.yaml:1:41: backends.a.weight: must be a number above 0 and at most 1000000",
    ),
    (
        "backends: {a: {type: anthropic, api_keys: [x, y]}}\ndefault_backend: a.3\n",
        "config.yaml:2:18: default_backend: no backend is named 'a.3'; did you mean 'a.2'?",
    ),
    (
        "backends: {a: {type: anthropic, api_keys: [x, y]}}\ndefault_backend: zzz\n",
        "config.yaml:2:18: default_backend: no backend is named 'zzz'; there is a, a.1, a.2, anthr",
    ),
    (
        "backends: {a: {type: anthropic, api_key: ''}}\n",
        "config.yaml:1:42: backends.a.api_key: is empty",
    ),
    (
        "backends: {a: {type: anthropic, api_key: 12}}\n",
        "config.yaml:1:42: backends.a.api_key: must be text: put it in quotes",
    ),
    (
        "backends: {a: {type: simulator, models: x}}\n",
        "config.yaml:1:41: backends.a.models: must be a list",
    ),
    (
        SIM + "default_backend: smi\n",
        "config.yaml:2:18: default_backend: no backend is named 'smi'; did",
    ),
    (
        SIM + "default_backend: anthropic\n",
        "config.yaml:2:18: default_backend: no backend is named 'anthropic'; the file has to name it",
    ),
    (
        "backends: {a: {type: simulator}, b: {type: simulator}}\n",
        "default_backend: is needed where there are several backends: one of a, b",
    ),
    ("auth: {keys: ['']}\n", "config.yaml:1:15: auth.keys.0: is empty"),
    ("auth: {keys: [short]}\n", "config.yaml:1:15: auth.keys.0: is too short for a key"),
    ("auth: {keys: ['two words']}\n", "config.yaml:1:15: auth.keys.0: holds a space"),
    (
        "auth:\n  keys:\n    - key-number-1\n    - key-number-1\n",
        "config.yaml:4:7: auth.keys.1: the same key stands at places 1 and 2",
    ),
    ("auth: {keys: key-number-1}\n", "config.yaml:1:14: auth.keys: must be a list"),
    ("port: ${NOPE}\n", "config.yaml:1:7: port: the environment variable NOPE is not set"),
    ("port: ${ISTHMUS-X}\n", "config.yaml:1:7: port: '${ISTHMUS-X}' is not a reference"),
    ("force_model: x${\n", "config.yaml:1:14: force_model: an unclosed ${ is not a reference"),
    (
        "auth: {keys: ['${ANTHROPIC_API_KYE}']}\n",
        "config.yaml:1:15: auth.keys.0: the environment variable ANTHROPIC_API_KYE is not set; did",
    ),
    (
        "backends: {a: {type: anthropic, api_key: '${file:nope}'}}\n",
        "config.yaml:1:42: backends.a.api_key: the file 'nope' cannot be read: No such file",
    ),
    (
        "backends: {a: {type: anthropic, api_key: '${file:.}'}}\n",
        "config.yaml:1:42: backends.a.api_key: the file '.' cannot be read: Is a directory",
    ),
    ("backends: {a: {type: '${NOPE}'}}\n", "config.yaml:1:22: backends.a.type: the environment"),
    ("host: ${NOPE}\n", "config.yaml:1:7: host: the environment variable NOPE is not set"),
    # files that are broken as a whole
    ("a: [1, 2\n", "config.yaml:2:1: is not valid YAML: expected ',' or ']'"),
    ("port: 1\n\thost: x\n", "config.yaml:2:1: is not valid YAML: "),
    ("port: 1\n host: x\n", "config.yaml:2:6: is not valid YAML: mapping values are not allowed"),
    ("host: *nobody\n", "config.yaml:1:7: is not valid YAML: found undefined alias 'nobody'"),
    ("port: 1\n---\nport: 2\n", "config.yaml:2:1: is not valid YAML: but found another document"),
    ("- port: 1\n", "config.yaml:1:1: must be a section"),
    ("port\n", "config.yaml:1:1: must be a section"),
    ("port: !!python/name:os.system x\n", "config.yaml:1:7: port: the tag"),
    ("? [port]\n: 1\n", "config.yaml:1:3: a key must be plain text"),
    ("a: \x07\n", "config.yaml:1:4: is not valid YAML: a character is not allowed here"),
    ("[" * 3000, "config.yaml:1:21: has more than 10,000 values, aliases unfolded, or 20 levels"),
    ("x: &x [*x]\n", "config.yaml:1:4: has more than"),
    ("%YAML 1.7\n---\nport: 1\n", "config.yaml: is not valid YAML: a directive or an escape"),
    ('host: "\\UFFFFFFFF"\n', "config.yaml: is not valid YAML: a directive or an escape"),
    ('host: "\\ud800"\n', "config.yaml:1:7: host: holds half a surrogate pair"),
    ("# " + "x" * 5_000_000, "config.yaml: is larger than 1024 KiB"),
    ("k: v\n" * 20_000, "config.yaml:10000:"),
    (b"port: 1\nhost: \xff\n", "config.yaml:2:7: is not UTF-8 text"),
    ("port: 1\n".encode("utf-16"), "config.yaml:1:1: is not UTF-8 text"),
]


@pytest.mark.parametrize(
    ("text", "line"), ONE_MISTAKE, ids=[str(row[0])[:40] for row in ONE_MISTAKE]
)
def test_one_mistake(text: str | bytes, line: str) -> None:
    [found] = refused(text)
    assert found.startswith(line)


def test_an_alias_bomb_is_refused() -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 9))
    [found] = refused("l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n" + levels)
    assert "has more than 10,000 values" in found


BASE_URLS = {
    "https://api.example.com": "https://api.example.com",
    "http://127.0.0.1:8765/": "http://127.0.0.1:8765",
    "https://host/path/": "https://host/path",
    "http://[::1]:80": "http://[::1]:80",
    "ftp://host": None,
    "host": None,
    "https://": None,
    "https://host?x=1": None,
    "https://host#x": None,
    "https://user:word@host": None,
    "https://host:99999": None,
    "https://host:x": None,
    "https://[::1": None,
    "https://ho st": None,
}


@pytest.mark.parametrize(("url", "expected"), BASE_URLS.items())
def test_base_urls(url: str, expected: str | None) -> None:
    text = f"backends: {{a: {{type: anthropic, base_url: '{url}'}}}}\n"
    if expected:
        assert loaded(text).config.backends["a"].base_url == expected
    else:
        [line] = refused(text)
        assert line.startswith("config.yaml:1:43: backends.a.base_url: ")
        assert "word" not in line


def test_mistakes_outside_of_the_file() -> None:
    lines = refused(
        "timeouts: {idle: 1}\n",
        {"ISTHMUS_PORT": "tcp://10.0.0.7:8000", "ISTHMUS_API_KEYS": ","},
        {"host": "0.0.0.0", "anthropic_port": -1},
    )
    assert sorted(lines) == [
        "backends.anthropic: has no key: set ANTHROPIC_API_KEY or backends.anthropic.api_key",
        "environment ISTHMUS_API_KEYS: auth.keys.0: is empty",
        "environment ISTHMUS_PORT: port: must be a whole number from 0 to 65535" + KUBERNETES,
        "flag --anthropic-port: anthropic_port: must be a whole number from 0 to 65535",
    ]


def test_all_mistakes_at_once_in_reading_order() -> None:
    text = (
        "prot: 1\nhost: ${HOST}\nport: ninety\nbackends:\n  one:\n    type: antropic\n  two:\n"
        "    type: anthropic\n    wieght: 2\n    base_url: x\ntimeouts: {idle: -1}\n"
        "default_backend: tow\nport: 5\n"
    )
    lines = refused(text, {"ISTHMUS_FORCE_MODEL": "a b"})
    assert [line.rsplit(";")[0][:58] for line in lines] == [
        "config.yaml:1:1: unknown key 'prot'",
        "config.yaml:2:7: host: the environment variable HOST is no",
        "config.yaml:3:7: port: must be a whole number from 0 to 65",
        "config.yaml:6:11: backends.one.type: must be one of anthro",
        "config.yaml:8:5: backends.two: has no key: set ANTHROPIC_A",
        "config.yaml:9:5: backends.two: unknown key 'wieght'",
        "config.yaml:10:15: backends.two.base_url: must be a URL th",
        "config.yaml:11:18: timeouts.idle: must be a number of seco",
        "config.yaml:12:18: default_backend: no backend is named 't",
        "config.yaml:13:1: key 'port' is already given in line 3",
        "environment ISTHMUS_FORCE_MODEL: force_model: holds a spac",
    ]


def test_a_file_that_is_not_there_and_the_rest() -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(Path("nope.yaml"), {"ISTHMUS_PORT": "x"}, {})
    assert str(caught.value).splitlines() == [
        "nope.yaml: cannot be read: No such file or directory",
        "environment ISTHMUS_PORT: port: must be a whole number from 0 to 65535",
    ]
    with pytest.raises(ConfigErrors, match=r"^\.: cannot be read: Is a directory$"):
        load(Path(), KEY, {})
    with pytest.raises(ConfigErrors, match="no file can have this name"):
        load(Path("a\0b"), KEY, {})


def test_no_key_is_ever_in_a_message() -> None:
    secret = "sk-ant-secret-secret"
    for text in (
        "auth: {keys: ['${S} x', '${S}', '${S}']}\n",
        "port: ${S}\nhost: '${S} '\ntimeouts: {idle: '${S}'}\nbackends: ${S}\n",
        "backends: {a: {type: '${S}', api_key: [$]}, b: {type: anthropic, base_url: '${S}'}}\n",
        f"backends: {{a: {{type: anthropic, api_key: '{secret} '}}}}\n",
    ):
        with pytest.raises(ConfigErrors) as caught:
            loaded(text, {"S": secret})
        assert secret not in f"{caught.value!s} {caught.value!r} {caught.value.errors}"
    config = loaded("", {"ANTHROPIC_API_KEY": secret}).config
    assert secret not in f"{config!r} {config!s} {config.model_dump_json()}"


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:0.0.0.0", False),
        ("10.0.0.1", False),
        ("127.1", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback(host: str, own: bool) -> None:
    assert is_loopback(host) is own
    assert loaded(f"host: '{host}'\nauth: {{keys: [long-enough-key]}}\n").config.host == host


def test_models_can_be_made_directly_and_are_frozen() -> None:
    config = Config(backends={"a": BackendConfig(type="simulator")})
    assert config.default_backend == "a"
    assert config.backends["a"].base_url is None
    assert Config().backends["anthropic"].keys == {}
    with pytest.raises(ValueError, match="frozen"):
        config.port = 1  # type: ignore[misc]


def test_the_tables_agree_with_the_models() -> None:
    known = BackendConfig.model_fields["type"].annotation
    assert set(BACKEND_TYPES) == set(known.__args__)  # type: ignore[union-attr]
    paths = {".".join(map(str, key)) for key, _ in leaves(Config())}
    assert {setting.key for setting in SETTINGS} <= paths
    for _, section in reference.SECTIONS:
        for name, field in section.model_fields.items():
            # The keys of a section have rows of their own.
            nested = isinstance(field.annotation, type) and issubclass(field.annotation, Section)
            assert nested or (field.description and field.title), name


WORDS = st.sampled_from(
    [
        *(*Config.model_fields, *BackendConfig.model_fields, *ProfileConfig.model_fields),
        *(*RewriteConfig.model_fields, *ModelDefaults.model_fields, *RetryConfig.model_fields),
        *("keys", "a", "simulator", "anthropic", "low", "adaptive", "temperature", r"\1", "(a)"),
    ]
)
VALUES_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
# Beside arbitrary characters, what YAML gives a meaning.
TOKENS = st.sampled_from([*"-?:,[]{}#&*!|>'\"%@` \n\t\x00\x85\ufeff", "${A}", "${", "$${", "---\n"])
TEXTS = st.lists(TOKENS | WORDS | st.text(max_size=3), max_size=25).map("".join)


def as_flow(value: object) -> str:
    """A value in YAML's flow style, which takes JSON but for its numbers."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_flow, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return {None: "null", True: "true", False: "false"}.get(value, str(value))  # type: ignore


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS | st.dictionaries(WORDS, VALUES_ANY, max_size=4).map(as_flow) | st.binary(max_size=40))
def test_nothing_but_config_errors_is_raised(text: str | bytes) -> None:
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        resolved = loaded(raw, {**KEY, "A": "x"})
    except ConfigErrors as refusal:
        messages = [error.message for error in refusal.errors]
        resolved = None
    if resolved is None:
        assert messages
        assert all(messages)
    else:
        assert resolved.config.default_backend in resolved.config.backends
        assert re.fullmatch(r"(default|file config\.yaml:\d+( via .*)?)", resolved.sources["port"])


def test_positions_of_keys_and_values() -> None:
    Path("x.yaml").write_text("a:\n  - b: 1\n    c: [2, 0x1F]\nd: 010\n")
    document = yamldoc.read(Path("x.yaml"), {})
    assert document.data == {"a": [{"b": 1, "c": [2, 31]}], "d": 10}
    assert document.keys["a", 0, "c"] == (3, 5)
    assert document.values["a", 0, "c", 1] == (3, 12)


def test_the_reference_is_up_to_date() -> None:
    page = (DOCS / "configuration.md").read_text("utf-8")
    assert page == reference.filled(page), "run: python -m isthmus.reference docs"
    assert page.count("<!-- generated: ") == 3


def test_every_block_of_the_page_loads(folder: Path) -> None:
    (folder / "secrets").mkdir()
    (folder / "secrets" / "second-key").write_text("sk-2\n")
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / "configuration.md").read_text(), re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        loaded(block, {**KEY, "ANTHROPIC_KEY_ONE": "sk-1", "TEAM_KEY": "team-key-1"})


def test_the_mistakes_of_the_page() -> None:
    page = (DOCS / "configuration.md").read_text("utf-8")
    shown = re.findall(r"```text\n(.*?)```", page, re.DOTALL)[0].splitlines()
    text = "prot: 1\nbackends:\n  claude:\n    type: antropic\ndefault_backend: claud\n"
    assert refused(text, {**KEY, "ISTHMUS_PORT": "http"}) == shown

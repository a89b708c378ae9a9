"""The project's own rules: requirements, packaging, versions, links, nothing of any one machine."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import isthmus
from isthmus.__main__ import unsupported

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = sorted((ROOT / "requirements").iterdir())
LOCKS = [path for path in REQUIREMENTS if path.suffix == ".txt"]
PIN = re.compile(r"(?m)^(?P<name>[a-z0-9-]+)==(?P<version>[^\s;]+)(?P<rest>(?:.*\\\n)+.*)$")

# Written in pieces, so that this file does not hold what it looks for.
FOREIGN = [
    re.compile("/" + r"(?:home|Users)/\w"),
    re.compile("/" + r"(?:root|work|opt)/\w"),
    re.compile(r"\.py" + r"env/"),
    re.compile(r"py" + r"pi\.(?:org|python)|python" + r"hosted|files\.python" + r"\.org"),
    re.compile(r"registry\." + r"(?:npmjs|yarnpkg)|crates" + r"\.io|proxy\.golang"),
    re.compile(r"sk-ant-" + r"(?:api|admin|oat)\d\d-[\w-]{20}"),
]
GENERATED = {".git", "__pycache__", "node_modules", "build", "dist"}


def project_files() -> list[Path]:
    """Every text file of the checkout that a commit could contain."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name not in GENERATED and not (name.startswith(".") and name != ".ci")
        ]
        found += [Path(folder, name) for name in names if not name.endswith((".pyc", ".png"))]
    return sorted(path for path in found if ".db" not in path.name and path.suffix != ".log")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_requirements_name_packages_and_nothing_else(path: Path) -> None:
    for line in path.read_text().splitlines():
        assert not re.match(r"\s*-(?!-hash=sha256:[0-9a-f]{64}(?: \\)?$)", line), line
        assert not re.search(r"://|\bfile:|\s@\s|\.whl|\.tar|index|find-links", line), line


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_pin_has_hashes(path: Path) -> None:
    text = path.read_text()
    pins = list(PIN.finditer(text))
    names = re.findall(r"(?m)^[^\s#-].*$", text)
    assert len(pins) == len(names) > 0
    assert all("--hash=sha256:" in pin["rest"] for pin in pins)


def locked(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text()
    return {pin["name"]: pin["version"] for pin in PIN.finditer(text)}


def test_what_we_test_is_what_we_run() -> None:
    """dev.txt repeats run.txt pin by pin."""
    assert locked("run.txt").items() <= locked("dev.txt").items()


def test_every_runtime_dependency_has_a_lower_bound_and_a_pin() -> None:
    pins = locked("run.txt")
    for requirement in PROJECT["dependencies"]:
        match = re.fullmatch(r"([\w.-]+)>=([\d.]+)(;.*)?", requirement)
        assert match, f"{requirement}: a lower bound, and no other"
        pin = pins[match[1].replace(".", "-").lower()]
        floor = tuple(int(part) for part in match[2].split("."))
        assert tuple(int(part) for part in pin.split(".")) >= floor


def test_the_build_backend_is_pinned_too() -> None:
    assert {"hatchling", "editables", "pathspec", "pluggy"} <= locked("dev.txt").keys()


def test_both_generations_of_the_anthropic_sdk_are_clients() -> None:
    assert locked("dev.txt")["anthropic"].split(".")[0] == "2"
    assert locked("anthropic-1.txt")["anthropic"].split(".")[0] == "1"


def test_one_version() -> None:
    assert PROJECT["version"] == isthmus.__version__
    assert f"## {isthmus.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    ("version", "fits"),
    [((3, 10, 13), False), ((3, 11, 0), True), ((3, 14, 9), True), ((3, 15, 0), False)],
)
def test_another_python_is_told_so(version: tuple[int, ...], fits: bool) -> None:
    message = unsupported(version)
    assert (message is None) == fits
    assert fits or ("3.11" in message and ".".join(map(str, version)) in message)


def test_nothing_of_one_machine_and_no_registry() -> None:
    found = []
    for path in project_files():
        text = path.read_text(errors="replace")
        found += [f"{relative(path)}: {hit[0]}" for rule in FOREIGN if (hit := rule.search(text))]
    assert not found, "\n".join(found)


def anchors(text: str) -> set[str]:
    """The ids that a Markdown page's headings get."""
    slugs = set()
    for heading in re.findall(r"(?m)^#+ +(.+?) *$", text):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.lower())
        slugs.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return slugs


def test_every_relative_link_leads_somewhere() -> None:
    broken = []
    for path in project_files():
        if path.suffix != ".md":
            continue
        text = re.sub(r"(?ms)^(\s*)(```|~~~).*?^\1\2\s*$", "", path.read_text())
        for link in re.findall(r"\]\(<?([^)>\s]+)>?[^)]*\)", text):
            if re.match(r"[a-z][a-z+.-]*:", link):
                continue
            target, _, anchor = link.partition("#")
            page = (path.parent / target) if target else path
            if not page.exists() or (
                anchor and page.suffix == ".md" and anchor not in anchors(page.read_text())
            ):
                broken.append(f"{relative(path)}: {link}")
    assert not broken, "\n".join(broken)


def test_the_docs_index_names_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").glob("*.md")]
    assert [page for page in pages if page != "index.md" and f"({page})" not in index] == []


def test_the_readme_opens_with_the_two_commands() -> None:
    opening = (ROOT / "README.md").read_text().split("\n## ")[0]
    assert re.findall(r"(?m)^(make \w+)", opening) == ["make run", "make test"]


def test_ci_calls_the_whole_suite() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "make test" in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_wheel_holds_the_package_and_its_data(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.iterdir()
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"isthmus-{isthmus.__version__}.dist-info/"
    meta = {info + name for name in ("METADATA", "WHEEL", "entry_points.txt", "RECORD")}
    meta.add(info + "licenses/LICENSE")
    source = ROOT / "src"
    package = {
        path.relative_to(source).as_posix()
        for path in (source / "isthmus").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == meta | package
    kinds = {Path(name).suffix for name in package}
    assert kinds <= {".py", ".json", ".typed", ".html", ".css", ".js", ".svg", ".sql", ".lua"}


def copy_of_the_makefile(folder: Path) -> Path:
    """A checkout with nothing set up: what `make setup` reads and no environment."""
    checkout = folder / "checkout"
    (checkout / "requirements").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "requirements/dev.txt"):
        (checkout / name).write_bytes((ROOT / name).read_bytes())
    return checkout


def stand_in(folder: Path, script: str) -> Path:
    """An interpreter that answers what the Makefile asks every interpreter, and nothing else."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return python


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        pytest.param(
            'case "$1$2" in --version) echo Python 3.9.1;; -c) ;; *) exit 1;; esac',
            "Isthmus needs Python 3.11, 3.12, 3.13 or 3.14",
            id="too old",
        ),
        pytest.param('case "$2" in *venv*) exit 1;; esac', "has no venv module", id="no venv"),
        pytest.param("exit 127", "does not start", id="not a Python"),
    ],
)
def test_make_setup_says_what_is_wrong(tmp_path: Path, script: str, complaint: str) -> None:
    checkout, python = copy_of_the_makefile(tmp_path), stand_in(tmp_path, script)
    command = ["make", "-C", str(checkout), "setup", f"PYTHON={python}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert complaint in done.stderr
    assert not (checkout / ".venv").exists()

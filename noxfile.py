"""Nox sessions that test, check, build and measure the project, each in its own environment."""

from __future__ import annotations

import shutil
from pathlib import Path

import nox
from nox.command import CommandFailed

PYTHONS = [version for version in ("3.11", "3.12", "3.13", "3.14") if shutil.which(f"python{version}")]

# Tests that use every dependency of the package.
MINIMUM_TESTS = (
    *("tests/redis", "tests/http", "tests/store", "tests/metrics", "tests/test_settings.py"),
    *("tests/access", "tests/client", "tests/telemetry", "tests/cli/test_watch.py"),
)

nox.options.sessions = ["tests", "lint", "types", "examples"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The test suite, on every Python that is installed."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """The test suite once, with the lines and branches it does not reach."""
    session.install("-e", ".[test]")
    session.run("pytest", "--cov", "--cov-report=term:skip-covered", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules and its formatting."""
    session.install("-e", ".[lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, over everything."""
    session.install("-e", ".[test,types]", "nox", "playwright", "-r", "benchmarks/requirements.txt")
    session.run("mypy")


@nox.session
def examples(session: nox.Session) -> None:
    """Run each example as a user would, and the demo; then those that depend on timing fifty times."""
    session.install("-e", ".")
    session.run("python", "examples/run_examples.py")
    session.run("python", "examples/repeat_examples.py", "50")


@nox.session
def package(session: nox.Session) -> None:
    """Build wheel and sdist, inspect, install and use them outside the repository."""
    session.install("build", "twine", "check-wheel-contents")
    session.run("python", "-m", "tests.package")


@nox.session
def typescript(session: nox.Session) -> None:
    """Types from the AsyncAPI document, by two generators and by this package, compile and fit."""
    if shutil.which("npm") is None:
        session.skip("there is no npm")
    session.install("-e", ".")
    folder = Path(session.create_tmp())
    for source in Path("tests/support/typescript").iterdir():
        shutil.copy(source, folder)
    session.run("python", "-m", "tests.support.typescript.write", str(folder))
    with session.chdir(folder):
        install = ["npm", "install", "--no-audit", "--no-fund", "--silent"]
        try:
            session.run(*install, external=True)
        except CommandFailed:
            session.skip("the generators cannot be installed here")
        session.run("node", "generate.mjs", "document.json", ".", external=True)
        made = ["ours.ts", "uses.ts", "from_schema.ts", "from_asyncapi.ts"]
        session.run("npx", "tsc", "--strict", "--noEmit", "--skipLibCheck", *made, external=True)


@nox.session
def browser(session: nox.Session) -> None:
    """The page: its modules' types, lint and unit tests with npm, then all of it in Chromium."""
    session.install("-e", ".[test]", "playwright")
    npm = shutil.which("npm")
    if npm is None:
        session.warn("there is no npm: modules are not checked, and axe-core's rules are skipped")
    else:
        with session.chdir("tests/browser"):
            session.run(
                "npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent", external=True
            )
            Path("node_modules/.wire").mkdir(exist_ok=True)
            with Path("node_modules/.wire/wire.ts").open("w") as types_of_wire:
                session.run("portfolio-trio", "types", stdout=types_of_wire)
            for check in ("types", "lint", "unit"):
                session.run("npm", "run", "--silent", check, external=True)
    session.run("pytest", "-q", "-rs", "tests/browser", *session.posargs)


@nox.session
def screenshot(session: nox.Session) -> None:
    """Make the picture of the page for the README again."""
    session.install("-e", ".", "playwright")
    session.run("python", "docs/screenshot.py")


@nox.session
def docs(session: nox.Session) -> None:
    """The site, in `.nox/docs/tmp/site`; a warning is an error. Links and code are tested in tests/docs."""
    session.install("-e", ".", "-r", "docs/requirements.txt")
    site = str(Path(session.create_tmp()) / "site")
    session.run("sphinx-build", "-b", "html", "-W", "--keep-going", "-q", "docs", site)


@nox.session
def clients(session: nox.Session) -> None:
    """The programs of docs/other-clients.md: Node if npm is installed, a browser if Chromium is."""
    session.install("-e", ".[test]", "playwright")
    environment = {}
    if shutil.which("npm"):
        folder = Path(session.create_tmp()).absolute()
        install = ("npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), "ws@8")
        session.run(*install, external=True)
        environment["PORTFOLIO_TEST_NODE_MODULES"] = str(folder / "node_modules")
    session.run("pytest", "-q", "-rs", "tests/docs/test_other_clients.py", env=environment)


@nox.session
def minimum(session: nox.Session) -> None:
    """A part of the suite with the lowest version of each dependency that pyproject.toml admits."""
    session.install("uv==0.13.8")
    lowest = ("uv", "pip", "install", "--python", f"{session.bin}/python", "--resolution", "lowest-direct")
    session.run(*lowest, "-e", ".[test]")
    session.run("pytest", "-q", *(session.posargs or MINIMUM_TESTS))


@nox.session
def ops(session: nox.Session) -> None:
    """Check ops/, compose.yaml and .github/ without running them."""
    session.install("-r", "ops/requirements.txt")
    session.run("zizmor", "--offline", "--persona", "pedantic", ".github")
    session.run("hadolint", "ops/Dockerfile")
    session.run("kubernetes-validate", "--strict", "ops/kubernetes.yaml")
    schemas = {
        "compose-spec": ["compose.yaml"],
        "dependabot": [".github/dependabot.yml"],
        "github-issue-config": [".github/ISSUE_TEMPLATE/config.yml"],
        "github-issue-forms": [".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/idea.yml"],
        "github-workflows": [f".github/workflows/{name}.yml" for name in ("tests", "weekly", "release")],
    }
    for schema, files in schemas.items():
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *files)
    if shutil.which("promtool"):
        session.run("promtool", "check", "config", "--syntax-only", "ops/prometheus.yml", external=True)
        session.run("promtool", "test", "rules", "ops/alerts_test.yml", external=True)
    else:
        session.warn("promtool is not on the PATH: the alert rules were not tested")


@nox.session
def stress(session: nox.Session) -> None:
    """A hundred thousand switches over real sockets, with every metric outstanding."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.stress", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Remove each safeguard against stale numbers in turn: a test must catch it."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.mutants", *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """The standard fuzzing suite for WebSocket servers, where `wstest` is on the PATH."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.http.conformance", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The short form of the benchmarks against a peer and a limit, as ratios."""
    session.install("-e", ".", "-r", "benchmarks/requirements.txt")
    session.run("python", "benchmarks/run_all.py", *(session.posargs or ["--short"]))


@nox.session
def fuzz(session: nox.Session) -> None:
    """Random heads and frames against the HTTP server."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.http.fuzz", *(session.posargs or ["--cases", "100000"]))

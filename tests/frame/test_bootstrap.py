"""The `./novapay` script, in a tree of its own whose lock files ask for nothing."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

COMMAND = """
import json, sys
print(json.dumps([sys.prefix, sys.path, sys.argv[1:]]))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "core_service/cli").mkdir(parents=True)
    (root / "core_service/cli/__main__.py").write_text(COMMAND)
    (root / "generated").mkdir()
    (root / "requirements").mkdir()
    (root / "requirements/run.lock").write_text("# nothing to run\n")
    (root / "requirements/test.lock").write_text("# nothing to test\n")
    shutil.copy(ROOT / "novapay", root / "novapay")
    return root


def start(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", root / "novapay", *arguments],
        cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": str(root / "no-home")},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.slow
def test_installs_once_and_again_when_the_lock_changes(tree: Path) -> None:
    first = start(tree, "up", "--json")
    assert "installing run.lock" in first.stderr
    # Standard output belongs to the command alone.
    assert first.stdout.startswith(f'["{tree}/.venv", ')
    assert first.stdout.endswith('["up", "--json"]]\n')
    assert f'"{tree}/generated"' in first.stdout
    assert "installing" not in start(tree, "up").stderr

    (tree / "requirements/run.lock").write_text("# nothing, in other words\n")
    assert "installing run.lock" in start(tree).stderr
    assert "installing" not in start(tree).stderr

    # The larger environment of the tests serves to run, and is not replaced by the smaller one.
    prepared = start(tree, "--prepare", "requirements/test.lock")
    assert ("installing test.lock" in prepared.stderr, prepared.stdout) == (True, "")
    assert "installing" not in start(tree).stderr


@pytest.mark.slow
def test_two_first_starts_at_once_install_once(tree: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda name: start(tree, name), ["one", "two"]))
    assert sorted('"one"' in done.stdout for done in both) == [False, True]
    assert sum("installing run.lock" in done.stderr for done in both) == 1


@pytest.mark.slow
def test_an_interrupted_installation_is_completed(tree: Path) -> None:
    start(tree)
    (tree / ".venv/novapay-lock.sha256").unlink()  # written last
    (tree / ".venv/bin/python").unlink()
    assert "installing run.lock" in start(tree).stderr


@pytest.mark.slow
def test_a_failed_installation_ends_the_start(tree: Path) -> None:
    (tree / "requirements/run.lock").write_text("unhashed==1.0\n")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        start(tree)
    assert "the packages could not be installed" in failed.value.stderr
    assert not (tree / ".venv/novapay-lock.sha256").exists()


@pytest.fixture
def script() -> Any:
    """The script as a module."""
    loader = SourceFileLoader("novapay_script", str(ROOT / "novapay"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


PLAIN, OPTIMIZED = "'--enable-shared'", "'--enable-shared' '--enable-optimizations'"


@pytest.mark.parametrize("arguments", [PLAIN, None])
def test_a_python_built_without_optimisation_gives_way_to_the_systems(
    script: Any, monkeypatch: pytest.MonkeyPatch, arguments: str | None
) -> None:
    built(script, monkeypatch, arguments, "/opt/python", "true")
    assert script.best_python() == "/usr/bin/true"


@pytest.mark.parametrize(
    ("arguments", "prefix", "system"),
    [
        (OPTIMIZED, "/opt/python", "true"),
        (PLAIN, "/usr", "true"),  # that is the system's own
        (PLAIN, "/opt/python", "false"),  # it cannot make an environment
        (PLAIN, "/opt/python", "nowhere"),
    ],
)
def test_otherwise_the_python_that_was_asked_is_taken(
    script: Any, monkeypatch: pytest.MonkeyPatch, arguments: str, prefix: str, system: str
) -> None:
    built(script, monkeypatch, arguments, prefix, system)
    assert script.best_python() == sys.executable


def built(
    script: Any, monkeypatch: pytest.MonkeyPatch, arguments: str | None, prefix: str, system: str
) -> None:
    """With these options this Python, installed there; and a system's Python."""
    monkeypatch.setattr(sysconfig, "get_config_var", {"CONFIG_ARGS": arguments}.get)
    monkeypatch.setattr(sys, "base_prefix", prefix)
    monkeypatch.setattr(script, "SYSTEM_PYTHON", Path("/usr/bin", system))


def test_an_environment_of_another_python_is_made_anew(script: Any, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to("/usr/bin/true")
    (tmp_path / "left").touch()
    script.make_venv(tmp_path, None, sys.executable)
    assert not (tmp_path / "left").exists()
    assert (tmp_path / "bin/python").resolve() == Path(sys.executable).resolve()


def test_the_locks_are_hashed_and_name_no_host() -> None:
    for name in ("run.lock", "test.lock"):
        text = (ROOT / "requirements" / name).read_text()
        pins = [line for line in text.splitlines() if "==" in line and not line.startswith("#")]
        assert "://" not in text
        assert not any(line.startswith("-") for line in text.splitlines()), (
            "options of an installer"
        )
        assert all(line.endswith(" \\") for line in pins)
        assert text.count("--hash=sha256:") >= len(pins)


def test_the_test_lock_contains_the_run_lock() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / "requirements" / name).read_text()
        return {line.split()[0] for line in text.splitlines() if "==" in line}

    assert pins("run.lock") <= pins("test.lock")

"""Test the wheel with the oldest and the newest requirements: `python tests/supply.py`.

Two fresh virtual environments of this Python: one with the lower bound of every requirement of the
core, one with the versions that pip chooses. A quick part of the tests by default; `--all` for all.
Needs setuptools and packaging, and a package index.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from configparser import ConfigParser
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
TOOLS = ("pytest", "hypothesis", "scikit-learn", "setuptools")
QUICK = """
architecture cli engines export fit formats instances layers patches plots resume schedule scores
volumes
""".split()


def build_wheel(folder):
    """Build the wheel of a copy of the repository in a folder; return its path."""
    ignored = shutil.ignore_patterns(".*", "build", "dist", "runs", "*.egg-info", "__pycache__")
    source = shutil.copytree(ROOT, folder / "source", ignore=ignored)
    command = [sys.executable, "setup.py", "-q", "bdist_wheel", "-d", folder]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def listed():
    """Return the requirements of the core that setup.cfg lists."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    return list(map(Requirement, config["options"]["install_requires"].strip().splitlines()))


def needs(wheel):
    """Return the requirements of the core of a wheel on this Python."""
    with ZipFile(wheel) as file:
        (metadata,) = (name for name in file.namelist() if name.endswith("/METADATA"))
        message = message_from_string(file.read(metadata).decode())
    found = map(Requirement, message.get_all("Requires-Dist"))
    return [need for need in found if not need.marker or need.marker.evaluate({"extra": ""})]


def oldest(wheel):
    """Return `{name: version}` of the lower bound of every requirement of the core."""
    bounds = {}
    for need in needs(wheel):
        (bounds[need.name],) = (s.version for s in need.specifier if s.operator == ">=")
    return bounds


def tested(wheel, versions, files, folder):
    """Install and test the wheel in a new environment; return a row of the table."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check")
    pinned = [f"{name}=={version}" for name, version in versions.items()]
    start = time.monotonic()
    run(*pip, "install", "-q", "--prefer-binary", wheel, *TOOLS, *pinned).check_returncode()
    checked = run(*pip, "check").returncode == 0
    # Of the wheel, not of the repository, whose folder Python would look into first.
    tests = run(python, "-m", "pytest", "-q", *files, env={**os.environ, "PYTHONSAFEPATH": "1"})
    minutes = (time.monotonic() - start) / 60
    return "yes" if checked else "no", "passed" if tests.returncode == 0 else "failed", minutes


def run(*command, **options):
    """Run a command in the repository and show it."""
    print("$", *command, flush=True)
    return subprocess.run(command, cwd=ROOT, **options)


def main():
    """Print a row an environment; fail where a test or `pip check` does."""
    files = ["tests"] if "--all" in sys.argv else [f"tests/test_{name}.py" for name in QUICK]
    with tempfile.TemporaryDirectory(prefix="volseg supply ") as folder:
        folder = Path(folder)
        wheel = build_wheel(folder)
        rows = {
            name: tested(wheel, versions, files, folder / name)
            for name, versions in {"oldest": oldest(wheel), "newest": {}}.items()
        }
    print(f"\n{'versions':10}{'pip check':12}{'tests':10}minutes")
    for name, (checked, passed, minutes) in rows.items():
        print(f"{name:10}{checked:12}{passed:10}{minutes:.1f}")
    sys.exit(any(row[:2] != ("yes", "passed") for row in rows.values()))


if __name__ == "__main__":
    main()

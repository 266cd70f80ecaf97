"""Which backend Keras has, or would have, found without importing it."""

import json
import os
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from ..errors import invalid

BACKENDS = ("tensorflow", "jax", "torch")


def config_file():
    """Return the file of Keras's own configuration, which may be missing."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"


def keras_backend():
    """Return the backend that Keras has, or would have."""
    if "keras" in sys.modules:
        return sys.modules["keras"].backend.backend()
    if backend := os.environ.get("KERAS_BACKEND"):
        return backend
    with suppress(OSError, ValueError, AttributeError):  # none, or damaged, which Keras ignores
        return json.loads(config_file().read_text(encoding="utf-8")).get("backend", "tensorflow")
    return "tensorflow"


def installed(backend):
    """Return whether a backend can be imported."""
    with suppress(ImportError, ValueError):
        return find_spec(backend) is not None
    return False


def check_backend():
    """Raise ValueError unless the backend is one of `BACKENDS` and installed."""
    if "keras" in sys.modules:
        return
    backend = keras_backend()
    if backend in BACKENDS and installed(backend):
        return
    place = "KERAS_BACKEND" if os.environ.get("KERAS_BACKEND") else f'"backend" in {config_file()}'
    there = [name for name in BACKENDS if installed(name)] or ["none"]
    install = f", or install {backend}" if backend in BACKENDS else ""
    raise invalid(
        "backend",
        f"{', '.join(BACKENDS)}, of which {', '.join(there)} is installed: type "
        f"KERAS_BACKEND={BACKENDS[0] if there == ['none'] else there[0]} before the command"
        f"{install}",
        f"{backend}, from {place}",
    )

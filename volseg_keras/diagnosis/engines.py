"""Which engines segment a small volume."""

import time
from dataclasses import replace
from functools import partial
from importlib import import_module

from .check import attempt


def engines():
    """Return whether each engine segments a small volume, and how long it takes.

    The first row names the default one, and works if that does.
    """
    from ..inference.engines.names import ENGINES

    row = partial(attempt, "engines")
    default = row("default", default_engine)
    tried = [row(name, run_engine, name, ok=True) for name in ENGINES if name != "auto"]
    works = any(engine.name == default.text and engine.ok for engine in tried)
    return [replace(default, ok=works), *tried]


def default_engine():
    """Return the name of the engine that segments by default."""
    from ..inference.open_model import fastest

    return fastest()


def run_engine(name):
    """Segment a phantom with the published model."""
    import_module(name)  # an engine has the name of its library, which may be missing
    from ..datasets.phantom import phantom
    from ..inference.segmenter import predict_volume

    start = time.monotonic()
    predict_volume("H", phantom((32, 64, 64))[0], engine=name)
    return f"works ({time.monotonic() - start:.1f} s)"

"""Registers our layers, losses and metrics with Keras, in whatever order both are imported.

A saved model names them, and Keras finds only those whose modules have been imported. They are
imported right after Keras itself, so that `import volseg_keras` need not wait for it.
"""

import sys
from importlib import import_module, util


def import_registered():
    """Import the modules that register layers, losses and metrics, if Keras is imported."""
    if "keras" in sys.modules:
        import_module(f"{__package__}.inference_graph")
        import_module(f"{__package__}.metrics")


def watch():
    """Register now, or when Keras is imported."""
    import_registered()
    if not any(isinstance(finder, AfterKeras) for finder in sys.meta_path):
        sys.meta_path.insert(0, AfterKeras())


class AfterKeras:
    """A finder of `sys.meta_path` that finds Keras where the others do, and registers after it."""

    def __init__(self):
        self.asked = False

    def find_spec(self, name, path=None, target=None):
        """Return the spec of Keras, None for any other module."""
        if name != "keras" or self.asked:
            return None
        self.asked = True
        try:
            spec = util.find_spec(name)
        finally:
            self.asked = False
        if spec and spec.loader:
            spec.loader.exec_module = followed(spec.loader.exec_module)
        return spec


def followed(execute):
    """Return a loader's function that registers afterwards.

    Not where one of our own modules imports Keras, since that module is not complete yet. Whoever
    imported it registers the others.
    """

    def execute_and_register(module):
        waiting = is_being_imported()
        execute(module)
        if not waiting:
            import_registered()

    return execute_and_register


def is_being_imported():
    """Return whether one of our modules is being imported at the moment."""
    modules = list(sys.modules.items())  # other threads may import meanwhile
    ours = [module for name, module in modules if name.startswith(f"{__package__}.")]
    specs = [getattr(module, "__spec__", None) for module in ours]
    return any(getattr(spec, "_initializing", False) for spec in specs)

import os
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# As the package does where it is imported before Keras, which the tests import first.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Two processes of tests share two cores, and a matrix product on several threads of OpenBLAS once
# waited for one of them for ever.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Graphs of models are cached; tests start without any, and their processes share them.
CACHE = "volseg cache "
if CACHE not in os.environ.get("XDG_CACHE_HOME", ""):
    cache = tempfile.TemporaryDirectory(prefix=CACHE)
    os.environ["XDG_CACHE_HOME"] = cache.name

# Files that take longest come first: no process is left alone with one of them in the end.
LONG = "notebooks cli survival zoo devices engines publish real backends state export".split()
LONG += "classes file_segmentation fit resume reproduce determinism long_runs models".split()
LONG += "postprocessing malformed segmenter".split()


def pytest_collection_modifyitems(items):
    """Sort the tests by these files; all else stays in its order."""
    places = {f"test_{name}": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONG)))


@pytest.fixture(scope="session")
def real_data():
    """The folder of the EPFL hippocampus volumes; tests that need it are skipped elsewhere."""
    folder = Path(os.environ.get("VOLSEG_DATA", "")) / "lucchi_pp"
    if not (folder / "training.tif").is_file():
        pytest.skip("VOLSEG_DATA does not name a folder with lucchi_pp/training.tif")
    return folder

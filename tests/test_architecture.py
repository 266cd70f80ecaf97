"""The floors of the house: imports go down, and none goes sideways."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from supply import listed

import volseg_keras

ROOT = Path(volseg_keras.__file__).parent
# From the ground up. A room imports from lower floors, and from itself.
FLOORS = (
    {"errors", "extras", "onednn", "progress", "resources"},
    {"files"},
    {"networks", "volumes", "scores"},
    {"patches", "postprocessing", "report"},
    {"pretrained", "datasets", "evaluation"},
    {"inference", "segmentation_page"},
    {"training", "export"},
    {"publishing", "demo", "diagnosis"},
    {"napari_plugin"},
    {"cli"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


EVERY = sorted(ROOT.rglob("*.py"))
ENTRANCES = [ROOT / "__init__.py", ROOT / "__main__.py"]
FILES = [path for path in EVERY if path not in ENTRANCES]
ROOMS = sorted({path.parent for path in EVERY} - {ROOT})
# TensorFlow has its callback import it.
NOT_IMPORTED = {"tensorboard"}


def named(path):
    return str(path.relative_to(ROOT))


def nodes(path, kind):
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kind))


def imported(path):
    """Names of this package that a file imports, as lists of their parts."""
    package = list(path.relative_to(ROOT.parent).parts[:-1])
    for node in nodes(path, ast.Import | ast.ImportFrom):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        else:
            base = package[: len(package) + 1 - node.level] if node.level else []
            base = base + (node.module or "").split(".") if node.module else base
            names = [[*base, alias.name] for alias in node.names]
        yield from (name[1:] for name in names if name[0] == "volseg_keras" and len(name) > 1)


def own_imports(path):
    """Rooms of this package that a file imports."""
    return (name[0] for name in imported(path))


def siblings(path, folder):
    """Files and rooms of a folder that one of them, or a file in it, imports."""
    inside = list(folder.relative_to(ROOT).parts)
    depth = len(inside)
    return (name[depth] for name in imported(path) if name[:depth] == inside and name[depth:])


@pytest.mark.parametrize("path", FILES, ids=named)
def test_imports_go_down(path):
    own = room(path)
    others = set(own_imports(path)) - {own, "__version__"}
    assert all(FLOOR[other] < FLOOR[own] for other in others), others


@pytest.mark.parametrize("folder", ROOMS, ids=named)
def test_no_room_has_a_circle(folder):
    """Of imports at the top of files and within functions alike; a room in a room counts as one."""
    graph = {path.stem: set() for path in (*folder.glob("*.py"), *folder.glob("*/"))}
    for path in folder.rglob("*.py"):
        own = path.relative_to(folder).parts[0].removesuffix(".py")
        graph[own] |= set(siblings(path, folder)) & set(graph) - {own}
    TopologicalSorter(graph).prepare()


def test_the_reader_of_imports_sees_them():
    assert {"inference", "networks", "patches"} <= set(
        own_imports(ROOT / "training" / "fit_network.py")
    )
    training = ROOT / "training"
    assert {"recipes", "loop"} <= set(siblings(training / "fit_network.py", training))
    assert "arguments" in set(siblings(training / "auto" / "fit_auto.py", training))


@pytest.mark.parametrize(
    "code",
    [
        "import volseg_keras",
        "import volseg_keras; volseg_keras.open_volume, volseg_keras.phantom",
        "import volseg_keras; volseg_keras.VARIANTS, volseg_keras.PatchSampler",
        "import volseg_keras.cli",
    ],
)
def test_light_names_do_not_import_tensorflow(code):
    heavy = "{'tensorflow', 'keras', 'jax', 'torch', 'matplotlib'}"
    check = f"import sys; {code}; assert not {heavy} & set(sys.modules), sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.parametrize("path", EVERY, ids=named)
def test_files_and_functions_are_not_long(path):
    """Above 300 and 50 lines is where to look twice; these are bounds that nothing reaches."""
    assert len(path.read_text().splitlines()) <= 400
    for function in nodes(path, ast.FunctionDef):
        body = function.body[ast.get_docstring(function) is not None :]
        length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
        assert length <= 80, function.name


def test_every_requirement_of_the_core_is_used():
    imports = [node for path in EVERY for node in nodes(path, ast.Import | ast.ImportFrom)]
    modules = {alias.name for node in imports for alias in node.names}
    modules |= {node.module for node in imports if isinstance(node, ast.ImportFrom)} - {None}
    found = packages_distributions()
    used = {name for module in modules for name in found.get(module.split(".")[0], ())}
    names = {canonicalize_name(need.name) for need in listed()}
    assert names - NOT_IMPORTED <= set(map(canonicalize_name, used))


def test_every_public_name_is_there():
    for name in volseg_keras.__all__:
        assert getattr(volseg_keras, name) is not None
    assert set(volseg_keras.__all__) <= set(dir(volseg_keras))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        volseg_keras.nothing  # noqa: B018

"""What the wheel holds, and what it needs."""

from zipfile import ZipFile

import pytest
from supply import ROOT, build_wheel, listed, needs, oldest


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("setuptools")
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def names(wheel):
    with ZipFile(wheel) as file:
        return set(file.namelist())


def files(folder):
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found if path.suffix != ".pyc"}


def test_the_whole_package_and_the_published_models_are_in_it(names):
    package, models = files("volseg_keras"), files("saved_models")
    assert len(package) > 70 and any(name.endswith("/model.keras") for name in models)
    assert package | {f"volseg_keras/{name}" for name in models} == {
        name for name in names if ".dist-info/" not in name
    }


@pytest.mark.parametrize(
    "end",
    [
        "napari_plugin/napari.yaml",
        "publishing/card.md",
        "report/page.html",
        "epfl_hippocampus/dummy_data/original/training.tif",
        "saved_models/H/metrics.json",
        "LICENSE",
        "entry_points.txt",
    ],
)
def test_what_is_no_code_is_in_it(names, end):
    assert sum(name.endswith(f"/{end}") for name in names) == 1


def test_every_requirement_of_the_core_has_a_lower_bound(wheel):
    assert {need.name for need in needs(wheel)} == set(oldest(wheel))
    assert len(oldest(wheel)) == len({need.name for need in listed()})

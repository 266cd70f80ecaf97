"""The commands that messages name to install what is missing."""

from importlib import metadata
from pathlib import Path

import pytest

import volseg_keras
from volseg_keras import extras
from volseg_keras.extras import install_command

LINES = [
    "keras>=3.15",
    'onnxruntime; extra == "onnx"',
    "onnx ; extra == 'onnx'",
    'dask; extra == "cluster"',
    'tensorflow[and-cuda]; extra == "gpu"',
    'pydantic<2.13; extra == "bioimageio"',
    'volseg_keras[onnx,cluster]; extra == "bioimageio"',
]


@pytest.mark.parametrize(
    "extra, command",
    [
        ("onnx", "onnxruntime onnx"),
        ("cluster", "dask"),
        ("gpu", '"tensorflow[and-cuda]"'),
        ("bioimageio", '"pydantic<2.13" onnxruntime onnx dask'),
    ],
)
def test_requirements_are_named_not_this_package(extra, command, monkeypatch):
    monkeypatch.setattr(extras, "requires", lambda name: LINES)
    assert install_command(extra) == f"pip install {command}"


def test_a_checkout_that_is_not_installed_names_itself(monkeypatch):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(extras, "requires", nothing)
    assert install_command("onnx") == 'pip install ".[onnx]"'


def test_the_metadata_of_this_package_is_read():
    assert install_command("cluster") in (
        "pip install dask distributed",
        'pip install ".[cluster]"',
    )


def test_no_message_names_what_nobody_has_registered():
    found = [
        path.name
        for path in Path(volseg_keras.__file__).parent.rglob("*.py")
        if "volseg_keras[" in path.read_text(encoding="utf-8").replace(r"volseg[_-]keras\[", "")
    ]
    assert not found

"""The notebooks run from top to bottom, each in an empty folder."""

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def test_there_are_three():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    book = nbformat.read(path, as_version=4)
    pictures = [output_kinds(cell) & {"image/png"} for cell in book.cells]
    assert any(pictures), "it was committed without its pictures"
    options = {"timeout": 600, "resources": {"metadata": {"path": str(tmp_path)}}}
    nbclient.NotebookClient(book, **options).execute()
    assert [output_kinds(cell) & {"image/png"} for cell in book.cells] == pictures


def output_kinds(cell):
    """Return the MIME types of a cell's outputs."""
    return {kind for output in cell.get("outputs", ()) for kind in output.get("data", ())}

import base64
import copy
import io
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from networks import MAKE_SHALLOW
from PIL import Image

FOLDER = Path(__file__).parents[1] / "notebooks"
# The least Jaccard index that each may tell: as it is committed, and here, where what it trains has
# four blocks. A phantom marked as a whole gets 0.06.
NOTEBOOKS = {
    "01_segment": (0.7, 0.7),
    "02_train_on_your_volume": (0.5, 0.15),
    "03_reproduce_table_1": (0.35, 0.15),
}
notebooks = pytest.mark.parametrize("name", NOTEBOOKS)


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def pictures(cell):
    data = [output.get("data", {}) for output in cell.get("outputs", ())]
    encoded = [text for kinds in data for kind, text in kinds.items() if kind.startswith("image/")]
    return [Image.open(io.BytesIO(base64.b64decode(text))).convert("L") for text in encoded]


def scores(notebook):
    told = "".join(output.get("text", "") for output in outputs(notebook))
    return [float(score) for score in re.findall(r"Jaccard index (\d\.\d+)", told)]


@pytest.mark.slow
@notebooks
def test_it_runs_in_an_empty_folder_and_draws_what_is_committed(name, tmp_path):
    committed = read(name)
    fresh = copy.deepcopy(committed)
    fresh.cells[0] = nbformat.v4.new_code_cell(MAKE_SHALLOW)  # in place of its title
    for cell in fresh.cells:  # further training of a published network, which is not shallow
        cell.source = cell.source.replace("steps=60", "steps=6")
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(fresh, timeout=600, kernel_name="python3", resources=place).execute()
    for now, before in zip(fresh.cells, committed.cells, strict=True):
        drawn, expected = pictures(now), pictures(before)
        assert len(drawn) == len(expected), now.source
        for picture, other in zip(drawn, expected, strict=True):
            assert picture.size == pytest.approx(other.size, rel=0.05)
            assert np.std(picture) > 10
    assert scores(fresh) and min(scores(fresh)) > NOTEBOOKS[name][1]


@notebooks
def test_what_is_committed_is_whole_and_clean(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    assert scores(notebook) and min(scores(notebook)) > NOTEBOOKS[name][0]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert 'REPOSITORY = ".."' in code[0].source and "%pip install" in code[0].source
    assert not any("github.com/" in cell.source for cell in notebook.cells)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert sum(len(pictures(cell)) for cell in code) >= 3
    assert not [o for o in outputs(notebook) if o.output_type == "error"]
    assert not [o for o in outputs(notebook) if o.get("name") == "stderr"]
    told = [
        {k: v for k, v in o.get("data", o).items() if "image/" not in k} for o in outputs(notebook)
    ]
    assert not re.search(r"(?:^|[\s\"'(])(?:/\w|[A-Z]:\\)", json.dumps(told))
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 1_000_000

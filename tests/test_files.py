import errno

import pytest

from volseg_keras.files import atomic_path, write_csv, write_json


@pytest.mark.parametrize(
    "error, told",
    [
        (OSError("HDF5 has no more to say"), "HDF5 has no more to say"),
        (OSError(errno.ENOSPC, "No space left"), "No space left.*file"),
        (OSError(errno.EACCES, "Denied", "other"), "Denied: 'other'"),
        (ValueError("wrong"), "wrong"),
    ],
)
def test_a_file_that_fails_stays_as_it_was(error, told, tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(type(error), match=told), atomic_path(path) as part:
        part.write_text("half")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_rows_and_values(tmp_path):
    write_csv(tmp_path / "a.csv", ("id", "size"), [{"id": 7, "size": 1 / 3, "other": 1}, {"id": 8}])
    assert (tmp_path / "a.csv").read_text().split() == ["id,size", "7,0.333333", "8,"]
    write_json(tmp_path / "a.json", {"a": None})
    assert (tmp_path / "a.json").read_text() == '{"a": null}\n'
    assert len(list(tmp_path.iterdir())) == 2

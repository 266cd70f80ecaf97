"""Memory that a process may take: the machine's, or what its control groups leave."""

from types import SimpleNamespace

import pytest

from volseg_keras import resources
from volseg_keras.inference import tiled_prediction
from volseg_keras.postprocessing import instances, pipeline

GIB = 2**30
UNLIMITED = {1: str(2**63 - 4096), 2: "max"}
NAMES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    2: ("memory.max", "memory.current"),
}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that writes control groups of a version: path: (limit, usage, memory.stat)."""

    def write(version, own, groups):
        (tmp_path / "own").write_text("3:cpu,memory:" + own if version == 1 else f"0::{own}\n")
        for path, (limit, usage, stat) in groups.items():
            folder = tmp_path / path.strip("/")
            folder.mkdir(parents=True, exist_ok=True)
            for name, value in zip(
                (*NAMES[version], "memory.stat"), (limit, usage, stat), strict=True
            ):
                if value is not None:
                    (folder / name).write_text(f"{value}\n")

    kind = {1: "memory", 2: ""}
    monkeypatch.setattr(resources, "OWN_GROUPS", tmp_path / "own")
    roots = {kind[version]: ((tmp_path,), names) for version, names in NAMES.items()}
    monkeypatch.setattr(resources, "GROUPS", roots)
    memory = SimpleNamespace(available=16 * GIB)
    monkeypatch.setattr(resources.psutil, "virtual_memory", lambda: memory)
    return write


def test_without_control_groups_the_machine_counts(machine):
    assert resources.free_memory() == 16 * GIB


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "groups, want",
    [
        ({"/": (UNLIMITED, 3 * GIB, None)}, 16),
        ({"/job/step": (4 * GIB, GIB, None)}, 3),
        ({"/job/step": (UNLIMITED, GIB, None), "/job": (6 * GIB, GIB, None)}, 5),
        ({"/": (2 * GIB, GIB // 2, None)}, 1.5),  # in a container, its own group is the root
        ({"/job/step": (64 * GIB, GIB, None)}, 16),
        ({"/job/step": (4 * GIB, None, None)}, 4),
        ({"/job/step": (GIB, 3 * GIB, None)}, 0),
        ({"/job/step": (4 * GIB, 4 * GIB, f"anon {GIB}\ninactive_file {3 * GIB}")}, 3),
        ({"/job/step": (4 * GIB, 4 * GIB, "inactive_file nonsense")}, 0),
        ({"/other": (GIB, 0, None)}, 16),
    ],
)
def test_limits_of_control_groups(groups, want, version, machine):
    known = {
        path: (limit[version] if limit is UNLIMITED else limit, usage, stat)
        for path, (limit, usage, stat) in groups.items()
    }
    machine(version, "/job/step", known)
    assert resources.free_memory() == want * GIB


def test_version_1_counts_the_cache_of_the_groups_within(machine):
    stat = f"inactive_file 0\ntotal_inactive_file {GIB}\ntotal_active_file {GIB}"
    machine(1, "/job/step", {"/job": (4 * GIB, 4 * GIB, stat)})
    assert resources.free_memory() == 2 * GIB


def test_what_a_group_leaves_bounds_reads_tiles_and_slabs(machine):
    machine(2, "/", {"/": (GIB, GIB // 2, None)})
    resources.check_memory(GIB // 2)
    with pytest.raises(ValueError, match="needs 0.6 GB of memory, but only 0.5 GB are free"):
        resources.check_memory(GIB // 2 + 2**24)
    assert tiled_prediction.voxels_at_once(3) * tiled_prediction.BYTES[3] < GIB // 6
    with pytest.warns(UserWarning, match="will take 2 GiB of memory, of which 0 GiB are free"):
        pipeline.PostProcessing(fill_holes=True).check_output((220, 1000, 1000), "a.tif")
    assert instances.free_memory is resources.free_memory

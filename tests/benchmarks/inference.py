"""Speed of prediction: `python tests/benchmarks/inference.py`, peers from the extra `bench`."""

import os
from pathlib import Path

import numpy as np
from common import interleaved, mosaic, predict_file, report, saved_model, scratch, torch_peers

PATCH = (96, 128, 128)
VOLUME = (165, 768, 1024)


def patch_systems(model):
    """Return functions that segment one patch, with every figure from the same voxels."""
    import torch

    from volseg_keras import load_pretrained
    from volseg_keras.inference.open_model import open_model
    from volseg_keras.inference.tiled_prediction import sample_tile

    patch = mosaic(PATCH)
    ours = open_model(model).engine_factory(sample_tile(patch, 3))
    network = load_pretrained(model)
    batch = patch[None, ..., None].astype(np.float32)
    systems = {
        "volseg H": lambda: ours(patch),
        "volseg H, keras predict": lambda: network.predict(batch, verbose=0),
    }
    channels_first = torch.from_numpy(batch.transpose(0, 4, 1, 2, 3))
    for dtype in (torch.float32, torch.bfloat16):
        tensor = channels_first.to(dtype, memory_format=torch.channels_last_3d)
        for name, net in torch_peers().items():
            systems[f"{name}, {dtype}"] = torch_runner(net.eval().to(dtype), tensor)
    return systems


def torch_runner(net, tensor):
    """Return a function that runs a torch network."""
    import torch

    def run():
        with torch.inference_mode():
            return net(tensor)

    return run


def compute_seconds(model, path):
    """Return the seconds that the engine alone takes for all tiles of a volume."""
    import time

    from volseg_keras import open_volume
    from volseg_keras.inference.open_model import open_model
    from volseg_keras.inference.tiled_prediction import sample_tile, tile_plan
    from volseg_keras.inference.tiling import read_tiles

    volume = open_volume(path)[...]
    engine = open_model(model).engine_factory(sample_tile(volume, 3))
    tiles = list(read_tiles(volume, tile_plan(volume.shape, 3)))
    engine(tiles[0])
    start = time.perf_counter()
    for tile in tiles:
        engine(tile)
    return time.perf_counter() - start


def main():
    """Print a line a system, then the whole volume from file to file."""
    from volseg_keras import save_volume

    with scratch() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        model = saved_model(folder)
        seconds = interleaved(patch_systems(model))
        ours = seconds["volseg H"]
        for name, value in seconds.items():
            speed = np.prod(PATCH) / value / 1e6
            report(name, patch=PATCH, mvoxel_per_s=speed, volseg_is_faster_by=value / ours)
        volume, labels = Path(folder, "volume.tif"), Path(folder, "labels.tif")
        save_volume(volume, mosaic(VOLUME))
        command = (volume, labels, "--model", model)
        runs = [(*predict_file(*command), compute_seconds(model, volume)) for _ in range(5)]
        total, process, memory, compute = np.median(runs, axis=0)
        report(
            "volseg predict",
            volume=VOLUME,
            seconds=total,
            seconds_with_start_of_python=process,
            seconds_of_compute=compute,
            ratio=total / compute,
            peak_gib_above_import=memory,
            mvoxel_per_s=np.prod(VOLUME) / total / 1e6,
        )


if __name__ == "__main__":
    main()

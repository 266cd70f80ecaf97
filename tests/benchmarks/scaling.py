"""Cost of prediction against the size of a volume: `python tests/benchmarks/scaling.py`."""

import os
from pathlib import Path

import numpy as np
from common import mosaic, predict_file, report, saved_model, scratch

# 8 to 512 Mvoxel.
SHAPES = ((128, 256, 256), (128, 512, 512), (256, 512, 1024), (512, 1024, 1024))


def main():
    """Print a line a size, by `volseg predict` from file to file."""
    from volseg_keras import save_volume

    with scratch() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        model = ("--model", str(saved_model(folder)))
        volume, labels = Path(folder, "volume.tif"), Path(folder, "labels.tif")
        for shape in SHAPES:
            save_volume(volume, mosaic(shape))
            predict_file(volume, labels, *model)
            runs = [predict_file(volume, labels, *model) for _ in range(5 if shape[0] < 512 else 3)]
            seconds, _, memory = np.median(runs, axis=0)
            report(
                "volseg predict",
                mvoxel=np.prod(shape) / 1e6,
                seconds=seconds,
                ns_per_voxel=1e9 * seconds / np.prod(shape),
                peak_gib_above_import=memory,
            )


if __name__ == "__main__":
    main()

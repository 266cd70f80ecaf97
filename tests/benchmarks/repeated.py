"""Calls of one model on small volumes: `python tests/benchmarks/repeated.py`.

Prints, one JSON line each, the seconds of the first call of `predict_volume` and of later ones, of
`Segmenter` likewise, and the seconds that the engine alone takes for the tiles.
"""

import time

import numpy as np
from common import mosaic, report

SHAPE, CALLS = (96, 256, 256), 15


def seconds(run):
    """Return the seconds of a call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def tiles_alone(model, volume):
    """Return a function that computes all tiles of a volume, and nothing else."""
    from volseg_keras.inference.segmenter import recent_model
    from volseg_keras.inference.tiled_prediction import tile_plan
    from volseg_keras.inference.tiling import read_tiles

    predictor = recent_model(model)
    engine = predictor.prepare(volume).engine
    tiles = list(read_tiles(volume, tile_plan(volume.shape, predictor.spatial_dims)))
    return lambda: [engine(tile) for tile in tiles]


def main():
    """Print the figures of a published model by name, and of a Keras model."""
    from volseg_keras import Segmenter, load_pretrained, predict_volume

    volume = mosaic(SHAPE)
    for name, model in (("H", "H"), ("H as a Keras model", load_pretrained("H"))):
        first = seconds(lambda model=model: predict_volume(model, volume))
        segmenter, alone = Segmenter(model), tiles_alone(model, volume)
        segmenter(volume)
        ways = {
            "predict_volume": lambda model=model: predict_volume(model, volume),
            "Segmenter": lambda segmenter=segmenter: segmenter(volume),
            "tiles alone": alone,
        }
        times = {way: [] for way in ways}
        for _ in range(CALLS):
            for way, run in ways.items():
                times[way].append(seconds(run))
        medians = {way: float(np.median(values)) for way, values in times.items()}
        for way, value in medians.items():
            ratio = value / medians["tiles alone"]
            report(f"{name}: {way}", seconds=value, of_tiles_alone=ratio, first_call=first)


if __name__ == "__main__":
    main()

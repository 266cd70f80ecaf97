"""Speed of making patches: `python tests/benchmarks/pipeline.py`, peers from the extra `bench`."""

import numpy as np
from common import interleaved, report

PATCH, BATCH = (64, 128, 128), 2
BATCHES = 8


def volseg_runner(image, label, elastic):
    """Return a function that draws batches through tf.data."""
    from volseg_keras import Augment, PatchSampler

    sampler = PatchSampler(image, label, PATCH, augment=Augment(elastic=float(elastic)))
    batches = iter(sampler.tf_dataset(BATCH))

    def run():
        for _ in range(BATCHES):
            next(batches)

    return run


def monai_runner(image, label, elastic):
    """Return a function that draws the same by MONAI, in as many threads as there are cores."""
    from concurrent.futures import ThreadPoolExecutor

    import torch
    from joblib import cpu_count
    from monai import transforms as t

    torch.set_num_threads(1)
    keys, modes = ("image", "label"), ("bilinear", "nearest")
    # With deformation a crop as wide as the displacements reach, which is cut to the patch.
    crop = tuple(n + 16 for n in PATCH) if elastic else PATCH
    steps = [t.RandCropByPosNegLabeld(keys, "label", crop, pos=0.8, neg=0.2)]
    steps += [t.RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(3)]
    if elastic:
        deform = t.Rand3DElasticd(
            keys,
            (5, 7),
            (50, 150),
            prob=1,
            spatial_size=PATCH,
            mode=modes,
            padding_mode="reflection",
        )
        steps.append(deform)
    steps.append(t.RandScaleIntensityd("image", 0.2, prob=1))
    chain = t.Compose(steps)
    mean, deviation = image.mean(), image.std()
    whole = {
        "image": torch.from_numpy((image[None] - mean) / deviation).float(),
        "label": torch.from_numpy(label[None].copy()),
    }
    pool = ThreadPoolExecutor(cpu_count())

    def run():
        list(pool.map(lambda _: chain(whole), range(BATCH * BATCHES)))

    return run


def main():
    """Print a line a system, with and without elastic deformation."""
    from volseg_keras import phantom

    image, label = phantom((96, 256, 256))
    for elastic in (False, True):
        runners = {"volseg": volseg_runner, "MONAI": monai_runner}
        systems = {name: make(image, label, elastic) for name, make in runners.items()}
        seconds = interleaved(systems)
        for name, value in seconds.items():
            speed = BATCH * BATCHES / value
            report(
                name,
                elastic=elastic,
                patches_per_s=speed,
                mvoxel_per_s=speed * np.prod(PATCH) / 1e6,
                volseg_is_faster_by=value / seconds["volseg"],
            )


if __name__ == "__main__":
    main()

"""The files of a run: its network and metrics.json."""

import json
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np

from ..files import atomic_path, read_json, write_json
from ..networks.devices import on_gpu
from ..networks.models import float32_copy, spatial_dims_of, with_normalization
from ..pretrained.presets import METRICS
from ..progress import progress_bar
from ..resources import usable_cores
from ..volumes.noise import noise_of
from .loop.devices import replicas


class WeightExporter:
    """Save a network with its normalisation, in float32 and without optimizer, atomically."""

    def __init__(self, model, normalization, path):
        self.trained = model
        copy = float32_copy(model)
        self.copy = keras.Model(copy.inputs[0], copy.outputs[0], name=model.name)
        self.model = with_normalization(self.copy, *normalization)
        self.path = Path(path)

    def __call__(self):
        """Write the file; remove metrics.json, which describes earlier weights."""
        self.copy.set_weights(self.trained.get_weights())
        self.path.with_name(METRICS).unlink(missing_ok=True)
        with atomic_path(self.path) as part:
            self.model.save(part)


def volume_entry(volume):
    """Return the entry of a volume in metrics.json."""
    shape = [int(n) for n in volume.image.shape]
    facts = {"name": volume.name, "shape": shape, "voxel_size": volume.voxel_size}
    label, bar = volume.label, progress_bar(f"reading labels of {volume.name}")
    with nullcontext() if label.in_memory else bar as on_progress:
        facts["labels"] = label.digest(on_progress)[:16]
    return json.loads(json.dumps(facts | asdict(volume.intensity)))


def cores_text(count):
    """Return "2 CPU cores"."""
    return f"{count} CPU core{'s' * (count != 1)}"


def finished_summary(path, step):
    """Return the metrics.json of a run that had ended at a step, or None."""
    summary = read_json(path)
    return summary if summary.get("steps") == step else None


def write_summary(model, output, budget, entries, volumes):
    """Write curve.png, and metrics.json with some entries more; return its dict."""
    from ..report.curve import training_curve

    first = volumes[0].intensity
    summary = {
        "variant": model.name,
        "spatial_dims": spatial_dims_of(model),
        "parameters": model.count_params(),
        **entries,
        "steps": budget.step,
        "minutes": round(budget.spent / 60, 2),
        "device": f"{replicas()} GPU" if on_gpu() else cores_text(usable_cores()),
        "normalization": {"mean": first.mean, "standard_deviation": first.deviation},
    }
    noise = [noise_of(volume.image) for volume in volumes]
    if None not in noise:
        summary["noise"] = round(max(noise), 3)
    sizes = [volume.voxel_size for volume in volumes]
    if all(sizes):  # the geometric mean of several
        summary["voxel_size"] = np.exp(np.log(sizes).mean(0)).round(4).tolist()
        summary["voxel_size_range"] = [np.min(sizes, 0).tolist(), np.max(sizes, 0).tolist()]
    write_json(output / METRICS, summary, indent=2)
    training_curve(output / "history.csv", output / "curve.png")
    return summary

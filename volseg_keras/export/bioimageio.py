"""Packages for bioimage.io, specified at https://bioimage-io.github.io/spec-bioimage-io."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile

from ..errors import require
from ..inference.tiled_prediction import HALO, MULTIPLE
from ..networks.inference_graph import write_onnx
from ..networks.models import metadata
from ..report.plots import draw_cover
from .bioimageio_card import Card
from .runtimes import TOLERANCE, read_onnx, read_savedmodel, write_savedmodel

BUNDLE, ONNX = "savedmodel.zip", "weights.onnx"
DOCUMENTATION = """# {name}

{description}

## Use

Input: grey levels as they are in the file, float32, axes {axes}. The model standardises
them itself (mean {mean}, standard deviation {standard_deviation}, then times {contrast}), as
it sees tiles and not volumes. Give it images of another brightness, contrast or type as
(image - m) / s * {standard_deviation} + {mean}, with the mean m and standard deviation s of the
whole image. Sizes are multiples of {multiple}. Output: probabilities of {classes},
axes {axes}. Large volumes are predicted in overlapping tiles, of which the halo is cut
off. Written by volseg_keras, whose command `volseg predict` does this.

The cover and the samples are of a synthetic image, which is for testing and says nothing about
how good the model is.

## Training data

{data}

## Validation

{validation}

On data of your own: predict a part whose labels you know and compare, for instance by
`volseg evaluate labels.tif truth.tif`, which prints precision, recall and Jaccard index.
"""
TEST = """
import sys
from bioimageio.core import test_model
summary = test_model(sys.argv[1])
errors = [error.msg for detail in summary.details for error in detail.errors]
sys.exit(0 if summary.status == "passed" else f"{summary.status}: {' '.join(errors)}")
"""


def write_package(source, path):
    """Write a .zip with a model's weights as SavedModel and ONNX, their description and test.

    Args:
        source: `ExportSource` of a model of grey levels.
        path: of the .zip.

    Raises:
        ValueError: the model does not standardise grey levels, or the card is not valid.
    """
    from bioimageio.spec import save_bioimageio_package

    model_metadata = metadata(source.model)
    received = f"{model_metadata.name}, which takes standardised grey levels"
    expected = "one that takes grey levels, as `fit` saves it"
    require(model_metadata.normalization, "model", expected, received)
    card = Card.from_json(source.card, model_metadata)
    with tempfile.TemporaryDirectory(prefix="volseg.") as folder:
        folder = Path(folder)
        write_weights(source, folder)
        write_pictures(source.vectors[0], folder)
        (folder / "README.md").write_text(documentation(card, model_metadata), encoding="utf-8")
        save_bioimageio_package(description(source.model, folder, card), output_path=path)


def write_weights(source, folder):
    """Write the weights in two formats."""
    bundle = folder / "savedmodel"
    write_savedmodel(source, bundle)
    shutil.make_archive(bundle, "zip", bundle)
    write_onnx(source.model, folder / ONNX)


def write_pictures(vector, folder):
    """Write the test vector, also as sample images, and a cover."""
    for name, array in (("input", vector.image), ("output", vector.probability)):
        np.save(folder / f"test_{name}.npy", array)
        tifffile.imwrite(folder / f"sample_{name}.tif", array[0], photometric="minisblack")
    image, labels = vector.image[0, ..., 0], vector.probability[0].argmax(-1)
    if image.ndim == 3:
        best = np.count_nonzero(labels, axis=(1, 2)).argmax()
        image, labels = image[best], labels[best]
    draw_cover(image, labels, folder / "cover.png")


def documentation(card, model_metadata):
    """Return the documentation of a model."""
    data = card.training_data
    constants = {
        name: ", ".join(f"{number:.2f}" for number in np.atleast_1d(values))
        for name, values in model_metadata.normalization._asdict().items()
    }
    return DOCUMENTATION.format(
        **constants,
        name=card.name,
        description=card.description,
        classes=", ".join(card.classes),
        validation=card.validation,
        axes=", ".join(["batch", *"zyx"[-model_metadata.spatial_dims :], "channel"]),
        multiple=MULTIPLE,
        data=f"{data['name']}: {data['description']}" if data else "Not stated by its authors.",
    )


def description(model, folder, card):
    """Return the `ModelDescr` of the files in a folder."""
    from bioimageio.spec.model import v0_5

    def file(name):
        return v0_5.FileDescr(source=folder / name)

    return v0_5.ModelDescr(
        name=card.name,
        description=card.description,
        tags=card.tags,
        license=card.license,
        authors=[v0_5.Author(**author) for author in card.authors],
        cite=[v0_5.CiteEntry(**entry) for entry in card.cite],
        covers=[file("cover.png")],
        documentation=file("README.md"),
        inputs=[input_tensor(model, card, file)],
        outputs=[output_tensor(model, card, file)],
        training_data=card.training_data and v0_5.DatasetDescr(**card.training_data),
        weights=weights(file),
        config=v0_5.Config(bioimageio=config(model)),
    )


def input_tensor(model, card, file):
    """Return the description of the input tensor."""
    from bioimageio.spec.model import v0_5

    axes = [
        v0_5.SpaceInputAxis(
            id=name,
            # The minimum is one multiple more than the halos on both sides.
            size=size
            or v0_5.ParameterizedSize(min=MULTIPLE * (1 + -(-2 * halo // MULTIPLE)), step=MULTIPLE),
            **scale,
        )
        for name, size, halo, scale in spatial_axes(model, card)
    ]
    channels = [f"grey{i}" for i in range(model.inputs[0].shape[-1])]
    return v0_5.InputTensorDescr(
        id="image",
        description="Grey levels",
        axes=[v0_5.BatchAxis(), *axes, v0_5.ChannelAxis(channel_names=channels)],
        test_tensor=file("test_input.npy"),
        sample_tensor=file("sample_input.tif"),
        data=v0_5.IntervalOrRatioDataDescr(type="float32", range=(None, None)),
    )


def output_tensor(model, card, file):
    """Return the description of the output tensor, whose sizes refer to those of the input."""
    from bioimageio.spec.model import v0_5

    axes = [
        v0_5.SpaceOutputAxisWithHalo(
            id=name, size=v0_5.SizeReference(tensor_id="image", axis_id=name), halo=halo, **scale
        )
        for name, _, halo, scale in spatial_axes(model, card)
    ]
    return v0_5.OutputTensorDescr(
        id="probability",
        description="Probability of every class",
        axes=[v0_5.BatchAxis(), *axes, v0_5.ChannelAxis(channel_names=card.classes)],
        test_tensor=file("test_output.npy"),
        sample_tensor=file("sample_output.tif"),
        data=v0_5.IntervalOrRatioDataDescr(type="float32", range=(0.0, 1.0)),
    )


def spatial_axes(model, card):
    """Return the name, fixed size or None, halo and scale of every spatial axis of a model."""
    sizes = model.inputs[0].shape[1:-1]
    dims = len(sizes)
    scales = [{"unit": "nanometer", "scale": s} for s in card.voxel_size or ()] or [{}] * 3
    return list(zip("zyx"[-dims:], sizes, HALO[dims][-dims:], scales[-dims:], strict=True))


def weights(file):
    """Return the description of the weights."""
    import onnx
    import tensorflow as tf
    from bioimageio.spec.model import v0_5

    bundle, graph = file(BUNDLE), file(ONNX)
    opset = onnx.load(graph.source.absolute(), load_external_data=False).opset_import[0].version
    return v0_5.WeightsDescr(
        tensorflow_saved_model_bundle=v0_5.TensorflowSavedModelBundleWeightsDescr(
            source=bundle.source, tensorflow_version=v0_5.Version(tf.__version__)
        ),
        onnx=v0_5.OnnxWeightsDescr(
            source=graph.source, opset_version=opset, parent="tensorflow_saved_model_bundle"
        ),
    )


def config(model):
    """Return the tolerance of the test and the size of the network."""
    from bioimageio.spec.model import v0_5

    exact = v0_5.ReproducibilityTolerance(
        relative_tolerance=0, absolute_tolerance=TOLERANCE, mismatched_elements_per_million=0
    )
    return v0_5.BioimageioConfig(
        reproducibility_tolerance=[exact],
        architecture_type=f"volseg_keras {model.name}"[:32],
        task="semantic segmentation",
        model_parameter_count=model.count_params(),
    )


def read_package(path):
    """Return functions that run the weights of a package, after `bioimageio.core.test_model`.

    Raises:
        ValueError: the test fails.
    """
    with tempfile.TemporaryDirectory(prefix="volseg.") as folder:
        # In its own process and folder, since it unpacks in the current folder.
        command = [sys.executable, "-c", TEST, path]
        test = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if test.returncode:
            raise ValueError((test.stderr.strip() or "no answer").splitlines()[-1])
        folder = Path(folder)
        shutil.unpack_archive(path, folder / "package")
        shutil.unpack_archive(folder / "package" / BUNDLE, folder / "savedmodel")
        return [
            *read_savedmodel(folder / "savedmodel"),
            *read_onnx(folder / "package" / ONNX),
        ]

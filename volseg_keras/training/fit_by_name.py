"""`fit` with a network by its name, and labels as files hold them."""

from contextlib import nullcontext
from dataclasses import replace

import keras

from ..networks.models import build_model
from ..pretrained.choice import AUTO
from ..progress import progress_bar
from ..volumes.labels import count_classes
from .arguments import check_folder
from .data.labelled_volumes import read_pairs
from .fit import fit_request
from .loop.devices import data_parallel


def fit_by_name(request, *, all_gpus=False):
    """Train on open volumes, as `fit` does.

    The output is checked before the labels are read, which may take minutes.

    Args:
        request: a `Request` whose model is a name of `networks.variants.VARIANTS`, for new weights
            and as many classes as the labels have, or "auto"; with lists of open volumes.
        all_gpus: use all GPUs for each step.

    Returns:
        What `fit` returns.

    Raises:
        ValueError, FileExistsError, FloatingPointError: see `fit`.
    """
    check_folder(request.output, request.resume)
    with progress_bar("reading labels") as on_progress:
        given = request.images, request.labels, request.validation
        training, validation = read_pairs(*given, on_progress)
    labels = [label for _, label in training]
    keras.utils.set_random_seed(request.seed)
    with data_parallel() if all_gpus else nullcontext():
        model = request.model
        if model != AUTO:
            classes = count_classes(*(label.present for label in labels))
            model = build_model(model, num_classes=classes)
        return fit_request(replace(request, model=model, labels=labels, validation=validation))

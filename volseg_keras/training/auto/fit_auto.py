"""`fit` with `model="auto"`: choose a start, hold out a section, then train on all."""

from dataclasses import replace

from ...errors import require
from ...files import writable_folder, write_json
from ...pretrained.choice import AUTO
from ...pretrained.presets import METRICS
from ..arguments import check_weights, make_budget
from ..data.annotated_sections import has_enough, section_to_hold_out
from ..data.hold_out import HoldOut, Section, hold_out_parts
from ..loop.checkpoint import begun_folders
from ..network_choice import check_network
from ..recipes import DEFAULT, get_recipe
from .annotated_stacks import read_stacks
from .stages import StagedRun, planned_stages
from .starting_model import choose_start


def fit_auto(request):
    """Train on stacks of which a few sections are annotated; see `fit`.

    Args:
        request: a `Request` with "auto" for a model.

    Returns:
        The dict that is written to metrics.json.

    Raises:
        ValueError, FloatingPointError: see `fit`.
    """
    stacks = checked_stacks(request)
    folder, first = writable_folder(request.output), None
    if request.hold_out is None and not stacks.validation:
        first = automatic_hold_out(stacks.volumes)
    stages = planned_stages(folder, first, request.hold_out, request.self_train)
    check_begun_stages(stages)
    start = choose_start(stacks.volumes, request, folder / "start.json")
    recipe = request.recipe or ("finetune" if start.name else DEFAULT)
    budget = make_budget(get_recipe(recipe), request.steps, minutes_of(request))
    request = replace(request, recipe=recipe)
    summary = StagedRun(stages, stacks, start, budget, request).train()
    write_json(folder / METRICS, summary, indent=2)
    return summary


def minutes_of(request):
    """Return the budget in minutes; where none is given that of `finetune`, also from scratch."""
    given = request.minutes or request.steps or request.recipe
    return request.minutes if given else get_recipe("finetune").minutes


def checked_stacks(request):
    """Return the `AnnotatedStacks` of a `Request`, after all of its arguments were checked.

    Raises:
        ValueError: see `fit`.
    """
    model = request.model
    require(model == AUTO, "model", 'a Keras model or "auto"', f"{model=}")
    check_network(AUTO, request.start, request.self_train)
    stacks = read_stacks(request)
    check_weights(request.weights, stacks.volumes)
    hold_out_parts(stacks.volumes, request.hold_out)
    check_self_training(stacks.volumes, request.self_train, request.hold_out)
    return stacks


def check_begun_stages(stages):
    """Raise ValueError if those that were begun are not the first ones of the run."""
    folder = stages[-1].folder
    begun = begun_folders(folder)
    good = begun == {stage.folder for stage in stages[: len(begun)]}
    expected = "a run with the same labels and options; or a new folder"
    require(good, "resume", expected, folder)


def check_self_training(volumes, rounds, hold_out):
    """Raise ValueError for volumes that are not in memory, and for sections that are held out.

    A network would learn its own predictions of such a section, which it is scored on.
    """
    sections = any(isinstance(part, Section) for part in hold_out.parts) if hold_out else False
    expected = "a band, such as x:0:256, with `self_train`"
    require(not (rounds and sections), "hold_out", expected, hold_out and hold_out.given)
    good = not rounds or all(volume.label.in_memory for volume in volumes)
    expected = "0 for a volume larger than a quarter of the free memory"
    require(good, "self_train", expected, rounds)


def automatic_hold_out(volumes):
    """Return the `HoldOut` of a section of the first volume with enough of them; say so."""
    parts = []
    for volume in volumes:
        z = None if any(parts) else section_to_hold_out(volume.label)
        parts.append(None if z is None else Section(z, apart=True))
        if z is None and not any(parts) and has_enough(volume.label):
            print(
                f"{volume.name}: nothing is held out, since every annotated section has class ids "
                "of its own; are they ids of instances?"
            )
        if z is not None:
            print(
                f"{volume.name}: section {z} is held out to choose threshold and averaging; then "
                "all are trained on"
            )
    return HoldOut.of(parts) if any(parts) else None

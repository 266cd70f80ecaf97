"""`fit` with `model="auto"`: the start, the sections, the parts of a training."""

import json
from contextlib import nullcontext
from dataclasses import replace
from shutil import copy2, copytree, ignore_patterns
from threading import Event

import numpy as np
import pytest
from command import quick_recipe, volseg
from networks import shallow_networks
from one_pixel import one_pixel_network, publish_one_pixel_networks

from volseg_keras import PatchSampler, build_model, fit, open_volume, phantom, save_volume
from volseg_keras.networks.models import with_normalization
from volseg_keras.patches.augment import NONE
from volseg_keras.pretrained import presets
from volseg_keras.pretrained.network_dims import network_dims
from volseg_keras.progress import shown_by
from volseg_keras.training import new_network
from volseg_keras.training.auto import fit_auto, stages, starting_model
from volseg_keras.training.auto.annotated_stacks import AnnotatedStacks, read_stacks
from volseg_keras.training.auto.self_training import confident_ids
from volseg_keras.training.auto.stages import Stage, StagedRun
from volseg_keras.training.auto.starting_model import (
    Candidate,
    Start,
    resampled_volume,
    rescale_to_match,
    scales,
)
from volseg_keras.training.data.annotated_sections import without_section
from volseg_keras.training.data.hold_out import HoldOut, hold_out_parts
from volseg_keras.training.data.labelled_volumes import LabelledVolume
from volseg_keras.training.fit_by_name import fit_by_name
from volseg_keras.training.loop.callbacks import Budget
from volseg_keras.training.recipes import get_recipe
from volseg_keras.training.request import Request
from volseg_keras.training.run_folders import next_run, train_or_resume
from volseg_keras.volumes.class_ids import ArrayClassIds
from volseg_keras.volumes.file_class_ids import FileClassIds
from volseg_keras.volumes.intensity import IntensityStatistics

LABEL = phantom((16, 64, 64), seed=0)[1]
NOISE = np.random.default_rng(0).normal(0, 8, LABEL.shape)
IMAGE = (180 - 100.0 * LABEL + NOISE).astype(np.uint8)
ANNOTATED = [2, 6, 9, 13]


def sparse(sections=ANNOTATED, other=255):
    """Labels of some sections."""
    labels = np.full_like(LABEL, other)
    labels[sections] = LABEL[sections]
    return labels


SHARE = LABEL[ANNOTATED].mean()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder of published models: one marks what is dark, one what is bright, one is 3D."""
    return publish_one_pixel_networks(tmp_path_factory.mktemp("published"))


@pytest.fixture(autouse=True)
def own_models(published, monkeypatch):
    monkeypatch.setattr(presets, "PUBLISHED", (published,))


@pytest.mark.parametrize(
    "shape, voxel_size, dims, why",
    [
        ((20, 99, 99), None, 2, "20 sections"),
        ((165, 99, 99), None, 3, "unknown"),
        ((165, 99, 99), (5, 5, 5), 3, "5 nm"),
        ((165, 99, 99), (40, 6, 6), 2, "6.7 times"),
        ((20, 99, 99), (5, 5, 5), 2, "20 sections"),
    ],
)
def test_two_or_three_axes(shape, voxel_size, dims, why):
    found, reason = network_dims(shape, voxel_size)
    assert found == dims and why in reason


def labelled(voxel_size=None):
    return LabelledVolume(
        "a", IMAGE, ArrayClassIds(sparse()), IntensityStatistics.of(IMAGE), voxel_size
    )


@pytest.mark.parametrize(
    "voxel_size, tried",
    [
        (None, [(1, 1, 1)]),
        ((20, 5.9, 5.9), [(1, 1, 1)]),
        ((20, 10, 10), [(1, 1, 1), (1, 2.0, 2.0)]),
        ((20, 50, 50), [(1, 1, 1)]),
    ],
)
def test_a_model_is_tried_at_its_own_voxel_size(voxel_size, tried):
    assert scales("Dark", [labelled(voxel_size)], 2) == tried


def test_a_resampled_stack_keeps_its_labels_and_intensity():
    volume = resampled_volume(labelled((20.0, 10.0, 10.0)), (1, 2.0, 2.0))
    assert volume.image.shape == volume.label.shape == (16, 128, 128)
    assert volume.image.dtype == np.uint8 and volume.voxel_size == (20, 5, 5)
    np.testing.assert_array_equal(volume.label[:, ::2, ::2], sparse())
    assert abs(float(volume.image.mean()) - IMAGE.mean()) < 1
    assert volume.intensity == labelled().intensity


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.8, 1, 2, 2.5])
def test_no_annotated_section_is_lost_when_sections_get_thicker(scale):
    label = resampled_volume(labelled(), (scale, 1, 1)).label
    assert len(label) == 16 * scale or scale in (0.8, 2.5)
    annotated = label.annotated_sections(255)
    assert len(annotated) >= len(ANNOTATED)
    for section in label[annotated]:
        assert any((section == LABEL[z]).all() for z in ANNOTATED)


@shallow_networks()
def test_what_is_held_out_is_cut_before_the_stack_is_rescaled(tmp_path, monkeypatch):
    """Of twice as many sections, two are the one that is held out."""
    given = []

    def fit_volumes(plan, volumes):
        given.append(volumes)
        return {"statistics": "as trained", "threshold": 0.5, "steps": 1, "minutes": 0.1}

    monkeypatch.setattr(stages, "fit_volumes", fit_volumes)
    request = Request(model="auto", images=None, labels=None, output=tmp_path)
    start, stage = Start(2, "", None, (2, 1, 1)), Stage(tmp_path, 1.0, HoldOut.parse("z=9"), False)
    given_stacks = AnnotatedStacks([labelled()], [], 2)
    StagedRun([stage], given_stacks, start, Budget(10, None), request).train()
    (training,), (scored,) = given[0].training, given[0].scored
    assert training.label.annotated_sections(255).tolist() == [4, 5, 12, 13, 26, 27]
    assert scored.name == "a z=9" and len(scored.label.annotated_sections(255)) == 2


@pytest.mark.parametrize("dims", [2, 3])
def test_a_section_is_looked_at_where_its_objects_are(dims):
    """Not between them, where a crop holds none; and sections without objects are not."""
    label = np.full((5, 3000, 3000), 255, np.uint8)
    label[1] = label[3] = 0
    label[3, :20, :20] = label[3, -20:, -20:] = 1
    ids = ArrayClassIds(label)
    volume = LabelledVolume("a", np.zeros_like(label), ids, IntensityStatistics(0.0, 1.0))
    (crop,) = starting_model.crops_of(volume, dims)
    assert (np.asarray(crop.label) == 1).sum() == 400


def test_neighbours_of_a_held_out_section_are_not_trained_on_if_others_are():
    label = np.zeros((100, 8, 8), np.uint8)
    label[:, 2:5] = 1
    volume = LabelledVolume("a", label, ArrayClassIds(label), IntensityStatistics(0.0, 1.0))
    left = without_section(volume, 50, apart=True).label.annotated_sections(255)
    assert left.tolist() == [*range(34), *range(67, 100)]
    few = replace(volume, label=ArrayClassIds(label[:30]))
    assert len(without_section(few, 9, apart=True).label.annotated_sections(255)) == 29
    assert len(without_section(volume, 50).label.annotated_sections(255)) == 99
    # Neighbours stay where a class is on no other section, also of labels in a file.
    rare = np.full((100, 8, 8), 255, np.uint8)
    rare[::2] = 1
    rare[::2, :4], rare[48:54:2, 0] = 0, 2
    for label in (ArrayClassIds(rare), FileClassIds.scan(rare)):
        left = without_section(replace(volume, image=rare, label=label), 50, apart=True)
        assert len(left.label.annotated_sections(255)) == 49


@pytest.mark.parametrize(
    "size, scale", [((5, 5, 5), 1), ((10, 10, 10), 2), ((5.5, 5.5, 5.5), 1), (None, 3)]
)
def test_a_volume_to_validate_on_is_rescaled_by_its_own_voxel_size(size, scale):
    trained, given = labelled((5.0, 5.0, 5.0)), labelled(size)
    (found,) = rescale_to_match([given], [trained], Start(3, "", None, (3, 3, 3)), 3)
    assert found.image.shape == tuple(scale * n for n in IMAGE.shape)


@pytest.mark.parametrize("jaccard, finds", [(0.5, True), (0.11, False)])
def test_a_start_must_do_better_than_marking_everything(jaccard, finds):
    assert Candidate("Dark", (1, 1, 1), jaccard, 0.5, 0.1).finds == finds


def test_a_model_of_several_classes_is_scored_by_the_one_that_fits(tmp_path):
    one_pixel_network(4, -4).save(tmp_path / "both.keras")
    crops = [(labelled(), starting_model.crops_of(labelled(), 2))]
    found = starting_model.score_model(tmp_path / "both.keras", (1, 1, 1), crops)
    assert found.jaccard > 0.95 and found.finds


@shallow_networks()
def test_another_number_of_classes_keeps_all_but_the_head():
    network = build_model("D", dropout=0.3, name="mine")
    frozen = ("encoder0", "head_conv")
    for layer in network.layers:
        layer.trainable = not layer.name.startswith(frozen)
    model = with_normalization(network, 128.0, 40.0)
    new = new_network.with_new_head(model, 4)
    assert new.output_shape[-1] == 4
    pairs = list(zip(model.layers[-1].layers, new.layers[-1].layers, strict=True))
    assert len(pairs) > 15
    for old, layer in pairs:
        assert layer.trainable == (not old.name.startswith("encoder0"))
        assert getattr(layer, "rate", None) == getattr(old, "rate", None)
        for a, b in zip(old.get_weights(), layer.get_weights(), strict=True):
            assert a.shape == b.shape and (a == b).all() or old.name == "head_conv"


def told_of(folder, name="metrics.json"):
    return json.loads((folder / name).read_text())


@pytest.fixture
def files(tmp_path):
    """The stack, and its labels: not painted elsewhere."""
    save_volume(tmp_path / "stack.tif", IMAGE)
    save_volume(tmp_path / "labels.tif", sparse(other=0))
    return tmp_path / "stack.tif", tmp_path / "labels.tif"


def train(files, run, *options):
    with quick_recipe(), quick_recipe("finetune"), shallow_networks():
        return volseg("train", *files, "-o", run, "--steps", 5, *options)


def test_the_shortest_command(files, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(files, run) == 0
    out = capsys.readouterr().out
    assert "2D: the stack has 16 sections" in out and "section 9 is held out" in out
    assert "12 of 16 sections are empty or full" in out and "Starts from Dark" in out
    assert "Held-out Jaccard: Dark " in out
    about, first = told_of(run), told_of(run / "parts" / "1")
    assert about["from"] == "Dark" and about["recipe"] == "finetune"
    assert about["hold_out"] == first["hold_out"] == ["z=9"]
    assert (first["steps"], about["steps"], about["total_steps"]) == (2, 3, 5)
    assert ": 5 steps, held-out Jaccard" in out
    assert about["threshold"] == np.clip(first["threshold"], 0.3, 0.7)
    assert about["held_out_jaccard"] > 0.5
    dark, bright = told_of(run, "start.json")["looked_at"]
    assert (dark["name"], bright["name"]) == ("Dark", "Bright")
    assert dark["jaccard"] > 0.95 and bright["jaccard"] < SHARE + 0.02
    assert dark["chance"] == pytest.approx(SHARE, abs=1e-3)
    assert f"Next: volseg predict {files[0]} --model {run} --threshold auto" in out
    labels = tmp_path / "found.tif"
    assert volseg("predict", files[0], "--model", run, "--threshold", "auto", "-o", labels) == 0
    assert ((open_volume(labels)[...] > 0) == LABEL).mean() > 0.95
    # A run that had ended tells what it told, and looks at nothing.
    assert train(files, run, "--resume") == 0
    assert "Jaccard index" not in capsys.readouterr().out and told_of(run) == about
    # With a larger budget only the last part goes on: of the first one nothing would be kept.
    assert train(files, run, "--resume", "--steps", 10) == 0
    longer = told_of(run)
    assert told_of(run / "parts" / "1") == first
    assert (longer["steps"], longer["total_steps"]) == (6, 8)
    assert longer["total_minutes"] == pytest.approx(first["minutes"] + longer["minutes"], abs=0.02)
    # Nor is another start taken in its place.
    assert train(files, run, "--resume", "--from", "scratch") == 2
    assert "`resume`" in capsys.readouterr().err and told_of(run) == longer
    # One that was killed in its first part tells what training made of the start all the same.
    killed = tmp_path / "killed"
    copytree(run / "parts", killed / "parts", ignore=ignore_patterns("metrics.json"))
    copy2(run / "start.json", killed)
    assert train(files, killed, "--resume") == 0
    assert "Held-out Jaccard: Dark " in capsys.readouterr().out


def test_from_scratch_where_nothing_is_found(files, published, tmp_path, monkeypatch, capsys):
    file = published / "Bright" / "model.keras"
    monkeypatch.setattr(starting_model, "published", lambda: {"bright": file})
    monkeypatch.setitem(new_network.NETWORKS, 2, "C")
    assert train(files, tmp_path / "run", "--hold-out", "none") == 0
    assert "Starts C from scratch: no published model finds" in capsys.readouterr().out
    about = told_of(tmp_path / "run")
    assert about["variant"] == "c" and "from" not in about and about["recipe"] == "fast"
    assert about["steps"] == 5 and not (tmp_path / "run" / "parts").exists()


@pytest.mark.parametrize("options", [("--hold-out", "none"), ("--from", "model.keras")])
def test_starts_that_were_not_foreseen(options, files, published, tmp_path, monkeypatch):
    """Nothing held out from a published model; a file without a word on its number of axes."""
    monkeypatch.chdir(tmp_path)
    copy2(published / "Dark" / "model.keras", tmp_path)
    assert train(files, tmp_path / "run", *options) == 0
    assert told_of(tmp_path / "run")["steps"] <= 5


@pytest.mark.parametrize(
    "begun, names, good",
    [
        ([], [1, "."], True),
        ([1], [1, "."], True),
        ([1, "."], [1, "."], True),
        (["."], [1, "."], False),  # a section that is held out now was trained on
        ([1], ["."], False),  # none is held out any more
        ([1, 2], [1, "."], False),
    ],
)
def test_a_run_is_resumed_part_by_part_or_not_at_all(begun, names, good, tmp_path):
    folders = {number: tmp_path / "parts" / str(number) for number in (1, 2)} | {".": tmp_path}
    for name in begun:
        folders[name].mkdir(parents=True, exist_ok=True)
        (folders[name] / "checkpoint.h5").touch()
    planned = [Stage(folders[name], 0.5, None, False) for name in names]
    with nullcontext() if good else pytest.raises(ValueError, match="`resume`.*same labels"):
        fit_auto.check_begun_stages(planned)


def test_ids_of_instances_are_told(capsys):
    labels = sparse()
    for number, z in enumerate(ANNOTATED, 1):
        labels[z][labels[z] == 1] = 3 * number
    volume = replace(labelled(), label=ArrayClassIds(labels))
    assert fit_auto.automatic_hold_out([volume]) is None
    assert "are they ids of instances?" in capsys.readouterr().out
    request = Request(model="auto", images=IMAGE, labels=labels, output="run")
    with pytest.warns(UserWarning, match="have no voxel of 1, 2, 4"):
        read_stacks(request)


def test_a_run_that_was_killed_in_its_first_part_is_not_begun_again(files, tmp_path, capsys):
    (tmp_path / "run/parts/1").mkdir(parents=True)
    (tmp_path / "run/parts/1/checkpoint.h5").touch()
    assert train(files, tmp_path / "run") == 2
    printed = capsys.readouterr()
    assert "holds a run" in printed.err and "2D" not in printed.out


def test_self_training_from_a_start_that_is_named(files, tmp_path, capsys):
    run = tmp_path / "run"
    options = ("--from", "Dark", "--voxel-size", "20,10,10", "--self-train")
    assert train(files, run, *options) == 0
    out = capsys.readouterr().out
    assert "the stack rescaled by 1 x 2 x 2" in out or "Starts from Dark\n" in out
    assert "Self-training:" in out and "Part 3 of 3" in out
    about = told_of(run)
    assert len(about["volumes"]) == 2 and "own labels" in about["volumes"][1]["name"]
    rows = told_of(run, "start.json")["looked_at"]
    assert {tuple(row["scale"]) for row in rows} == {(1, 1, 1), (1, 2.0, 2.0)}
    size = np.array([20, 10, 10]) / told_of(run, "start.json")["scale"]
    assert about["voxel_size"] == size.tolist()


def test_a_held_out_section_is_not_trained_on_by_its_prediction(tmp_path):
    with pytest.raises(ValueError, match="`hold_out`. Expected a band.*Received: z=9"):
        fit("auto", IMAGE, sparse(), output=tmp_path, hold_out="z=9", self_train=1)


@shallow_networks()
def test_a_last_layer_that_starts_anew_is_told(tmp_path, capsys):
    start = tmp_path / "d.keras"
    with_normalization(build_model("D"), 128.0, 40.0).save(start)
    three = np.where(np.arange(64) < 32, LABEL, 2 * LABEL)
    for labels, told in ((three, "has 2 classes, the labels have 3"), (LABEL, "")):
        read_stacks(
            Request(model="auto", images=IMAGE, labels=labels, output=tmp_path, start=start)
        )
        out = capsys.readouterr().out
        assert (told in out) if told else "classes" not in out


def test_sure_labels_lie_beyond_the_threshold():
    probability = np.array([0, 0.1, 0.3, 0.9, 0.97, 1], np.float32)[:, None]
    assert confident_ids(probability, 0.8).tolist() == [0, 0, 255, 255, 1, 1]
    three = np.array([[0.95, 0.05, 0], [0.5, 0.5, 0], [0, 0.05, 0.95]])
    assert confident_ids(three, 0.5).tolist() == [0, 255, 2]


@pytest.mark.parametrize("dims, depth", [(2, 15), (3, 16)])
def test_a_section_is_held_out(dims, depth):
    (inner,), (out,) = hold_out_parts([labelled()], HoldOut.parse("z=9"), dims)
    assert out.label.shape[0] == depth and out.name == "a z=9"
    assert inner.label.annotated_sections(255).tolist() == [2, 6, 13]
    assert np.count_nonzero(np.asarray(out.label) != 255) == 64 * 64
    assert np.count_nonzero(np.asarray(out.label) == 1) == LABEL[9].sum()


def test_a_section_that_is_none_is_refused():
    with pytest.raises(ValueError, match="z=0 to z=15.*hold_out='z=16'"):
        hold_out_parts([labelled()], HoldOut.parse("z=16"))


@pytest.mark.parametrize("text", ["z=-1", "z=", "z=a", "x:0", "w:0:32", "x:0:1:2", 5])
def test_a_text_that_is_no_part_is_refused(text):
    with pytest.raises(ValueError, match="`hold_out`.*a section, such as z=7"):
        HoldOut.parse(text)


@pytest.mark.parametrize(
    "given, texts",
    [("x:0:32", ["x:0:32"]), ("none", [None]), (["z=7", "none", None], ["z=7", None, None])],
)
def test_a_hold_out_is_told_as_it_was_given(given, texts):
    hold_out = HoldOut.parse(given)
    assert hold_out.given == given and HoldOut.of(hold_out.parts).given == texts


@pytest.mark.parametrize("near", [0, 1])
@pytest.mark.parametrize(
    "shape, sections", [((32, 32), (2, 13)), ((4, 32, 32), (2, 13)), ((4, 32, 32), (0, 15))]
)
def test_every_patch_has_an_annotated_section(shape, sections, near):
    """Also if sections between those of a patch are left out, as in thicker ones."""
    options = {"augment": replace(NONE, thickness=50.0), "voxel_size": (8.0, 8.0, 8.0)}
    options |= {"ignore_class": 255, "foreground_fraction": near}
    sampler = PatchSampler(IMAGE, sparse([*sections]), shape, **options)
    patches = [sampler[i].label for i in range(100)]
    assert all((patch != 255).any() for patch in patches)


@pytest.mark.parametrize(
    "arguments, told",
    [
        ({"model": "D"}, '"auto"'),
        ({"self_train": 10}, "`self_train`"),
        ({"minutes": 1, "steps": 1}, "`minutes`"),
        ({"start": "nothing"}, "`start`"),
        ({"normalization": "model"}, "`normalization`"),
        ({"hold_out": "z=40"}, "z=0 to z=15"),
    ],
)
def test_wrong_input_is_refused_before_any_work(arguments, told, tmp_path):
    options = {"model": "auto", "output": tmp_path / "run", **arguments}
    with pytest.raises(ValueError, match=told):
        fit(images=IMAGE, labels=sparse(), **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("everything", [255, 1])
def test_labels_that_mark_everything_are_refused(everything, tmp_path):
    label = np.full(IMAGE.shape, everything, np.uint8)
    with pytest.raises(ValueError, match="`labels`.*objects and background"):
        fit("auto", IMAGE, label, output=tmp_path / "run")


def test_numbers_of_numpy_are_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("volseg_keras.training.fit.fit_auto", lambda request: request)
    numbers = {"seed": np.int64(3), "batch_size": np.int64(2), "self_train": np.int64(1)}
    request = fit("auto", IMAGE, sparse(), output=tmp_path, **numbers)
    found = {name: getattr(request, name) for name in numbers}
    assert json.loads(json.dumps(found)) == numbers


@pytest.mark.parametrize("seed", [-1, 2**31, 0.5])
def test_a_wrong_seed_is_refused_before_labels_are_read(seed, tmp_path):
    with pytest.raises(ValueError, match="`seed`"):
        fit("auto", None, None, output=tmp_path / "run", seed=seed)


def test_a_run_that_would_be_replaced_is_told_before_labels_are_read(tmp_path):
    (tmp_path / "parts/1").mkdir(parents=True)
    (tmp_path / "parts/1/checkpoint.h5").touch()
    request = Request(model="auto", images=[None], labels=[None], output=tmp_path)
    with pytest.raises(FileExistsError, match="`output`.* or `resume`"):
        fit_by_name(request)


def test_a_given_network_does_not_train_itself(tmp_path):
    with pytest.raises(ValueError, match="`self_train`"):
        fit(build_model("C"), IMAGE, sparse(), output=tmp_path / "run", self_train=1)


def test_one_model_is_scored_however_long_reading_takes(monkeypatch):
    monkeypatch.setattr(starting_model, "crops_of", lambda *_: [])
    monkeypatch.setattr(
        starting_model, "score_model", lambda name, *_: Candidate(name, (1, 1, 1), 0.5, 0.5, 0.1)
    )
    planned = [("D", (1, 1, 1)), ("C", (1, 1, 1))]
    found = starting_model.score_candidates([None], 2, planned, seconds=-1)
    assert [each.name for each in found] == ["D"]


def test_a_wrong_start_is_refused_before_labels_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(fit_auto, "read_stacks", None)
    with pytest.raises(ValueError, match="`start`.*nothing"):
        fit("auto", IMAGE, sparse(), output=tmp_path, start="nothing")


def test_a_recipe_of_other_axes_is_refused_before_models_are_scored(tmp_path, monkeypatch):
    monkeypatch.setattr(starting_model, "score_candidates", None)
    recipe = replace(get_recipe("fast"), batch={3: 1})
    with pytest.raises(ValueError, match="`batch`.* for 2 spatial axes"):
        fit("auto", IMAGE, sparse(), output=tmp_path, recipe=recipe)


def test_stop_keeps_the_best_so_far(tmp_path):
    """In the first part of a training, whose files become those of the whole."""
    stop, told = Event(), []

    def listener(what, done, total):
        told.append((what, done))
        if what.startswith("step"):
            stop.set()

    folder = tmp_path / "runs"
    run = next_run(folder)
    with quick_recipe(), quick_recipe("finetune"), shown_by(listener):
        used, summary = train_or_resume(IMAGE, sparse(), run, start="Dark", minutes=9, stop=stop)
    assert used == run
    assert summary["steps"] <= 2 and summary == told_of(run)
    assert (run / "model.keras").is_file() and (run / "history.csv").is_file()
    assert told[-1][1] < 1 and any(what == "reading volumes" for what, _ in told)
    assert run.name == "run_1" and next_run(folder).name == "run_2"
    with pytest.raises(FileExistsError):
        train_or_resume(IMAGE, sparse(), run, start="Dark", minutes=9)
    # As if the window had been closed, and more been painted since.
    (run / "metrics.json").unlink(), (run / "model.keras").unlink()
    with quick_recipe("finetune"):
        more = sparse([*ANNOTATED, 14])
        used, summary = train_or_resume(IMAGE, more, run, start="Dark", minutes=0.02)
    assert used.name == "run_2" and summary == told_of(used)

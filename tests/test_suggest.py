"""What to annotate next."""

from dataclasses import replace

import numpy as np
import pytest
from command import volseg
from networks import shallow_networks

from volseg_keras import build_model, open_volume, phantom, save_volume, suggest
from volseg_keras.networks.models import with_normalization
from volseg_keras.training.data.annotated_sections import (
    report_empty_sections,
    section_to_hold_out,
    spread,
    without_unpainted,
)
from volseg_keras.training.suggest import draft, draft_section, most_informative, uncertainty_of
from volseg_keras.volumes.class_ids import ArrayClassIds

IMAGE, LABEL = phantom((16, 64, 64), seed=0)
KNOWN = np.full_like(LABEL, 255)
KNOWN[[1, 5]] = LABEL[[1, 5]] > 0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of random weights."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    with shallow_networks():
        with_normalization(build_model("D"), 128.0, 40.0).save(path)
    return path


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Files of a stack, of its labels as napari writes them, and in which 0 is not painted."""
    folder = tmp_path_factory.mktemp("stack")
    save_volume(folder / "stack.tif", IMAGE)
    save_volume(folder / "labels.tif", KNOWN)
    save_volume(folder / "napari.tif", np.where(KNOWN == 255, 0, KNOWN).astype(np.int32))
    return folder


@pytest.mark.parametrize("labels", ["labels.tif", "napari.tif"])
def test_the_command_draws_sections_and_writes_a_draft(labels, model, stack, tmp_path, capsys):
    draft, pictures = tmp_path / "draft.tif", tmp_path / "pictures"
    files = (stack / "stack.tif", "--labels", stack / labels, "--write-labels", draft)
    assert volseg("suggest", *files, "--model", model, "-n", 2, "-o", pictures) == 0
    names = sorted(path.name for path in pictures.iterdir())
    sections = [int(name[8:12]) for name in names]
    assert len(sections) == 2 and not set(sections) & {1, 5}
    out = capsys.readouterr().out
    assert all(name in out for name in names)
    found = open_volume(draft)[...]
    annotated = sorted({1, 5, *sections})
    assert np.flatnonzero((found != 255).any(axis=(1, 2))).tolist() == annotated
    np.testing.assert_array_equal(found[[1, 5]], KNOWN[[1, 5]])
    assert volseg("suggest", *files, "--model", model) == 2
    assert "a draft that was corrected would be lost" in capsys.readouterr().err


def test_a_draft_is_painted_as_the_labels_were(model):
    mask = np.where(KNOWN == 255, 0, 255 * KNOWN).astype(np.float32)
    found = draft(mask, suggest(model, IMAGE, 1, mask), IMAGE.shape)
    ids = draft(KNOWN, suggest(model, IMAGE, 1, KNOWN), IMAGE.shape)
    assert found.dtype == np.uint8 and np.unique(found).tolist() == [0, 255]
    np.testing.assert_array_equal(found == 255, ids == 1)


def test_a_draft_of_a_mask_of_0_and_minus_1(model):
    """Booleans of some programs: -1 is foreground."""
    mask = np.where(KNOWN == 1, -1, 0).astype(np.int16)
    sections = suggest(model, IMAGE, 1, mask)
    found, ids = (draft(m, sections, IMAGE.shape) for m in (mask, 255 * (mask < 0)))
    np.testing.assert_array_equal(found == 1, ids == 255)
    plane = draft_section(mask.copy(), sections[0])[sections[0].z]
    np.testing.assert_array_equal(plane < 0, sections[0].labels == 1)


def test_a_mask_holds_no_draft_of_several_classes(model):
    mask = np.where(KNOWN == 1, 255, 0).astype(np.uint8)
    (section,) = suggest(model, IMAGE, 1, mask)
    several = replace(section, labels=2 * section.labels)
    for painted in (draft, lambda labels, sections, shape: draft_section(labels, sections[0])):
        with pytest.raises(ValueError, match="`labels`. Expected class ids, for a model of sev"):
            painted(mask, [several], IMAGE.shape)


def test_a_draft_of_nothing_is_refused(model):
    """0 and 255 alone would be read as a mask in which everything else is foreground."""
    (section,) = suggest(model, IMAGE, 1)
    empty = replace(section, labels=np.zeros_like(section.labels))
    with pytest.raises(ValueError, match="finds something"):
        draft(None, [empty], IMAGE.shape)
    assert set(np.unique(draft(KNOWN, [empty], IMAGE.shape))) == {0, 1, 255}


def test_a_draft_from_labels_that_nobody_has_painted_is_one_of_its_sections_alone(model):
    (section,) = suggest(model, IMAGE, 1)
    blank = draft(np.zeros(IMAGE.shape, np.uint8), [section], IMAGE.shape)
    np.testing.assert_array_equal(blank, draft(None, [section], IMAGE.shape))


def test_labels_of_255_alone_are_not_annotated_yet(model):
    nothing = np.full(IMAGE.shape, 255, np.uint8)
    (section,) = suggest(model, IMAGE, 1, nothing)
    assert section.z == suggest(model, IMAGE, 1)[0].z
    drafted = draft(nothing, [section], IMAGE.shape)
    np.testing.assert_array_equal(drafted, draft(None, [section], IMAGE.shape))
    np.testing.assert_array_equal(draft_section(nothing, section)[section.z], section.labels)


def test_sections_are_those_of_python(model):
    (one,) = suggest(model, IMAGE, 1, KNOWN)
    two = suggest(model, IMAGE, 2, KNOWN)
    assert one.z == two[0].z != two[1].z and one.labels.shape == (64, 64)
    assert 0 <= one.uncertainty.min() <= one.uncertainty.max() <= 1
    assert len(suggest(model, IMAGE[:3], 9)) == 3


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("-n", "0"), "-n"),
        (("--labels", "short.tif"), "`label`"),
        (("--model", "no"), "`model`"),
        (
            ("--write-labels", "stack.tif"),
            "a file other than the input, outside its folder of slices",
        ),
        (("--labels", "short.tif", "--write-labels", "short.tif"), "than the input"),
        (("--labels", "full.tif"), "all 16 are annotated"),
    ],
)
def test_wrong_input(arguments, told, model, stack, monkeypatch, capsys):
    monkeypatch.chdir(stack)
    save_volume("short.tif", KNOWN[:4])
    save_volume("full.tif", np.arange(IMAGE.size).reshape(IMAGE.shape) % 2 + np.uint8(0))
    line = ("suggest", "stack.tif", "-o", "pictures")
    line += arguments if "--model" in arguments else (*arguments, "--model", model)
    assert volseg(*line) == 2
    assert told in capsys.readouterr().err
    assert not (stack / "pictures").exists()


def test_a_damaged_section_is_suggested_last(model):
    image = IMAGE.copy()
    image[7] = np.random.default_rng(0).integers(0, 256, image[7].shape)
    found = [section.z for section in suggest(model, image, 99, KNOWN)]
    assert found[-1] == 7 and sorted(found) == sorted(set(range(len(IMAGE))) - {1, 5})


def test_uncertainty_and_distance_decide():
    places = {z: np.array([float(z)]) for z in range(5)}
    uncertainties = {0: 0.0, 1: 0.5, 2: 0.1, 3: 0.1, 4: 0.4}
    found = most_informative({1, 2, 3, 4}, [0], uncertainties, places, 2, 0)
    assert [z for z, _ in found] == [4, 1] and [d for _, d in found] == [4, 1]


def test_neighbours_are_suggested_last():
    places = {z: np.array([float(z)]) for z in range(12)}
    uncertainties = dict.fromkeys(range(12), 0.1) | {10: 0.9, 11: 1.0}
    found = most_informative(set(range(1, 12)), [0], uncertainties, places, 11, 2)
    order = [z for z, _ in found]
    assert order[:3] == [11, 5, 8] and order.index(10) > 2 and len(order) == 11
    assert all(abs(a - b) > 2 for a in order[:3] for b in order[:3] if a != b)


def test_uncertainty_is_largest_at_the_threshold():
    probability = np.array([0, 0.4, 0.8, 0.9, 1])[None, :, None]
    np.testing.assert_allclose(uncertainty_of(probability, 0.8)[0], [0, 0.5, 1, 0.5, 0])
    three = np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])[None]
    np.testing.assert_allclose(uncertainty_of(three, 0.5)[0], [0, 1], atol=1e-6)


def test_sections_without_a_label_are_not_annotated():
    for elsewhere in (0, 1):  # 1 is what a white section of a mask becomes
        given = np.where(KNOWN == 255, np.uint8(elsewhere), KNOWN)
        label, count = without_unpainted(ArrayClassIds(given))
        np.testing.assert_array_equal(label, KNOWN)
        assert count == 14
    partly = KNOWN.copy()
    partly[3] = 0  # background, where 255 marks what is not annotated
    assert without_unpainted(ArrayClassIds(partly))[1] == 0


def test_empty_sections_that_count_as_background_are_told(capsys):
    report_empty_sections("a.tif", ArrayClassIds(KNOWN))  # all others are 255
    assert not capsys.readouterr().out
    report_empty_sections("a.tif", ArrayClassIds(np.where(KNOWN == 255, 0, KNOWN)))
    assert capsys.readouterr().out.startswith("a.tif: 14 of 16 sections have no label")


@pytest.mark.parametrize("sections, held_out", [([1, 5], None), ([1, 5, 9], 5), ([1, 2, 5, 9], 5)])
def test_the_section_in_the_middle_is_held_out(sections, held_out):
    label = np.full_like(KNOWN, 255)
    label[sections] = 0
    label[sections, 3, 3] = 1
    assert section_to_hold_out(ArrayClassIds(label)) == held_out


def test_a_class_of_one_section_is_not_held_out():
    label = np.full_like(KNOWN, 255)
    label[[1, 5, 9]] = 0
    label[[1, 5, 9], 3, 3] = 1
    label[5, 4, 4] = 2
    assert section_to_hold_out(ArrayClassIds(label)) == 1


def test_spread():
    assert spread(list(range(20)), 4) == [2, 7, 12, 17]
    assert spread([3, 4], 4) == [3, 4]


@pytest.mark.parametrize("white", [1, 255])
def test_a_draft_spares_what_is_painted(white, model):
    """Whether class ids were painted, or white on black."""
    (section,) = suggest(model, IMAGE, 1, KNOWN)
    labels = np.zeros_like(KNOWN)
    labels[section.z - 1, 0, 0] = white
    assert draft_section(labels, section) is labels
    np.testing.assert_array_equal(labels[section.z], white * section.labels)
    labels[section.z] = 0
    labels[section.z, 0, 0] = white
    assert np.count_nonzero(draft_section(labels, section)[section.z]) == 1

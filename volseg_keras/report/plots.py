"""Slice overlays as PNG files, and what all figures share."""

from pathlib import Path

import numpy as np
from matplotlib.colors import hsv_to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ..files import atomic_path
from ..volumes.dimensions import check_shapes
from .planes import shown_planes

# Orange and sky blue of Okabe and Ito, which colour-blind readers can tell apart.
PREDICTION, TRUTH = "#e69f00", "#56b4e9"
DARK, BLUE = "#333333", "#0072b2"
LARGEST = 2000  # pixels along a side of a picture; for larger planes every k-th is drawn
CUT = {"color": "white", "gapcolor": "black", "lw": 0.6, "ls": (0, (4, 4)), "alpha": 0.8}


def overlay(image, prediction, path, truth=None, center=None, voxel_size=None):
    """Draw three orthogonal slices of a volume with the outlines of its segmentation.

    Labels of more than 8 bits are instance ids, each of which is shaded in a colour. Slices are to
    scale, except that an axis too thin to be seen is drawn thicker, and labelled so. For a single
    section only that is drawn. Array-likes other than NumPy arrays are read in three planes only.

    Args:
        image: real-valued array `(z, y, x)`.
        prediction: integer labels of the same shape; 0 is background, the others are foreground.
        path: PNG file to write; missing folders are created.
        truth: reference labels like `prediction`, or None.
        center: voxel (z, y, x) that the slices share; by default that of the planes near the middle
            with the most predicted foreground, or the middle if labels are not in memory.
        voxel_size: sides (z, y, x) of a voxel, which is drawn as a cube if they are unknown.

    Returns:
        The `Path` of the PNG.

    Raises:
        ValueError: shapes differ or the image is not 3D.
    """
    check_shapes(image, prediction=prediction, truth=truth)
    center = _best_center(prediction) if center is None else center
    planes = shown_planes(image.shape)
    figure, axes = _orthogonal_axes(planes, image.shape, center, voxel_size)

    def drawn(volume):
        return [subsampled(plane.of(volume, center[plane.cut])) for plane in planes]

    greys, ids = drawn(image), drawn(prediction)
    found = [plane > 0 for plane in ids]
    true = None if truth is None else [plane > 0 for plane in drawn(truth)]
    values = np.concatenate([grey.ravel() for grey in greys]).astype("float32")
    low, high = np.nanpercentile(values, (1, 99))
    for i, (ax, grey, plane) in enumerate(zip(axes, greys, planes, strict=True)):
        step = tuple(map(pixel_stride, plane.sides(image.shape)))
        draw_plane(ax, grey.astype("float32"), step, cmap="gray", vmin=low, vmax=high)
        if ids[i].dtype.itemsize > 1:
            draw_plane(ax, _shades(ids[i]), step, interpolation="nearest")
        if true is not None:
            draw_outline(ax, true[i], found[i], TRUTH, 1.8, step)
        draw_outline(ax, found[i], true and true[i], PREDICTION, 1, step)
    _legend(figure, found, true)
    return save_figure(figure, path)


def draw_cover(image, prediction, path):
    """Draw a slice without and with the outlines of its segmentation, side by side.

    Args:
        image: real-valued array `(y, x)`, of which a square is shown.
        prediction: integer labels of the same shape; 0 is background.
        path: PNG file to write; missing folders are created.

    Returns:
        The `Path` of the PNG.
    """
    square = (slice(min(image.shape)),) * 2
    figure = Figure(figsize=(5, 2.5))
    for left in (0, 0.5):
        ax = figure.add_axes((left, 0, 0.5, 1), frameon=False, xticks=(), yticks=())
        ax.imshow(np.asarray(image[square], "float32"), cmap="gray", aspect="auto")
    draw_outline(ax, prediction[square] > 0, None, PREDICTION, 2)
    return save_figure(figure, path)


def style_axes(ax, label):
    """Name the y axis, keep light grid lines and drop the box."""
    ax.set_ylabel(label, fontsize=9)
    ax.tick_params(labelsize=8)
    ax.grid(color="#e5e5e5", lw=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)


def _best_center(labels):
    if type(labels) is not np.ndarray:  # a memory map would be read as a whole
        return tuple(size // 2 for size in labels.shape)
    foreground = labels > 0
    return tuple(
        densest_plane(np.count_nonzero(foreground, axis=others))
        for others in ((1, 2), (0, 2), (0, 1))
    )


def densest_plane(counts):
    """Return the plane of the middle half with the most foreground, the middle one of ties."""
    start = len(counts) // 4  # objects of a border plane are mostly cut off
    inner = counts[start : len(counts) - start]
    ties = np.flatnonzero(inner == inner.max())
    return start + int(ties[len(ties) // 2])


def subsampled(plane):
    """Return every k-th pixel of a plane, so that no side is longer than `LARGEST`."""
    return plane[tuple(slice(None, None, pixel_stride(side)) for side in plane.shape)]


def pixel_stride(side):
    """Return the step between the pixels that are drawn along a side of `side` pixels."""
    return -(-side // LARGEST)


def draw_plane(ax, plane, step=(1, 1), **options):
    """Draw a subsampled plane at the size of the full one; `step` is between its pixels (y, x)."""
    height, width = np.multiply(plane.shape[:2], step)
    ax.imshow(plane, extent=(-0.5, width - 0.5, height - 0.5, -0.5), aspect="auto", **options)


def _orthogonal_axes(planes, shape, center, voxel_size=None):
    size = np.multiply(shape, np.divide(voxel_size, min(voxel_size)) if voxel_size else 1)
    stretch = np.maximum(1, 0.05 * max(size) / size)
    sides = stretch * size
    if len(planes) == 1:
        sides[0] = 0
    depth, height, width = inches = sides * 6.5 / (sides[0] + max(sides[1:]))
    full = np.array([max(width + depth + 1.6, 5.6), height + depth + 1.75])
    left, low = (full[0] - width - depth - 0.3) / 2, 1.05
    corners = (left, low + depth + 0.35), (left, low), (left + width + 0.3, low + depth + 0.35)
    figure, axes = Figure(figsize=full), []
    for corner, plane in zip(corners, planes, strict=False):
        height, width = plane.sides(inches)
        ax = figure.add_axes((*corner / full, *(width, height) / full))
        if len(planes) > 1:
            ax.axvline(center[plane.across], **CUT)
            ax.axhline(center[plane.down], **CUT)
        at = f"{'zyx'[plane.cut]} = {center[plane.cut]}"
        ax.set_title(f"{plane.name} at {at}", fontsize=9, loc="left", pad=4)
        _ruler(ax.xaxis, plane.across, width, stretch, shown=plane.name != "xy" or len(planes) == 1)
        _ruler(ax.yaxis, plane.down, height, stretch, shown=plane.name != "yz")
        axes.append(ax)
    return figure, axes


def _ruler(axis, which, inches, stretch, shown):
    ticks = MaxNLocator(nbins=int(np.clip(2 * inches, 2, 8)), integer=True, min_n_ticks=1)
    axis.set_major_locator(ticks)
    axis.set_tick_params(labelsize=7, length=2, **({} if shown else {"label1On": False}))
    if shown:
        unit = f"×{stretch[which]:.2g}" if stretch[which] > 1 else "voxels"
        axis.set_label_text(f"{'zyx'[which]} ({unit})", fontsize=8)


def draw_outline(ax, mask, other, color, line, step=(1, 1)):
    """Outline a mask, and shade what is not in another one.

    Args:
        ax: axes.
        mask: `(y, x)`, subsampled.
        other: another such mask, or None.
        color: of the outline and the shading.
        line: width of the outline.
        step: between the pixels (y, x) of the mask.
    """
    height, width = np.multiply(mask.shape, step)
    if other is not None:
        rgba = np.zeros((*mask.shape, 4), "float32")
        rgba[mask & ~other] = to_rgba(color, 0.35)
        draw_plane(ax, rgba, step, interpolation="nearest")
    if mask.any():  # padded, so that outlines are closed at the border
        # Centres of the pixels that each one stands for.
        y, x = (
            s * np.arange(-1, n + 1) + (s - 1) / 2 for s, n in zip(step, mask.shape, strict=True)
        )
        ax.contour(
            x,
            y,
            np.pad(mask, 1),
            [0.5],
            colors=color,
            linewidths=line,
            zorder=3,
        ).set_clip_on(False)
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _shades(ids):
    """Colours of ids; hues a golden section apart, so that those of neighbours differ."""
    hue = ids * 0.618034 % 1
    rgb = hsv_to_rgb(np.stack([hue, np.full(ids.shape, 0.9), np.ones(ids.shape)], axis=-1))
    return np.dstack([rgb, 0.45 * (ids > 0)]).astype("float32")


def _legend(figure, found, true):
    count = len(found)
    found, other = (
        np.concatenate([plane.ravel() for plane in planes]) for planes in (found, true or found)
    )
    total, where = (found | other).sum(), "this plane" if count == 1 else "these planes"
    title = f"Foreground on {found.mean():.1%} of {where}"
    entries = [("prediction", PREDICTION)]
    if true is not None:
        both, ours, theirs = (
            part.sum() / max(total, 1) for part in (found & other, found & ~other, other & ~found)
        )
        title = f"Both mark {both:.1%} of the foreground in {where}"
        entries = [
            (f"prediction (shaded where alone: {ours:.1%})", PREDICTION),
            (f"truth (shaded where alone: {theirs:.1%})", TRUTH),
        ]
    handles = [
        Patch(fc=(color, 0.35 if true else 0), ec=color, label=label) for label, color in entries
    ]
    figure.legend(
        handles=handles,
        title=title if total else f"No foreground in {where}",
        loc="lower center",
        ncols=2,
        frameon=False,
        fontsize=8,
        title_fontsize=8,
    )


def save_figure(figure, path):
    """Write a figure as PNG and return its `Path`; missing folders are created."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        # Level 6 takes twice as long as everything else, and the file is no smaller.
        figure.savefig(part, format="png", dpi=160, pil_kwargs={"compress_level": 3})
    return path

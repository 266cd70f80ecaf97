"""Draw a section with its prediction and the uncertainty of the model."""

import numpy as np
from matplotlib.figure import Figure

from .plots import PREDICTION, draw_outline, save_figure, subsampled

WIDTH = 12.0  # inches


def draw_section(plane, labels, uncertainty, path, title):
    """Draw a section twice: with outlines of the prediction, and with the model's uncertainty.

    Args:
        plane: `(y, x)` grey levels.
        labels: `(y, x)` class ids, 0 is background.
        uncertainty: `(y, x)` from 0 (certain) to 1.
        path: PNG file to write; missing folders are created.
        title: of the picture.

    Returns:
        The `Path` of the PNG.
    """
    plane, labels, uncertainty = map(subsampled, (plane, labels, uncertainty))
    height = WIDTH / 2 * plane.shape[0] / plane.shape[1]
    figure = Figure(figsize=(WIDTH, min(height, 2 * WIDTH) + 0.6), layout="constrained")
    low, high = np.nanpercentile(plane.astype(np.float32), (1, 99))
    for panel, name in zip(figure.subplots(1, 2), ("prediction", "uncertainty"), strict=True):
        panel.imshow(plane, cmap="gray", vmin=low, vmax=high)
        panel.set_title(name, fontsize=9)
        panel.set_axis_off()
    found, right = figure.axes
    for class_id in np.unique(labels[labels > 0]):
        draw_outline(found, labels == class_id, None, PREDICTION, 0.8)
    alpha = np.clip(1.5 * uncertainty, 0, 1)
    shade = right.imshow(uncertainty, cmap="inferno", vmin=0, vmax=1, alpha=alpha)
    figure.colorbar(shade, ax=right, shrink=0.6, label="0 sure, 1 at the threshold")
    figure.suptitle(title, fontsize=10)
    return save_figure(figure, path)

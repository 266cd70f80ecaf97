"""The default options of a model's predictions, chosen in training."""

from dataclasses import dataclass, replace
from math import inf
from numbers import Real

from ..errors import require


@dataclass(frozen=True)
class PredictionDefaults:
    """What is stored with a model for its predictions; see `inference.options.PredictionOptions`.

    Attributes:
        views: number of flips and transpositions that it averages over.
        smoothing: for a 2D network, over neighbouring sections, in pixels.
        zooms: for a 2D network.
        noise: that of the noisiest volume it was trained on, see `noise_of`; None if unknown.
        normalize: "volume" if it was trained on intensities standardised by each volume's own
            statistics, "model" if by the constants stored in it.
    """

    views: int = 1
    smoothing: float = 0.0
    zooms: tuple = (1.0,)
    noise: float | None = None
    normalize: str = "volume"

    def averaging_to_json(self):
        """Return the entries of metrics.json on what is averaged."""
        return {"views": self.views, "smoothing": self.smoothing, "zooms": list(self.zooms)}

    @classmethod
    def from_json(cls, entries, name="it"):
        """Return the defaults among the entries of metrics.json.

        Raises:
            ValueError: the values are not valid; the message names the model.
        """
        plain = cls()
        views, noise = entries.get("views", plain.views), entries.get("noise", plain.noise)
        smoothing = entries.get("smoothing", plain.smoothing)
        zooms = entries.get("zooms", plain.zooms)
        try:
            found = cls(
                int(views),
                float(smoothing),
                tuple(map(float, zooms)),
                None if noise is None else float(noise),
            )
            good = found.views >= 1 and 0 <= found.smoothing < inf and are_zooms(found.zooms)
            good &= noise is None or found.noise >= 0
        except (TypeError, ValueError):
            good = False
        received = f"{views=}, {smoothing=}, {zooms=}, {noise=}"
        expected = f"numbers `views`, `smoothing`, `noise` and a list `zooms` stored with {name}"
        require(good, "model", expected, received)
        normalize = entries.get("normalize", plain.normalize)
        expected = f"volume or model as `normalize` stored with {name}"
        require(normalize in ("volume", "model"), "model", expected, normalize)
        return replace(found, normalize=normalize)


def are_zooms(zooms):
    """Return whether numbers are zooms that a volume can be predicted at."""
    return bool(zooms) and all(isinstance(zoom, Real) and 1 / 4 <= zoom <= 4 for zoom in zooms)

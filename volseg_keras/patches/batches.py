"""Patches by number, in batches for `model.fit` of any backend."""

from dataclasses import dataclass

import numpy as np

from ..resources import usable_cores


@dataclass(frozen=True)
class Sample:
    """One patch: `image` float32 `(*spatial, channels)`, `label` uint8 `(*spatial)`."""

    image: np.ndarray
    label: np.ndarray


class Patches:
    """Patches by number, in batches.

    A subclass has `patch_shape` (z, y, x), `spatial_dims`, `channels`, and gives patch `index` as a
    `Sample` by `__getitem__`.

    Attributes:
        failure: the error that a patch of `tf_dataset` could not be read for, or None; TensorFlow
            raises one of its own.
    """

    failure = None

    def batch(self, step, batch_size):
        """Return images `(batch, *spatial, channels)` and labels `(batch, *spatial)` of a step."""
        samples = [self[step * batch_size + i] for i in range(batch_size)]
        return np.stack([s.image for s in samples]), np.stack([s.label for s in samples])

    def _watched_batch(self, step, batch_size):
        """Return what `batch` does, and note its error."""
        try:
            return self.batch(step, batch_size)
        except Exception as error:
            self.failure = error
            raise

    def tf_dataset(self, batch_size, *, start=0, steps=None, workers=None):
        """Return a `tf.data.Dataset` of batches, in the order of their number.

        Args:
            batch_size: patches per step.
            start: the first step.
            steps: number of steps; endless where None.
            workers: parallel calls; where None, one for each core that may be used, at most 16.

        tf.data's autotuner is switched off: its thread can keep `fit` from ending for a minute.
        """
        import tensorflow as tf

        stop = tf.int64.max if steps is None else start + steps
        shape = (batch_size, *self.patch_shape[-self.spatial_dims :])

        def load(step):
            image, label = tf.numpy_function(
                lambda i: self._watched_batch(int(i), batch_size), [step], [tf.float32, tf.uint8]
            )
            return tf.ensure_shape(image, (*shape, self.channels)), tf.ensure_shape(label, shape)

        dataset = tf.data.Dataset.range(start, stop)
        workers = workers or min(usable_cores(), 16)
        dataset = dataset.map(load, num_parallel_calls=workers).prefetch(2)
        options = tf.data.Options()
        options.autotune.enabled = False
        return dataset.with_options(options)

    def py_dataset(self, batch_size, *, start=0, steps=None, **options):
        """Return a `keras.utils.PyDataset` of the same batches, for any backend.

        Args:
            batch_size: patches per step.
            start: the first step.
            steps: number of steps; endless where None.
            **options: `workers` and `max_queue_size` of `PyDataset`.
        """
        import keras

        patches = self

        class Batches(keras.utils.PyDataset):
            """Batches by number."""

            @property
            def num_batches(self):
                """Number of steps, None for an endless run."""
                return steps

            def __getitem__(self, index):
                """Return batch `start + index`."""
                return patches.batch(start + index, batch_size)

        return Batches(**options)

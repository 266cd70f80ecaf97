"""The EPFL hippocampus volumes for TensorFlow Datasets: import this to register the builder."""

try:
    import tensorflow_datasets  # noqa: F401
except ImportError as error:
    from ...extras import install_command

    raise ImportError(
        f"TensorFlow Datasets is missing: {install_command('tfds')}", name=error.name
    ) from error

from .epfl_hippocampus_dataset_builder import Builder

__all__ = ["Builder"]

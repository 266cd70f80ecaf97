"""Speed of a training step of H: `python tests/benchmarks/training.py`, peers from `bench`."""

import numpy as np
from common import interleaved, report, torch_peers

PATCH, BATCH = (64, 128, 128), 2
STEPS = 4


def stock_network():
    """Return H of layers that Keras has, but for rank-1 convolutions and downsampling."""
    from keras import layers

    from volseg_keras.nets import blocks, models

    def activation(x, name):
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        return layers.PReLU(shared_axes=[1, 2, 3], name=f"{name}_prelu")(x)

    def softmax(x):
        return layers.Softmax(name="probability")(x)

    ours = blocks.activation, models.activation, models.softmax
    blocks.activation = models.activation = activation
    models.softmax = softmax
    try:
        return models.build_model("H")
    finally:
        blocks.activation, models.activation, models.softmax = ours


def stock_loss(y_true, y_pred):
    """Jaccard loss of class 1 and cross-entropy, as one writes them down."""
    import keras
    from keras import ops

    y = ops.cast(y_true, "float32")
    p = y_pred[..., 1]
    overlap = ops.sum(p * y)
    jaccard = (overlap + 1) / (ops.sum(p) + ops.sum(y) - overlap + 1)
    entropy = keras.losses.sparse_categorical_crossentropy(y_true, y_pred)
    return 1 - jaccard + ops.mean(entropy)


def systems():
    """Return functions that train for `STEPS` steps."""
    import keras
    import torch

    import volseg_keras
    from volseg_keras.training.fit import compile_model
    from volseg_keras.training.recipes import get_recipe

    image, label = volseg_keras.phantom((80, 192, 192))
    sampler = volseg_keras.PatchSampler(image, label, PATCH)
    images, labels = sampler.batch(0, BATCH)

    stock = stock_network()
    stock.compile(keras.optimizers.AdamW(3e-3), stock_loss, jit_compile=False)
    ours = volseg_keras.build_model("H")
    compile_model(ours, get_recipe("fast"), 3)
    batches = sampler.tf_dataset(BATCH)

    net = torch_peers()["MONAI UNet"]
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    tensor = torch.from_numpy(images).permute(0, 4, 1, 2, 3)
    target = torch.from_numpy(labels).long()

    def train_stock():
        for _ in range(STEPS):
            stock.train_on_batch(images, labels)

    def train_torch():
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(tensor), target).backward()
            optimizer.step()

    return {
        "volseg H, model.fit": lambda: ours.fit(batches, steps_per_epoch=STEPS, verbose=0),
        "H of stock layers, train_on_batch": train_stock,
        "MONAI UNet, float32": train_torch,
    }


def main():
    """Print a line a system."""
    seconds = interleaved(systems())
    ours = seconds["volseg H, model.fit"]
    for name, value in seconds.items():
        speed = STEPS * BATCH * np.prod(PATCH) / value / 1e6
        report(name, step_s=value / STEPS, mvoxel_per_s=speed, volseg_is_faster_by=value / ours)


if __name__ == "__main__":
    main()

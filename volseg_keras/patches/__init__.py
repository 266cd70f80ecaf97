"""Patches to train on: where they are drawn, and how they are augmented.

The `sampler` draws patch `i` of a volume; `augment` draws its random changes and `transforms`
applies them, `myelin` draws a sheath over it. `patch_mix` samples several volumes, and `batches`
turns patches into batches.
"""

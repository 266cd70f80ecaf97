"""Patches to train on: where they are drawn, and how they are augmented."""

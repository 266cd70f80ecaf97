"""Figures of a training and of a segmentation."""

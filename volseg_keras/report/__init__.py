"""Figures, tables and pages about a training run or a segmentation."""

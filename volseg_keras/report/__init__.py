"""Figures, tables and pages about a training or a segmentation."""

"""Volumes, phantoms and augmented patches."""

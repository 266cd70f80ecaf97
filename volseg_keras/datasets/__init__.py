"""Volumes to try things on: phantoms and public data."""

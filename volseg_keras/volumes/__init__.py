"""Volumes: files of any common format as lazy arrays, and back."""

"""Models in formats that run without this package."""

"""Recipes and fitting."""

"""Recipes, fitting, and what happens during it."""

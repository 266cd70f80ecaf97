"""How published models are made: Table 1, robustness, model cards."""

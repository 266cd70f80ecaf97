"""Recipes, fitting, and what happens during it.

- `fit` turns its arguments into a `request`, for `fit_network` (a given network) or `auto` (a few
  annotated sections: `starting_model` chooses what to start from, and `stages` train it). The
  command's arguments come by `fit_by_name`.
- Both read `training_volumes`, `labelled_volumes` of which a part is held out (`hold_out`), and
  train by a row of `recipes`: `callbacks` spend the budget and validate (`validation`),
  `logging_callbacks` report, and `checkpoint` lets a run be resumed.
- What is trained is settled (`prediction_mode`, `batch_norm`), its threshold and averaging are
  chosen (`calibration`), and it is written (`saving`).
- `suggest` names the sections to annotate next.
"""

"""Training a network: recipes, fitting, and what comes before and after.

- `fit` turns its arguments into a `request`, for `fit_network` (a given network) or `auto` (a few
  annotated sections). The command's arguments come by `fit_by_name`.
- Both read volumes (`data`) and train by a row of `recipes`, in the `loop`. Held-out parts are
  scored by `validation`.
- A trained network's threshold and averaging are chosen (`calibration`), and it is written
  (`saving`).
- `suggest` names the sections to annotate next.
"""

"""`fit` with `model="auto"`, for stacks of which a few sections are annotated.

`fit_auto` has `starting_model` score the published models on those sections, and trains the best
one in `stages`: with a section held out, on all of them, and with `self_training` if asked for.
"""

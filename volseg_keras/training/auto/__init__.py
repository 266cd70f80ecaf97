"""`fit` with `model="auto"`, for stacks of which a few sections are annotated.

`annotated_stacks` reads them, and `starting_model` scores the published models on their annotated
sections, unless one is given, to find where to start. `fit_auto` then trains in `stages`: first
with a section held out, if nothing else is and there are enough; then on all sections; and again
with `self_training` if asked for.
"""

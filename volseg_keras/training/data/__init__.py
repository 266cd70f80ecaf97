"""What a network is trained on: labelled volumes, and which part of them is held out.

`training_volumes` reads and checks them all; each is one of `labelled_volumes`, in memory or in a
file. `hold_out` says which part is validated on, and `annotated_sections` which is annotated.
"""

"""What a network is trained on: labelled volumes, and which part of them is held out.

`training_volumes` reads and checks them; each is a `LabelledVolume` of `labelled_volumes`, in
memory or in a file. `hold_out` says which parts are validated on, and `annotated_sections` finds
the sections that are annotated.
"""

"""What surrounds `model.fit`, and what happens during it.

`callbacks` set the learning rate, spend the budget, validate and stop a run that diverges;
`logging_callbacks` report, and `checkpoint` lets a run be resumed. `devices` choose precision and
compilation, and `muon` is an optimizer. The last steps are trained in `prediction_mode`; afterwards
`batch_norm` recalibrates the statistics of normalisation.
"""

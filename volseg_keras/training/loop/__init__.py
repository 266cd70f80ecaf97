"""What happens between the first and the last step of `model.fit`.

`callbacks` spend the budget and validate, `logging_callbacks` report, and `checkpoint` lets a run
be resumed. `devices` choose precision and compilation, and `muon` is the optimizer. At the end
`prediction_mode` and `batch_norm` train the network as it will predict.
"""

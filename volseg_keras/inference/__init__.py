"""A model ready to run, and the tiles, blocks and engines that run it.

From the request down to a tile:

- `segmenter` (volumes in memory), `prediction` (kept to find a threshold) and `jobs` (from file to
  file) open a model by `open_model`: a `predictor`, or an `ensemble` of several.
- It is prepared for a volume once (`prepared_prediction`, from `options`): intensities,
  `denoising`, `section_smoothing`, and one of the `engines`.
- `tiled_prediction` plans tiles and `tiling` joins them, slab by slab.
"""

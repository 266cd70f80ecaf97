"""A model ready to run, the engines that run it on tiles, and segmentation from file to file.

From the request down to a tile:

- `segmenter` (volumes in memory), `prediction` (kept to find a threshold) and `jobs` (from file to
  file) open a model by `open_model`: a `predictor`, or an `ensemble` of several.
- The model is prepared for a volume once (`prepared_prediction`, from `options`): intensities,
  `denoising`, `section_smoothing`, and one of the `engines`.
- `tiled_prediction` chooses the size of tiles; `tiling` cuts them and joins their predictions, slab
  by slab.
"""

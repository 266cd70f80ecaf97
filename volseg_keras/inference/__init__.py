"""A model ready to run, and the tiles, blocks and engines that run it.

From the request down to a tile:

- `segmenter` (volumes in memory), `prediction` (kept to find a threshold) and
  `file_segmentation` (from file to file, described by a `job`) open a model by `open_model`: a
  `predictor`, or an `ensemble` of several.
- It is prepared for a volume once (`prepared_prediction`, from `options`): intensities,
  `denoising`, `section_smoothing`, and the engine (`engine_names`,
  `engine_factories`, `engines`, `engine_wrappers`).
- `tiled_prediction` plans tiles and `tiling` joins them, slab by slab. `engine_output` converts
  the values of engines.
- Volumes larger than memory go block by block (`resumable_job`, `stored_job`, `job_store`,
  `volume_blocks`, `section_cache`) to `sinks`.
"""

"""A model ready to run, and the tiles, blocks and engines it runs by.

From what is asked for down to a tile:

- `segmenter` (volumes in memory), `prediction` (one that is looked at) and `file_segmentation`
  (from file to file, as a `job` describes) open a model by `open_model`: a `predictor`, or an
  `ensemble` of them.
- It is prepared for a volume once (`prepared_prediction`, from `options`): intensities,
  `denoising`, `section_smoothing`, and the engine (`engine_names`,
  `engine_factories`, `engines`, `engine_wrappers`).
- `tiled_prediction` plans tiles and `tiling` joins them, slab by slab. What engines give is read
  by `engine_output`.
- Volumes larger than memory go block by block (`resumable_job`, `stored_job`, `job_store`,
  `volume_blocks`, `section_cache`) to `sinks`.
"""

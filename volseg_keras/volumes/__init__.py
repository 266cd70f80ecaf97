"""Volumes: files of any common format as lazy arrays, and back.

- `volume` opens a file or a folder of slices, of one of the `formats`, as an array
  (z, y, x), and `writing` writes one.
- `geometry` is where it lies in space, `dimensions` its channels and voxel size.
- `labels`, `class_ids` and `file_class_ids` tell how label maps are read.
- `intensity` standardises grey levels, by statistics that leave out constant `padding`.
"""

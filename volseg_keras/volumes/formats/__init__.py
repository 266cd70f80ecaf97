"""The formats of volumes: a reader of each, and a writer of most.

The `registry` has them by the suffix of their files; a `slice_folder` has none. A reader returns a
`Source`: a lazy array with named axes and, where the file tells it, its place in space.
`tiff_checks`, `tiff_geometry` and `zarr_folder` are parts of readers.
"""

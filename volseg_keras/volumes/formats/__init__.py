"""The formats of volumes: a reader of each, and a writer of most.

The `registry` finds the one of a path, by its suffix or as a `slice_folder`. A reader returns a
`Source`: a lazy array with named axes and, where the file tells it, its place in space.
`tiff_checks`, `tiff_geometry` and `zarr_folder` are parts of readers, `slabs` of writers.
"""

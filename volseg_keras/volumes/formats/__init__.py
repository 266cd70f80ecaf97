"""One file for each format of volumes, and the `registry` of them all.

A reader returns a `Source`: a lazy array with named axes and, where the file says so, a voxel size.
"""

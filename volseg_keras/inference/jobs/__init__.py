"""Segmentation from file to file: small, large, resumed, or shared among processes.

- `job` describes what is asked for, and `file_segmentation` does it: in memory where the volume
  fits, else block by block in a store on disk.
- `resumable_job` starts, resumes and finishes the latter. `stored_job` is its job.json, `store` the
  folder with its arrays, `blocks` the parts that any process predicts, and `section_cache` keeps
  sections of the image that are decoded as a whole.
- `sinks` are where blocks are written: to memory, a file, or the store.
"""

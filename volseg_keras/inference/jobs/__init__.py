"""Segmentation from file to file: small, large, resumed, or shared among processes.

- `job` describes what is asked for, and `file_segmentation` does it: in memory for a small volume;
  block by block in a store on disk for a large, resumed or shared one.
- `resumable_job` starts, resumes and finishes work in a store. `store` is its folder with the
  arrays, `stored_job` the job.json in it, and `blocks` are the parts that any process predicts.
  `section_cache` keeps sections of the image that can only be decoded as a whole.
- `sinks` are what blocks are written to: memory, a file, or the store.
"""

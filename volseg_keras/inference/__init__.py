"""A model ready to run, and the tiles, blocks and engines it runs by."""

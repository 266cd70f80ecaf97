"""Published models: their names, files and checksums, and what is stored with a model."""

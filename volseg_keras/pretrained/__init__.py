"""Published models: their names, files and checksums."""

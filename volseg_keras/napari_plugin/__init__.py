"""The plugin of napari: files and a dock widget, over functions of the floors below."""

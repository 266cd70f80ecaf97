"""The napari plugin: files and a dock widget, which call the functions of the other folders."""

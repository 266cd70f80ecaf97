"""The voxel size and place of a TIFF stack, as OME-TIFF, ImageJ and others write them."""

import tifffile
from tifffile import RESUNIT

from ..geometry import Geometry, ascii_unit, geometry_of, in_nm, positive

COARSEST = 1e4  # nm; the resolution of a screen or printer is coarser
MICRO = "\\u00B5"  # as ImageJ writes the letter


def read_geometry(tif, series):
    """Return the `Geometry` of a TIFF as far as it is known, or None.

    Args:
        tif: an open `tifffile.TiffFile`.
        series: number of a series.
    """
    if tif.is_shaped and "voxel_size_nm" in (tif.shaped_metadata or [{}])[0]:
        return Geometry.straight(tif.shaped_metadata[0]["voxel_size_nm"])
    if tif.is_ome:
        images = tifffile.xml2dict(tif.ome_metadata)["OME"].get("Image")
        if not images:  # they are described in another file
            return None
        images = images if isinstance(images, list) else [images]
        pixels = images[min(series, len(images) - 1)]["Pixels"]
        sizes = [pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"]
        units = [pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX"]
        return geometry_of(sizes, units)
    tags = tif.series[series].keyframe.tags
    samples = [tags[name].value for name in ("YResolution", "XResolution") if name in tags]
    sides = [below / above if above else None for above, below in samples]
    if len(sides) < 2:
        return None
    if tif.is_imagej:
        about = tif.imagej_metadata
        unit, sides = about.get("unit"), [about.get("spacing"), *sides]
        if not in_nm(unit):
            return None
        pairs = zip("zyx", sides, strict=True)
        corner = [-float(about.get(f"{a}origin") or 0) * (s or 0) for a, s in pairs]
        return geometry_of(sides, [about.get(f"{a}unit") or unit for a in "zyx"], corner)
    unit = {RESUNIT.CENTIMETER: "cm", RESUNIT.INCH: "inch"}.get(
        tags["ResolutionUnit"].value if "ResolutionUnit" in tags else None
    )
    microscopic = unit and all(side and side * in_nm(unit) < COARSEST for side in sides)
    return geometry_of([None, *sides], 3 * [unit]) if microscopic else None


def ome_options(geometry):
    """Return options of tifffile for OME-TIFF at a `Geometry`, which may be None."""
    metadata = {"axes": "ZYX"}
    geometry = geometry and geometry.in_unit("nm", "um", "mm", "angstrom")
    if geometry:
        unit = {1: "nm", 1e3: "µm", 1e6: "mm", 0.1: "Å"}[in_nm(geometry.unit)]
        for axis, side in zip("ZYX", geometry.sides, strict=True):
            if positive(side):
                metadata |= {f"PhysicalSize{axis}": side, f"PhysicalSize{axis}Unit": unit}
    return {"ome": True, "metadata": metadata}


def imagej_options(shape, geometry):
    """Return options of tifffile for a stack of ImageJ at a `Geometry`, which may be None.

    Its own `imagej=True` takes neither integers of 32 bits nor more than 4 GB.
    """
    lines = ["ImageJ=1.54f", f"images={shape[0]}", f"slices={shape[0]}", "loop=false"]
    geometry = geometry and (geometry if in_nm(geometry.unit) else geometry.in_unit("nm"))
    options = {"metadata": None, "resolutionunit": RESUNIT.NONE}
    if geometry:
        z, y, x = map(positive, geometry.sides)
        unit = geometry.unit.replace("µ", MICRO).replace("μ", MICRO)
        lines.append(f"unit={ascii_unit(unit)}")
        if x and y:
            options["resolution"] = (1 / x, 1 / y)
        if z:
            lines.append(f"spacing={z!r}")
        if geometry.is_straight and x and y:
            pairs = zip("xyz", geometry.origin, (x, y, z), strict=True)
            lines += [f"{a}origin={-o / s!r}" for a, o, s in pairs if o and s]
    options["description"] = "\n".join([*lines, ""])
    return options

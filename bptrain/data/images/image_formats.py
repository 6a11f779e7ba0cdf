"""Which formats of image files are read, by which names, and by which content.

The common ones are recognized by their content, whatever a file's name. The others begin with a few
bytes that any file may begin with, and are tried only for files that are named so.
"""

from pathlib import PurePath

from bptrain.data.file_tree import FileKind

COMMON = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "QOI": (".qoi",),
}
BY_NAME = {
    "BLP": (".blp",),
    "CUR": (".cur",),
    "DCX": (".dcx",),
    "DDS": (".dds",),
    "DIB": (".dib",),
    "FLI": (".fli", ".flc"),
    "FTEX": (".ftc", ".ftu"),
    "GBR": (".gbr",),
    "ICNS": (".icns",),
    "ICO": (".ico",),
    "MSP": (".msp",),
    "PCD": (".pcd",),
    "PCX": (".pcx",),
    "PIXAR": (".pxr",),
    "PSD": (".psd",),
    "SGI": (".sgi", ".bw", ".rgb", ".rgba"),
    "SUN": (".ras",),
    "TGA": (".tga", ".icb", ".vda", ".vst"),
    "XBM": (".xbm",),
    "XPM": (".xpm",),
}
UNREAD = {
    "EPS": "starts another program, Ghostscript",
    "WMF": "is drawn by Windows alone",
    "IPTC": "contains files of other formats",
    "BUFR": "is recognized by Pillow, not decoded",
    "GRIB": "is recognized by Pillow, not decoded",
    "HDF5": "is recognized by Pillow, not decoded",
    "MPEG": "is recognized by Pillow, not decoded",
    "IM": "is deprecated in Pillow",
    "FITS": "holds measurements without a fixed range",
}
FORMAT_OF = {ending: name for name, endings in {**COMMON, **BY_NAME}.items() for ending in endings}
ENDINGS = tuple(FORMAT_OF)
IMAGE = FileKind("image", ENDINGS)


def formats_of(name: str) -> tuple[str, ...]:
    """Return the formats that a file of this name may have."""
    own = FORMAT_OF.get(PurePath(name).suffix.lower())
    return (*COMMON, own) if own in BY_NAME else tuple(COMMON)

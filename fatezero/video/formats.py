"""The formats that are opened: those that hold their own pictures, and nothing that names other files."""

# FFmpeg's demuxers. Playlists (hls, dash, concat, sdp), numbered files (image2) and pictures that may name others (svg)
# are left out on purpose: an uploaded file must not make us read another one.
_CONTAINERS = """
    mov matroska webm avi asf flv live_flv mpeg mpegts mpegvideo ogg mxf nut rm gxf wtv dv nsv swf ivf obu av1
    h261 h263 h264 hevc vvc vc1 m4v dirac cavsvideo mjpeg smjpeg ingenient yuv4mpegpipe dnxhd flic film_cpk roq
    bink smk amv gif apng jpegxl_anim
""".split()
_PICTURES = """
    png jpeg webp bmp tiff gif jpegxl jpegls j2k pbm pgm ppm pam qoi dds psd sgi sunrast pcx dpx exr hdr xbm xwd
""".split()

DEMUXERS = (*_CONTAINERS, *(f"{name}_pipe" for name in _PICTURES))

ENDINGS = tuple(
    """
    .264 .3g2 .3gp .apng .asf .avi .avif .bmp .divx .dv .f4v .flv .gif .h264 .hevc .insv .ivf .jpeg .jpg .m2t .m2ts
    .m2v .m4v .mjpeg .mjpg .mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut .ogm .ogv .png .qt .tif .tiff .ts .vob .webm .webp
    .wmv .y4m
    """.split()
)


def is_readable_name(name: str) -> bool:
    """Whether a file's name ends like one of a video, animation or picture that can be read."""
    return name.lower().endswith(ENDINGS)


def is_picture(demuxer: str) -> bool:
    """Whether a demuxer's files have no frame rate of their own."""
    return demuxer.endswith("_pipe")

"""What a file is: what its suffix promises, and what its first bytes say."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.types import Modality


def _dotted(names: str) -> tuple[str, ...]:
    return tuple(f".{name}" for name in names.split())


SUFFIXES: dict[str, Modality] = {
    **dict.fromkeys(
        _dotted(
            "jpg jpeg jpe jfif jfi jif pjpeg pjp mpo png apng webp bmp dib gif tif tiff avif avifs "
            "jp2 j2k jpf jpx jpc j2c ppm pgm pbm pnm pfm tga icb vda vst qoi"
        ),
        "image",
    ),
    **dict.fromkeys(
        _dotted("wav wave bwf rf64 w64 flac ogg oga opus mp3 mp2 mpga aiff aif aifc caf au snd voc sph nist"),
        "audio",
    ),
}
NOT_READ = frozenset(
    _dotted(
        # pictures
        "heic heif heics heifs hif avci jxl jxr wdp hdp psd psb xcf kra ora ai eps ps svg svgz cdr wmf emf pdf "
        "djvu ico icns cur dds exr hdr dpx cin fit fits dcm pcx sgi ras xbm xpm pcd "
        # raw pictures of cameras
        "dng cr2 cr3 crw nef nrw arw srf sr2 srw orf rw2 rwl raf pef dcr kdc mrw erf 3fr fff iiq x3f mos mef "
        # videos
        "mp4 m4v mov qt mkv webm avi wmv asf flv f4v mpg mpeg m2v m2ts mts vob ogv 3gp 3g2 rm rmvb mxf divx "
        # sounds
        "m4a m4b m4p aac wma amr awb ape wv tta mpc dsf dff ac3 eac3 dts ra mid midi mka spx aax tak 3ga weba gsm"
    )
)
"""Suffixes of media that cannot be read: they are reported, where other files are passed over."""

HEAD = 4096
"""So many bytes of a file are enough for `sniff`."""


@dataclass(frozen=True)
class Kind:
    """A form of file: its name, and the modality it is read as, None where it cannot be read."""

    name: str
    modality: Modality | None = None


MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (rb"\xff\xd8\xff", Kind("JPEG", "image")),
    (rb"\x89PNG\r\n\x1a\n", Kind("PNG", "image")),
    (rb"GIF8[79]a", Kind("GIF", "image")),
    (rb"RIFF....WEBP", Kind("WEBP", "image")),
    (rb"II[*+]\0|MM\0[*+]|MM\*\0|II\0\*", Kind("TIFF", "image")),
    (rb"BM.{4}.{8}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", Kind("BMP", "image")),
    (rb"P[1-6fy]\s", Kind("PPM", "image")),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", Kind("JPEG2000", "image")),
    (rb"qoif", Kind("QOI", "image")),
    # a ftyp box: the brands it is compatible with follow the first
    (rb"....ftyp(?=avi[fs]|m[is]f1.{4}(.{4}){0,9}avi[fs])", Kind("AVIF", "image")),
    (rb"....ftyp(hei[cxms]|hev[cxms]|m[is]f1)", Kind("HEIC")),
    (rb"....ftypcrx ", Kind("CR3")),
    (rb"....ftypM4[AB] ", Kind("M4A")),
    (rb"....ftyp", Kind("MP4")),
    (rb"RIF[FX]....WAVE", Kind("WAV", "audio")),
    (rb"RF64....WAVE", Kind("RF64", "audio")),
    (rb"riff\x2e\x91\xcf\x11", Kind("W64", "audio")),
    (rb"fLaC", Kind("FLAC", "audio")),
    (rb"OggS", Kind("OGG", "audio")),
    (rb"ID3[\x02-\x04]", Kind("MP3", "audio")),
    (rb"FORM....AIF[FC]", Kind("AIFF", "audio")),
    (rb"caff\0", Kind("CAF", "audio")),
    (rb"\.snd|dns\.", Kind("AU", "audio")),
    (rb"Creative Voice File\x1a", Kind("VOC", "audio")),
    (rb"NIST_1A\n", Kind("NIST", "audio")),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", Kind("JPEG XL")),
    (rb"8BPS\0[\x01\x02]", Kind("PSD")),
    (rb"%PDF-", Kind("PDF")),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--.{0,1000}?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg[\s>]", Kind("SVG")),
    (rb"v/1\x01", Kind("EXR")),
    (rb"\x1aE\xdf\xa3", Kind("Matroska")),
    (rb"RIFF....AVI ", Kind("AVI")),
    (rb"FLV\x01", Kind("FLV")),
    (rb"\0\0\x01[\xba\xb3]", Kind("MPEG")),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Kind("WMA or WMV")),
    (rb"#!AMR", Kind("AMR")),
    (rb"\xff[\xf0\xf1\xf8\xf9]", Kind("AAC")),
    (rb"MThd\0\0\0\x06", Kind("MIDI")),
    (rb"MAC ", Kind("APE")),
    (rb"wvpk", Kind("WavPack")),
    (rb"DSD \x1c", Kind("DSF")),
)
"""Patterns that first bytes match, and what they are."""


def _compiled(magic: Iterable[tuple[bytes, Kind]]) -> re.Pattern[bytes]:
    return re.compile(
        b"|".join(b"(?P<k%d>%b)" % (i, pattern) for i, (pattern, _) in enumerate(magic)), re.DOTALL
    )


_MAGIC = _compiled(MAGIC)
TGA, MPEG = Kind("TGA", "image"), Kind("MP3", "audio")


def modality_of(path: Path) -> Modality | None:
    """Return what a file's suffix promises, None where it is no medium."""
    return SUFFIXES.get(path.suffix.lower())


def sniff(data: bytes) -> Kind | None:
    """Return what the first bytes (HEAD of them, or the whole file) say a file is, None where nothing known."""
    if match := _MAGIC.match(data):
        return MAGIC[int((match.lastgroup or "")[1:])][1]
    if _starts_as_mpeg(data):
        return MPEG
    return TGA if _starts_as_tga(data) else None


def _starts_as_mpeg(data: bytes) -> bool:
    """Tell whether bytes start with a frame of MPEG audio, layer II or III.

    Layer I is left out: it looks like the byte order mark of UTF-16, and nobody has used it for decades.
    """
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return False
    version, layer, bitrate, rate = data[1] >> 3 & 3, data[1] >> 1 & 3, data[2] >> 4, data[2] >> 2 & 3
    return version != 1 and layer in (1, 2) and bitrate != 15 and rate != 3


def _starts_as_tga(data: bytes) -> bool:
    """Tell whether bytes start with a header of TGA: the form has no magic, so every field must make sense."""
    if len(data) < 18:
        return False
    mapped, form, first, size, entry = data[1], data[2], data[3:5], data[5:7], data[7]
    width, height = data[12] | data[13] << 8, data[14] | data[15] << 8
    depth, descriptor = data[16], data[17]
    has_map = mapped == 1 and form in (1, 9) and entry in (15, 16, 24, 32) and size != b"\0\0"
    has_none = mapped == 0 and form in (2, 3, 10, 11) and first + size + data[7:8] == b"\0" * 5
    depths = {2: (15, 16, 24, 32), 3: (8, 16)}.get(form & 7, (8, 16))
    return (has_map or has_none) and depth in depths and width > 0 and height > 0 and descriptor < 0x40

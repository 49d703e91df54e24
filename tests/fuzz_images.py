"""Change images at random and look at what comes of each: it is read right, or refused in one line.

    python tests/fuzz_images.py --count 10000 [--seed 0]

Half of the changes put odd EXIF, texts, profiles and other pieces beside the pixels of an image: it must be
read, turned as the orientation among them says. The others change bytes, lengths and pieces anywhere: then it
may be refused, by its name, and what is read has to be what PIL reads, where that can. An image that takes
too long ends the program, and lies then where the first line says.
"""

import argparse
import collections
import faulthandler
import io
import random
import re
import resource
import struct
import sys
import tempfile
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps, features

from image_parts import (
    GREY,
    GREY_ALPHA,
    ORIENTATION,
    PALETTE,
    PNG,
    RGB,
    SHORT,
    chunk,
    entry,
    exif,
    png,
    segment,
    webp_chunk,
    with_webp_chunks,
)
from pictures import encode, painting

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow/scripts"))
from das.data.sources.decoding import Geometry, decode
from das.errors import UserError

SECONDS = 60  # for one image: the largest that are allowed take ten
MEMORY = 4 * 2**30  # bytes of address space; a decoded image has up to 0.3 GB, and is held a few times
SHOWN = painting(1, 3, 24, np.random.default_rng(0))[:, :18].copy()
# How pixels [H, W, C] that lie as an orientation says are turned upright.
UPRIGHT = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: np.rot90,
}
EXTREMES = (0, 1, 2, 255, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1)
# How pieces begin that readers know.
ANCILLARY = tuple(b"tEXt zTXt iTXt iCCP gAMA pHYs acTL fcTL fdAT sBIT vpAg".split())
SEGMENTS = (
    *(b"", b"ICC_PROFILE\0", b"MPF\0", b"FPXR\0", b"Adobe", b"Photoshop 3.0\x008BIM"),
    b"http://ns.adobe.com/xap/1.0/\0",
)
PROFILE = b"Raw profile type exif\0\0"
BOMB = zlib.compress(bytes(2 * 10**6))


def originals():
    """Images by kind and name, and their pixels on white."""
    found = {}
    for name, options in (
        ("photo", {"quality": 90}),
        ("progressive photo", {"quality": 90, "progressive": True}),
        ("small photo", {"quality": 40, "optimize": True}),
    ):
        found["JPEG", name] = encode(SHOWN, "JPEG", **options)
    found["JPEG", "grey photo"] = encode(SHOWN[..., 0].copy(), "JPEG")
    found["WEBP", "lossy"] = with_webp_chunks(encode(SHOWN, "WEBP", quality=80), 18, 24, flags=0x2C)
    found["WEBP", "lossless"] = with_webp_chunks(encode(SHOWN, "WEBP", lossless=True), 18, 24, flags=0x2C)
    images = {key: (content, _by_pil(content)) for key, content in found.items()}
    alpha = np.where(SHOWN[..., :1] > 128, 255, 0)
    wide = SHOWN[..., :1].astype(int) * 257
    indices, palette = SHOWN[..., 0] // 86, np.array([[200, 10, 30], [0, 90, 120], [255, 255, 0]], np.uint8)
    colours = chunk(b"PLTE", palette.tobytes())
    return images | {
        ("PNG", "colour"): (png(SHOWN, RGB), SHOWN),
        ("PNG", "palette"): (png(indices, PALETTE, 2, colours), palette[indices]),
        ("PNG", "16 bits"): (png(wide, GREY, 16), np.repeat(SHOWN[..., :1], 3, axis=2)),
        ("PNG", "grey and alpha"): (
            png(np.dstack([SHOWN[..., :1], alpha]), GREY_ALPHA),
            np.repeat(np.where(alpha > 0, SHOWN[..., :1], 255), 3, axis=2),
        ),
    }


# Odd pieces beside the pixels


def odd_exif(choice):
    """A block of EXIF with the orientation that it says, whatever else is in it."""
    orientation, order = choice.randrange(1, 9), choice.choice("<>")
    entries = []
    for _ in range(choice.randrange(6)):
        tag = choice.choice((0x010F, 0x8769, 0x8825, choice.randrange(ORIENTATION)))
        count, value = choice.choice(EXTREMES), choice.choice((*EXTREMES, choice.randrange(400)))
        entries.append(struct.pack(f"{order}HHLL", tag, choice.randrange(14), count, value))
    entries.insert(choice.randint(0, len(entries)), entry(ORIENTATION, SHORT, 1, orientation, order))
    return exif(entries, order, more=choice.randbytes(choice.randrange(60))), orientation


def odd_text(choice):
    """Bytes that are short, long, packed, or begin as something else does."""
    start = choice.choice((b"", b"Comment\0", b"Comment\0\0", b"XML:com.adobe.xmp\0\1\0\0\0", PROFILE))
    rest = choice.choice((b"", choice.randbytes(40), bytes(50_000), BOMB, b"\n\n\n\n0f0", b"\n\n\nxy"))
    return start + rest


def odd_piece(kind, choice):
    """A piece of a file that its pixels do not need, well framed."""
    content = odd_text(choice)
    if kind == "PNG":
        return chunk(choice.choice(ANCILLARY), content, choice.choice((None, None, 0)))
    if kind == "WEBP":
        return webp_chunk(choice.choice((b"XMP ", b"ICCP", b"ABCD")), content)
    start = choice.choice(SEGMENTS)
    if start == b"Adobe":
        return segment(0xEE, start + content[:6])  # longer ones say how colours are meant
    return segment(choice.choice((0xE1, 0xE2, 0xED, 0xEE, 0xE5, 0xFE)), start + content[:60_000])


def beside(kind, content, choice):
    """The image with odd pieces beside its pixels, and the orientation that these say; None: any, or none."""
    pieces = [odd_piece(kind, choice) for _ in range(choice.randrange(4))]
    orientation = 1
    if choice.random() < 0.8:
        block, orientation = odd_exif(choice)
        if choice.random() < 0.4:
            block, orientation = choice.choice((flipped, cut, moved, number_exchanged))(block, choice), None
        name = b"Exif\0\0"
        framed = {
            "PNG": lambda: chunk(b"eXIf", block),
            "WEBP": lambda: webp_chunk(b"EXIF", choice.choice((b"", name)) + block),
            "JPEG": lambda: segment(0xE1, name + block),
        }[kind]()
        pieces.insert(choice.randint(0, len(pieces)), framed)
    added = b"".join(pieces)
    if kind == "WEBP":
        whole = content + added
        return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:], orientation
    at = 2 if kind == "JPEG" else content.index(b"IDAT") - 4
    return content[:at] + added + content[at:], orientation


# Changes anywhere


def pieces_of(kind, content):
    """Pieces of a file as (name, content); the last has no name and is the rest."""
    found = []
    at = {"PNG": len(PNG), "JPEG": 2, "WEBP": 12}[kind]
    while at + 12 <= len(content) and content[at : at + 2] != b"\xff\xda":
        if kind == "PNG":
            length, name = struct.unpack_from(">I4s", content, at)
            start, end = at + 8, at + 12 + length
            found.append((name, content[start : end - 4]))
        elif kind == "JPEG":
            name, length = struct.unpack_from(">2sH", content, at)
            start, end = at + 4, at + 2 + length
            found.append((name, content[start:end]))
        else:
            name, length = struct.unpack_from("<4sI", content, at)
            start, end = at + 8, at + 8 + length + length % 2
            found.append((name, content[start : start + length]))
        at = end
    return [*found, (None, content[at:])]


def joined(kind, pieces):
    """The file of some pieces, framed and with checksums."""
    frame = {
        "PNG": chunk,
        "JPEG": lambda name, content: name + struct.pack(">H", (len(content) + 2) % 65536) + content,
        "WEBP": webp_chunk,
    }[kind]
    body = b"".join(content if name is None else frame(name, content) for name, content in pieces)
    if kind == "WEBP":
        return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    return {"PNG": PNG, "JPEG": b"\xff\xd8"}[kind] + body


def flipped(content, choice):
    """The bytes with some exchanged, more often among the first."""
    changed = bytearray(content)
    for _ in range(choice.randint(1, 4) if changed else 0):
        at = choice.randrange(len(changed) if choice.random() < 0.5 else min(len(changed), 64))
        changed[at] = choice.choice((0, 255, changed[at] ^ (1 << choice.randrange(8)), choice.randrange(256)))
    return bytes(changed)


def cut(content, choice):
    return content[: choice.randrange(len(content))]


def moved(content, choice):
    """Some bytes left out, repeated or put in."""
    at, length = choice.randrange(len(content)), choice.randrange(1, 30)
    put = choice.choice((b"", content[at : at + length] * 2, choice.randbytes(length)))
    return content[:at] + put + content[at + length :]


def number_exchanged(content, choice):
    """Two or four bytes that may be a length, a count or an address set to an extreme."""
    at = choice.randrange(min(len(content), choice.choice((64, 10**9))))
    kind, most = choice.choice(((">H", 65535), ("<H", 65535), (">I", 2**32 - 1), ("<I", 2**32 - 1)))
    number = struct.pack(kind, min(choice.choice(EXTREMES), most))
    return content[:at] + number + content[at + len(number) :]


def anywhere(kind, content, choice):
    """The image with changes at any place, in some of which its pieces are well framed again."""
    content, _ = beside(kind, content, choice)
    for _ in range(choice.randint(1, 2)):
        change = choice.choice((flipped, cut, moved, number_exchanged, None, None))
        if change is not None:
            content = change(content, choice) or b"\0"
            continue
        pieces = pieces_of(kind, content)
        at = choice.randrange(len(pieces))
        name, part = pieces[at]
        action = choice.randrange(5)
        if action == 0:
            damage = choice.choice((flipped, moved, number_exchanged))
            pieces[at] = (name, damage(part or b"\0", choice))
        elif action == 1:
            del pieces[at]
        elif action == 2:
            pieces.insert(choice.randrange(len(pieces)), pieces[at])
        elif action == 3:
            other = choice.randrange(len(pieces))
            pieces[at], pieces[other] = pieces[other], pieces[at]
        elif name is not None:
            pieces[at] = (flipped(name, choice), part)
        content = joined(kind, pieces)
    return content


# What comes of it


def _by_pil(content):
    """What PIL reads of an image, turned upright and on white; None where it reads nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as image:
                if image.width * image.height > 10**6:
                    return None
                upright = ImageOps.exif_transpose(image)
                if upright.mode.startswith("I"):
                    return None  # of 16 bits it takes the first eight
                if upright.has_transparency_data:
                    seen = upright.convert("RGBA")
                    upright = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
                return np.asarray(upright.convert("RGB"))
    except Exception:  # whatever it raises is what this program is about
        return None


def same(found, wanted):
    return found.shape == wanted.shape and np.array_equal(found, wanted)


def outcome(content, name, file):
    """The pixels, or what is said of a refused image; with seconds."""
    file.write_bytes(content)
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    began = time.perf_counter()
    try:
        return decode(content, name, Geometry()), "read", time.perf_counter() - began
    except UserError as error:
        line = str(error)
        if "\n" in line or not line.startswith(f"{name}: "):
            sys.exit(f"error: refused without its name, or in several lines: {line}; see {file}")
        said = re.sub(r" *\(.*|\d+x\d+ ", "", line.removeprefix(f"{name}: "))
        return None, said, time.perf_counter() - began
    finally:
        faulthandler.cancel_dump_traceback_later()


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=0)
    arguments = options.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    images = originals()
    file = Path(tempfile.mkdtemp(prefix="das-fuzz-"), "image")
    print(f"each image lies in {file} while it is read", flush=True)
    counts, slowest, compared = collections.Counter(), 0.0, 0
    for number in range(arguments.count):
        choice = random.Random(f"{arguments.seed}/{number}")
        (kind, name), (content, pixels) = choice.choice(list(images.items()))
        if number % 2:
            changed, orientation = beside(kind, content, choice)
            found, said, seconds = outcome(changed, "odd.image", file)
            turns = UPRIGHT.values() if orientation is None else (UPRIGHT[orientation],)
            if found is None or not any(same(found, turn(pixels)) for turn in turns):
                sys.exit(f"error: {kind}, {name}: {said}, its orientation is {orientation}; see {file}")
            counts[kind, "beside", said] += 1
        else:
            changed = anywhere(kind, content, choice)
            found, said, seconds = outcome(changed, "odd.image", file)
            wanted = None if found is None else _by_pil(changed)
            if wanted is not None:
                compared += 1
                if not any(same(turn(found), wanted) for turn in UPRIGHT.values()):
                    sys.exit(f"error: {kind}, {name}: PIL reads other pixels; see {file}")
            counts[kind, "anywhere", said] += 1
        slowest = max(slowest, seconds)
    file.unlink()
    file.parent.rmdir()
    for (kind, where, said), count in sorted(counts.items()):
        print(f"{kind:5} {where:9} {count:6} {said}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"seed {arguments.seed}: {arguments.count} images; {compared} compared with what PIL reads")
    print(f"slowest {slowest:.2f} s, peak memory {peak:.0f} MB")
    versions = (f"{library} {features.version(library)}" for library in ("libjpeg_turbo", "zlib", "webp"))
    print(f"Pillow {PIL.__version__}, {', '.join(versions)}")


if __name__ == "__main__":
    main()

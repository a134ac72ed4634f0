"""What a file may be that is called IDX, and what the reader says of each fault."""

import gzip
import tracemalloc

import numpy as np
import pytest

from npsnn.data.idx import read_idx, unpack

IMAGES = bytes([0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 5]) + bytes(range(30))
LABELS = bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4])


def header(*sizes):
    return bytes([0, 0, 8, len(sizes)]) + b"".join(n.to_bytes(4, "big") for n in sizes)


@pytest.fixture
def file(tmp_path):
    def write(content, name="a-file"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_images_and_labels(file, pack):
    images = read_idx(file(pack(IMAGES)), "images")
    assert images.dtype == np.uint8
    assert np.array_equal(images, np.arange(30).reshape(3, 2, 5))
    images[0] = 1  # The array is the caller's.
    labels = read_idx(str(file(pack(LABELS))), "labels")
    assert labels.tolist() == [5, 0, 4]


REFUSED = [
    (b"", "images", r"is not IDX data: it starts with b'', expected images \(magic 0x00000803\)"),
    (b"\0\0", "images", r"is not IDX data: it starts with b'\\x00\\x00'"),
    (IMAGES[:9], "images", "is cut short: 9 bytes are less than a header of 16"),
    (LABELS, "images", r"holds labels \(magic 0x00000801\), expected images \(magic 0x00000803\)"),
    (IMAGES, "labels", r"holds images \(magic 0x00000803\), expected labels \(magic 0x00000801\)"),
    (b"\n<!DOCTYPE html><html></html>", "images", r"starts with b'\\n<!DOCTY': a web page, not IDX data"),
    (b"PK\x03\x04" + bytes(50), "images", r"is not IDX data: it starts with b'PK\\x03\\x04'"),
    (b"\0\0\x0d\x03" + IMAGES[4:], "images", r"is not IDX data: it starts with b'\\x00\\x00\\r\\x03'"),
    (IMAGES[:-1], "images", "is cut short: its header promises 30 values, it holds 29"),
    (IMAGES + b"\0", "images", "is longer than its header says: 3 x 2 x 5 values and then more"),
    (header(0, 28, 28), "images", "promises 0 x 28 x 28 values, expected 1 to 1073741824"),
    (header(2**32 - 1, 2**32 - 1, 2**32 - 1), "images", "promises 4294967295 x 4294967295 x 4294967295 values"),
]  # fmt: skip


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(("content", "kind", "message"), REFUSED)
def test_what_is_refused(file, content, kind, message, pack):
    with pytest.raises(ValueError, match="a-file " + message):
        read_idx(file(pack(content)), kind)


def test_every_cut_of_a_gzip_file_is_refused(file):
    packed = gzip.compress(IMAGES)
    for n in range(2, len(packed)):
        with pytest.raises(ValueError, match="a-file is cut short: its gzip data stops after"):
            read_idx(file(packed[:n]), "images")


def test_every_flipped_bit_of_a_gzip_file_is_refused_or_harmless(file):
    packed = bytearray(gzip.compress(IMAGES, mtime=0))
    for i in range(8 * len(packed)):
        packed[i // 8] ^= 1 << (i % 8)
        try:
            assert np.array_equal(read_idx(file(bytes(packed)), "images"), np.arange(30).reshape(3, 2, 5))
        except ValueError as error:
            assert "a-file" in str(error)
        packed[i // 8] ^= 1 << (i % 8)


@pytest.mark.parametrize("more", [b"\0", b"junk", gzip.compress(b""), gzip.compress(b"more")])
def test_what_follows_gzip_data_is_refused(file, more):
    with pytest.raises(ValueError, match=f"a-file has {len(more)} bytes after the end of its gzip data"):
        read_idx(file(gzip.compress(IMAGES) + more), "images")


def test_damaged_gzip_data(file):
    packed = bytearray(gzip.compress(IMAGES))
    packed[-6] ^= 1
    with pytest.raises(ValueError, match=r"a-file is damaged \(.*incorrect data check\)\. Fetch it again\."):
        read_idx(file(bytes(packed)), "images")


def test_neither_a_promise_nor_a_bomb_takes_memory(file):
    promise = gzip.compress(header(1024, 1024, 1024))
    bomb = gzip.compress(header(1, 1, 1) + bytes(2**26))
    tracemalloc.start()
    with pytest.raises(ValueError, match="is cut short: its header promises 1073741824 values, it holds 0"):
        read_idx(file(promise), "images")
    with pytest.raises(ValueError, match="is longer than its header says: 1 x 1 x 1 values and then more"):
        read_idx(file(bomb), "images")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
    assert len(unpack(bomb, 1000, "bomb")) == 1000


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no-such-file does not exist$"):
        read_idx(tmp_path / "no-such-file", "images")
    with pytest.raises(ValueError, match="is a folder, expected an IDX file"):
        read_idx(tmp_path, "images")
    with pytest.raises(ValueError, match="/dev/null is not a regular file, expected an IDX file"):
        read_idx("/dev/null", "images")


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        file.truncate(2**30 + 1)
    with pytest.raises(ValueError, match="sparse has 1073741825 bytes, more than the 1073741824 that are read at most"):
        read_idx(path, "images")


def test_the_kind_is_checked(file):
    with pytest.raises(ValueError, match='kind must be "images" or "labels", got \'image\''):
        read_idx(file(IMAGES), "image")

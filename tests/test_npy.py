"""One array as a .npy file: the way there and back, beside NumPy's own reader, and every header that is refused."""

import io

import numpy as np
import pytest

from npsnn import _npy


def file(header, values=b"", version=b"\1\0"):
    width = 2 if version == b"\1\0" else 4
    head = header.encode("latin-1")
    return b"\x93NUMPY" + version + len(head).to_bytes(width, "little") + head + values


def header(descr="'<f4'", fortran="False", shape="(2,)"):
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


ARRAYS = [
    np.float32(1.5), np.zeros(0), np.zeros((2, 0, 3), np.int8), np.array([True, False]), np.arange(6).reshape(1, 2, 3),
    np.arange(6.0).reshape(2, 3).T, np.arange(8, dtype=np.uint16)[::2], np.array([1 + 2j, -0.0], np.complex64),
    np.array([np.nan, np.inf, -0.0], np.float16), np.arange(3, dtype=">i4"), np.ones((1,) * 32, np.float32),
]  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype.str}{a.shape}")
def test_the_way_there_and_back_and_numpy_reads_it_too(array):
    data = _npy.pack(np.asarray(array))
    for again in (_npy.parse(data, "mine"), np.load(io.BytesIO(data), allow_pickle=False)):
        assert again.dtype == array.dtype.newbyteorder("=") and again.shape == array.shape
        assert again.tobytes() == np.ascontiguousarray(array).astype(again.dtype).tobytes()
    assert data[6:8] == b"\1\0" and b">" not in data[:80] and b"'fortran_order': False" in data[:80]


@pytest.mark.parametrize("dtype", sorted(_npy.KINDS))
@pytest.mark.parametrize("order", "CF")
def test_what_numpy_writes_is_read(dtype, order):
    array = np.asarray(np.arange(6).reshape(2, 3) % 2, dtype, order)
    file = io.BytesIO()
    np.save(file, array)
    again = _npy.parse(file.getvalue(), "theirs")
    np.testing.assert_array_equal(again, array)
    assert again.dtype.isnative and again.flags.c_contiguous and again.flags.owndata and again.flags.writeable


@pytest.mark.parametrize("text", [
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
    "{'shape':(2,),'fortran_order':False,'descr':'<f4'}\n",
    '{"descr" : "<f4", "fortran_order" : False, "shape" : ( 2 , ) , }   \n',
])  # fmt: skip
@pytest.mark.parametrize("version", [b"\1\0", b"\2\0"], ids=repr)
def test_headers_of_other_writers(text, version):
    data = file(text, np.array([1.5, 2], "<f4").tobytes(), version)
    assert _npy.parse(data, "theirs").tolist() == [1.5, 2.0] == np.load(io.BytesIO(data)).tolist()


REFUSED = [
    (b"", r"is not a readable \.npy file: it starts with b''"),
    (b"\x93NUMPY", r"is not a readable \.npy file: version "),
    (b"\x80\x04K\x01.", r"it starts with b'\\x80\\x04K\\x01\.'"),
    (file(header(), bytes(8), b"\3\0"), "version 0300"),
    (file(header(), bytes(8))[:40], "a header of 58 bytes"),
    (file(header() + " " * 1000, bytes(8)), "a header of 1,058 bytes"),
    (file(header(), bytes(7)), "has 7 bytes of data, its header promises 8"),
    (file(header(), bytes(9)), "has 9 bytes of data, its header promises 8"),
    (file(header("'|b1'"), b"\0\2"), "has a bool that is neither 0 nor 1"),
    (file(header("'|O'")), r"is of \|O, expected numbers or bools"),
    (file(header("'<U1'"), bytes(8)), "is of <U1, expected numbers or bools"),
    (file(header("'f4'"), bytes(8)), "is of f4, expected"),
    (file(header("'|f4'"), bytes(8)), r"is of \|f4, expected"),
    (file(header("[('a', '<f4')]"), bytes(8)), "its header is"),
    (file(header(fortran="0"), bytes(8)), "its header is"),
    (file(header(shape="(2)"), bytes(8)), r"has the shape \(2\), which no array has"),
    (file(header(shape="(2, 0 0)"), bytes(0)), r"has the shape \(2, 0 0\), which"),
    (file(header(shape="(,)"), bytes(4)), r"has the shape \(,\), which"),
    (file(header(shape="(-2,)"), bytes(8)), "its header is"),
    (file(header(shape="(0, 9999999999999999)")), "which no array has"),
    (file(header(shape="(0, 1073741824, 1073741825)")), "which no array has"),
    (file(header(shape=f"({'1, ' * 33})"), bytes(4)), "which no array has"),
    (file("{'descr': '<f4', 'fortran_order': False}\n", bytes(8)), "its header is"),
    (file("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}\n", bytes(8)), "its header is"),
    (file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}\n", bytes(8)), "its header is"),
    (file("dict(descr='<f4')\n", bytes(8)), "its header is"),
    (file("\n", bytes(8)), "its header is ''"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "message"), REFUSED, ids=[f"{i} {m}" for i, (_, m) in enumerate(REFUSED)])
def test_what_is_refused(data, message):
    with pytest.raises(ValueError, match=f"^mine: x .*{message}"):
        _npy.parse(data, "mine: x")


@pytest.mark.parametrize("text", [
    header(shape="(02,)"), header().replace(", }", ",, }"), header().replace(": ", ":\xa0"), "\x1c" + header(),
    header().replace("(2", "(\x0b2"), header().replace("}", "}\x85"), header().replace("'shape'", "\x1f'shape'"),
    header(shape="(2,\t)"), header("'<f\xb2'"),
], ids=ascii)  # fmt: skip
def test_a_header_that_numpy_cannot_read_is_refused_here_too(text):
    """Found by tests/fuzz: what one reader takes and another does not is a file with two meanings."""
    data = file(text, bytes(8))
    with pytest.raises(ValueError, match=r"^mine ") as caught:
        _npy.parse(data, "mine")
    assert str(caught.value).isprintable()


def test_a_promise_takes_no_memory():
    """2**60 bytes are promised; the message has the number, and nothing was taken."""
    with pytest.raises(ValueError, match="has 0 bytes of data, its header promises 1,152,921,504,606,846,976"):
        _npy.parse(file(header("'|u1'", shape="(1073741824, 1073741824)")), "mine")
    with pytest.raises(ValueError, match=r"has the shape \(999999999999999, 999999999999999\), which no array has"):
        _npy.parse(file(header("'|u1'", shape="(999999999999999, 999999999999999)")), "mine")

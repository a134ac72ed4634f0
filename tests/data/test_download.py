"""Downloads from a server on this machine: whole, resumed, cut off, wrong, absent."""

import gzip
import hashlib
import http.server
import re
import socket
import threading

import numpy as np
import pytest

from npsnn.data import download, download_mnist
from npsnn.data.download import FILES, MIRRORS, Published

CONTENT = {
    "train-images-idx3-ubyte.gz": bytes(np.random.default_rng(0).integers(0, 99, 200_003, dtype=np.uint8)),
    "t10k-labels-idx1-ubyte.gz": b"labels" * 1001,
}
PACKED = {name: gzip.compress(content, mtime=0) for name, content in CONTENT.items()}
SMALL = [
    Published(split, kind, len(CONTENT[name]), hashlib.sha256(CONTENT[name]).hexdigest())
    for split, kind, name in (
        ("train", "images", "train-images-idx3-ubyte.gz"),
        ("test", "labels", "t10k-labels-idx1-ubyte.gz"),
    )
]
IMAGES, LABELS = PACKED


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.files``; knows Range if ``server.ranges``; hangs up after ``server.cut`` bytes of a body."""

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        asked = self.headers.get("Range")
        self.server.requests.append((name, asked))
        if name not in self.server.files:
            self.send_error(404)
            return
        body = self.server.files[name]
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.server.ranges else 0
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:][: self.server.cut])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(files=PACKED, ranges=True, cut=None):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.files, server.ranges, server.cut, server.requests = dict(files), ranges, cut, []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        server.url = f"http://127.0.0.1:{server.server_address[1]}/mnist/"
        return server

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def fetch(root, *servers):
    return download_mnist(root, mirrors=[server.url for server in servers], files=SMALL, timeout=10)


def found(root):
    return {path.name: path.read_bytes() for path in root.iterdir()}


def test_fetching_and_fetching_again(tmp_path, serve):
    server = serve()
    root = tmp_path / "new" / "folder"
    assert fetch(root, server) == root
    assert found(root) == PACKED
    assert server.requests == [(IMAGES, None), (LABELS, None)]
    assert fetch(str(root), server) == root
    assert len(server.requests) == 2


def test_a_right_file_is_kept_under_any_of_its_names(tmp_path, serve):
    (tmp_path / "train-images.idx3-ubyte").write_bytes(CONTENT[IMAGES])
    server = serve()
    fetch(tmp_path, server)
    assert server.requests == [(LABELS, None)]
    assert sorted(found(tmp_path)) == [LABELS, "train-images.idx3-ubyte"]


@pytest.mark.parametrize("content", [b"another set", b"\x1f\x8bbroken", gzip.compress(CONTENT[IMAGES])[:-1]])
def test_a_wrong_file_of_that_name_is_left_alone(tmp_path, serve, content):
    (tmp_path / IMAGES).write_bytes(content)
    server = serve()
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz is not MNIST's file: .* Move it away or choose"):
        fetch(tmp_path, server)
    assert found(tmp_path) == {IMAGES: content}
    assert server.requests == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_connection_is_gone_on_with(tmp_path, serve, ranges):
    with pytest.raises(ConnectionError, match=r"stopped after 70001 of \d+ bytes\). Call again to go on, or fetch"):
        fetch(tmp_path, serve(cut=70_001))
    assert found(tmp_path) == {IMAGES + ".part": PACKED[IMAGES][:70_001]}
    server = serve(ranges=ranges)
    fetch(tmp_path, server)
    assert found(tmp_path) == PACKED
    assert server.requests == [(IMAGES, "bytes=70001-"), (LABELS, None)]


def test_the_next_mirror_goes_on_where_one_stopped(tmp_path, serve):
    first, second = serve(cut=70_001), serve()
    fetch(tmp_path, first, second)
    assert found(tmp_path) == PACKED
    assert second.requests == [(IMAGES, "bytes=70001-")]


def test_a_mirror_without_the_file_is_passed_over(tmp_path, serve):
    first, second = serve(files={LABELS: PACKED[LABELS]}), serve()
    fetch(tmp_path, first, second)
    assert found(tmp_path) == PACKED
    assert [name for name, _ in second.requests] == [IMAGES]


def test_a_whole_part_needs_only_its_name(tmp_path, serve):
    (tmp_path / (IMAGES + ".part")).write_bytes(PACKED[IMAGES])
    server = serve()
    fetch(tmp_path, server)
    assert found(tmp_path) == PACKED


@pytest.mark.parametrize("start", [b"wrong", b"\x1f\x8bwrong", PACKED[IMAGES] + b"more"])
def test_a_wrong_part_is_deleted_and_the_next_mirror_starts_afresh(tmp_path, serve, start):
    (tmp_path / (IMAGES + ".part")).write_bytes(start)
    first, second = serve(), serve()
    fetch(tmp_path, first, second)
    assert found(tmp_path) == PACKED
    assert second.requests == [(IMAGES, None)]


def test_wrong_bytes_are_deleted(tmp_path, serve):
    wrong = PACKED | {IMAGES: gzip.compress(b"not MNIST")}
    with pytest.raises(ConnectionError) as caught:
        fetch(tmp_path, serve(files=wrong))
    message = str(caught.value)
    assert "sent a wrong file, now deleted: its SHA-256 is" in message
    assert f"expected {SMALL[0].sha256}" in message
    assert "\n" not in message
    assert found(tmp_path) == {}


@pytest.mark.parametrize("body", [b"<html>log in first</html>", gzip.compress(bytes(10**7)), PACKED[IMAGES][:-4]])
def test_other_bodies_are_wrong_too(tmp_path, serve, body):
    with pytest.raises(ConnectionError, match="sent a wrong file, now deleted"):
        fetch(tmp_path, serve(files=PACKED | {IMAGES: body}))
    assert found(tmp_path) == {}


def test_an_endless_body_is_read_no_further_than_the_file_is_long(tmp_path, serve, monkeypatch):
    sizes = []
    monkeypatch.setattr(download, "_fault", lambda path, file: sizes.append(path.stat().st_size) or "too long")
    with pytest.raises(ConnectionError, match="sent a wrong file, now deleted: too long"):
        fetch(tmp_path, serve(files=PACKED | {IMAGES: bytes(10**7)}))
    assert 200_003 < sizes[0] < 300_000
    assert found(tmp_path) == {}


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with pytest.raises(ConnectionError) as caught:
            download_mnist(tmp_path, mirrors=[url, url], timeout=5)
    message = str(caught.value)
    assert message.startswith("train-images-idx3-ubyte.gz could not be fetched (http://127.0.0.1:")
    assert message.count("refused") == 2
    assert f"fetch the file by hand and put it into {tmp_path}" in message
    assert "\n" not in message
    assert found(tmp_path) == {}


@pytest.mark.parametrize("mirrors", [[], "https://example.org/"])
def test_the_mirrors_are_checked(tmp_path, mirrors):
    with pytest.raises(ValueError, match="mirrors must be a list of at least one address, got "):
        download_mnist(tmp_path / "root", mirrors=mirrors)
    assert found(tmp_path) == {}


def test_the_published_files():
    assert [file.name for file in FILES] == [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ]
    assert [file.size for file in FILES] == [16 + 60000 * 784, 8 + 60000, 16 + 10000 * 784, 8 + 10000]
    assert all(url.startswith("https://") and url.endswith("/") for url in MIRRORS)

"""A short campaign of each reader, and that a campaign sees what is wrong with a reader."""

import io
import zipfile

import numpy as np
import pytest

import npsnn
from npsnn import checkpoint
from npsnn.data import idx
from npsnn.verify import recording_file
from npsnn.verify.recording_file import Recording
from tests.fuzz.campaign import READERS, cases, run
from tests.fuzz.reader import CHANGED, ERROR, FAILURES, HANG, MEMORY, REFUSED, SAID, UNCHANGED, WARNING

INPUTS = {"idx": 6000, "checkpoint": 2000, "recording": 2000, "state_dict": 4000}


@pytest.mark.parametrize("name", READERS)
def test_a_short_campaign(name):
    """`python -m tests.fuzz` is the long one. Every kind of input is in it, and some inputs load."""
    found = run(name, 0, 0, INPUTS[name])
    assert found.failures == [] and found.total(*FAILURES) == 0
    assert {kind for kind, _ in found.counts} == set(READERS[name].mix)
    assert found.total(REFUSED) > INPUTS[name] / 2
    assert found.total(UNCHANGED) > 50 and found.total(SAID) > 50


@pytest.mark.parametrize("name", READERS)
def test_an_input_is_the_same_again_and_alone(name):
    reader = READERS[name]
    whole = [reader().as_bytes(case) for _, _, case in cases(reader(), 3, 0, 300)]
    assert [reader().as_bytes(case) for _, _, case in cases(reader(), 3, 250, 300)] == whole[250:]
    assert len(set(whole)) > 200
    other = [reader().as_bytes(case) for _, _, case in cases(reader(), 4, 0, 300)]
    assert sum(a == b for a, b in zip(whole, other, strict=True)) < 100


# --- readers with a fault ------------------------------------------------------------------------------------------

PARSE_CHECKPOINT, PARSE_IDX, PARSE_RECORDING = checkpoint.parse, idx.parse, recording_file.parse


def without_the_sums(monkeypatch):
    """Neither the sums nor the comparison with what would have been written."""
    monkeypatch.setattr(checkpoint, "_sums", lambda text: {})
    monkeypatch.setattr(checkpoint, "_packs_into", lambda data, meta, arrays: True)


def not_written_again(monkeypatch):
    """The comparison with what would have been written left out: what follows or hides in a file is not seen."""
    monkeypatch.setattr(checkpoint, "_packs_into", lambda data, meta, arrays: True)


def trailing_bytes(monkeypatch):
    def parse(packed, kind, path):
        header = idx.unpack(packed, 4 + 4 * idx._KINDS[kind], path)
        sizes = [int(n) for n in np.frombuffer(header[4:], ">u4")]
        return PARSE_IDX(idx.unpack(packed, len(header) + int(np.prod(sizes)), path), kind, path)

    monkeypatch.setattr(idx, "parse", parse)


def as_a_tutorial_reads_it(monkeypatch):
    def parse(packed, kind, path):
        data = idx.unpack(packed, 2**20, path)
        sizes = np.frombuffer(data[4 : 4 + 4 * idx._KINDS[kind]], ">u4")
        return np.frombuffer(data[4 + 4 * len(sizes) :], np.uint8).reshape(sizes)

    monkeypatch.setattr(idx, "parse", parse)


def with_numpys_reader(monkeypatch):
    """Of members with one name it takes the last, and other files beside the arrays it does not see."""

    def parse(data, path):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive, np.load(io.BytesIO(data), allow_pickle=False) as loaded:
                layers, num_steps = recording_file._settings(archive.read("recording.json"), path)
                arrays = {name: loaded[name] for name in loaded.files if name != "recording.json"}
            return Recording(layers, num_steps, arrays)
        except Exception as error:
            raise ValueError(f"{path}: {error!r}"[:200]) from None

    monkeypatch.setattr(recording_file, "parse", parse)


def the_error_of_something_inside(monkeypatch):
    def parse(data, path):
        if not data.startswith(b"PK"):
            raise KeyError("recording.json")
        return PARSE_RECORDING(data, path)

    monkeypatch.setattr(recording_file, "parse", parse)


def copied_before_it_is_checked(monkeypatch):
    load = npsnn.Sequential.load_state_dict

    def half(self, mapping, strict=True):
        value = mapping.get("0.bias") if hasattr(mapping, "get") else None
        if isinstance(value, np.ndarray) and value.shape == self.params["0.bias"].shape and value.dtype.kind == "f":
            self.params["0.bias"][...] = value
        return load(self, mapping, strict)

    monkeypatch.setattr(npsnn.Sequential, "load_state_dict", half)


def silent_about_what_is_unexpected(monkeypatch):
    load = npsnn.Sequential.load_state_dict
    monkeypatch.setattr(
        npsnn.Sequential, "load_state_dict", lambda self, mapping, strict=True: load(self, mapping, False)
    )


def slow(monkeypatch):
    def parse(packed, kind, path):
        while packed[:1] == b"\x01":
            pass
        return PARSE_IDX(packed, kind, path)

    monkeypatch.setattr(idx, "parse", parse)


def greedy(monkeypatch):
    def parse(packed, kind, path):
        header = idx.unpack(packed, 16, path)
        np.empty([int(n) for n in np.frombuffer(header[4:8], ">u4")] * 2, np.uint8)[:1] = 1
        return PARSE_IDX(packed, kind, path)

    monkeypatch.setattr(idx, "parse", parse)


def warning(monkeypatch):
    def parse(packed, kind, path):
        np.float32(3e38) * np.float32(len(packed))
        return PARSE_IDX(packed, kind, path)

    monkeypatch.setattr(idx, "parse", parse)


@pytest.mark.parametrize(("name", "fault", "outcome"), [
    ("checkpoint", without_the_sums, CHANGED), ("checkpoint", not_written_again, CHANGED),
    ("idx", trailing_bytes, CHANGED), ("idx", as_a_tutorial_reads_it, ERROR), ("idx", slow, HANG),
    ("idx", greedy, MEMORY), ("idx", warning, WARNING),
    ("recording", with_numpys_reader, CHANGED), ("recording", the_error_of_something_inside, ERROR),
    ("state_dict", copied_before_it_is_checked, CHANGED), ("state_dict", silent_about_what_is_unexpected, CHANGED),
])  # fmt: skip
def test_a_campaign_sees(name, fault, outcome, monkeypatch):
    fault(monkeypatch)
    found = run(name, 0, 0, 1500)
    assert found.total(outcome) > 0 and any(failure.outcome == outcome for failure in found.failures)

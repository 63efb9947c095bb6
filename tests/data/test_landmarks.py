"""Files of 68 landmarks: each format, joins, what is refused, pickles that would run something."""

from __future__ import annotations

import gc
import io
import os
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ufvnet.data.sources.landmarks import Landmarks, names_in_pickle, read_landmarks
from ufvnet.errors import ConfigError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
HEADER = ",".join(["file", *(f"{axis}{i}" for i in range(68) for axis in "xy")])


def _face(seed: int) -> np.ndarray:
    """(68, 2) float64 that float32 holds exactly."""
    return np.random.default_rng(seed).integers(0, 4000, (68, 2)) / 8


def _csv(path: Path, faces: dict[str, np.ndarray]) -> Path:
    rows = [",".join([name, *map(str, face.ravel().tolist())]) for name, face in faces.items()]
    path.write_text("\n".join([HEADER, *rows, ""]))
    return path


def _pickle(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def _entry(landmark: Any) -> dict[str, Any]:
    return {"landmark": landmark, "bbox": [1, 2, 3, 4]}


def _pts_text(face: np.ndarray) -> str:
    return "\n".join(["version: 1", "n_points:  68", "{", *(f"{x + 1:.6f} {y + 1:.6f}" for x, y in face), "}", ""])


def _pts(path: Path, face: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_pts_text(face))
    return path


def _assert_holds(landmarks: Landmarks, faces: dict[str, np.ndarray], by_stem: bool = False) -> None:
    assert landmarks.names == tuple(faces)
    assert landmarks.points.shape == (len(faces), 68, 2)
    assert landmarks.points.dtype == np.float32
    assert landmarks.by_stem.dtype == np.bool_
    assert landmarks.by_stem.tolist() == [by_stem] * len(faces)
    for points, face in zip(landmarks.points, faces.values()):
        np.testing.assert_array_equal(points, face)


def _refused(path: Path, message: str, read: Callable[[Path], Any] = lambda path: read_landmarks([path])) -> None:
    with pytest.raises(ConfigError, match="^" + re.escape(f"source.landmarks = {path}: ") + ".*" + message):
        read(path)


# Formats


def test_a_csv_gives_its_points_in_its_order(tmp_path: Path) -> None:
    faces = {"b/2.jpg": _face(2), "a.jpg": _face(1), "ü, quoted.jpg": _face(3)}
    path = _csv(tmp_path / "l.csv", {f'"{name}"': face for name, face in faces.items()})
    _assert_holds(read_landmarks([path]), faces)


def test_a_csv_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    text = _csv(tmp_path / "l.csv", {"a.jpg": _face(1)}).read_text()
    (tmp_path / "L.CSV").write_text("\ufeff" + text.replace("\n", "\r\n") + "\r\n", newline="")
    _assert_holds(read_landmarks([tmp_path / "L.CSV"]), {"a.jpg": _face(1)})


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "saved",
    [
        np.ndarray.tolist,
        np.array,
        np.asfortranarray,
        lambda face: np.repeat(face, 2, axis=0)[::2],
        lambda face: face.astype(np.float32),
        lambda face: face.astype(">f8"),
        lambda face: [tuple(pair) for pair in face.tolist()],
        lambda face: [np.array(pair) for pair in face],
        lambda face: [[np.float64(v) for v in pair] for pair in face],
        lambda face: [[np.float32(x), y] for x, y in face.tolist()],
    ],
)
def test_a_pickle_of_lists_or_arrays_gives_its_points(tmp_path: Path, saved: Any, protocol: int) -> None:
    faces = {"000002.jpg": _face(2), "000001.jpg": _face(1)}
    path = _pickle(tmp_path / "l.pkl", {name: _entry(saved(face)) for name, face in faces.items()}, protocol)
    _assert_holds(read_landmarks([path]), faces)
    assert names_in_pickle(path) == list(faces)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_may_hold_integers_and_ordered_dictionaries(tmp_path: Path, protocol: int) -> None:
    face = _face(1).astype(np.int64)
    content = OrderedDict([("2.jpg", OrderedDict(_entry(face))), ("1.jpg", _entry(face.tolist()))])
    path = _pickle(tmp_path / "l.pickle", content, protocol)
    _assert_holds(read_landmarks([path]), {"2.jpg": face, "1.jpg": face})


def _of_python_2(face: np.ndarray) -> bytes:
    """What Python 2 with its numpy saves of {"000001.jpg": {"landmark": face}}: strings are bytes."""
    raw = face.tobytes()
    return b"".join(
        [
            b"\x80\x02}U\x0a000001.jpg}U\x08landmarkcnumpy.core.multiarray\n_reconstruct\n",
            b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x44K\x02\x86cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R",
            b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", len(raw)) + raw,
            b"tbss.",
        ]
    )


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    saved = _of_python_2(_face(1))
    assert "landmark" in pickle.loads(saved, encoding="latin1")["000001.jpg"]  # it is a real one
    (tmp_path / "l.pkl").write_bytes(saved)
    _assert_holds(read_landmarks([tmp_path / "l.pkl"]), {"000001.jpg": _face(1)})


def test_a_folder_of_pts_files_gives_points_that_count_from_0(tmp_path: Path) -> None:
    faces = {"a": _face(1), "sub/b.c": _face(2), "sub/deep/d": _face(3)}
    for name, face in faces.items():
        _pts(tmp_path / f"{name}.pts", face)
    _pts(tmp_path / ".hidden.pts", _face(4))
    _pts(tmp_path / ".folder" / "e.pts", _face(4))
    (tmp_path / "a.jpg").write_bytes(b"a photo beside it")
    _assert_holds(read_landmarks([tmp_path]), faces, by_stem=True)


def test_the_upper_left_pixel_is_1_1_in_pts_and_0_0_here(tmp_path: Path) -> None:
    text = "version:1\r\n\r\nn_points: 68\r\n{\r\n" + "1 1\r\n" * 68 + "}"
    (tmp_path / "a.PTS").write_text(text, newline="")
    _assert_holds(read_landmarks([tmp_path]), {"a": np.zeros((68, 2))}, by_stem=True)


def test_missing_numbers_are_kept(tmp_path: Path) -> None:
    face = _face(1)
    face[0], face[1], face[2, 0] = np.nan, (np.inf, -np.inf), 1e300
    expected = face.copy()
    expected[2, 0] = np.inf
    _csv(tmp_path / "l.csv", {"a": face})
    _pickle(tmp_path / "l.pkl", {"b": _entry(face)})
    _pickle(tmp_path / "m.pkl", {"c": _entry(face.tolist())})
    paths = [tmp_path / name for name in ("l.csv", "l.pkl", "m.pkl")]
    _assert_holds(read_landmarks(paths), dict.fromkeys("abc", expected))


# Several files


def test_files_of_all_kinds_are_joined_into_one_array(tmp_path: Path) -> None:
    _csv(tmp_path / "l.csv", {"1.jpg": _face(1)})
    _pickle(tmp_path / "l.pkl", {"2.jpg": _entry(_face(2).tolist())})
    _pts(tmp_path / "pts" / "3.pts", _face(3))
    landmarks = read_landmarks([tmp_path / name for name in ("l.pkl", "pts", "l.csv")])
    assert landmarks.names == ("2.jpg", "3", "1.jpg")
    assert landmarks.by_stem.tolist() == [False, True, False]
    np.testing.assert_array_equal(landmarks.points, np.stack([_face(2), _face(3), _face(1)]))


def test_no_files_are_no_landmarks() -> None:
    _assert_holds(read_landmarks([]), {})


def test_the_points_take_4_bytes_a_number(tmp_path: Path) -> None:
    face = _face(1).tolist()
    landmarks = read_landmarks([_pickle(tmp_path / "l.pkl", {str(i): _entry(face) for i in range(1000)})])
    assert landmarks.points.nbytes == 1000 * 68 * 2 * 4
    assert landmarks.points.flags.c_contiguous


def test_a_name_given_twice_with_the_same_points_counts_once(tmp_path: Path) -> None:
    face = _face(1)
    face[5] = np.nan
    first = _csv(tmp_path / "l.csv", {"0.jpg": _face(0), "a.jpg": face})
    second = _pickle(tmp_path / "l.pkl", {"a.jpg": _entry(face), "b.jpg": _entry(_face(2))})
    _assert_holds(read_landmarks([first, second]), {"0.jpg": _face(0), "a.jpg": face, "b.jpg": _face(2)})


def test_a_name_given_twice_with_other_points_is_refused_with_both_files(tmp_path: Path) -> None:
    first = _csv(tmp_path / "l.csv", {"0.jpg": _face(0), "a.jpg": _face(1)})
    second = _pickle(tmp_path / "l.pkl", {"a.jpg": _entry(_face(2))})
    message = re.escape(f"a.jpg has other points than in {first}")
    _refused(second, message, lambda path: read_landmarks([first, path]))


def test_a_name_given_twice_in_one_file_with_other_points_is_refused(tmp_path: Path) -> None:
    path = _csv(tmp_path / "l.csv", {"a.jpg": _face(1)})
    path.write_text(path.read_text() + ",".join(["a.jpg", *["1"] * 136]))
    _refused(path, "a.jpg has other points than in .*l.csv")


# What is refused


@pytest.mark.parametrize("name", ["none.csv", "none.pkl", "none", "l.txt"])
def test_a_path_that_is_missing_or_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "l.txt").write_text(HEADER)
    _refused(tmp_path / name, r"must be an existing \.csv, \.pkl or \.pickle file, or a folder of \.pts files")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the header must be file, x0, y0, ..., x67, y67"),
        ("file,x0,y0\na.jpg,1,2\n", "the header must be file, x0, y0"),
        (",".join(["file", *(f"{a}{i}" for a in "xy" for i in range(68))]), "the header must be file, x0, y0"),
        (f"{HEADER}\na.jpg" + ",1" * 136 + "\nb.jpg,1,2\n", "line 3 has 3 values, not 137"),
        (f"{HEADER}\na.jpg" + ",1" * 135 + ",one\n", "line 2: could not convert string to float: 'one'"),
    ],
)
def test_a_malformed_csv_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    _refused(tmp_path / "l.csv", message)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", HEADER.encode() + b"\n" + b"a" * 200_000], ids=["bytes", "long"])
def test_a_csv_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "l.csv").write_bytes(content)
    _refused(tmp_path / "l.csv", "utf-8|field larger than")


@pytest.mark.parametrize(
    ("landmark", "message"),
    [
        (_face(1)[:67], r"a.jpg: .* 68 pairs of numbers, not float64 of shape \(67, 2\)"),
        (_face(1)[:5].tolist(), r"a.jpg: .* shape \(5, 2\)"),
        (_face(1).ravel(), r"a.jpg: .* shape \(136,\)"),
        (_face(1).T, r"a.jpg: .* shape \(2, 68\)"),
        ([*_face(1).tolist()[1:], [1.0]], "a.jpg: .* 68 pairs of numbers .*inhomogeneous"),
        ([*_face(1).tolist()[1:], [1.0, None]], "a.jpg: .* not object"),
        ([*_face(1).tolist()[1:], [1.0, "2"]], "a.jpg: .* not <U"),
        ([*_face(1).tolist()[1:], [1.0, 2j]], "asks for builtins.complex"),
        (None, r"a.jpg: .* shape \(\)"),
        ({"x": 1}, r"a.jpg: .* shape \(\)"),
        (_face(1) > 0, "the numpy type 'b1'"),
        (_face(1).astype(object), "the numpy type 'O8'"),
        (_face(1).astype(str), "the numpy type 'U"),
        (np.zeros((68, 2), [("x", "f8")]), "the numpy type 'V8'"),
    ],
)
def test_a_pickle_of_other_than_68_pairs_of_numbers_is_refused(tmp_path: Path, landmark: Any, message: str) -> None:
    _refused(_pickle(tmp_path / "l.pkl", {"0.jpg": _entry(_face(0)), "a.jpg": _entry(landmark)}), message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "must hold a dictionary by file name"),
        (_face(1), "must hold a dictionary by file name"),
        ({1: _entry(_face(1))}, "must hold a dictionary by file name"),
        ({"a.jpg": {"bbox": [1, 2, 3, 4]}}, "a.jpg must have a dictionary with 'landmark'$"),
        ({"a.jpg": _face(1).tolist()}, "a.jpg must have a dictionary with 'landmark'$"),
        ({"a.png": _face(1)}, "a.png must have .* .an array alone is of a crop, not of the photo"),
    ],
)
def test_a_pickle_of_another_structure_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    _refused(_pickle(tmp_path / "l.pkl", content), message)


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04", pickle.dumps({"a": 1})[:-4], b"."])
def test_a_broken_pickle_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "l.pkl").write_bytes(content)
    _refused(tmp_path / "l.pkl", "")
    _refused(tmp_path / "l.pkl", "", names_in_pickle)
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version: 1", "version: 2", "line 1 must be 'version: 1', not 'version: 2'"),
        ("n_points:  68", "n_points:  5", "line 2 must be 'n_points: 68', not 'n_points: 5'"),
        ("{\n", "", "line 3 must be '{', not '10.* "),
        ("10.000000 20.000000\n", "", "line 71, the last, must be '}' after 68 points, not after 67"),
        ("10.000000 20.000000\n", "1 2\n3 4\n", "line 73, the last, must be '}' after 68 points, not after 69"),
        ("10.000000 20.000000\n", "1\n", "line 4 must be x and y, not '1'"),
        ("10.000000 20.000000\n", "1 2 3\n", "line 4 must be x and y, not '1 2 3'"),
        ("10.000000 20.000000\n", "1 two\n", "line 4 must be x and y, not '1 two'"),
        ("}\n", "", "line 71, the last, must be '}'"),
        ("}\n", "}\nmore\n", "line 72 must be x and y, not '}'"),
    ],
)
def test_a_malformed_pts_file_is_refused_with_its_name_and_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    face = _face(1)
    face[0] = 9, 19
    _pts(tmp_path / "good.pts", face)
    text = _pts_text(face)
    assert old in text
    path = _pts(tmp_path / "sub" / "x.pts", face)
    path.write_text(text.replace(old, new, 1))
    _refused(tmp_path, re.escape("sub/x.pts: ") + message.replace("{", r"\{").replace("}", r"\}"))


def test_an_empty_pts_file_a_pipe_and_a_folder_without_any_are_refused(tmp_path: Path) -> None:
    _refused(tmp_path, "no .pts files in it")
    (tmp_path / "x.pts").touch()
    _refused(tmp_path, "x.pts: line 0, the last")
    (tmp_path / "x.pts").write_bytes(b"\xff\xff")
    _refused(tmp_path, "x.pts: .*utf-8")
    (tmp_path / "x.pts").unlink()
    os.mkfifo(tmp_path / "x.pts")
    _refused(tmp_path, "x.pts: not a file")


# Names alone


def test_names_of_a_pickle_need_no_landmarks(tmp_path: Path) -> None:
    path = _pickle(tmp_path / "l.pkl", {"b.png": _face(1), "a.png": [], "c.png": None})
    assert names_in_pickle(path) == ["b.png", "a.png", "c.png"]


def test_names_are_of_pickles_only_and_errors_name_the_key(tmp_path: Path) -> None:
    _refused(_csv(tmp_path / "l.csv", {}), r"must be an existing \.pkl or \.pickle file", names_in_pickle)
    _refused(tmp_path / "none.pkl", r"must be an existing \.pkl or \.pickle file", names_in_pickle)
    path = _pickle(tmp_path / "l.pkl", [1])
    with pytest.raises(ConfigError, match=r"^source\.splits\.train = .*l\.pkl: must hold a dictionary"):
        names_in_pickle(path, "source.splits.train")


# Pickles that would run something


class _Runs:
    """Calls a function when it is unpickled as usual."""

    def __init__(self, function: Any, *args: Any):
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize(
    ("function", "message"), [(os.system, "asks for (posix|nt).system"), (eval, "asks for (builtins|__builtin__).eval")]
)
def test_nothing_that_a_pickle_names_is_run(tmp_path: Path, function: Any, message: str, protocol: int) -> None:
    ran = tmp_path / "ran"
    command = f"echo > {ran}" if function is os.system else f"open({str(ran)!r}, 'w')"
    hostile = _Runs(function, command)
    for content in (
        hostile,
        {"a.jpg": hostile},
        {"a.jpg": _entry(hostile)},
        {"a.jpg": {"landmark": 1, "bbox": hostile}},
    ):
        path = _pickle(tmp_path / "l.pkl", content, protocol)
        _refused(path, message)
        _refused(path, message, names_in_pickle)
    assert not ran.exists()
    pickle.loads(path.read_bytes())
    assert ran.exists()  # it would have


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (b"cos\nsystem\n(S'exit'\ntR.", "asks for os.system"),
        (b"(S'exit'\nios\nsystem\n.", "asks for os.system"),
        (b"(cos\nsystem\nS'exit'\no.", "asks for os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04exit\x85R.", "asks for os.system"),
        (b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.", "asks for numpy.ndarray.__class__"),
        (b"\x80\x04\x8c\x05numpy\x8c\x04load\x93.", "asks for numpy.load"),
        (b"cbuiltins\ngetattr\n.", "asks for builtins.getattr"),
        (b"ccopyreg\n_reconstructor\n.", "asks for copyreg._reconstructor"),
        (b"cnumpy.core.multiarray\nfromfile\n.", "asks for numpy.core.multiarray.fromfile"),
        (b"Psomething\n.", "asks for the persistent id 'something'"),
        (b"\x80\x02K\x01Q.", "asks for the persistent id 1"),
        (b"\x80\x02\x82\x01.", "not a pickle of landmarks .*unregistered extension"),
        (b"\x80\x05\x97.", "buffer"),
    ],
)
def test_no_global_but_those_of_arrays_is_given(tmp_path: Path, saved: bytes, message: str) -> None:
    (tmp_path / "l.pkl").write_bytes(saved)
    _refused(tmp_path / "l.pkl", message)


def _put_entry(saved: bytes) -> bytes:
    """{"a.jpg": {"landmark": what saved makes}}."""
    return b"\x80\x04}\x8c\x05a.jpg}\x8c\x08landmark" + saved + b"ss."


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        # ndarray((1,), "O", 8 bytes): with numpy's own, an object at any address
        (b"cnumpy\nndarray\nK\x01\x85cnumpy\ndtype\n\x8c\x01O\x85RC\x08AAAAAAAA\x87R", "the numpy type 'O'"),
        (b"cnumpy\nndarray\nK\x01\x85\x8c\x01OC\x08AAAAAAAA\x87R", r"shape \(0,\)"),
        # a dtype of numbers whose state would declare it objects
        (b"cnumpy\ndtype\n\x8c\x02f8\x85R(K\x03\x8c\x01ONNNK\x08K\x08K\x3ftb", "not a pickle of landmarks"),
        # scalar and _frombuffer without a dtype, an unfilled dtype, another codec than latin1
        (b"cnumpy.core.multiarray\nscalar\n\x8c\x01OC\x08AAAAAAAA\x86R", "not a pickle of landmarks"),
        (b"cnumpy.core.numeric\n_frombuffer\n(C\x08AAAAAAAA\x8c\x01OK\x01\x8c\x01CtR", "not a pickle of landmarks"),
        (b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n)\x81C\x08AAAAAAAA\x86R", "not a pickle of landmarks"),
        (b"cnumpy\ndtype\n)\x81", "68 pairs of numbers"),
        (b"cnumpy\nndarray\n)\x81", r"shape \(0,\)"),
        (b"c_codecs\nencode\n\x8c\x01a\x8c\x03zip\x86RNb", "not a pickle of landmarks|68 pairs"),
    ],
)
def test_numpy_s_own_constructors_are_out_of_a_pickle_s_reach(tmp_path: Path, saved: bytes, message: str) -> None:
    (tmp_path / "l.pkl").write_bytes(_put_entry(saved))
    _refused(tmp_path / "l.pkl", message)


@pytest.mark.parametrize(
    "name",
    [
        "numpy\ndtype",
        "numpy\nndarray",
        "numpy.core.multiarray\nscalar",
        "numpy.core.numeric\n_frombuffer",
        "_codecs\nencode",
        "collections\nOrderedDict",
    ],
)
@pytest.mark.parametrize("state", [{"values": 1}, (None, {"values": 1}), (None, {"__setstate__": 1})])
def test_a_pickle_cannot_change_what_the_next_is_read_with(tmp_path: Path, name: str, state: Any) -> None:
    buffer = io.BytesIO()
    pickle.dump(state, buffer, 2)
    (tmp_path / "l.pkl").write_bytes(b"c" + name.encode() + b"\n" + buffer.getvalue()[2:-1] + b"b.")
    _refused(tmp_path / "l.pkl", "not a pickle of landmarks")
    good = _pickle(tmp_path / "good.pkl", {"a.jpg": _entry(_face(1))})
    _assert_holds(read_landmarks([good]), {"a.jpg": _face(1)})


# Files as people have them


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_csv_and_pts_files_of_other_systems_are_read(tmp_path: Path, encoding: str) -> None:
    text = _csv(tmp_path / "l.csv", {"a.jpg": _face(1)}).read_text()
    (tmp_path / "l.csv").write_text(text.replace("\n", "\r\n") + "," * 136 + "\r\n\r\n", encoding=encoding, newline="")
    _assert_holds(read_landmarks([tmp_path / "l.csv"]), {"a.jpg": _face(1)})
    (tmp_path / "pts").mkdir()
    (tmp_path / "pts" / "a.pts").write_text(_pts_text(_face(1)).replace("\n", "\r\n"), encoding=encoding, newline="")
    _assert_holds(read_landmarks([tmp_path / "pts"]), {"a": _face(1)}, by_stem=True)


def test_a_csv_with_nul_is_refused_with_its_line_and_a_pipe_at_once(tmp_path: Path) -> None:
    path = _csv(tmp_path / "l.csv", {"a.jpg": _face(1), "b\0.jpg": _face(2)})
    _refused(path, "line 3: holds a NUL character")
    os.mkfifo(tmp_path / "pipe.csv")
    _refused(tmp_path / "pipe.csv", "must be an existing")


def _of_itself() -> list[Any]:
    endless: list[Any] = []
    endless += [endless, endless]
    return endless


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep, deep]
    return deep


@pytest.mark.parametrize(
    "landmark",
    [_of_itself(), [_of_itself()] * 68, _deep(), [[list(range(10**5))] * 2] * 68, [list(range(10**5))] * 10**5],
    ids=["of itself", "68 of itself", "deep", "lists in pairs", "one list many times"],
)
def test_pickles_without_end_are_refused(tmp_path: Path, landmark: Any) -> None:
    _refused(_pickle(tmp_path / "l.pkl", {"a.jpg": _entry(landmark)}), r"a\.jpg: landmark must be 68 pairs of numbers")


def test_a_pickle_that_holds_itself_is_refused(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["landmark"] = content["a.jpg"] = content
    _refused(_pickle(tmp_path / "l.pkl", content), "68 pairs of numbers")

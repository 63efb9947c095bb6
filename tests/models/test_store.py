"""Model folders: in half precision, by name, and what is not one."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_model

from ufvnet import Restorer
from ufvnet.config import ConfigError
from ufvnet.files import write_json
from ufvnet.models import create, load, store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "trained"
    folder.mkdir()
    network = create("ufvnet-lite", "tiny", 64)
    torch.nn.init.normal_(network.get_submodule("head").get_parameter("weight"), std=0.01)
    save_model(network, str(folder / store.WEIGHTS))
    card = {"model": "ufvnet-lite", "preset": "tiny", "hr_size": 64, "anchors": [2, 4, 8], "fingerprint": "f"}
    (folder / store.CARD).write_text(json.dumps(card))
    (folder / "README.md").write_text("# card")
    return folder


def test_half_precision_is_half_as_large_and_loads_as_any_other(folder: Path, tmp_path: Path) -> None:
    half = store.save_half(folder, tmp_path / "half")
    sizes = [(f / store.WEIGHTS).stat().st_size for f in (folder, half)]
    assert sizes[1] < 0.6 * sizes[0]
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        whole, rounded = (load(f)[0](x, torch.tensor([0.25, 0.5])).sr for f in (folder, half))
    assert rounded.dtype == torch.float32
    assert torch.allclose(whole, rounded, atol=1e-3)
    assert not torch.equal(whole, x)


def test_a_name_is_what_ships_unless_a_folder_has_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SHIPPED", tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    assert store.shipped() == ["trained"]
    assert store.find("trained") == folder
    assert store.read_card(Path("trained"))["fingerprint"] == "f"
    own = tmp_path / "elsewhere" / "trained"
    own.mkdir(parents=True)
    monkeypatch.chdir(own.parent)
    assert store.find("trained") == folder  # a folder that happens to have the name, but holds no model
    (own / store.CARD).write_text("{}")
    assert store.find("trained") == Path("trained")


def test_what_is_no_model_is_refused_with_the_names_that_ship(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SHIPPED", tmp_path)
    with pytest.raises(ConfigError, match=r"no model folder there .*by name: trained"):
        load(tmp_path / "nowhere")


def write_card(folder: Path, **changes: object) -> None:
    card = json.loads((folder / store.CARD).read_text())
    write_json(folder / store.CARD, store.sealed_card(card | changes, folder))


CARD = {"model": "ufvnet-lite", "preset": "tiny", "hr_size": 64, "anchors": [2, 4, 8], "fingerprint": "f"}
WRONG = [
    *(CARD | {key: value} for key in CARD for value in (None, 7, [], {}, "", "\ud800", True, 10**30, [[[]]], "x" * 999)
      if not (key == "anchors" and value is None)),
    *({k: v for k, v in CARD.items() if k != key} for key in CARD if key != "anchors"),
    CARD | {"model": "nosuch"}, CARD | {"model": "anchor"}, CARD | {"anchors": [2, 4, 99]}, CARD | {"hr_size": 128.0},
    CARD | {"trained_on": []}, CARD | {"trained_on": {"view": 3}}, CARD | {"validation": {"psnr": "good"}},
    CARD | {"model": "onesrg"}, CARD | {"preset": "small"}, CARD | {"anchors": [2, 4]},
]  # fmt: skip
BYTES = [
    b"", b"[]", b"null", b"3", b"{", b"\xff\xfe{}", b"\x80", b"[" * 100_000, b'{"a":' * 100_000, b'{"hr_size": NaN}',
    b'{"hr_size": ' + b"9" * 10_000 + b"}", b" " * 2**21,
]  # fmt: skip


@pytest.mark.parametrize(
    "content", [*(json.dumps(card).encode() for card in WRONG), *BYTES], ids=lambda c: repr(c[:50])
)
def test_a_wrong_card_is_one_line_that_names_the_model(content: bytes, folder: Path) -> None:
    (folder / store.CARD).write_bytes(content)
    for use in (load, lambda f: Restorer.load(f, "cpu"), store.load):
        with pytest.raises(ConfigError, match=r"^model = .*trained: ") as refusal:
            use(folder)
        str(refusal.value).encode()
        assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 99, (2**40).to_bytes(8, "little") + b"{}", b"\2" + b"\0" * 7 + b"{}"]
)
def test_wrong_weights_are_one_line_even_if_the_card_was_made_for_them(content: bytes, folder: Path) -> None:
    (folder / store.WEIGHTS).write_bytes(content)
    write_card(folder)
    with pytest.raises(ConfigError, match="cannot be loaded") as refusal:
        load(folder)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("name", [store.CARD, store.WEIGHTS])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_refused_at_once(name: str, kind: str, folder: Path) -> None:
    (folder / name).unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
    else:
        (folder / name).symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match=r"^model = "):
        load(folder)


@pytest.mark.parametrize("model", ["\0", "a" * 5000, "", "/dev/null", "../" * 2000])
def test_an_impossible_name_of_a_model_is_refused(model: str) -> None:
    with pytest.raises(ConfigError, match=r"^model = "):
        load(model)


def test_a_readme_is_no_part_of_a_model(folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").unlink()
    load(folder)
    load(store.save_half(folder, tmp_path / "half"))


def test_a_flipped_bit_anywhere_in_a_model_is_refused(folder: Path) -> None:
    write_card(folder)
    load(folder)
    rng = random.Random(0)
    for name in (store.CARD, store.WEIGHTS):
        whole = (folder / name).read_bytes()
        for _ in range(60):
            data = bytearray(whole)
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            (folder / name).write_bytes(data)
            with pytest.raises(ConfigError):
                load(folder)
        (folder / name).write_bytes(whole)
    load(folder)


def test_a_model_of_an_earlier_release_loads_with_one_line_that_it_is_not_checked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        load(folder)
    assert capsys.readouterr().err.count("without a sha256 of its weights: not checked\n") == 1


def test_other_weights_under_an_old_card_are_another_model(folder: Path) -> None:
    before = Restorer.load(folder, "cpu").fingerprint
    network = create("ufvnet-lite", "tiny", 64)
    save_model(network, str(folder / store.WEIGHTS))
    assert Restorer.load(folder, "cpu").fingerprint != before


def test_the_model_that_ships_carries_its_weights_sha256() -> None:
    assert store.read_card(Path("ufvnet-lite"))["sha256"]
    assert store.damage(Path("ufvnet-lite")) is None


def test_half_precision_goes_into_no_folder_of_somebody_else(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "README.md").write_text("mine")
    with pytest.raises(ConfigError, match="ufvnet did not make it"):
        store.save_half(folder, tmp_path / "pictures")
    assert [p.name for p in (tmp_path / "pictures").iterdir()] == ["README.md"]

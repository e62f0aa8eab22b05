"""Applying a run: the command, the notebook, and what is refused before anything is written."""

import json
import os
import re
import subprocess

import numcodecs
import numpy as np
import pytest
import torch
import zarr
from made_volume import QUIET, assert_same, make_run, make_volume, smooth, tree

from helpers.apply import apply_run, main
from helpers.volumes import look_over, open_volume


@pytest.fixture
def ready(tmp_path):
    make_run(tmp_path / "run", dims=2)
    make_volume(tmp_path / "in.zarr", smooth((3, 24, 24)))
    return tmp_path


def refused(ready, says, error=ValueError, source="in.zarr", **options):
    with pytest.raises(error, match=says):
        apply_run(ready / "run", ready / source, ready / "out.zarr", **QUIET | options)
    assert not (ready / "out.zarr").exists()
    assert not list(ready.glob(".out*")), "nothing half-written"


def test_a_volume_that_does_not_fit_is_refused(ready):
    data = smooth((3, 24, 24))
    refused(ready, "is no Zarr array or group", FileNotFoundError, "nowhere.zarr")
    zarr.create_array(ready / "plain.zarr", data=data)
    refused(ready, r"does not say its spacing in nm; give it: --spacing 18.4,18.4,18.4", source="plain.zarr")
    refused(ready, r"expected 3 positive numbers in nm, one for each of zyx", source="plain.zarr", spacing=(4.0, 4.0))
    make_volume(ready / "unitless.zarr", data, unit=None)
    refused(ready, "does not say its spacing", source="unitless.zarr")
    make_volume(ready / "parsec.zarr", data, unit="parsec")
    refused(ready, r"has the unit 'parsec'; expected one of angstrom, nanometer", source="parsec.zarr")
    make_volume(ready / "turned.zarr", data, axes="xyz")
    refused(ready, r"has axes \['x', 'y', 'z'\]; expected yx or zyx", source="turned.zarr")
    make_volume(ready / "colour.zarr", data, axes="cyx")
    refused(ready, r"has 3 channels; the network takes 1", source="colour.zarr")
    make_volume(ready / "film.zarr", data, axes="tyx")
    refused(ready, r"has 3 time points; expected one", source="film.zarr")
    make_volume(ready / "signed.zarr", data.astype(np.int16))
    refused(ready, r"is of type int16; expected uint8, uint16", source="signed.zarr")
    make_volume(ready / "coarse.zarr", data, (10.0, 30.0, 30.0))
    refused(ready, r"has voxels of 30 x 30 nm, the training had 10 x 10 nm; --any-spacing", source="coarse.zarr")
    apply_run(ready / "run", ready / "coarse.zarr", ready / "allowed.zarr", any_spacing=True, **QUIET)
    group = zarr.create_group(ready / "folder.zarr")
    group.create_array("em", data=data)
    refused(ready, r"is a Zarr group without an OME image; it holds em", source="folder.zarr")
    refused(ready, r"reduce is 5, which does not divide images of 24 x 24", reduce=5)
    refused(ready, r"level is 1; .* has 1 resolutions, from 0", level=1)
    make_run(ready / "deep" / "run", dims=3)
    make_volume(ready / "deep" / "in.zarr", data[0], (10.0, 10.0), axes="yx")
    refused(ready / "deep", "is a 2-D image; the network is 3-D")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.5, -0.1])
def test_numbers_that_are_no_grey_are_named_with_their_block(ready, value):
    data = (smooth((3, 24, 24)) / 255).astype(np.float32)
    data[1, 9, 17] = value
    make_volume(ready / "bad.zarr", data)
    with pytest.raises(ValueError, match=r"voxel \[1, 9, 17\], in block \d+ \(voxels .*\): .* lie in \[0, 1\]"):
        apply_run(ready / "run", ready / "bad.zarr", ready / "out.zarr", block=(1, 8, 8), **QUIET)


def test_a_checkpoint_that_does_not_fit_is_refused(ready):
    path = ready / "run" / "checkpoints" / "step-000007.pt"
    good, state = path.read_bytes(), torch.load(path, weights_only=True)
    path.write_bytes(good[: len(good) // 2])
    refused(ready, r"step-000007.pt is truncated or is no checkpoint")
    path.write_bytes(b"years of thesis")
    refused(ready, r"step-000007.pt is truncated or is no checkpoint")
    changes = {
        "has format None; this version of the package reads 1": {"format": None},
        "has 1 output channels; lov of a has 9: it is a checkpoint of another objective": {
            "task": state["task"] | {"objective": "lov"}
        },
        "has 1 output channels; bce of a, b has 2": {"task": state["task"] | {"classes": ["a", "b"]}},
        r"is a checkpoint of dice; the run .* is one of bce": {"task": state["task"] | {"objective": "dice"}},
        "the weights in .* do not fit its own model": {"model": state["model"] | {"width": 5}},
        "network is 'unet-9000'; expected one of unet, resnet": {"model": state["model"] | {"name": "unet-9000"}},
        "does not say its spacing": {"task": {k: v for k, v in state["task"].items() if k != "spacing"}},
        "has no option 'gama'": {"task": state["task"] | {"options": {"gama": 1}}},
    }
    for says, change in changes.items():
        torch.save(state | change, path)
        if "lov" in says:
            (ready / "run" / "parameters.json").write_text('{"loss": "lov"}')
        refused(ready, says)
        (ready / "run" / "parameters.json").write_text('{"loss": "bce"}')
    torch.save({k: v for k, v in state.items() if k != "task"}, path)
    refused(ready, "lacks task; it is not a checkpoint that can be used here")
    path.unlink()
    refused(ready, "has no checkpoints/step-NNNNNN.pt", FileNotFoundError)


def test_options_that_make_no_sense_are_refused(ready):
    refused(ready, "scores is 'half'; expected float32, uint8 or none", scores="half")
    refused(ready, "instances is 'all'; expected volume, sections or none", instances="all")
    refused(ready, "boundaries name 'b'; the network's classes are a", boundaries=["b"])
    refused(ready, r"block is \(3, 9, 8\); expected 3 sizes, multiples of 4", block=(3, 9, 8))
    refused(ready, "2 cuts for 1 classes", cut=(0.1, 0.2))
    refused(ready, "the given cut of a is nan", cut=float("nan"))
    refused(ready, "seed height of a is -1", seed_height=-1)
    refused(ready, "overlap is 0; expected at least 1 voxel", overlap=0)
    refused(ready, "step is 'dance'", step="dance")
    refused(ready, "memory is -5; expected MB, more than 0", memory=-5)
    refused(ready, "threads is -3; expected 1 or more, or 0: as torch is set", threads=-3)
    refused(ready, "workers is -1; expected 1 or more, or 0: the network's own number", workers=-1)
    refused(ready, "level is 1, but .*in.zarr/0 is one array", source="in.zarr/0", level=1)
    for white in (0, -1, 256, float("nan")):
        refused(ready, f"white is {white}; expected a grey value above 0 that .*in.zarr, uint8, can hold", white=white)
    (ready / "run" / "decoding.json").write_text('{"b": {}}')
    refused(ready, "decoding.json has nothing for class 'a'; it has b")
    (ready / "run" / "decoding.json").write_text('{"a": {"cut": NaN, "seed_height_nm": 5}}')
    refused(ready, "the tuned cut of a is nan; expected a number")
    (ready / "run" / "decoding.json").unlink()
    refused(ready, "has no decoding.json with what was chosen on validation; give cut", FileNotFoundError)
    apply_run(ready / "run", ready / "in.zarr", ready / "out.zarr", cut="natural", instances="none", **QUIET)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"a": {"cut": 0.5, "seed_', r"decoding\.json is torn or is no JSON \(Unterminated string.*give cut"),
        ("[1, 2]", r"decoding\.json holds a list; expected an object.*give cut"),
        (
            '{"a": {"cut": 0.5}}',
            r"decoding\.json has None as seed_height_nm of class 'a'; expected a number: give seed_h",
        ),
        ('{"a": {"seed_height_nm": 5}}', r"decoding\.json has None as cut of class 'a'; expected a number: give cut"),
        ('{"a": {"cut": 0.5, "seed_height_nm": "5 nm"}}', r"decoding\.json has '5 nm' as seed_height_nm of class 'a'"),
        ('{"a": 0.5}', r"decoding\.json has None as cut of class 'a'"),
    ],
)
def test_a_damaged_decoding_is_named(ready, content, says):
    (ready / "run" / "decoding.json").write_text(content)
    refused(ready, says)
    apply_run(ready / "run", ready / "in.zarr", ready / "out.zarr", cut="natural", seed_height=5, **QUIET)


def test_what_is_not_asked_of_a_decoding_may_lack(ready):
    (ready / "run" / "decoding.json").write_text('{"a": {"cut": 0.5}}')
    apply_run(ready / "run", ready / "in.zarr", ready / "one.zarr", instances="none", **QUIET)
    (ready / "run" / "decoding.json").write_text('{"a": {"seed_height_nm": 5}}')
    apply_run(ready / "run", ready / "in.zarr", ready / "two.zarr", cut=0.5, **QUIET)


def test_damaged_parameters_are_named(ready):
    (ready / "run" / "parameters.json").write_text('{"loss": "b')
    refused(ready, r"parameters\.json is torn or is no JSON \(Unterminated string")


@pytest.mark.parametrize("compressor", ["zstd", "gzip", "none"])
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("seen", ["when opened", "by a block"])
def test_a_truncated_chunk_is_named_with_its_block(ready, monkeypatch, capsys, compressor, version, seen):
    codecs = {
        (2, "zstd"): numcodecs.Zstd(),
        (2, "gzip"): numcodecs.GZip(),
        (3, "zstd"): zarr.codecs.ZstdCodec(),
        (3, "gzip"): zarr.codecs.GzipCodec(),
    }
    more = {"zarr_format": version, "compressors": codecs.get((version, compressor))}
    zarr.create_array(ready / "bad.zarr", data=smooth((3, 24, 24)), chunks=(2, 16, 16), **more)
    name = "bad.zarr/" + ("c/1/0/1" if version == 3 else "1.0.1")
    file = ready / name
    file.write_bytes(file.read_bytes()[:7])
    place = "voxels 2:3, 0:16, 16:24"
    if seen == "by a block":  # as of a volume so large that not every chunk is looked at
        monkeypatch.setattr("helpers.volumes.look_over", lambda array: ("content", 255.0))
        place = r"block \d+ \(voxels 2:3, 0:24, 0:24\)"
    monkeypatch.chdir(ready)
    assert main(["run", "bad.zarr", "out.zarr", "--spacing", "10,10,10", "--block", "1,24,24"]) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(rf"helpers.apply: {re.escape(name)} cannot be read, in {place}: .+; restore it\n", said), said


def test_a_truncated_shard_is_named(tmp_path):
    data = smooth((8, 32, 32))
    zarr.create_array(tmp_path / "bad.zarr", data=data, chunks=(4, 8, 8), shards=(8, 16, 16))
    file = tmp_path / "bad.zarr" / "c" / "0" / "1" / "0"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"bad\.zarr/c/0/1/0 cannot be read, in voxels \d+:\d+, "):
        open_volume(tmp_path / "bad.zarr", (10.0, 10.0, 10.0))


def test_out_of_memory_is_no_damage(tmp_path, monkeypatch):
    zarr.create_array(tmp_path / "in.zarr", data=smooth((3, 8, 8)))
    volume = open_volume(tmp_path / "in.zarr", (10.0, 10.0, 10.0))

    def full(self, box):
        raise MemoryError("no room")

    monkeypatch.setattr(zarr.Array, "__getitem__", full)
    with pytest.raises(MemoryError, match="no room"):
        volume.read((slice(0, 1),) * 3)


def test_damaged_metadata_of_an_image_are_named(ready):
    data = smooth((3, 24, 24))

    def image(name, change):
        group = zarr.open_group(make_volume(ready / name, data), mode="r+")
        ome = group.attrs["ome"]
        change(ome["multiscales"][0])
        group.attrs["ome"] = ome
        return name

    broken = r"broken.*\.zarr has OME metadata that cannot be used \(.*\); expected multiscales with axes and d"
    refused(ready, broken, source=image("broken1.zarr", lambda m: m.pop("datasets")))
    refused(ready, broken, source=image("broken2.zarr", lambda m: m["datasets"][0].pop("path")))
    refused(ready, broken, source=image("broken3.zarr", lambda m: m.update(datasets=7)))
    refused(ready, broken, source=image("broken4.zarr", lambda m: m.update(axes=7)))
    refused(ready, r"give it: --spacing", source="broken1.zarr/0")
    apply_run(ready / "run", ready / "broken1.zarr" / "0", ready / "alone", spacing=(10.0,) * 3, **QUIET)
    steps = "coordinateTransformations"
    unscaled = r"\.zarr has coordinateTransformations that cannot be used \(.*\); expected scales of 3 numbers"
    refused(ready, unscaled, source=image("four.zarr", lambda m: m["datasets"][0][steps][0].pop("scale")))
    refused(ready, unscaled, source=image("five.zarr", lambda m: m["datasets"][0][steps][0].update(scale=[1, 2])))
    refused(ready, unscaled, source=image("six.zarr", lambda m: m["datasets"][0].update({steps: [7]})))
    gone = r"gone\.zarr has no array '7' that can be read \(.*\), though its metadata name it as resolution 0; rest"
    refused(ready, gone, source=image("gone.zarr", lambda m: m["datasets"][0].update(path="7")))
    make_volume(ready / "torn.zarr", data)
    file = ready / "torn.zarr" / "0" / "zarr.json"
    whole = file.read_text()
    for content in (whole[:90], "[]", whole.replace('"shape"', '"form"')):
        file.write_text(content)
        refused(ready, r"torn\.zarr has no array '0' that can be read", source="torn.zarr")
        refused(ready, r"torn\.zarr/0 is no Zarr array or group", FileNotFoundError, source="torn.zarr/0")
    file.unlink()
    zarr.create_group(ready / "torn.zarr" / "0")
    refused(ready, r"torn\.zarr has no array '0' that can be read", source="torn.zarr")


@pytest.mark.parametrize("device", ["mps", "meta", "xpu:0", "cuda:-1", "cpu:0", ""])
def test_devices_that_the_package_does_not_know_are_refused(ready, capsys, monkeypatch, device):
    monkeypatch.chdir(ready)
    assert main(["run", "in.zarr", "out.zarr", "--device", device]) == 1
    said = capsys.readouterr().err
    assert said == f"helpers.apply: device is {device!r}; expected auto, cpu, cuda or cuda:N\n"
    assert not (ready / "out.zarr").exists()


def test_a_cuda_device_that_is_not_there_is_refused(ready, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device in ("cuda:2", "cuda:256"):
        refused(ready, f"'{device}', but torch sees 2 CUDA devices here: expected cuda:0 to cuda:1", device=device)


def test_jobs_that_are_none_are_refused_before_anything_is_read(tmp_path):
    for job, says in (((3, 0), "3/0; expected 1/1 to 1/1"), ((0, 4), "0/4; expected 1/4 to 4/4"), ((1, -2), "1/-2")):
        with pytest.raises(ValueError, match=f"job is {says}"):
            apply_run(tmp_path / "no", tmp_path / "no", tmp_path / "no", job=job, step="predict", **QUIET)


def test_12_bits_in_16_want_their_white_said(ready):
    data = smooth((3, 24, 24)).astype(np.uint16) * 16
    make_volume(ready / "twelve.zarr", data)
    refused(
        ready, rf"16 bits, and the brightest voxel looked at is {data.max()}, 6.*--white 4095", source="twelve.zarr"
    )
    make_volume(ready / "scaled.zarr", data.astype(np.float32) / np.float32(4080))
    found = []
    for source, white in (("twelve.zarr", 4080), ("scaled.zarr", None), ("twelve.zarr", 65535)):
        out = apply_run(ready / "run", ready / source, ready / f"{source}{white}.out", white=white, **QUIET)
        found.append(zarr.open_group(out, mode="r")["scores/a/0"][:])
    assert np.abs(found[0] - found[1]).max() < 1e-5 < np.abs(found[0] - found[2]).max()
    data[2, 5, 7] = 4090
    make_volume(ready / "brighter.zarr", data)
    with pytest.raises(ValueError, match=r"holds 4090 at voxel \[2, 5, 7\], .* greys must lie in \[0, 4080\] every"):
        apply_run(ready / "run", ready / "brighter.zarr", ready / "b.out", white=4080, **QUIET)


@pytest.mark.parametrize("reduce", [1, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_grey_is_a_share_of_white(tmp_path, reduce, dtype):
    data = smooth((3, 8, 8)).astype(dtype)
    make_volume(tmp_path / "in.zarr", data)
    volume = open_volume(tmp_path / "in.zarr", reduce=reduce, white=255)
    expected = data.reshape(3, 8 // reduce, reduce, 8 // reduce, reduce).mean((2, 4), np.float64) / 255
    box = tuple(slice(0, n) for n in volume.shape)
    np.testing.assert_allclose(volume.read(box)[0], expected, rtol=1e-6)


def test_a_volume_is_known_by_its_voxels(tmp_path):
    """Every voxel of a small one counts; of a large one, chunks all over it, and no more than a bounded number."""
    data = smooth((20, 40, 40))
    seen = set()
    for k, place in enumerate([None, (0, 0, 0), (19, 39, 39), (9, 3, 33), (17, 20, 1)]):
        changed = data.copy()
        if place:
            changed[place] ^= 1
        array = zarr.create_array(tmp_path / f"{k}.zarr", data=changed, chunks=(16, 16, 16))
        found, brightest = look_over(array)
        assert brightest == changed.max() and found == look_over(array)[0]
        seen.add(found)
    assert len(seen) == 5

    class Counted:
        shape, chunks, dtype = (10**4,) * 3, (50,) * 3, np.dtype(np.uint8)

        def __init__(self, blank):
            self.blank, self.read = blank, []

        def __getitem__(self, box):
            self.read.append([s.start for s in box])
            return np.full((50,) * 3, 7, np.uint8) if self.blank else data[:5, :5, :5]

    for blank, most in ((True, 256), (False, 64)):
        array = Counted(blank)
        look_over(array)
        places = np.array(array.read)
        assert len(places) == len(np.unique(places, axis=0)) == most
        octants = (places >= 5000) @ [4, 2, 1]
        assert len(np.unique(octants)) == 8 and np.bincount(octants).min() > most / 16


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--spacing", "a,4"), "argument --spacing: 'a,4' is given; expected numbers with commas between, such as 1"),
        (("--cut", "best"), "argument --cut: 'best' is given; expected tuned, natural, or numbers such as 0.5"),
        (("--block", "9,x"), "argument --block: '9,x' is given; expected whole numbers with commas between, such as"),
        (("--job", "three"), "argument --job: 'three' is given; expected a part of how many, such as 3/16"),
        (("--memory", "much"), "argument --memory: 'much' is given; expected a number"),
        (("--threads", "2.5"), "argument --threads: '2.5' is given; expected a whole number"),
    ],
)
def test_options_of_the_command_that_cannot_be_read(capsys, option, says):
    with pytest.raises(SystemExit) as ended:
        main(["run", "in.zarr", "out.zarr", *option])
    assert ended.value.code == 2 and says in capsys.readouterr().err


def test_a_score_without_bounds_does_not_go_into_a_byte(tmp_path):
    make_run(tmp_path / "run", dims=2, objective="distance")
    make_volume(tmp_path / "in.zarr", smooth((2, 16, 16)))
    refused(tmp_path, "the scores of distance have no bounds; choose float32", scores="uint8")
    refused(tmp_path, "the natural cut of a is None; expected a number", cut="natural")


def test_an_output_of_other_settings_or_of_somebody_else_is_refused(ready):
    call = (ready / "run", ready / "in.zarr")
    apply_run(*call, ready / "out.zarr", **QUIET)
    before = tree(ready / "out.zarr")
    with pytest.raises(FileExistsError, match=r"begun with other settings \(cuts: {'a': 0.5} there, {'a': 0.4} here\)"):
        apply_run(*call, ready / "out.zarr", cut=0.4, **QUIET)
    with pytest.raises(FileExistsError, match=r"\(block: .*white: 255.0 there, 254.0 here"):
        apply_run(*call, ready / "out.zarr", block=(1, 8, 8), white=254, **QUIET)
    make_volume(ready / "other.zarr", smooth((3, 28, 24)))
    with pytest.raises(FileExistsError, match="begun with another volume, or level, than .*other.zarr"):
        apply_run(ready / "run", ready / "other.zarr", ready / "out.zarr", block=(1, 8, 8), **QUIET)
    assert_same(tree(ready / "out.zarr"), before)
    (ready / "thesis").mkdir()
    (ready / "thesis" / "chapter.txt").write_text("years")
    with pytest.raises(FileExistsError, match="was not written by this command; choose another output"):
        apply_run(*call, ready / "thesis", **QUIET)
    assert (ready / "thesis" / "chapter.txt").read_text() == "years"


@pytest.mark.parametrize(
    ("network", "norm", "layer"),
    [
        ("unet", "group", "layer down.0.1 is GroupNorm"),
        ("unet", "instance", "layer down.0.1 is InstanceNorm2d"),
        ("resnet", "instance", "layer blocks.0.1 is InstanceNorm2d"),
    ],
)
def test_a_network_that_normalises_by_what_it_sees_is_refused(tmp_path, network, norm, layer):
    with torch.random.fork_rng():
        make_run(tmp_path / "run", dims=2, network=network, model={"norm": norm})
    make_volume(tmp_path / "in.zarr", smooth((3, 24, 24)))
    refused(tmp_path, f"{layer}, which normalises by what it sees")


def test_an_image_too_small_to_be_reflected_is_refused(tmp_path):
    make_run(tmp_path / "run", dims=2, network="resnet", model={"blocks": 1, "variant": "cyclegan"})
    make_volume(tmp_path / "in.zarr", smooth((3, 4, 24)))
    refused(tmp_path, "an image of 4 x 24 is too small: this network pads by reflection and needs at least 5 voxels")


def test_the_command(ready, capsys, monkeypatch):
    monkeypatch.chdir(ready)
    assert main(["run", "in.zarr", "out.zarr", "--instances", "none", "--job", "1/2"]) == 0
    assert "job 1 of 2 has done its predict; when all have: --finish" in capsys.readouterr().out
    assert main(["run", "in.zarr", "out.zarr", "--instances", "none", "--finish"]) == 1
    assert main(["run", "in.zarr", "out.zarr", "--instances", "none", "--job", "2/2"]) == 0
    assert main(["run", "in.zarr", "out.zarr", "--instances", "none", "--finish"]) == 0
    assert "out.zarr is complete" in capsys.readouterr().out
    assert main(["run", "in.zarr", "out.zarr", "--instances", "none", "--cut", "0.3"]) == 1
    assert "begun with other settings (cuts" in capsys.readouterr().err
    assert main(["nowhere", "in.zarr", "x.zarr"]) == 1
    assert "nowhere has no checkpoints" in capsys.readouterr().err


def test_the_notebooks_cells_apply_a_run(ready, root, monkeypatch, capsys):
    """In this process; below as a reader would, with papermill."""
    monkeypatch.chdir(ready)
    cells = json.loads((root / "notebooks" / "apply.ipynb").read_text())["cells"]
    sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"][1:]  # the first one installs
    sources.insert(1, '# Parameters\nrun = "run"\nsource = "in.zarr"\noutput = "out.zarr"\nboundaries = ["a"]')
    values = {"In": sources}
    for source in sources:
        exec(source, values)
    assert zarr.open_group(ready / "out.zarr", mode="r").attrs["complete"]
    assert (ready / "runs" / "apply" / "applied.png").is_file()
    said = capsys.readouterr().out
    assert "trained on none: a" in said and "instances/a: (3, 24, 24), uint32" in said
    masks = zarr.open_group(ready / "out.zarr", mode="r")["masks/a/0"][:]
    assert values["counted"]["a"]["share"] == (masks > 0).mean()


@pytest.mark.slow
def test_the_notebook_applies_a_run_and_goes_on(ready, root):
    def papermill(*arguments):
        command = ["papermill", "--no-progress-bar", str(root / "notebooks" / "apply.ipynb"), "out.ipynb", *arguments]
        environment = os.environ | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        return subprocess.run(command, cwd=ready, capture_output=True, text=True, env=environment)

    refused = papermill("-p", "source", "in.zarr")
    assert refused.returncode != 0 and "run is empty: say which, with -p run FOLDER" in refused.stderr
    call = ["-p", "run", "run", "-p", "source", "in.zarr", "-p", "output", "out.zarr"]
    done = papermill(*call)
    assert done.returncode == 0, done.stderr[-2000:]
    assert zarr.open_group(ready / "out.zarr", mode="r").attrs["complete"]
    assert (ready / "runs" / "apply" / "applied.png").is_file()
    other = papermill(*call, "-r", "cut", "0.3")
    assert other.returncode != 0 and "begun with other settings (cuts" in other.stderr

"""A plan at work on its output store: the stages predict, label, link and relabel, a block at a time."""

import contextlib
import errno
import itertools
import shutil
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from helpers import planning
from helpers.blocks import Box, Grid, Record, fragments, grow, link, meet, within, work
from helpers.claims import claim, load, save
from helpers.memory import give_back
from helpers.volumes import create_image

PROGRESS = ".progress"  # in the output store, until it is complete


class Application:
    """A plan at work on its output store."""

    def __init__(self, plan: planning.Plan, output: Path, log: Callable[[str], None]):
        import zarr

        self.plan, self.output, self.log = plan, output, log
        self.window = threading.Semaphore(plan.windows)
        self.progress = output / PROGRESS
        with self._room("to create it"):
            claim(output, plan.settings, self._create)
        self.root = zarr.open_group(output, mode="r+")
        self.complete = self.root.attrs["complete"]
        if self.complete:
            shutil.rmtree(self.progress, ignore_errors=True)

    def advance(self, step: str, job: tuple[int, int], workers: int) -> None:
        """Do a step: a job's share of predict or label, or all that is left."""
        plan = self.plan
        stages = {"predict": (plan.grid, self.predict)}
        if plan.mode != "none":
            stages |= {"label": (plan.label_grid, self.label), "relabel": (plan.label_grid, self.relabel)}
        wanted = {"all": list(stages), "finish": [s for s in stages if s != "predict"]}.get(step, [step])
        if step == "label" and plan.mode == "none":
            raise ValueError("step is 'label', but instances is 'none'")
        with self._locked(f"{step}-{job[0]}of{job[1]}"):
            if step in ("label", "finish"):
                self._require("predict", plan.grid)
            for stage in wanted:
                if stage == "relabel":
                    self._require("label", plan.label_grid)
                    self._link()
                grid, do = stages[stage]
                record = Record(self.progress, stage, *job)
                share = grid.share(*job)
                work(grid, record, share, self._guarded(grid, do), workers=workers, log=self.log)
            if step in ("all", "finish"):
                self._finish()
            elif job[1] > 1:
                self.log(f"job {job[0]} of {job[1]} has done its {step}; when all have: --finish")

    # --- the stages, a block each

    def predict(self, index: int) -> None:
        """Scores, masks and, where the network tells it, the distance inside."""
        plan, box = self.plan, self.plan.grid.box(index)
        scores, distances = plan.decode_box(box, plan.grid.describe(index))
        if plan.network.dims == 3:  # a block takes long, and leaves much; one of sections neither
            give_back()
        for k, name in enumerate(plan.classes):
            if plan.scores == "uint8":
                low, high = plan.decoding.bounds
                self.root[f"scores/{name}/0"][box] = np.rint((scores[k] - low) * (255 / (high - low))).astype(np.uint8)
            elif plan.scores == "float32":
                self.root[f"scores/{name}/0"][box] = scores[k]
            self.root[f"masks/{name}/0"][box] = (scores[k] > plan.cuts[name]).astype(np.uint8)
            if distances is not None and name not in plan.boundaries:
                self._array("distance", name)[box] = distances[k]

    def label(self, index: int) -> None:
        """Instances of a block and its surroundings, cut to the block; its shell apart, for linking."""
        plan, core = self.plan, self.plan.label_grid.box(index)
        window = grow(core, plan.overlap, plan.volume.shape)
        for name in plan.classes:
            mask = self.root[f"masks/{name}/0"][window] > 0
            predicted = plan.has_distance and name not in plan.boundaries
            distance = self._array("distance", name)[window] if predicted else None
            with self.window if mask.any() else contextlib.nullcontext():
                labels = plan.label_window(name, mask, distance)
                give_back()
            found = fragments(labels, window, core, plan.linked_axes, plan.volume.shape)
            self._array("fragments", name)[core] = found.labels
            save(self._shell_file(name, index), where=found.where, label=found.label, counts=[found.n_core, found.n])

    def relabel(self, index: int) -> None:
        """The ids of the volume's objects instead of the block's own; what a boundary is goes to the nearest object."""
        box = self.plan.label_grid.box(index)
        for name in self.plan.classes:
            if name in self.plan.boundaries:
                window = grow(box, self.plan.overlap, self.plan.volume.shape)
                with self.window:
                    ids = self.plan.fill(self._ids_of(name, window))[within(box, window)]
            else:
                ids = self._ids_of(name, box)
            self.root[f"instances/{name}/0"][box] = ids

    def _ids_of(self, name: str, window: Box) -> np.ndarray:
        """Ids of a window, from the fragments of all the blocks that it touches."""
        (ids, first), grid = self._ids(name), self.plan.label_grid
        labels = self._array("fragments", name)[window]
        found = np.zeros(labels.shape, np.uint32)
        ranges = [range(s.start // b, -(-s.stop // b)) for s, b in zip(window, grid.block, strict=True)]
        for corner in itertools.product(*ranges):
            index = int(np.ravel_multi_index(corner, grid.counts))
            part = within(meet(grid.box(index), window), window)
            found[part] = np.where(labels[part] > 0, ids[first[index] + labels[part]], 0)
        return found

    def _link(self) -> None:
        plan = self.plan
        for k, name in enumerate(plan.classes):
            path = self.progress / f"ids-{k}.npz"
            if path.exists():
                continue
            read = lru_cache(64)(lambda index, name=name: load(self._shell_file(name, index)))
            counts = np.array([read(index)["counts"] for index in range(len(plan.label_grid))])
            ids = link(
                plan.label_grid,
                counts,
                lambda index, read=read: (read(index)["where"], read(index)["label"]),
                plan.linked_axes,
                any_overlap=plan.exact_components(name),
            )
            save(path, ids=ids, first=np.concatenate(([0], np.cumsum(counts[:, 1])[:-1])))
            self.log(f"link: {ids.max(initial=0)} objects of {name} from {int(counts[:, 0].sum())} pieces")

    @lru_cache(16)  # noqa: B019 - lives as long as the process
    def _ids(self, name: str):
        found = load(self.progress / f"ids-{self.plan.classes.index(name)}.npz")
        return found["ids"], found["first"]

    def _finish(self) -> None:
        self._require("predict", self.plan.grid)
        counts = {}
        if self.plan.mode != "none":
            self._require("relabel", self.plan.label_grid)
            counts = {name: int(self._ids(name)[0].max(initial=0)) for name in self.plan.classes}
        for path in self.output.rglob("*.partial"):  # what a killed process was writing
            path.unlink(missing_ok=True)
        with self._room("to note that it is complete"):
            self.root.attrs.update({"complete": True, "n_instances": counts})
        shutil.rmtree(self.progress, ignore_errors=True)
        self.log(f"{self.output} is complete")

    # --- the store

    def _create(self, folder: Path) -> None:
        import zarr

        plan = self.plan
        attributes = {"settings": plan.settings, "provenance": plan.provenance, "complete": False}
        root = zarr.create_group(folder, zarr_format=3, attributes=attributes)
        hidden = zarr.create_group(folder / PROGRESS, zarr_format=3)
        common = {"axes": plan.volume.axes, "spacing": plan.volume.spacing}
        kinds = {"masks": (root, np.uint8, plan.grid, plan.chunk)}
        if plan.scores != "none":
            kinds["scores"] = (root, np.dtype(plan.scores), plan.grid, plan.chunk)
        if plan.mode != "none":
            kinds["instances"] = (root, np.uint32, plan.label_grid, plan.label_chunk)
            kinds["fragments"] = (hidden, np.int32, plan.label_grid, plan.label_chunk)
            if plan.has_distance:
                kinds["distance"] = (hidden, np.float32, plan.grid, plan.chunk)
        for kind, (group, dtype, grid, chunk) in kinds.items():
            for name in plan.classes:
                label = kind in ("masks", "instances")
                create_image(group, f"{kind}/{name}", dtype, grid, chunk, **common, label=label)
        if plan.scores == "uint8":
            root["scores"].attrs["score"] = {"of 0": plan.decoding.bounds[0], "of 255": plan.decoding.bounds[1]}

    @lru_cache(64)  # noqa: B019
    def _array(self, kind: str, name: str):
        import zarr

        return zarr.open_array(self.progress / kind / name / "0", mode="r+")

    def _shell_file(self, name: str, index: int) -> Path:
        return self.progress / "shells" / f"{self.plan.classes.index(name)}-{index}.npz"

    def _require(self, stage: str, grid: Grid) -> None:
        missing = np.nonzero(~Record(self.progress, stage).done(len(grid)))[0]
        if len(missing):
            raise ValueError(
                f"{len(missing)} of {len(grid)} blocks of {self.output} have not gone through {stage} (the first is "
                f"{grid.describe(int(missing[0]))}): run the jobs of that step first, or without --job all in one"
            )

    def _guarded(self, grid: Grid, do: Callable[[int], None]) -> Callable[[int], None]:
        def guarded(index: int) -> None:
            with self._room(f"at {grid.describe(index)}"):
                do(index)

        return guarded

    @contextlib.contextmanager
    def _room(self, when: str):
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise OSError(
                error.errno,
                f"no room for {self.output}, {when} ({error.strerror}). What is finished is kept: make room, and run "
                "the same command again",
            ) from error

    @contextlib.contextmanager
    def _locked(self, what: str):
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.progress / f"{what}.lock", timeout=0):
                yield
        except Timeout:
            raise ValueError(f"another process is at {what} of {self.output}; let it end, or stop it first") from None

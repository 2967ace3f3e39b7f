"""The same locks, params and code give the same models: what stages read, and what makes trainings run again.

One repository: its first refresh was traced; then come new adapters and captions, and then changed params.
"""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from autolora.dataset.store import TRAINING_LOCK
from autolora.params import load
from autolora.stages import STAGES
from playground.repository import ROOT, Repository, change_params
from tests.integration.conftest import FirstDay, run_first_day

COUNTED_CASES = """
import os, sys
if "flows.experiments" in sys.orig_argv:
    from autolora.experiments import stage
    score = stage.score_images
    def counted(*arguments):
        with open(os.environ["CASES"], "a") as stream:
            stream.write("case\\n")
        if os.environ.get("FAILS_AT") == str(len(open(os.environ["CASES"]).readlines())):
            raise RuntimeError("injected")
        return score(*arguments)
    stage.score_images = counted
"""
"""a sitecustomize.py with which `experiments` counts the cases that it scores in a file, and fails at one"""
NUM_CASES, FAILED_CASE = 4, 3
TRACER = Path(__file__).parents[1] / "support" / "tracer"
MODELS = ("models.pipeline", "models.vlm", "judges.clip", "judges.vlm", "judges.classifier")
"""params that name the folder of a model; a folder with other content must have another name"""
DECIDE_NO_NUMBER = {
    "models.device": "where it is computed: values differ in their last bits",
    "models.threads": "the same",
    "hubs.*": "how hubs are asked; files are verified by their hashes, and only a refresh asks for lists",
    "vllm.*": "which servers answer",
    "operation.engine": "on what it is computed: rows are equal",
    "operation.processes": "the same: weights are equal up to rounding",
    "refresh.timeout_h": "how long a stage may take",
    "storage.*": "where batches are kept",
}
"""params that no stage declares"""
NEED_NO_DECLARATION = {
    "params.yaml": "its values are params",
    "pyproject.toml": "Prefect looks for settings",
    "digests/code/*.json": "flows compare them with the code; of the stages that depend on them, each declares its own",
    "cache/*": "a machine's own state, of which no number depends",
    "data/watermarks.json": "how far lists have been read; without it they are read as a whole",
    "data/pool/batches*": "files are named by their sha256, which locks and tables state",
    "data/pool/open/*": "the same",
    "data/pool/incoming/*": "the same",
    "data/pool/batches.jsonl": "where a file is; its sha256 names it",
    "data/drawings/drawings.jsonl": "which images of a killed run the open batch keeps",
    "data/pool/sketches/*": "sketches are named by sha256 and recipe",
    "digests/pool.json": "names the recipe of the sketches",
    "metrics/summary.json": "each command replaces its own rows",
    "metrics/details.json": "the same",
}
LOCKED = {
    "data/captions/captions.jsonl": "only captions that the training lock counts are used",
    "data/dataset/adapters.lance": "which locked adapters the catalog still lists",
}
"""what trainings read besides the training lock"""
TRAINED_BY_THE_LOCK = ("encoder", "fusion", "experiments")
DEFINITIONS: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.fixture(scope="module")
def first_day(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> FirstDay:
    """A first refresh of this module's own, in which each stage writes what it reads to `traces`."""
    day = FirstDay(tmp_path_factory.mktemp("traced"))
    (traces := day.folder / "traces").mkdir()
    path = os.pathsep.join(filter(None, (str(TRACER), os.environ.get("PYTHONPATH"))))
    run_first_day(day.folder, prefect_api, AUTOLORA_TRACE=str(traces), PYTHONPATH=path)
    return day


@pytest.fixture(scope="module")
def traces(first_day: FirstDay) -> dict[str, dict[str, list[str]]]:
    """Stage -> what its run in the first refresh read; the images of one adapter were not there."""
    return {path.stem: json.loads(path.read_text()) for path in (first_day.folder / "traces").glob("*.json")}


def owner(path: str) -> str:
    """Return the stage that writes a file; "" if none does."""
    for stage, definition in DEFINITIONS.items():
        for output in map(name_of, definition["outs"] + definition.get("metrics", [])):
            if path == output or path.startswith(f"{output}/"):
                return stage
    return ""


def name_of(output: Any) -> str:
    return output if isinstance(output, str) else next(iter(output))


@pytest.mark.parametrize("stage", ["crawl", *STAGES])
def test_a_stage_declares_the_params_that_it_reads(
    traces: dict[str, dict[str, list[str]]], stage: str
) -> None:
    declared = DEFINITIONS[stage]["params"]
    undeclared = [
        name
        for name in traces[stage]["params"]
        if not {name, name.split(".")[0]} & set(declared)
        and not any(fnmatch(name, pattern) for pattern in DECIDE_NO_NUMBER)
    ]
    assert not undeclared, f"add them to the stage {stage} in dvc.yaml"
    assert traces[stage]["params"], "the tracer has seen nothing"


@pytest.mark.parametrize("stage", ["crawl", *STAGES])
def test_a_stage_declares_the_files_that_it_reads(
    repository: Repository, traces: dict[str, dict[str, list[str]]], stage: str
) -> None:
    params, definition = load(repository.root / "params.yaml"), DEFINITIONS[stage]
    declared = {
        path.replace("${evaluation.themes}", str(params.evaluation.themes))
        for path in definition.get("deps", ())
    }
    values = {name: getattr(getattr(params, name.split(".")[0]), name.split(".")[1]) for name in MODELS}
    models = [values[name] for name in MODELS if {name, name.split(".")[0]} & set(definition["params"])]
    exempt = [*NEED_NO_DECLARATION, *(LOCKED if stage in TRAINED_BY_THE_LOCK else ())]
    undeclared = [
        path
        for path in traces[stage]["files"]
        if not path.endswith((".py", ".pyc", "__path_hook__"))
        and path not in declared
        and owner(path) != stage
        and f"digests/{owner(path)}.json" not in declared
        and not any(path.startswith(f"{folder}/") for folder in (*declared, *models))
        and not any(fnmatch(path, pattern) for pattern in exempt)
    ]  # fmt: skip
    assert not undeclared, f"add them to the stage {stage} in dvc.yaml"
    assert "params.yaml" in traces[stage]["files"], "the tracer has seen nothing"


@pytest.fixture(scope="module")
def models_before(repository: Repository) -> dict[str, Any]:
    """The lock and the models after the first refresh."""
    return state(repository)


def state(repository: Repository) -> dict[str, Any]:
    """Return the training lock, and the digests of the models as files."""
    paths = [TRAINING_LOCK, "digests/encoder.json", "digests/fusion.json"]
    return {path: (repository.root / path).read_text() for path in paths}


def run_stages(output: str) -> set[str]:
    """Return the names of the stages that DVC ran."""
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage ")}


def test_new_adapters_and_late_captions_train_nothing(
    repository: Repository, models_before: dict[str, Any]
) -> None:
    locked = locked_images(repository)
    deferred = [image for row in repository.listing() for _, image in row.get("deferred_renderings", ())]
    assert deferred
    repository.hub({"day": 3})
    output = repository.refresh(day=3)
    captioned = {json.loads(line)["image"] for line in captions(repository).read_text().splitlines()}
    late = {image["sha256"] for image in deferred} & captioned
    assert late and not late & locked
    assert not run_stages(output) & {"encoder", "fusion", "experiments"}
    assert {"captions", "dataset", "index"} <= run_stages(output)
    assert state(repository) == models_before
    repository.commit("late captions")


def test_a_caption_that_is_asked_again_trains_nothing(
    repository: Repository, models_before: dict[str, Any]
) -> None:
    path, locked = captions(repository), locked_images(repository)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    row = next(row for row in rows if row["image"] in locked)
    row["text"] += ", asked again"
    path.unlink()  # it is a link to DVC's cache
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    ran = run_stages(repository.run("dvc", "repro").stdout)
    assert {"captions", "dataset", "index"} <= ran
    assert not ran & {"encoder", "fusion", "experiments"}
    assert state(repository) == models_before
    repository.commit("a caption asked again")


def test_another_instruction_and_captioner_train_as_from_an_empty_folder(
    repository: Repository, models_before: dict[str, Any], tmp_path: Path
) -> None:
    captioner = repository.root / "playground/models/vlm"
    shutil.copytree(captioner, other := captioner.with_name("other_vlm"))
    (other / "README.md").write_text("another revision of the same weights")
    params = repository.root / "params.yaml"
    instructions = yaml.safe_load(params.read_text())["captions"]["instructions"]
    instructions["short"] = "Name this picture in one sentence."
    vlm = {"vlm": "playground/models/other_vlm"}
    change_params(params, {"captions": {"instructions": instructions}, "models": vlm})
    index = repository.index_content()
    refused = repository.run("python", "-m", "flows.refresh", day=3, check=False)
    assert refused.returncode == 1 and "a new training is served only if you say so" in refused.stderr
    assert "encoder" in (ran := run_stages(refused.stdout)) and "fusion" not in ran
    repository.run("python", "-m", "autolora", "versions", "promote", "--reason", "compared", day=3)
    failed, completed = refresh_twice(repository, tmp_path)
    assert "fusion" in run_stages(failed.stdout)
    assert failed.returncode == 1 and "experiments: RuntimeError: injected" in failed.stderr
    assert "Served index: " in failed.stdout and repository.index_content() != index
    assert repository.search("a cat")[0]["index"] == repository.index_content()
    assert run_stages(completed.stdout) == {"crawl", "experiments"}
    after = state(repository)
    assert all(after[path] != models_before[path] for path in after)
    repository.commit("another instruction and captioner")

    repository.run("git", "clone", "-q", str(repository.root), str(tmp_path / "clone"))
    clone = replace(repository, root=tmp_path / "clone")
    clone.run("git", "rm", "-q", TRAINING_LOCK, "dvc.lock")
    shutil.copytree(captions(repository).parent, captions(clone).parent)
    clone.commit("no training lock")
    ran = run_stages(clone.run("dvc", "repro", "encoder", "fusion").stdout)
    assert {"pool", "captions", "dataset", "encoder", "fusion"} <= ran
    assert clone.digests() == repository.digests()
    assert state(clone) == after


def refresh_twice(repository: Repository, folder: Path) -> "list[subprocess.CompletedProcess[str]]":
    """Refresh with experiments that fail at a case, then without; return both runs.

    Checks that the first is recorded as failed, and that the second scores only what is left.
    """
    (folder / "sitecustomize.py").write_text(COUNTED_CASES)
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    runs, cases = [], []
    for number, fails_at in enumerate((str(FAILED_CASE), "none")):
        log = folder / f"cases{number}"
        environment = {"PYTHONPATH": path, "CASES": str(log), "FAILS_AT": fails_at}
        runs.append(repository.run("python", "-m", "flows.refresh", day=3, check=False, **environment))
        cases.append(len(log.read_text().splitlines()))
        status = repository.run("python", "-m", "autolora", "status", day=3, check=False)
        assert status.returncode == runs[-1].returncode
        words = " ".join(status.stdout.split())
        assert ("The index of 2026-01-07 is served." in words) == (fails_at != "none")
    assert cases == [FAILED_CASE, NUM_CASES - FAILED_CASE + 1]
    return runs


def test_another_dtype_trains(repository: Repository, models_before: dict[str, Any]) -> None:
    """Only up to the lock: a processor without such arithmetic takes long for the trainings themselves."""
    change_params(repository.root / "params.yaml", {"models": {"dtype": "bfloat16"}})
    before = captions(repository).read_bytes()
    ran = run_stages(repository.run("dvc", "repro", "dataset").stdout)
    assert ran == {"drawings", "captions", "dataset"}
    assert captions(repository).read_bytes() == before
    status = json.loads(repository.run("dvc", "status", "--json", "encoder", "fusion").stdout)
    for stage in ("encoder", "fusion"):
        changed = [change.get("changed deps", {}) for change in status[stage]]
        assert {TRAINING_LOCK: "modified"}.items() <= {**changed[0], **changed[-1]}.items()


def captions(repository: Repository) -> Path:
    return repository.root / "data/captions/captions.jsonl"


def locked_images(repository: Repository) -> set[str]:
    """Return the images that the training lock names."""
    _, *lines = (repository.root / TRAINING_LOCK).read_text().splitlines()
    return {image for line in lines for image in json.loads(line)["renderings"]}

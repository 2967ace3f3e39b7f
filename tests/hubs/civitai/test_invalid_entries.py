"""Entries and file names that are not valid lose only themselves, with a problem that names them."""

from typing import Any

import pytest

from tests.hubs.civitai.fake_civitai import RULES, TODAY, FakeCivitai, file, model, version


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("flux/ink.safetensors", "'flux/ink.safetensors'"),
        ("../x.safetensors", "'../x.safetensors'"),
        ("a\nb.safetensors", r"'a\nb.safetensors'"),
        ("a\\b.safetensors", r"'a\\b.safetensors'"),
        (f"{'x' * 600}.safetensors", f"'{'x' * 100}'"),
    ],
)
def test_invalid_file_name_loses_that_file_only(hub: FakeCivitai, name: str, shown: str) -> None:
    files = [file(id=1, name=name), file(id=2)]
    hub.models = [model(modelVersions=[version(id=8, files=files), version(id=7)]), model(id=5)]
    page = hub.client.page(RULES, None, TODAY)
    assert [[listing.file for listing in entry.partial_listings] for entry in page.models] == [
        ["8/inkwash_v1.safetensors", "7/inkwash_v1.safetensors"],
        ["691639/inkwash_v1.safetensors"],
    ]
    (problem,) = page.problems
    assert problem.startswith(f"model 618692: file 1 of version 8 is left out: its name {shown} is not valid")
    assert page.unreadable == frozenset()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (model(id="618692"), "model '618692': id: Input should be a valid integer"),
        ({"name": "x"}, "model None: id: Field required"),
        (model(id=True), "id: Input should be a valid integer"),
        (model(nsfw="true"), "nsfw: Input should be a valid boolean"),
        (model(modelVersions={}), "modelVersions: Input should be a valid list"),
        (model(modelVersions=[version(trainedWords="ink")]), r"modelVersions.0.trainedWords"),
        (model(modelVersions=[version(files=[file(sizeKB="18")])]), r"modelVersions.0.files.0.sizeKB"),
        (
            model(modelVersions=[version(files=[file(sizeKB=-1)])]),
            r"files.0.sizeKB.*greater than or equal to 0",
        ),
        (model(modelVersions=[version(files=[file(sizeKB=float("nan"))])]), r"files.0.sizeKB"),
        (model(modelVersions=[version(files=[file(hashes={"SHA256": 5})])]), r"files.0.hashes.SHA256"),
        (model(modelVersions=[version(files=[file(downloadUrl="http://10.0.0.1/x")])]), "is not allowed"),
        (model(modelVersions=[version(files=[file(downloadUrl="file:///etc/passwd")])]), "is not allowed"),
        (model(modelVersions=[version(files=[file(downloadUrl="https://u:p@x.org/")])]), "is not allowed"),
        (model(modelVersions=[]), "no version has a valid date"),
        (model(modelVersions=[version(publishedAt="yesterday")]), "no version has a valid date"),
        (
            model(modelVersions=[version(publishedAt=1700000000)]),
            "publishedAt: Input should be a valid string",
        ),
        ("nonsense", "model 'nonsense': entry: Input should be a dictionary"),
        (None, "model None: entry"),
    ],
)
def test_invalid_entry_is_a_problem_and_others_are_listed(hub: FakeCivitai, entry: Any, message: str) -> None:
    problem = hub.problem(entry)
    assert all(part in problem for part in message.split(".*"))
    assert len(problem) < 1000


def test_unreadable_entries_are_identified_by_number(hub: FakeCivitai) -> None:
    ids: list[Any] = [771, "772", None, -1, True, 1.5, 10**30, "x", "7" * 99, [3]]
    unreadable = []
    for id in ids:
        hub.models = [model(id=id, modelVersions=[]), None]
        unreadable.append(set(hub.client.page(RULES, None, TODAY).unreadable))
    assert unreadable == [{"771"}, {"772"}, *([set()] * 8)]

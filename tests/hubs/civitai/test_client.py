"""Our Civitai client against a server that speaks its API over real sockets, and lies in it."""

import datetime
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from autolora.errors import HubError
from autolora.hubs import Standing
from autolora.hubs.civitai.client import FICKLE, Civitai
from autolora.hubs.civitai.listings import model_of
from autolora.hubs.civitai.schema import Entry, read
from autolora.hubs.http.endpoint import Source
from autolora.records import Listing, Permissions
from playground import hub as playground
from tests.support.tiny_pool import RULES as POOL_RULES
from tests.support.tiny_pool import make_pool

TODAY = datetime.date(2026, 1, 3)
RULES = replace(POOL_RULES, max_renderings=3)
SHA256 = "0A1B" * 16
PAGE_SIZE = 2


class Hub:
    """A Civitai of a few models: what it was asked, and what it says."""

    def __init__(self, server: HTTPServer) -> None:
        self.endpoint = server.url_for("/civitai")
        self.models: list[Any] = []
        self.images: list[Any] = []
        self.answers: list[Response] = []
        """what it says before it says what it should"""
        self.asked: list[Request] = []
        server.expect_request("/civitai/api/v1/models").respond_with_handler(self.list_models)
        server.expect_request("/civitai/api/v1/images").respond_with_handler(self.list_images)
        server.expect_request("/civitai/api/v1/models/618692").respond_with_handler(self.show_model)
        self.waits: list[float] = []
        self.source = Source("civitai", self.endpoint, 5.0, 3, "secret", self.waits.append, fickle=FICKLE)
        self.client = Civitai(self.source)

    def list_models(self, request: Request) -> Response:
        return self.answer(request, self.models, PAGE_SIZE)

    def list_images(self, request: Request) -> Response:
        return self.answer(request, self.images, PAGE_SIZE)

    def show_model(self, request: Request) -> Response:
        return self.say(request, self.models[0] if self.models else {"error": "none"})

    def answer(self, request: Request, items: list[Any], size: int) -> Response:
        start = int(request.args.get("cursor", "0"))
        more = {"nextCursor": start + size} if start + size < len(items) else {}
        return self.say(request, {"items": items[start : start + size], "metadata": more})

    def say(self, request: Request, value: Any) -> Response:
        self.asked.append(request)
        return self.answers.pop(0) if self.answers else json_reply(value)

    def drafts(self, **rules: Any) -> tuple[Listing, ...]:
        page = self.client.page(replace(RULES, **rules), None, TODAY)
        assert page.problems == ()
        return tuple(draft for model in page.models for draft in model.drafts)

    def problem(self, entry: Any) -> str:
        self.models = [entry, model(id=5)]
        page = self.client.page(RULES, None, TODAY)
        assert [found.id for found in page.models] == ["5"]
        (problem,) = page.problems
        return problem


def json_reply(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, content_type="application/json")


def model(**changes: Any) -> dict[str, Any]:
    """Return a model as /models tells it."""
    entry = {
        "id": 618692, "name": "Ink Wash", "type": "LORA", "nsfw": False, "nsfwLevel": 1, "poi": False, "minor": False,
        "allowNoCredit": False, "allowCommercialUse": ["Image", "RentCivit"], "allowDerivatives": True,
        "allowDifferentLicense": False, "availability": "Public", "stats": {"downloadCount": 900},
        "creator": {"username": "inkmaker", "image": None}, "tags": ["style"], "modelVersions": [version()],
    }  # fmt: skip
    return entry | changes


def version(**changes: Any) -> dict[str, Any]:
    """Return a version as it lies within its model."""
    entry = {
        "id": 691639, "index": 0, "name": "v1", "baseModel": "Flux.1 D", "publishedAt": "2026-01-02T04:00:00.000Z",
        "availability": "Public", "nsfwLevel": 1, "trainedWords": ["inkwsh style", "inkwsh\nstyle "],
        "stats": {"downloadCount": 812}, "files": [file()], "images": [image(1), image(2), image(3), image(4)],
    }  # fmt: skip
    return entry | changes


def file(**changes: Any) -> dict[str, Any]:
    """Return a file of weights."""
    entry = {
        "id": 606528, "sizeKB": 18720.25, "name": "inkwash_v1.safetensors", "type": "Model",
        "metadata": {"format": "SafeTensor"}, "hashes": {"AutoV2": "0A1B2C3D4E", "SHA256": SHA256},
        "downloadUrl": "https://civitai.com/api/download/models/691639", "primary": True,
    }  # fmt: skip
    return entry | changes


def image(number: int, **changes: Any) -> dict[str, Any]:
    """Return a picture as /models tells it: without a prompt."""
    url = f"https://image.civitai.com/x/width=450/{number}.jpeg"
    return {"id": number, "url": url, "nsfwLevel": 1, "type": "image", "hasMeta": True, **changes}


def made(number: int, **changes: Any) -> dict[str, Any]:
    """Return a picture as /images tells it: under another URL."""
    url = f"https://image.civitai.com/x/original=true/{number}.png"
    return {"id": number, "url": url, "nsfwLevel": "None", "meta": {"prompt": f"heron {number}"}, **changes}


@pytest.fixture
def hub(httpserver: HTTPServer) -> Iterator[Hub]:
    yield Hub(httpserver)


def test_a_model_is_a_draft_for_each_file(hub: Hub) -> None:
    hub.models = [model()]
    page = hub.client.page(RULES, None, TODAY)
    (found,) = page.models
    assert (found.id, found.withdrawn, page.next, page.problems) == ("618692", False, None, ())
    assert found.updated == datetime.datetime(2026, 1, 2, 4, tzinfo=datetime.UTC)
    (draft,) = found.drafts
    assert [picture.url[-6:] for picture in draft.renderings] == ["1.jpeg", "2.jpeg", "3.jpeg"]
    assert replace(draft, renderings=()) == Listing(
        hub="civitai",
        id="618692",
        version="691639",
        file="691639/inkwash_v1.safetensors",
        url="https://civitai.com/api/download/models/691639",
        size=18720 * 1024 + 256,
        sha256=SHA256.lower(),
        license="civitai: commercial=Image+RentCivit, derivatives=yes, different-license=no, credit=needed",
        permissions=Permissions(commercial=True, derivatives=True, credit=True),
        base_model="Flux.1 D",
        base="flux.1-dev",
        nsfw=False,
        nsfw_level="none",
        person=False,
        minor=False,
        trigger_words=("inkwsh style",),
        renderings=(),
        downloads=812,
        updated="2026-01-02T04:00:00Z",
        first_seen=TODAY,
    )


def test_the_list_is_asked_for_in_civitais_own_words(hub: Hub) -> None:
    hub.client.page(replace(RULES, bases=("flux.1-dev", "flux.1-krea", "other")), None, TODAY)
    asked = hub.asked[0]
    assert asked.args.getlist("types") == ["LORA", "LoCon", "DoRA"]
    assert asked.args.getlist("baseModels") == ["Flux.1 D", "Flux.1 Krea"]
    assert (asked.args["sort"], asked.args["nsfw"], asked.args["limit"]) == ("Newest", "true", "100")
    assert not {"page", "token", "tag", "favorites", "hidden", "cursor"} & asked.args.keys()
    assert asked.headers["User-Agent"] == "autolora"
    assert asked.headers["Authorization"] == "Bearer secret"


def test_without_a_base_that_civitai_has_nothing_is_asked(hub: Hub) -> None:
    assert hub.client.page(replace(RULES, bases=("flux.1-fill",)), None, TODAY).models == ()
    assert hub.asked == []
    hub.client.page(replace(RULES, bases=()), None, TODAY)
    assert len(hub.asked[0].args.getlist("baseModels")) == 9


def test_pages_are_walked_by_cursor_and_an_entry_counts_once_on_each(hub: Hub) -> None:
    hub.models = [model(id=number) for number in (1, 2, 3, 3, 4)]
    ids, cursor = [], None
    while True:
        page = hub.client.page(RULES, cursor, TODAY)
        ids += [found.id for found in page.models]
        if (cursor := page.next) is None:
            break
    assert ids == ["1", "2", "3", "4"]
    assert [asked.args.get("cursor") for asked in hub.asked] == [None, "2", "4"]


def test_versions_and_files_of_one_name_are_told_apart(hub: Hub) -> None:
    twice = [
        file(id=1),
        file(id=2),
        file(id=3, name="other.safetensors", downloadUrl="https://civitai.com/x?type=Model"),
    ]
    hub.models = [model(modelVersions=[version(id=8, files=twice), version(id=7)])]
    drafts = hub.drafts()
    assert [draft.file for draft in drafts] == [
        "8/1/inkwash_v1.safetensors",
        "8/2/inkwash_v1.safetensors",
        "8/other.safetensors",
        "7/inkwash_v1.safetensors",
    ]
    assert [draft.url for draft in drafts] == [
        "https://civitai.com/api/download/models/691639?fileId=1",
        "https://civitai.com/api/download/models/691639?fileId=2",
        "https://civitai.com/x?type=Model",
        "https://civitai.com/api/download/models/691639",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "inkwash.pt"}, {"type": "VAE"}, {"type": "Training Data"}, {"downloadUrl": None},
        {"virusScanResult": "Danger"},
    ],
)  # fmt: skip
def test_what_is_no_weights_is_no_draft(hub: Hub, changes: dict[str, Any]) -> None:
    hub.models = [model(modelVersions=[version(files=[file(**changes)])])]
    assert hub.drafts() == ()


@pytest.mark.parametrize(
    "changes", [{"status": "Draft"}, {"availability": "EarlyAccess"}, {"availability": "Private"}, {"files": None}]
)  # fmt: skip
def test_what_cannot_be_downloaded_is_no_draft(hub: Hub, changes: dict[str, Any]) -> None:
    hub.models = [model(modelVersions=[version(), version(id=9, **changes)])]
    assert [draft.version for draft in hub.drafts()] == ["691639"]


@pytest.mark.parametrize(
    "changes", [{"mode": "Archived"}, {"mode": "TakenDown"}, {"availability": "Private"}]
)
def test_what_is_taken_down_is_withdrawn(hub: Hub, changes: dict[str, Any]) -> None:
    hub.models = [model(**changes), model(id=5, modelVersions=None, **changes)]
    page = hub.client.page(RULES, None, TODAY)
    assert [(found.withdrawn, found.drafts) for found in page.models] == [(True, ()), (True, ())]
    assert hub.client.standing("618692") is Standing.WITHDRAWN


@pytest.mark.parametrize(
    ("changes", "license", "permissions"),
    [
        ({"allowCommercialUse": "{Image,Rent}"}, "commercial=Image+Rent, ", (True, True, True)),
        ({"allowCommercialUse": "Sell"}, "commercial=Sell, ", (True, True, True)),
        ({"allowCommercialUse": ["RentCivit"]}, "commercial=RentCivit, ", (False, True, True)),
        ({"allowCommercialUse": ["None"]}, "commercial=None, ", (False, True, True)),
        ({"allowCommercialUse": "None"}, "commercial=None, ", (False, True, True)),
        ({"allowCommercialUse": []}, "commercial=None, ", (False, True, True)),
        ({"allowCommercialUse": None}, "civitai: derivatives=yes", (None, True, True)),
        ({"allowDerivatives": False, "allowNoCredit": True}, "derivatives=no, different-license=no, credit=free",
         (True, False, False)),
    ],
)  # fmt: skip
def test_permissions_are_kept_as_given_and_in_one_form(
    hub: Hub, changes: dict[str, Any], license: str, permissions: tuple[bool | None, ...]
) -> None:
    hub.models = [model(**changes)]
    (draft,) = hub.drafts()
    assert license in (draft.license or "")
    said = draft.permissions
    assert (said.commercial, said.derivatives, said.credit) == permissions


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({"nsfwLevel": 5, "modelVersions": [version(nsfwLevel=None)]}, "mature"),
        ({"nsfwLevel": 31, "modelVersions": [version(nsfwLevel=3)]}, "soft"),
        ({"nsfw": True, "modelVersions": [version(nsfwLevel=1)]}, "mature"),
        ({"nsfw": True, "modelVersions": [version(nsfwLevel=9)]}, "explicit"),
        ({"nsfwLevel": None, "modelVersions": [version(nsfwLevel=0)]}, None),
    ],
)
def test_maturity_is_the_versions_own(hub: Hub, changes: dict[str, Any], level: str | None) -> None:
    hub.models = [model(**changes)]
    (draft,) = hub.drafts()
    assert (draft.nsfw_level, draft.nsfw) == (level, level in ("mature", "explicit"))


def test_what_is_not_said_is_none(hub: Hub) -> None:
    bare = {"id": 7, "publishedAt": "2026-01-02T04:00:00Z",
            "files": [{"id": 1, "name": "x.safetensors", "downloadUrl": "https://civitai.com/x"}]}  # fmt: skip
    hub.models = [{"id": 3, "modelVersions": [bare], "stats": None, "creator": None}]
    (draft,) = hub.drafts()
    said = (
        draft.size,
        draft.sha256,
        draft.license,
        draft.base_model,
        draft.base,
        draft.nsfw_level,
        draft.person,
    )
    assert {*said, draft.minor, draft.downloads} == {None}
    assert draft.permissions == Permissions()
    assert (draft.trigger_words, draft.renderings) == ((), ())


def test_a_rounded_size_is_no_less_than_the_file(hub: Hub) -> None:
    hub.models = [model(modelVersions=[version(files=[file(sizeKB=18720.3)])])]
    assert hub.drafts()[0].size == 18721 * 1024


def test_pictures_keep_to_the_rules(hub: Hub) -> None:
    pictures = [
        image(1, nsfwLevel=8), image(2, type="video"), image(3, nsfwLevel="Mature"), image(4, minor=True),
        image(5, poi=True), image(6, url="http://10.0.0.1/6.jpeg"), image(7, url="javascript:alert(1)"),
        image(8, url="https://image.civitai.com/\ud800"), image(9), image(9), image(10, nsfwLevel=None),
    ]  # fmt: skip
    hub.models = [model(modelVersions=[version(images=pictures)])]
    (draft,) = hub.drafts(max_nsfw_level="soft", persons=False)
    assert [picture.url[-7:] for picture in draft.renderings] == ["/9.jpeg", "10.jpeg"]
    (draft,) = hub.drafts(max_nsfw_level="mature", max_renderings=2)
    assert [picture.nsfw_level for picture in draft.renderings] == ["mature", "none"]


@pytest.mark.parametrize(
    ("entry", "words"),
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
        (
            model(modelVersions=[version(files=[file(name="../x.safetensors")])]),
            "'../x.safetensors' has a name",
        ),
        (model(modelVersions=[version(files=[file(name="a\nb.safetensors")])]), "has a name that is none"),
        (model(modelVersions=[version(files=[file(downloadUrl="http://10.0.0.1/x")])]), "which is not asked"),
        (
            model(modelVersions=[version(files=[file(downloadUrl="file:///etc/passwd")])]),
            "which is not asked",
        ),
        (
            model(modelVersions=[version(files=[file(downloadUrl="https://u:p@x.org/")])]),
            "which is not asked",
        ),
        (model(modelVersions=[]), "without a version that has a date"),
        (model(modelVersions=[version(publishedAt="yesterday")]), "without a version that has a date"),
        (
            model(modelVersions=[version(publishedAt=1700000000)]),
            "publishedAt: Input should be a valid string",
        ),
        ("nonsense", "model 'nonsense': it: Input should be a dictionary"),
        (None, "model None: it"),
    ],
)
def test_an_entry_that_cannot_be_read_is_a_problem_and_no_other_one_suffers(
    hub: Hub, entry: Any, words: str
) -> None:
    problem = hub.problem(entry)
    assert words.replace(".*", "") in problem or all(word in problem for word in words.split(".*"))
    assert len(problem) < 1000


def test_an_entry_that_cannot_be_read_is_told_by_its_number(hub: Hub) -> None:
    numbers: list[Any] = [771, "772", None, -1, True, 1.5, 10**30, "x", "7" * 99, [3]]
    told = []
    for number in numbers:
        hub.models = [model(id=number, modelVersions=[]), None]
        told.append(set(hub.client.page(RULES, None, TODAY).unreadable))
    assert told == [{"771"}, {"772"}, *([set()] * 8)]


def test_a_version_of_a_model_changes_with_what_is_said_of_it(hub: Hub) -> None:
    def found(**changes: Any) -> str:
        hub.models = [model(**changes)]
        return hub.client.page(RULES, None, TODAY).models[0].version

    before = found()
    assert before.startswith("691639-")
    assert found() == before
    assert found(stats={"downloadCount": 901}, name="New name", tags=[]) == before
    assert hub.client.page(RULES, None, TODAY + datetime.timedelta(1)).models[0].version == before
    changed = [
        found(allowDerivatives=False),
        found(poi=True),
        found(modelVersions=[version(trainedWords=["other"])]),
        found(modelVersions=[version(files=[file(hashes={"SHA256": "AB" * 32})])]),
        found(modelVersions=[version(images=[image(1)])]),
        found(modelVersions=[version(id=700000), version()]),
    ]
    assert len({before, *changed}) == 7
    assert changed[-1].startswith("700000-")


def test_prompts_come_from_the_pictures_own_page(hub: Hub) -> None:
    hub.models = [model()]
    hub.images = [made(9), made(2), made(3, meta=None), {"id": "x"}, made(1, meta={"prompt": "a\x00 heron"})]
    (found,) = hub.client.page(RULES, None, TODAY).models
    (listing,) = hub.client.complete(found, RULES, {})
    assert [picture.prompt for picture in listing.renderings] == ["a heron", "heron 2", None]
    assert replace(listing, renderings=()) == replace(found.drafts[0], renderings=())
    asked = hub.asked[1]
    said = {
        "modelVersionId": "691639",
        "withMeta": "true",
        "flatMeta": "true",
        "browsingLevel": "31",
        "limit": "200",
    }
    assert {name: asked.args[name] for name in said} == said
    assert len(hub.asked) == 1 + 3


def test_what_is_known_is_not_asked_about(hub: Hub) -> None:
    hub.models = [model(modelVersions=[version(files=[file(id=1), file(id=2, name="b.safetensors")])])]
    hub.images = [made(1), made(2), made(3)]
    (found,) = hub.client.page(RULES, None, TODAY).models
    listings = hub.client.complete(found, RULES, {})
    assert [asked.path for asked in hub.asked].count(
        "/civitai/api/v1/images"
    ) == 2  # two pages, for two files
    known = {listing.url: listing for listing in listings}
    hub.asked.clear()
    hub.models = [model(allowDerivatives=False, modelVersions=hub.models[0]["modelVersions"])]
    (again,) = hub.client.page(RULES, None, TODAY).models
    relicensed = hub.client.complete(again, RULES, known)
    assert len(hub.asked) == 1
    assert [listing.renderings for listing in relicensed] == [listing.renderings for listing in listings]
    assert all("derivatives=no" in (listing.license or "") for listing in relicensed)


def test_a_new_picture_is_asked_about(hub: Hub) -> None:
    hub.models = [model(modelVersions=[version(images=[image(1)])])]
    hub.images = [made(1), made(2)]
    (found,) = hub.client.page(RULES, None, TODAY).models
    known = {listing.url: listing for listing in hub.client.complete(found, RULES, {})}
    hub.models = [model(modelVersions=[version(images=[image(2), image(1)])])]
    (found,) = hub.client.page(RULES, None, TODAY).models
    (listing,) = hub.client.complete(found, RULES, known)
    assert [picture.prompt for picture in listing.renderings] == ["heron 2", "heron 1"]


def test_without_pictures_nothing_is_asked_about(hub: Hub) -> None:
    hub.models = [model(modelVersions=[version(images=None)])]
    (found,) = hub.client.page(RULES, None, TODAY).models
    assert hub.client.complete(found, RULES, {}) == found.drafts
    assert len(hub.asked) == 1


def test_prompts_that_could_not_be_had_are_asked_for_again(hub: Hub) -> None:
    hub.models = [model()]
    hub.images = [made(1), made(2), made(3)]
    (found,) = hub.client.page(RULES, None, TODAY).models
    hub.answers = [json_reply({"error": "gone"}, 404)]
    (lacking,) = hub.client.complete(found, RULES, {})
    assert lacking == replace(found.drafts[0], complete=False)
    hub.answers = [json_reply({"items": [made(1)], "metadata": {"nextCursor": 1}}), json_reply({}, 403)]
    (half,) = hub.client.complete(found, RULES, {lacking.url: lacking})
    hub.answers = [json_reply({}, 401)]
    assert hub.client.complete(found, RULES, {half.url: half}) == (half,)  # what was had stays
    assert ([one.prompt for one in half.renderings], half.complete) == (["heron 1", None, None], False)
    (whole,) = hub.client.complete(found, RULES, {half.url: half})
    assert ([one.prompt for one in whole.renderings], whole.complete) == (
        ["heron 1", "heron 2", "heron 3"],
        True,
    )
    assert lacking.digest != whole.digest == replace(whole, complete=False).digest
    hub.asked.clear()
    assert hub.client.complete(found, RULES, {whole.url: whole}) == (whole,) and hub.asked == []
    assert [Listing.from_row(row.to_row()) for row in (whole, lacking)] == [whole, lacking]
    assert Listing.from_row({n: v for n, v in whole.to_row().items() if n != "complete"}) == whole


@pytest.mark.parametrize(
    ("broken", "complete"),
    [
        ({"id": 2}, False),
        ({"id": 2, "url": None}, False),
        (made(2, id="x"), False),
        (made(2, meta={"prompt": 3}), False),
        (made(9, id="x"), True),
        (made(2, meta=None), True),
        (made(2, meta={}), True),
    ],
)
def test_a_picture_that_cannot_be_read_may_be_ours(hub: Hub, broken: Any, complete: bool) -> None:
    hub.models, hub.images = [model()], [made(1), broken, made(3)]
    (found,) = hub.client.page(RULES, None, TODAY).models
    (listing,) = hub.client.complete(found, RULES, {})
    assert [one.prompt for one in listing.renderings] == ["heron 1", None, "heron 3"]
    assert listing.complete is complete


@pytest.mark.parametrize(
    ("status", "standing"),
    [(200, Standing.THERE), (404, Standing.ABSENT), (410, Standing.WITHDRAWN), (451, Standing.WITHDRAWN)],
)
def test_a_models_own_page_tells_how_it_stands(hub: Hub, status: int, standing: Standing) -> None:
    hub.models = [model()]
    hub.answers = [json_reply(model(), status)] * 3
    assert hub.client.standing("618692") is standing


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_refusal_says_nothing_about_a_model(hub: Hub, status: int) -> None:
    hub.answers = [json_reply({}, status)] * 3
    with pytest.raises(HubError, match=str(status)):
        hub.client.standing("618692")


@pytest.mark.parametrize("id", ["../x", "1?x=1", "ann/ink", "", "١"])
def test_a_standing_is_asked_by_number(hub: Hub, id: str) -> None:
    with pytest.raises(HubError, match="no model's number"):
        hub.client.standing(id)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (json_reply([]), "in place of a list"),
        (json_reply({"items": None}), "in place of a list"),
        (json_reply({"items": {}, "metadata": {}}), "in place of a list"),
        (json_reply({"items": [], "metadata": {"nextCursor": {"a": 1}}}), "leads nowhere"),
        (json_reply({"items": [], "metadata": {"nextCursor": True}}), "leads nowhere"),
        (json_reply({"items": [], "metadata": {"nextCursor": 7}}), "leads nowhere"),
        (Response("<html>", content_type="text/html"), "no JSON"),
        (Response('{"items": [', content_type="application/json"), "no JSON"),
        (json_reply({}, 400), "400"),
    ],
)
def test_a_list_that_is_none_is_nonsense(hub: Hub, answer: Response, words: str) -> None:
    hub.answers = [answer] * 3
    with pytest.raises(HubError, match=words):
        hub.client.page(RULES, "7", TODAY)


def test_a_list_may_end_in_several_ways(hub: Hub) -> None:
    for metadata in ({}, {"nextCursor": None}, {"nextCursor": ""}, None, []):
        hub.answers = [json_reply({"items": [], "metadata": metadata})]
        assert hub.client.page(RULES, None, TODAY).next is None


def test_a_busy_hub_is_waited_for(hub: Hub) -> None:
    busy = Response("{}", 503, {"Retry-After": "2", "Cache-Control": "no-store"})
    hub.answers = [busy]
    hub.models = [model()]
    assert len(hub.drafts()) == 1
    assert hub.waits == [2.0]


def test_a_download_is_asked_for_again_when_its_resolver_fails(
    hub: Hub, httpserver: HTTPServer, tmp_path: Path
) -> None:
    answers = [Response("{}", 404), Response(b"weights")]
    handler = httpserver.expect_request("/civitai/api/download/models/1")
    handler.respond_with_handler(lambda _: answers.pop(0))
    hub.client.download(f"{hub.endpoint}/api/download/models/1", tmp_path / "x", 100)
    assert (tmp_path / "x").read_bytes() == b"weights"
    assert hub.waits == [1.0]


def test_the_playgrounds_pool_is_crawled_and_downloaded(tmp_path: Path) -> None:
    hub = playground.Hub(make_pool(tmp_path / "pool"), day=1, page_size=2)
    with playground.running(hub) as endpoint:
        client = Civitai(Source("civitai", f"{endpoint}/civitai", 5.0, 3, "secret"))
        models, cursor, pages = [], None, 0
        while not pages or cursor:
            page = client.page(RULES, cursor, TODAY)
            models, cursor, pages = [*models, *page.models], page.next, pages + 1
        listings = [listing for found in models for listing in client.complete(found, RULES, {})]
        for listing in listings:
            assert listing.size and listing.sha256
            assert client.download(listing.url, tmp_path / "x", listing.size) == listing.sha256
            for picture in listing.renderings:
                assert picture.prompt and picture.nsfw_level == "none"
                client.download(picture.url, tmp_path / "x", 10_000)
        first = hub.requests()["civitai"]
        known = {listing.url: listing for listing in listings}
        assert [one for found in models for one in client.complete(found, RULES, known)] == listings
        assert hub.requests()["civitai"] == first
        assert client.standing(models[0].id) is Standing.THERE
    assert (pages, len(models), len(listings)) == (2, 4, 4)
    assert (first["listing"], first["images"], first["download"]) == (2, 4 * 2, 4)


@pytest.mark.long(full=20_000, sample=100)
def test_no_entry_breaks_the_page(seed: int) -> None:
    """Anything in the place of anything: an entry is a model whose row the catalog can hold, or a ValueError."""
    draw = random.Random(seed)
    entry = json.loads(json.dumps(model()))
    for _ in range(draw.randrange(1, 4)):
        spoil(entry, draw)
    try:
        found = model_of(
            read(Entry, entry), Source("civitai", "https://civitai.com", 5.0, 1, None), RULES, TODAY
        )
    except ValueError:
        return
    for draft in found.drafts:
        row = json.loads(json.dumps(draft.to_row()).encode())
        assert Listing.from_row(row) == draft
        assert draft.url.startswith("https://")


def spoil(value: Any, draw: random.Random) -> None:
    """Put something odd in the place of one of a JSON value's leaves or branches."""
    while isinstance(value, dict | list) and value:
        key = draw.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if draw.random() < 0.4 or not isinstance(value[key], dict | list):
            value[key] = draw.choice(ODD)
            return
        value = value[key]


ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 7, 2**31, 2**63, 2**70, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", " ", "x", "1",
    "\x00", "\ud800", "../../x.safetensors", "/etc/passwd", "a\nb", "\u202egnp", "x" * 100_000, "None", "Sell", "LORA",
    "https://civitai.com/x", "https://[::1/x", "https://x:99999/", "http://127.0.0.1/", "file:///x", "9999-12-31",
    "2026-01-01T00:00:00Z", "2026-13-01", [], {}, [None], [[]], {"a": 1}, ["\ud800"], {"\ud800": 1}, [1, "x", None],
)  # fmt: skip

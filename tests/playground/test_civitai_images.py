"""The playground's Civitai API: images, their prompts and their URLs."""

import httpx2

from tests.playground.civitai_client import CivitaiClient


def test_images_have_prompts(civitai: CivitaiClient) -> None:
    model = civitai.listed("ink")
    version = model["modelVersions"][0]
    query = {"modelVersionId": version["id"], "flatMeta": True, "limit": 100}
    images = civitai.list_all("images", **query, withMeta=True)
    assert {image["id"] for image in images} == {image["id"] for image in version["images"]}
    assert {image["meta"]["prompt"] for image in images} == {"a cat, word0"}
    assert {(image["nsfwLevel"], image["browsingLevel"]) for image in images} == {("None", 1)}
    assert {image["meta"] for image in civitai.list_all("images", **query)} == {None}
    contents = {(civitai.pool / f"ann/ink/images/{number}.png").read_bytes() for number in range(3)}
    assert {httpx2.get(image["url"]).content for image in images} == contents
    assert {httpx2.get(image["url"]).content for image in version["images"]} == contents
    assert civitai.hub.requests()["civitai"]["renderings"] == 6


def test_image_urls_end_in_the_id_or_in_the_uuid(civitai: CivitaiClient) -> None:
    model = civitai.listed("ink")
    listed = {image["id"]: image["url"].split("/") for image in model["modelVersions"][0]["images"]}
    version = model["modelVersions"][0]["id"]
    images = civitai.list_all("images", modelVersionId=version, username="ann", limit=100)
    assert {image["id"] for image in images} == listed.keys()
    for image in images:
        *base, name = image["url"].split("/")
        assert [*base, f"{image['id']}.jpeg"] == listed[image["id"]]
        assert base[-1] == "original=true" and name == f"{base[-2]}.jpeg" and len(base[-2]) == 36
    (shown,) = civitai.model("ann/ink")["modelVersions"]
    assert {image["url"] for image in shown["images"]} == {"/".join(url) for url in listed.values()}
    assert not any("id" in image for image in shown["images"])


def test_images_of_a_user(civitai: CivitaiClient) -> None:
    images = civitai.list_all("images", username="bob", limit=100)
    assert {image["username"] for image in images} == {"bob"} and len(images) == 3
    assert civitai.list_all("images", username="nobody") == []
    assert "letters" in civitai.get("images", status=400, username="studio-ada")["error"]

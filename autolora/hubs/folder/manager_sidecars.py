"""Sidecars that other programs write beside a LoRA file, in the shapes that their sources state.

NAME.metadata.json    ComfyUI-Lora-Manager: docs/metadata-json-schema.md, py/utils/models.py
NAME.civitai.info     Stable-Diffusion-Webui-Civitai-Helper: Civitai's answer to a query by hash, or {}
NAME.json             AUTOMATIC1111/stable-diffusion-webui: extensions-builtin/Lora/ui_edit_user_metadata.py; the same
                      file may have AutoLoRA's own fields (autolora/hubs/folder/sidecar.py)

All values are untrusted: each is checked, and a value of another type counts as missing. Only if a field that rules
reject files by is not valid, the whole sidecar is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autolora.hubs.civitai.permissions import license_of, permissions_of
from autolora.hubs.descriptions import describe
from autolora.hubs.folder.sidecar_fields import Sidecar
from autolora.hubs.labels import highest_level, nsfw_level_of
from autolora.hubs.validation import as_list, clean_text, clean_texts, short_repr, valid_bool

UNKNOWN = "unknown"
"""base model of a file that a program could not classify"""
WEBUI_FIELDS = frozenset(
    {"description", "sd version", "activation text", "preferred weight", "negative text", "notes"}
)
"""fields of NAME.json as AUTOMATIC1111 writes it"""


@dataclass(frozen=True, slots=True)
class CivitaiPermissions:
    """Civitai's four permission fields, under Civitai's names; None if one is missing or not valid."""

    allowNoCredit: bool | None
    allowCommercialUse: list[str] | str | None
    allowDerivatives: bool | None
    allowDifferentLicense: bool | None


def read_civitai_info(content: Mapping[str, Any]) -> Sidecar:
    """Return what Civitai's answer about a model version says. Raises ValueError if a safety field is not valid."""
    model = _object(content.get("model"))
    rights = CivitaiPermissions(
        allowNoCredit=valid_bool(model.get("allowNoCredit")),
        allowCommercialUse=_uses(model.get("allowCommercialUse")),
        allowDerivatives=valid_bool(model.get("allowDerivatives")),
        allowDifferentLicense=valid_bool(model.get("allowDifferentLicense")),
    )
    license = license_of(rights)
    return Sidecar(
        license=license,
        permissions=permissions_of(rights) if license else None,
        base_model=_base_model(content.get("baseModel")),
        trigger_words=clean_texts(content.get("trainedWords")) or None,
        description=describe(
            model.get("name"),
            as_list(model.get("tags")),
            model.get("description") or content.get("description"),
        ),
        nsfw_level=highest_level(_level(content, "nsfwLevel"), "mature" if _flag(model, "nsfw") else None),
        person=_flag(model, "poi"),
        minor=_flag(model, "minor"),
    )


def read_lora_manager(content: Mapping[str, Any]) -> Sidecar:
    """Return what ComfyUI-Lora-Manager says, with Civitai's answer inside. Raises as `read_civitai_info`.

    The level of the preview image counts if Civitai's answer has none.
    """
    civitai = read_civitai_info(_object(content.get("civitai")))
    own_words = clean_texts(content.get("trainedWords")) or None
    return Sidecar(
        license=civitai.license,
        permissions=civitai.permissions,
        base_model=_base_model(content.get("base_model")) or civitai.base_model,
        trigger_words=civitai.trigger_words or own_words,
        description=describe(
            content.get("model_name"),
            as_list(content.get("tags")),
            content.get("modelDescription"),
        )
        or civitai.description,
        nsfw_level=civitai.nsfw_level or _level(content, "preview_nsfw_level"),
        person=civitai.person,
        minor=civitai.minor,
    )


def read_webui(content: Mapping[str, Any]) -> Sidecar:
    """Return what AUTOMATIC1111's editor says. The activation text is one trigger word, as it is added as a whole."""
    words = clean_text(content.get("activation text"))
    return Sidecar(
        base_model=_base_model(content.get("sd version")),
        trigger_words=(words,) if words else None,
        description=describe(None, (), content.get("description")),
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _uses(value: Any) -> list[str] | str | None:
    """Return the allowed commercial uses: a list, or a word as former versions of Civitai answered."""
    if isinstance(value, list):
        return [use for use in value if isinstance(use, str)]
    return value if isinstance(value, str) else None


def _base_model(value: Any) -> str | None:
    label = clean_text(value)
    return None if label is None or label.lower() == UNKNOWN else label


def _flag(content: Mapping[str, Any], name: str) -> bool | None:
    value = content.get(name)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {short_repr(value)}")
    return value


def _level(content: Mapping[str, Any], name: str) -> str | None:
    """Return a content rating, see `nsfw_level_of`; 0 is none."""
    value = content.get(name)
    if value is None:
        return None
    is_number = type(value) is int and value >= 0
    level = nsfw_level_of(value) if is_number or isinstance(value, str) else None
    if level is None and value != 0:
        raise ValueError(f"{name} must be a content rating of Civitai, not {short_repr(value)}")
    return level

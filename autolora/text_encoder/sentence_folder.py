"""Where a sentence encoder is, and what the files of its folder say, in the layout of sentence-transformers.

| file | content |
|---|---|
| modules.json | the modules and their folders: a Transformer, a Pooling, and a Normalize or not |
| config_sentence_transformers.json | the prompts |
| config.json, model.safetensors | the transformer; its files are beside modules.json, or in the folder 0_Transformer |
| tokenizer.json, tokenizer_config.json | its tokenizer, and the number of tokens that it reads |
| sentence_bert_config.json | the number of tokens, in earlier versions |
| 1_Pooling/config.json | how the states of the tokens become one vector |
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, Self

from autolora.errors import MissingArtifact
from autolora.models import resolve
from autolora.storage.arrays import Float32Array
from autolora.storage.hashes import HashFile, hash_value
from autolora.text_encoder.bert import PADDING, BertConfig
from autolora.text_encoder.layers import typed_fields

PACKAGE = "package:"
CONFIG, MODULES, TOKENIZER = "config.json", "modules.json", "tokenizer.json"
PROMPTS, TOKENIZER_CONFIG = "config_sentence_transformers.json", "tokenizer_config.json"
TASK = "feature-extraction"
WEIGHTS, LIMITS = "*.safetensors", "sentence_*_config.json"
TRANSFORMER = (CONFIG, WEIGHTS, "*.safetensors.index.json", TOKENIZER, TOKENIZER_CONFIG, LIMITS)
"""patterns of the transformer's files that determine the vectors"""
REPOSITORY = ("*.json", WEIGHTS)
"""patterns of the files of a repository on Hugging Face, in all of its folders"""
LIBRARY = "sentence_transformers."
"""beginning of the type of a module that the library has; others are code of the model's authors"""
SUPPORTED = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
QUERY = "query"
POOLING_FLAG = "pooling_mode_"

POOLINGS: Mapping[str, Callable[[Float32Array], Float32Array]] = {
    "mean": lambda states: states.mean(axis=1),
    "cls": lambda states: states[:, 0],
    "max": lambda states: states.max(axis=1),
    "lasttoken": lambda states: states[:, -1],
}
"""name of a pooling -> function from the states (N, T, d) of the tokens of N texts to vectors (N, d)"""


@dataclass(frozen=True, slots=True)
class SentenceSettings:
    """How texts become token ids, and the states of the tokens become vectors."""

    lower_case: bool
    max_length: int
    """tokens of a text, with those that the tokenizer adds; further ones are ignored"""
    normalize: bool
    """whether vectors are divided by their length"""
    pooling: str
    prompt: str
    """put before each text"""

    @classmethod
    def parse(cls, content: Any) -> Self:
        """Return the settings in a JSON object. Raises ValueError or TypeError if a field is missing or unsupported."""
        settings = cls(**typed_fields(cls, content))
        if settings.pooling not in POOLINGS:
            raise ValueError(f"the pooling is '{settings.pooling}', expected one of {', '.join(POOLINGS)}")
        return settings


@dataclass(frozen=True, slots=True)
class SentenceFolder:
    """What the files of a folder say."""

    root: Path
    transformer: Path
    """folder of the transformer's files"""
    pooling: Path
    """folder of the pooling's config"""
    model_type: str
    bert: BertConfig | None
    """None if the model is not of the BERT family"""
    settings: SentenceSettings

    def digest(self, hash_one: HashFile) -> str:
        """Return the sha256 over the names and bytes of the files that determine the vectors.

        hash_one: returns the sha256 of a file.
        """
        names = (self.root / MODULES, self.root / PROMPTS, self.pooling / CONFIG)
        files = {path for pattern in TRANSFORMER for path in self.transformer.glob(pattern)}
        files |= {path for path in names if path.is_file()}
        return hash_value(
            [[path.relative_to(self.root).as_posix(), hash_one(path)] for path in sorted(files)]
        )


def locate_sentence_encoder(root: Path, source: str, revision: str | None) -> Path:
    """Return the folder of a sentence encoder.

    root: of the repository. source, revision: as of `autolora.text_encoder.sentences.open_sentence_encoder`.
    Raises as that.
    """
    if source.startswith(PACKAGE):
        return _package_folder(source.removeprefix(PACKAGE))
    if (root / source).is_dir():
        return root / source
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise MissingArtifact(
            f"{source} is neither an existing folder nor {PACKAGE}NAME nor a Hugging Face id (owner/name): give the "
            "folder of a model that sentence-transformers has saved, an installed package that contains one, or an id"
        )
    return resolve(source, revision, REPOSITORY, "encoder.language")


def _package_folder(name: str) -> Path:
    """Return the folder of the model in an installed package, which is not imported."""
    module = name.replace("-", "_")
    spec = find_spec(module) if module.isidentifier() else None
    if spec is None:
        raise MissingArtifact(f"the package {name} is not installed here: pip install {name}")
    places = spec.submodule_search_locations or ()
    folders = [path.parent for place in places for path in Path(place).rglob(MODULES)]
    if len(folders) != 1:
        raise MissingArtifact(
            f"the package {name} contains {len(folders)} folders with {MODULES}, expected one: give the folder of a "
            "model that sentence-transformers has saved, or a Hugging Face id"
        )
    return folders[0]


def read_sentence_folder(root: Path) -> SentenceFolder:
    """Return what the files of a folder say. Raises MissingArtifact if one is missing, damaged or unsupported."""
    try:
        return _read(root)
    except (OSError, TypeError, ValueError) as error:
        raise MissingArtifact(
            f"cannot load the sentence encoder in {root}: {error}; download it again, or choose another model"
        ) from error


def _read(root: Path) -> SentenceFolder:
    transformer, pooling, normalize = _modules(root)
    _check_saved_recently(transformer)
    config, limits = _object(transformer / CONFIG), _limits(transformer)
    bert = BertConfig.read(config) if config.get("model_type") in PADDING else None
    prompt = _prompt(_object(root / PROMPTS, optional=True))
    settings = SentenceSettings.parse(
        {
            "lower_case": bool(limits.get("do_lower_case")),
            "max_length": _max_length(
                limits.get("max_seq_length"),
                bert.max_tokens if bert else config.get("max_position_embeddings"),
            ),
            "normalize": normalize,
            "pooling": _pooling(_object(pooling / CONFIG), prompt),
            "prompt": prompt,
        }
    )
    return SentenceFolder(root, transformer, pooling, str(config.get("model_type")), bert, settings)


def _check_saved_recently(transformer: Path) -> None:
    """Raise ValueError if there are no weights or no tokenizer in the formats of current versions."""
    for pattern in (WEIGHTS, TOKENIZER):
        if not any(transformer.glob(pattern)):
            raise ValueError(
                f"it has no {pattern}, which current versions of sentence-transformers write; save the model again "
                "by SentenceTransformer(MODEL).save_pretrained(FOLDER), and name that folder"
            )


def _modules(root: Path) -> tuple[Path, Path, bool]:
    """Return the folders of the transformer and the pooling, and whether vectors are normalized."""
    modules = _json(root / MODULES)
    try:
        types = [str(module["type"]) for module in modules]
        paths = [PurePosixPath(str(module["path"])) for module in modules]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{MODULES} is not a list of modules with a type and a path") from error
    if outside := [path for path in paths if path.is_absolute() or ".." in path.parts]:
        raise ValueError(f"{MODULES} names the folder {outside[0]}, expected one inside")
    names = [name.rpartition(".")[2] if name.startswith(LIBRARY) else name for name in types]
    if names not in SUPPORTED:
        raise ValueError(
            f"{MODULES} names the modules {', '.join(names)}, expected {' or '.join(map(', '.join, SUPPORTED))}"
        )
    return root / paths[0], root / paths[1], len(names) == 3


def _prompt(content: Mapping[str, Any]) -> str:
    """Return the prompt for queries, or else the default one; empty if there is none."""
    prompts, default = content.get("prompts", {}), content.get("default_prompt_name")
    if not isinstance(prompts, dict):
        raise ValueError(f"{PROMPTS} has the prompts {prompts!r}, expected an object")
    if default is not None and default not in prompts:
        raise ValueError(f"{PROMPTS} names the prompt '{default}', but has {', '.join(prompts) or 'none'}")
    return prompts.get(QUERY) or prompts.get(default) or ""


def _limits(transformer: Path) -> dict[str, Any]:
    """Return what is stated about the texts that the model reads."""
    named = next((_object(path) for path in sorted(transformer.glob(LIMITS))), {})
    task = named.get("transformer_task", TASK)
    if task != TASK:
        raise ValueError(f"transformer_task is '{task}', expected '{TASK}'")
    tokenizer = _object(transformer / TOKENIZER_CONFIG, optional=True)
    return named | {"max_seq_length": named.get("max_seq_length") or tokenizer.get("model_max_length")}


def _max_length(*limits: Any) -> int:
    """Return the lowest of the stated numbers of tokens."""
    stated = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    if not stated:
        raise ValueError(
            f"no file states how many tokens it reads, such as {TOKENIZER_CONFIG}: model_max_length"
        )
    return min(stated)


def _pooling(content: Mapping[str, Any], prompt: str) -> str:
    """Return the name of the only pooling."""
    if prompt and content.get("include_prompt") is False:
        raise ValueError("the pooling leaves the prompt out (include_prompt), which is not supported")
    names = _pooling_names(content)
    if len(names) != 1:
        raise ValueError(
            f"the poolings are {', '.join(names) or 'none'}, expected one of {', '.join(POOLINGS)}"
        )
    return names[0]


def _pooling_names(content: Mapping[str, Any]) -> Sequence[str]:
    if "pooling_mode" in content:
        names = content["pooling_mode"]
        return [names] if isinstance(names, str) else [str(name) for name in names]
    flags = [
        name.removeprefix(POOLING_FLAG)
        for name, value in content.items()
        if name.startswith(POOLING_FLAG) and value
    ]
    return [flag.removesuffix("s").removesuffix("_token") for flag in flags]


def _object(path: Path, *, optional: bool = False) -> dict[str, Any]:
    """Return the object in a JSON file; an empty one for an optional file that does not exist."""
    content = {} if optional and not path.exists() else _json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is not an object of fields")
    return content


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} is not valid JSON ({error})") from error

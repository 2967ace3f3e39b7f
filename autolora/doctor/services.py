"""Checks of what answers over the network: models and licenses, hubs, captioning servers, Prefect, Ray, the clock."""

import importlib.util
import socket
import time
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from autolora.doctor import Setting, Trouble
from autolora.doctor.models import Model, models_of, named_models
from autolora.errors import CaptionError, HubError
from autolora.hubs.http.endpoint import TOKEN_VARIABLES, Endpoint
from autolora.hubs.http.request import get
from autolora.hubs.http.retry import TransientError
from autolora.params import HubParams

ANSWER_S = 8.0
"""Seconds that a server may take to accept a connection, and again to answer."""
PREFECT_CREDENTIALS = ("PREFECT_API_AUTH_STRING", "PREFECT_API_KEY", "PREFECT_CLIENT_CUSTOM_HEADERS")
MAX_SKEW_S = 300
"""of the clock, above which TLS and signatures of S3 begin to fail"""


def licenses(setting: Setting) -> Iterator[Trouble]:
    """Yield each model that is not here yet and cannot be downloaded."""
    missing = [model for model in models_of(setting.params, setting.is_pipeline) if not model.is_here]
    if missing:
        with ThreadPoolExecutor(len(missing)) as executor:
            yield from filter(None, executor.map(_ask_for, missing))


def _ask_for(model: Model) -> Trouble | None:
    """Return why a model cannot be downloaded; None if it can."""
    from httpx2 import HTTPError
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    url = f"{constants.ENDPOINT}/api/models/{model.id}/auth-check"
    name = f"{model.id} ({model.key})"
    try:
        hf_raise_for_status(get_session().get(url, headers=build_hf_headers(), timeout=ANSWER_S))
    except GatedRepoError:
        remedy = (
            f"do so at https://huggingface.co/{model.id}, and export HF_TOKEN, a token of the same account"
        )
        return Trouble(f"{name} asks to accept its license", remedy, model.is_needed)
    except (HfHubHTTPError, HTTPError, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, RepositoryNotFoundError) or status in (401, 403):
            what = f"{name} does not exist on Hugging Face, or HF_TOKEN may not read it"
            return Trouble(
                what, "check its name in params.yaml and the token (`hf auth whoami`)", model.is_needed
            )
        what = f"{name} is not here, and Hugging Face does not answer ({_reason(error)})"
        return Trouble(what, "check the network, or name a local folder in params.yaml")
    return None


def hubs(setting: Setting) -> Iterator[Trouble]:
    """Yield each hub of the crawl that does not answer, or refuses its token, and a clock that differs from theirs."""
    hubs = {name: getattr(setting.params.hubs, name) for name in setting.params.crawl.hubs}
    remote = {name: hub for name, hub in hubs.items() if isinstance(hub, HubParams)}
    if remote:
        with ThreadPoolExecutor(len(remote)) as executor:
            for found in executor.map(lambda name: list(_ask_hub(name, remote[name], setting)), remote):
                yield from found


def _ask_hub(name: str, hub: HubParams, setting: Setting) -> Iterator[Trouble]:
    status, date = _ask(hub.endpoint)
    if status is None:
        yield Trouble(
            f"{name} does not answer at {hub.endpoint} ({date})",
            f"check the network and hubs.{name}.endpoint; a refresh keeps what it knows of this hub",
        )
        return
    if skew := _skew(date):
        yield Trouble(
            f"this clock differs by {skew / 60:.0f} minutes from that of {urlsplit(hub.endpoint).netloc}",
            "set it (timedatectl set-ntp true)",
        )
    token = setting.environment.get(TOKEN_VARIABLES[name])
    if name == "huggingface" and token and _ask(f"{hub.endpoint}/api/whoami-v2", token)[0] == 401:
        yield Trouble("Hugging Face does not know HF_TOKEN", "make a new one and export it", stops=True)


def captioning_servers(setting: Setting) -> Iterator[Trouble]:
    """Yield each vLLM server that does not answer, or has another model than params.yaml."""
    params = setting.params
    if params.captions.engine != "vllm":
        return
    from autolora import vlm
    from autolora.vlm.endpoints import ask_for_models

    named = named_models(params, setting.is_pipeline)
    if any(model.key == "models.vlm" and not model.is_folder(setting.root) for model in named):
        return  # which is the trouble of another check
    wanted = vlm.digest(params.models)
    command = "autolora vllm --cpu" if params.models.device == "cpu" else "autolora vllm"
    for url in params.vllm.urls:
        try:
            served = ask_for_models(url, params.vllm, ANSWER_S)
        except CaptionError as error:
            yield Trouble(
                str(error), f"start it with `{command}`, or correct vllm.urls: new images wait for it"
            )
            continue
        if wanted not in served:
            yield Trouble(
                f"the vLLM server at {url} has {', '.join(served) or 'no model'}, not {wanted}",
                f"start it again with `{command}`, which serves models.vlm",
                stops=True,
            )


def prefect(setting: Setting) -> Iterator[Trouble]:
    """Yield that Prefect's server does not answer, that it answers everybody, or that a refresh may not ask it."""
    profile = _prefect_profile(setting.environment)
    settings = {**profile, **_dotenv(setting.root), **setting.environment}
    url = settings.get("PREFECT_API_URL")
    status, reason = _ask(f"{url.rstrip('/')}/admin/version") if url else (None, "")
    if url and status is None:
        yield Trouble(
            f"no server of Prefect answers at PREFECT_API_URL ({url}): {reason}",
            "start it (`prefect server start`), or unset the variable: each command then starts one of its own",
            stops=True,
        )
    elif status == 200:
        yield Trouble(
            f"the server of Prefect at {url} answers without a password, and whoever reaches its port can run commands "
            "as the user of the worker",
            "start it with PREFECT_SERVER_API_AUTH_STRING=USER:PASSWORD, and refreshes and workers with the same in "
            "PREFECT_API_AUTH_STRING",
        )
    elif status == 401 and not any(settings.get(name) for name in PREFECT_CREDENTIALS):
        yield Trouble(
            f"the server of Prefect at {url} asks for a password",
            "export PREFECT_API_AUTH_STRING with the value of its PREFECT_SERVER_API_AUTH_STRING",
        )


def _prefect_profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that `prefect config set` has written; none if there are none that can be read."""
    path = Path(environment.get("PREFECT_HOME", "~/.prefect")).expanduser() / "profiles.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        settings = content["profiles"][environment.get("PREFECT_PROFILE") or content["active"]]
        return {name: str(value) for name, value in settings.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _dotenv(root: Path) -> dict[str, str]:
    """Return the variables in the file `.env` of the project, which Prefect reads; none if there is none."""
    with suppress(ImportError, ValueError):  # comes with Prefect; ValueError: not UTF-8
        from dotenv import dotenv_values

        return {name: value for name, value in dotenv_values(root / ".env").items() if value}
    return {}


def ray(setting: Setting) -> Iterator[Trouble]:
    """Yield that Ray is not installed, or that the cluster which the environment names does not answer."""
    if setting.params.operation.engine != "ray":
        return
    local, address = "or set operation.engine: local", setting.environment.get("RAY_ADDRESS", "")
    if importlib.util.find_spec("ray") is None:
        what = "operation.engine is ray, and Ray is not installed here"
        yield Trouble(what, f"pip install 'autolora[ray]', {local}", stops=True)
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.rpartition("/")[2].strip("[]"), int(port)), ANSWER_S).close()
        except OSError as error:
            yield Trouble(
                f"no Ray cluster answers at RAY_ADDRESS ({address}): {_reason(error)}",
                f"start it (`ray start --head`), correct the variable, {local}",
                stops=True,
            )


def _ask(url: str, token: str | None = None) -> tuple[int | None, str]:
    """Return status and date of an answer; None and the reason if there is none. No other host gets the token."""
    endpoint = Endpoint(name="doctor", url=url, timeout_s=ANSWER_S, attempts=1, token=token)
    try:
        with get(endpoint, url, {}) as response:
            return response.status, response.headers.get("Date", "")
    except (HubError, TransientError) as error:
        return None, _reason(error)


def _skew(date: str) -> float:
    """Return by how many seconds the clock differs from a Date header; 0 if that is little, or there is none."""
    try:
        skew = abs(parsedate_to_datetime(date).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
    return skew if skew > MAX_SKEW_S else 0.0


def _reason(error: BaseException) -> str:
    """Return the innermost reason of an error, on one line."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return " ".join(str(getattr(error, "reason", None) or error).split())[:200] or type(error).__name__


CHECKS, PIPELINE_CHECKS = (licenses, captioning_servers), (hubs, prefect, ray)

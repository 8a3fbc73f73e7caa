"""Docker's plugin protocol, as far as it is only bytes: JSON bodies, and errors that dockerd passes on to the
user. Both drivers speak it.

dockerd sends no Content-Type, and an empty body to calls without arguments. Of an answer that is no 200 it
shows the member "Err"; of a 200 a network driver's "Err" and an IPAM driver's "Error". So errors are always
500 and carry both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from model.errors import CiliateError, InvalidInput

CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"

MAX_BODY = 1 << 20
"""Bytes; dockerd's own requests are below 64 KB."""

ERROR_STATUS = 500


def parse(body: bytes) -> dict[str, Any]:
    """The members of a request; none if the body is empty."""
    if not body.strip():
        return {}
    try:
        members = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the request is no JSON: {error}") from error
    if not isinstance(members, dict):
        raise InvalidInput(f"the request is {_KINDS.get(type(members), 'a number')}, not an object")
    return members


def encode(reply: Mapping[str, Any]) -> bytes:
    return json.dumps(reply, separators=(",", ":")).encode()


def encode_error(error: Exception) -> bytes:
    """The body of an answer with ERROR_STATUS. What is no CiliateError is a fault of ciliate's own, of which
    the user learns the kind only; the log has the rest."""
    if isinstance(error, CiliateError):
        text = str(error)
    else:
        text = f"internal error of ciliate ({type(error).__name__}); its log says more"
    return encode({"Err": text, "Error": text})


_KINDS = {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}

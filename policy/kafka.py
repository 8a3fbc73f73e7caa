"""Kafka in rules. PURE. Errors are those of policy.fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from model.errors import InvalidInput
from policy.fields import given, is_number, near, only_known, shown, text

API_KEYS = (
    "produce", "fetch", "offsets", "metadata", "leaderandisr", "stopreplica", "updatemetadata", "controlledshutdown",
    "offsetcommit", "offsetfetch", "findcoordinator", "joingroup", "heartbeat", "leavegroup", "syncgroup",
    "describegroups", "listgroups", "saslhandshake", "apiversions", "createtopics", "deletetopics", "deleterecords",
    "initproducerid", "offsetforleaderepoch", "addpartitionstotxn", "addoffsetstotxn", "endtxn", "writetxnmarkers",
    "txnoffsetcommit", "describeacls", "createacls", "deleteacls", "describeconfigs", "alterconfigs",
)  # fmt: skip
"""In the order of their numbers, which begin with 0: the names that rules use for Kafka's API keys."""

ROLES = ("produce", "consume")

_LAST_VERSION = (1 << 15) - 1
_LONGEST_TOPIC = 255
_TOPIC = re.compile(r"[a-zA-Z0-9._-]+\Z")


@dataclass(frozen=True, slots=True)
class KafkaRule:
    """Empty: any. `role` stands for the API keys that producing or consuming takes."""

    role: str = ""
    api_key: str = ""
    api_version: str = ""
    client_id: str = ""
    topic: str = ""


def kafka_rule(data: Any) -> KafkaRule:
    names = ("role", "apiKey", "apiVersion", "clientID", "topic")
    only_known(data, names)
    role, key, version, client, topic = (text(given(data, name, ""), name) for name in names)
    role, key = role.lower(), key.lower()
    if role and key:
        raise InvalidInput("role and apiKey exclude each other", path="role", hint="write two rules")
    if role and role not in ROLES:
        raise InvalidInput(f"{shown(role)} is no role", path="role", hint="write produce or consume")
    if key and key not in API_KEYS:
        raise InvalidInput(f"{shown(key)} is no API key of Kafka", path="apiKey", hint=near(key, API_KEYS))
    if version and (not is_number(version) or len(version) > 5 or int(version) > _LAST_VERSION):
        raise InvalidInput(f"must be a number from 0 to {_LAST_VERSION}, as text", path="apiVersion")
    if topic and (not _TOPIC.match(topic) or len(topic) > _LONGEST_TOPIC):
        raise InvalidInput(
            f"{shown(topic)} is no topic",
            path="topic",
            hint=f"letters, digits, '.', '_' and '-', {_LONGEST_TOPIC} at most",
        )
    return KafkaRule(role, key, version, client, topic)

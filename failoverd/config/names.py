"""What Kubernetes takes for a name, for a label and for its value."""

from __future__ import annotations

import re

_PART = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"{_PART}(\.{_PART})*", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", re.ASCII)
LONGEST_NAME, LONGEST_LABEL = 253, 63


def is_name(text: str) -> bool:
    """Whether it can be the name of an object: an RFC 1123 subdomain."""
    return len(text) <= LONGEST_NAME and _NAME.fullmatch(text) is not None


def no_name(text: str) -> str:
    """Why it cannot; empty where it can."""
    if is_name(text):
        return ""
    if len(text) > LONGEST_NAME:
        return f'"{text[:20]}…" is not a Kubernetes name: it has {len(text)} characters, {LONGEST_NAME} are allowed'
    if text and re.fullmatch(r"[-a-z0-9.]+", text, re.ASCII):
        return f'"{text}" is not a Kubernetes name: a letter or digit at both ends, and on both sides of each "."'
    return f'"{text}" is not a Kubernetes name: lower-case letters, digits, "-" and "." only'


def no_reference(text: str) -> str:
    """Why it is neither `name` nor `namespace/name`; empty where it is one of them."""
    if text.count("/") > 1:
        return f'"{text}" has more than one "/": write "name" or "namespace/name"'
    return next((no_name(part) for part in text.split("/") if not is_name(part)), "")


def no_label(key: str, value: str) -> str:
    """Why no object can have such a label; empty where one can."""
    prefix, slash, name = key.rpartition("/")
    rule = f'letters, digits, "-", "_" and "." only, a letter or digit at both ends, at most {LONGEST_LABEL} of them'
    if slash and not is_name(prefix):
        return f'"{key}" is no label of Kubernetes: before the "/" stands a domain, as in "example.org/role"'
    if not (len(name) <= LONGEST_LABEL and _LABEL.fullmatch(name)):
        return f'"{key}" is no label of Kubernetes: {rule}'
    if value and not (len(value) <= LONGEST_LABEL and _LABEL.fullmatch(value)):
        return f'"{value}" is no value of a label: {rule}'
    return ""

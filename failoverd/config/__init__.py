"""Configuration: one TOML file, the environment over it, secrets in files; checked as a whole."""

from failoverd.config.problems import ConfigError, Problem
from failoverd.config.resolved import Channel, Config, Fence
from failoverd.config.secrets import Files
from failoverd.config.settings import Settings
from failoverd.config.source import ConfigSource, Reload, load, parsed

__all__ = [
    "Channel",
    "Config",
    "ConfigError",
    "ConfigSource",
    "Fence",
    "Files",
    "Problem",
    "Reload",
    "Settings",
    "load",
    "parsed",
]

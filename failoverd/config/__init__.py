"""Configuration: one TOML file, the environment over it, secrets in files; checked as a whole."""

from failoverd.config.problems import ConfigError, Problem
from failoverd.config.resolved import Channel, Config, Fence
from failoverd.config.settings import Settings
from failoverd.config.source import ConfigSource, Reload, load

__all__ = [
    "Channel",
    "Config",
    "ConfigError",
    "ConfigSource",
    "Fence",
    "Problem",
    "Reload",
    "Settings",
    "load",
]

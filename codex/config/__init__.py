"""What a node is told before it starts: values, the options that set them, and where options come from.

`Config` is a frozen value with one part for each service; whoever builds it by hand gets the same defaults as
the command line. `load` reads it from the command line, then `CODEX_*` environment variables, then a TOML
file, then the defaults: the first that names an option wins. `split` finds where a node's own options end on
a command line. `read_token` reads the secret that `--api-token-file` names, for the node and for commands.
"""

from codex.config.arguments import split
from codex.config.load import default_data_dir, load
from codex.config.options import OPTIONS, Option
from codex.config.token import read_token
from codex.config.values import (
    ApiConfig,
    Config,
    DiscoveryConfig,
    ExchangeConfig,
    LogConfig,
    MarketConfig,
    MetricsConfig,
    P2pConfig,
    ProverConfig,
    StoreConfig,
)

__all__ = [
    "OPTIONS",
    "ApiConfig",
    "Config",
    "DiscoveryConfig",
    "ExchangeConfig",
    "LogConfig",
    "MarketConfig",
    "MetricsConfig",
    "Option",
    "P2pConfig",
    "ProverConfig",
    "StoreConfig",
    "default_data_dir",
    "load",
    "read_token",
    "split",
]

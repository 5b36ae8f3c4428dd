"""Every option of a node: its name, its kind, the field of `Config` that it sets, and a line of help.

The names, short names and defaults are those of the network's other nodes, so that their command lines,
environments and files work here. A default is written once, in `values`.
"""

from typing import Any

from attrs import fields, frozen

from codex.config import kinds, values
from codex.config.kinds import Kind, choice, duration, size, whole
from codex.units import KIB

NODE, PERSISTENCE, PROVER = "node", "persistence", "prover"
"""The parts of a command line: `codex [NODE…] persistence [PERSISTENCE…] prover [PROVER…]`."""

_PARTS: dict[str, Any] = {
    "store": values.StoreConfig(),
    "api": values.ApiConfig(),
    "log": values.LogConfig(),
    "metrics": values.MetricsConfig(),
    "p2p": values.P2pConfig(),
    "discovery": values.DiscoveryConfig(),
    "exchange": values.ExchangeConfig(),
    "market": values.MarketConfig(),
    "prover": values.ProverConfig(),
}
_OWN = {"num_threads": fields(values.Config).num_threads.default}


@frozen
class Option:
    """One option. `field` is `part.name` in Config, or a name of Config itself, or empty where nothing is
    set.
    """

    name: str
    kind: Kind
    field: str
    help: str
    short: str = ""
    many: bool = False
    """Whether it may be given several times, each adding a value."""
    hidden: bool = False
    """Accepted, and left out of the help."""
    section: str = NODE

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "CODEX_" + self.name.upper().replace("-", "_")

    @property
    def default(self) -> str:
        """The default as one would write it; empty when there is none."""
        part, _, name = self.field.rpartition(".")
        value: Any = getattr(_PARTS[part], name) if part else _OWN.get(name)
        if value is None:
            return ""
        return ", ".join(map(self.kind.show, value)) if self.many else self.kind.show(value)


_COMMON = (
    Option("config-file", kinds.PATH, "", "TOML file with any of these options"),
    Option("data-dir", kinds.PATH, "data_dir", "directory of everything the node keeps", "d"),
    Option(
        "log-level",
        kinds.LEVELS,
        "log.level",
        "least level of log lines, as in: info; debug: store, api",
    ),
    Option(
        "log-format", choice("auto", "colors", "nocolors", "json", "none"), "log.format", "look of log lines"
    ),
    Option("log-file", kinds.PATH, "log.file", "file that gets log lines, too"),
    Option("metrics", kinds.FLAG, "metrics.enabled", "serve Prometheus metrics"),
    Option("metrics-address", kinds.IP, "metrics.address", "address to serve metrics on"),
    Option("metrics-port", kinds.PORT, "metrics.port", "TCP port to serve metrics on"),
    Option(
        "num-threads", whole(2, 1024, also=0), "num_threads", "worker threads; 0 is one a processor, up to 16"
    ),
)

_API = (
    Option("api-bindaddr", kinds.HOST, "api.bind", "address of the REST interface"),
    Option("api-port", kinds.PORT, "api.port", "TCP port of the REST interface; 0 is any free one", "p"),
    Option(
        "api-cors-origin",
        kinds.ORIGIN,
        "api.cors_origin",
        "origin whose web pages may use the REST interface",
    ),
    Option(
        "api-token-file",
        kinds.PATH,
        "api.token_file",
        "file, mode 0600, with the token that every call must bear",
    ),
)

_STORE = (
    Option("storage-quota", size(64 * KIB), "store.quota", "room for blocks and reservations together", "q"),
    Option("block-ttl", duration(0), "store.block_ttl", "how long a block stays; 0 is for ever", "t"),
    Option(
        "block-mi", duration(1), "store.maintenance_interval", "time between two looks for expired blocks"
    ),
    Option("block-mn", whole(1, 1_000_000_000), "store.maintenance_blocks", "blocks looked at each time"),
    Option(
        "repo-kind",
        choice("fs", "sqlite", "leveldb"),
        "",
        "without effect: there is one kind of store",
        hidden=True,
    ),
    Option("cache-size", size(0), "", "without effect: the system's cache is used", "c", hidden=True),
)

_NETWORK = (
    Option(
        "listen-addrs",
        kinds.LISTEN_ADDRESS,
        "p2p.listen_addrs",
        "addresses to take connections on",
        "i",
        many=True,
    ),
    Option("nat", kinds.NAT, "p2p.nat", "how to be reached behind a router"),
    Option("disc-port", kinds.PORT, "discovery.port", "UDP port of discovery", "u"),
    Option("net-privkey", kinds.PATH, "p2p.key_file", "key file, in the data directory unless absolute"),
    Option(
        "bootstrap-node", kinds.SPR, "p2p.bootstrap_nodes", "record of a node to ask first", "b", many=True
    ),
    Option("max-peers", whole(1, 100_000), "p2p.max_peers", "connections to other nodes at most"),
    Option("agent-string", kinds.AGENT, "p2p.agent_string", "what the node calls itself to peers"),
    Option("lan-discovery", kinds.FLAG, "discovery.lan", "find nodes on the same network by multicast"),
    Option("upload-limit", size(0), "p2p.upload_limit", "bytes a second to other nodes; 0 is no limit"),
    Option("download-limit", size(0), "p2p.download_limit", "bytes a second from other nodes; 0 is no limit"),
    Option(
        "fetch-timeout", duration(1), "exchange.timeout", "time without progress until a fetch is given up"
    ),
    Option("block-retries", whole(0, 1_000_000_000), "exchange.block_retries", "attempts at getting a block"),
)

_MARKET = tuple(
    Option(name, kind, field, help, hidden=hidden, section=PERSISTENCE)
    for name, kind, field, help, hidden in (
        ("eth-provider", kinds.PROVIDERS, "market.providers", "JSON-RPC interfaces of Ethereum nodes", False),
        ("eth-account", kinds.ETH_ADDRESS, "market.account", "account that the provider signs for", False),
        (
            "eth-private-key",
            kinds.PATH,
            "market.private_key_file",
            "file with the private key, mode 0600",
            False,
        ),
        (
            "eth-password-file",
            kinds.PATH,
            "market.password_file",
            "file with the password of an encrypted private key, mode 0600",
            False,
        ),
        (
            "marketplace-address",
            kinds.ETH_ADDRESS,
            "market.marketplace_address",
            "marketplace contract",
            False,
        ),
        (
            "reward-recipient",
            kinds.ETH_ADDRESS,
            "market.reward_recipient",
            "address that gets the earnings",
            False,
        ),
        ("validator", kinds.FLAG, "market.validator", "watch other nodes' proofs", False),
        (
            "validator-max-slots",
            whole(0, 2**31 - 1),
            "market.validator_max_slots",
            "slots to watch; 0 is all",
            False,
        ),
        (
            "validator-groups",
            whole(2, 65535),
            "market.validator_groups",
            "groups of validators that share",
            False,
        ),
        (
            "validator-group-index",
            whole(0, 65534),
            "market.validator_group_index",
            "group of this validator",
            False,
        ),
        ("request-cache-size", whole(1, 65535), "market.request_cache_size", "requests kept in memory", True),
        (
            "max-priority-fee-per-gas",
            whole(0, 2**63 - 1),
            "market.max_priority_fee_per_gas",
            "tip in wei",
            True,
        ),
        ("simulate-proof-failures", whole(0, 2**31 - 1), "market.simulate_proof_failures", "for tests", True),
    )
)

_PROVING = tuple(
    Option(name, kind, field, help, short, section=PROVER)
    for name, kind, field, help, short in (
        ("circuit-dir", kinds.PATH, "prover.circuit_dir", "directory of the circuit files", "cd"),
        ("circom-r1cs", kinds.PATH, "prover.circom_r1cs", "r1cs file of the circuit", ""),
        ("circom-wasm", kinds.PATH, "prover.circom_wasm", "wasm file of the circuit", ""),
        ("circom-zkey", kinds.PATH, "prover.circom_zkey", "zkey file of the circuit", ""),
        ("circom-no-zkey", kinds.FLAG, "prover.circom_no_zkey", "do without the zkey file", ""),
        ("proof-samples", whole(1, 1000), "prover.proof_samples", "cells sampled in a proof", ""),
        ("max-slot-depth", whole(1, 64), "prover.max_slot_depth", "depth of the slot tree at most", ""),
        (
            "max-dataset-depth",
            whole(1, 64),
            "prover.max_dataset_depth",
            "depth of the dataset tree at most",
            "",
        ),
        ("max-block-depth", whole(1, 64), "prover.max_block_depth", "depth of the block tree at most", ""),
        ("max-cell-elements", whole(1, 100_000), "prover.max_cell_elements", "field elements of a cell", ""),
    )
)

OPTIONS: tuple[Option, ...] = _COMMON + _API + _STORE + _NETWORK + _MARKET + _PROVING
"""All options, in the order of the help."""

BY_NAME = {option.name: option for option in OPTIONS}
BY_SHORT = {option.short: option for option in OPTIONS if option.short}
BY_VARIABLE = {option.variable: option for option in OPTIONS}

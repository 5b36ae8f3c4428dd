"""The configuration of a node as frozen values, one part a service, with the defaults of the network's nodes.

Nothing here is checked: `load` checks what people write. Sizes are bytes, durations seconds.
"""

from pathlib import Path

from attrs import Factory, frozen

from codex.units import DAY, GIB, MINUTE


@frozen
class StoreConfig:
    """Blocks on this disk."""

    quota: int = 20 * GIB
    """Bytes that blocks and reservations may take together."""
    block_ttl: float = 30 * DAY
    """Seconds that a block stays when nobody asks for longer; 0 means that it never expires."""
    maintenance_interval: float = 10 * MINUTE
    """Seconds between two looks for expired blocks."""
    maintenance_blocks: int = 1000
    """Blocks looked at each time."""


@frozen
class ApiConfig:
    """The REST interface."""

    bind: str = "127.0.0.1"
    """IP address (or name of one) to listen on."""
    port: int = 8080
    """TCP port; 0 takes any free one."""
    port_explicit: bool = False
    """Whether the port was asked for, and not merely the default: a taken port is then an error."""
    cors_origin: str | None = None
    """The origin whose pages may call the interface, `*` for all, None for no page at all."""
    token_file: Path | None = None
    """A file with the token that every call must bear (see `read_token`); None asks for none."""


@frozen
class LogConfig:
    """What is logged, how, and where."""

    level: str = "info"
    """Levels in the form `level; level: topic, topic`."""
    format: str = "auto"
    """auto, colors, nocolors, json or none."""
    file: Path | None = None
    """A file that gets the same lines, whatever the format of the terminal is."""


@frozen
class MetricsConfig:
    """The Prometheus page."""

    enabled: bool = False
    address: str = "127.0.0.1"
    port: int = 8008


@frozen
class P2pConfig:
    """Connections to other nodes, and this node's name among them."""

    listen_addrs: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/0",)
    """Multiaddresses, TCP over IPv4 or IPv6."""
    nat: str = "any"
    """any, none, upnp, pmp or extip:<IP address>."""
    key_file: Path = Path("key")
    """Relative to the data directory unless absolute; see `Config.key_path`."""
    max_peers: int = 160
    agent_string: str = "Codex"
    """What this node calls itself to peers."""
    bootstrap_nodes: tuple[str, ...] = ()
    """Signed peer records (`spr:…`) of the nodes to ask first."""
    upload_limit: int = 0
    """Bytes a second that go to other nodes altogether; 0 is no limit."""
    download_limit: int = 0
    """Bytes a second that come from other nodes altogether; 0 is no limit."""


@frozen
class DiscoveryConfig:
    """Finding who has what."""

    port: int = 8090
    """UDP port, on all addresses; 0 takes any free one."""
    port_explicit: bool = False
    """Whether the port was asked for, and not merely the default: a taken port is then an error."""
    lan: bool | None = None
    """Whether nodes on the same network are found by multicast; None leaves it to `Config.lan_discovery`."""


@frozen
class ExchangeConfig:
    """Getting blocks from other nodes."""

    timeout: float = 60.0
    """Seconds without progress after which what is wanted counts as not to be had."""
    block_retries: int = 3000
    """How often a block is asked for again before it counts as not to be had."""


@frozen
class MarketConfig:
    """Buying and selling storage (`codex persistence`)."""

    providers: tuple[str, ...] = ("ws://localhost:8545",)
    """URLs of the JSON-RPC interfaces of Ethereum nodes, each tried when those before it do not answer."""
    account: str | None = None
    """Address of an account that the provider signs for."""
    private_key_file: Path | None = None
    password_file: Path | None = None
    """A file with the password of the private key, where that is encrypted."""
    marketplace_address: str | None = None
    """Address of the contract; None takes the one known for the chain."""
    reward_recipient: str | None = None
    """Address that gets what this node earns; None is its own account."""
    validator: bool = False
    validator_max_slots: int = 1000
    """Slots that the validator watches; 0 is all."""
    validator_groups: int | None = None
    """Groups that validators share the slots among; None is one group with all slots."""
    validator_group_index: int = 0
    request_cache_size: int = 128
    """Storage requests kept in memory."""
    max_priority_fee_per_gas: int = 1_000_000_000
    """Wei."""
    simulate_proof_failures: int = 0
    """For test networks: of so many proofs leave one out; 0 leaves out none."""


@frozen
class ProverConfig:
    """Proving that a slot is still held (`codex persistence prover`)."""

    circuit_dir: Path | None = None
    """None is `circuits` in the data directory; the three files below are looked for there unless named."""
    circom_r1cs: Path | None = None
    circom_wasm: Path | None = None
    circom_zkey: Path | None = None
    circom_no_zkey: bool = False
    proof_samples: int = 5
    max_slot_depth: int = 32
    max_dataset_depth: int = 8
    max_block_depth: int = 5
    max_cell_elements: int = 67


@frozen
class Config:
    """Everything a node is told before it starts. Only the data directory has no default."""

    data_dir: Path
    store: StoreConfig = Factory(StoreConfig)
    api: ApiConfig = Factory(ApiConfig)
    log: LogConfig = Factory(LogConfig)
    metrics: MetricsConfig = Factory(MetricsConfig)
    p2p: P2pConfig = Factory(P2pConfig)
    discovery: DiscoveryConfig = Factory(DiscoveryConfig)
    exchange: ExchangeConfig = Factory(ExchangeConfig)
    num_threads: int = 0
    """Threads for work off the event loop; 0 is one a processor, at most 16."""
    market: MarketConfig | None = None
    """None unless `persistence` was asked for."""
    prover: ProverConfig | None = None
    """None unless `persistence prover` was asked for."""
    warnings: tuple[str, ...] = ()
    """Sentences for the log: what was given and has no effect."""

    @property
    def key_path(self) -> Path:
        """The node's key file."""
        return self.data_dir / self.p2p.key_file

    @property
    def lan_discovery(self) -> bool:
        """Whether nodes on the same network are found by multicast: as was asked for; else unless a bootstrap
        node is named, or only this machine can connect.
        """
        if self.discovery.lan is not None:
            return self.discovery.lan
        return not self.p2p.bootstrap_nodes and not all(map(is_loopback, self.p2p.listen_addrs))


def is_loopback(address: str) -> bool:
    """Whether a multiaddress is one that only this machine reaches."""
    host = address.removeprefix("/").split("/")[1:2]
    return host[:1] == ["::1"] or "".join(host).startswith("127.")

"""Configuration: which source wins, what each option accepts, and that what is wrong is named."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex import config
from codex.config import OPTIONS, Config, MarketConfig, Option, ProverConfig, load, split
from codex.errors import ConfigError
from codex.units import GIB, MIB

HOME = {"HOME": "/home/alice"}
SPR = "spr:" + "CiUIAhIhAjOdSH7SNzktg3kZUNyJHwY23mmMH6BR6gGuP6WL14WA" * 4
ACCOUNT = "0x" + "aB" * 20


def loaded(
    *args: str, environ: Mapping[str, str] = HOME, toml: str | None = None, platform: str = "linux"
) -> Config:
    """Load with a file that exists only here."""

    def read(path: Path) -> bytes:
        assert path == Path("codex.toml")
        assert toml is not None
        return toml.encode()

    named = () if toml is None else ("--config-file=codex.toml",)
    return load([*named, *args], {**HOME, **environ}, read=read, platform=platform)


def refused(*args: str, environ: Mapping[str, str] = HOME, toml: str | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        loaded(*args, environ=environ, toml=toml)
    assert caught.value.remedy, "an error says what to do"
    return caught.value


def test_without_anything_the_defaults_hold() -> None:
    assert loaded() == Config(Path("/home/alice/.cache/codex"))


def test_the_defaults_are_those_of_the_network() -> None:
    made = loaded()
    assert made.store.quota == 20 * GIB
    assert made.store.block_ttl == 30 * 86400
    assert (made.store.maintenance_interval, made.store.maintenance_blocks) == (600, 1000)
    assert (made.api.bind, made.api.port, made.api.cors_origin) == ("127.0.0.1", 8080, None)
    assert (made.metrics.enabled, made.metrics.address, made.metrics.port) == (False, "127.0.0.1", 8008)
    assert made.p2p.listen_addrs == ("/ip4/0.0.0.0/tcp/0",)
    assert (made.p2p.max_peers, made.p2p.agent_string, made.p2p.nat) == (160, "Codex", "any")
    assert made.discovery.port == 8090
    assert made.exchange.block_retries == 3000
    assert made.key_path == Path("/home/alice/.cache/codex/key")


@pytest.mark.parametrize(
    ("platform", "home", "path"),
    [
        ("linux", "HOME", "/home/alice/.cache/codex"),
        ("freebsd13", "HOME", "/home/alice/.cache/codex"),
        ("darwin", "HOME", "/home/alice/Library/Application Support/Codex"),
        ("win32", "USERPROFILE", "/home/alice/AppData/Roaming/Codex"),
    ],
)
def test_the_data_directory_is_where_the_platform_has_it(platform: str, home: str, path: str) -> None:
    assert load([], {home: "/home/alice"}, platform=platform).data_dir == Path(path)


def test_without_a_home_the_data_directory_must_be_named() -> None:
    with pytest.raises(ConfigError) as caught:
        load([], {}, platform="linux")
    assert "--data-dir" in caught.value.remedy
    assert load(["--data-dir=/srv/codex"], {}, platform="linux").data_dir == Path("/srv/codex")


# Each row: what the command line, the environment and the file say; what holds.
@pytest.mark.parametrize(
    ("argument", "variable", "line", "quota"),
    [
        (None, None, None, 20 * GIB),
        (None, None, "3MiB", 3 * MIB),
        (None, "2MiB", None, 2 * MIB),
        (None, "2MiB", "3MiB", 2 * MIB),
        ("1MiB", None, None, MIB),
        ("1MiB", None, "3MiB", MIB),
        ("1MiB", "2MiB", None, MIB),
        ("1MiB", "2MiB", "3MiB", MIB),
    ],
)
def test_precedence(argument: str | None, variable: str | None, line: str | None, quota: int) -> None:
    made = loaded(
        *([f"--storage-quota={argument}"] if argument else []),
        environ={"CODEX_STORAGE_QUOTA": variable} if variable else {},
        toml=f'storage-quota = "{line}"' if line else "",
    )
    assert made.store.quota == quota


@pytest.mark.parametrize(
    ("argument", "variable", "line", "nodes"),
    [
        (False, False, False, 0),
        (False, False, True, 3),
        (False, True, True, 2),
        (True, True, True, 1),
    ],
)
def test_a_list_replaces_those_of_lower_sources(
    argument: bool, variable: bool, line: bool, nodes: int
) -> None:
    made = loaded(
        *([f"--bootstrap-node={SPR}"] if argument else []),
        environ={"CODEX_BOOTSTRAP_NODE": f"{SPR}, {SPR}"} if variable else {},
        toml=f'bootstrap-node = ["{SPR}", "{SPR}", "{SPR}"]' if line else "",
    )
    assert made.p2p.bootstrap_nodes == (SPR,) * nodes


def test_the_file_may_be_named_in_the_environment() -> None:
    def read(path: Path) -> bytes:
        return f'data-dir = "{path}"'.encode()

    made = load([], HOME | {"CODEX_CONFIG_FILE": "~/c.toml"}, read=read)
    assert made.data_dir == Path("/home/alice/c.toml")


def test_every_option_is_read_the_same_from_every_source() -> None:
    texts = {
        "data-dir": "/srv/codex",
        "log-level": "debug; trace: store",
        "log-format": "json",
        "log-file": "/var/log/codex",
        "metrics": "true",
        "metrics-address": "0.0.0.0",
        "metrics-port": "9000",
        "num-threads": "3",
        "api-bindaddr": "::1",
        "api-port": "0",
        "api-cors-origin": "https://app.example.org",
        "api-token-file": "/etc/codex/token",
        "storage-quota": "1TiB",
        "block-ttl": "0",
        "block-mi": "1h",
        "block-mn": "5",
        "repo-kind": "leveldb",
        "cache-size": "64m",
        "listen-addrs": "/ip4/127.0.0.1/tcp/8070",
        "nat": "extip:203.0.113.7",
        "disc-port": "8091",
        "net-privkey": "/etc/codex/key",
        "bootstrap-node": SPR,
        "max-peers": "7",
        "agent-string": "Bob's node",
        "lan-discovery": "true",
        "upload-limit": "1m",
        "download-limit": "2m",
        "fetch-timeout": "5s",
        "block-retries": "4",
        "eth-provider": "https://rpc.example.org/v1?key=a,ws://localhost:8546",
        "eth-account": ACCOUNT,
        "eth-private-key": "/etc/codex/eth",
        "eth-password-file": "/etc/codex/eth-password",
        "marketplace-address": ACCOUNT[2:],
        "reward-recipient": ACCOUNT,
        "validator": "true",
        "validator-max-slots": "0",
        "validator-groups": "8",
        "validator-group-index": "7",
        "request-cache-size": "64",
        "max-priority-fee-per-gas": "1",
        "simulate-proof-failures": "2",
        "circuit-dir": "/c",
        "circom-r1cs": "/c/r",
        "circom-wasm": "/c/w",
        "circom-zkey": "/c/z",
        "circom-no-zkey": "true",
        "proof-samples": "6",
        "max-slot-depth": "31",
        "max-dataset-depth": "7",
        "max-block-depth": "4",
        "max-cell-elements": "66",
    }
    assert set(texts) == {option.name for option in OPTIONS} - {"config-file"}
    options = [option for option in OPTIONS if option.name in texts]
    words: list[str] = []
    for section in ("node", "persistence", "prover"):
        words += [section] * (section != "node")
        words += [f"--{one.name}={texts[one.name]}" for one in options if one.section == section]
    lines = [
        f'{one.name} = ["{texts[one.name]}"]' if one.many else f'{one.name} = "{texts[one.name]}"'
        for one in options
    ]
    parts = ("persistence", "prover")
    made = [
        loaded(*words),
        loaded(*parts, environ={option.variable: texts[option.name] for option in options}),
        loaded(*parts, toml="\n".join(lines)),
    ]
    bare = [attrs.evolve(one, warnings=()) for one in made]
    assert bare[0] == bare[1] == bare[2]
    for part, default in (
        (bare[0], Config(Path("/x"))),
        (bare[0].market, MarketConfig()),
        (bare[0].prover, ProverConfig()),
    ):
        for field in attrs.fields(type(default)):
            if field.name != "warnings":
                assert getattr(part, field.name) != getattr(default, field.name), f"{field.name} was not set"


def test_a_file_may_use_numbers_and_booleans() -> None:
    made = loaded(
        toml="storage-quota = 131072\nblock-ttl = 1.5\nmetrics = true\napi-port = 81\nmax-peers = 2"
    )
    assert (made.store.quota, made.store.block_ttl, made.metrics.enabled) == (131072, 1.5, True)
    assert (made.api.port, made.p2p.max_peers) == (81, 2)


@pytest.mark.parametrize(
    "toml",
    [
        "storage-quota = true",
        "storage-quota = 1.5",
        "storage-quota = []",
        "metrics = 1",
        "max-peers = 2.0",
        "max-peers = true",
        'bootstrap-node = "spr:a"',
        "bootstrap-node = [1]",
        "[storage-quota]",
        "log-level = 2026-01-01",
        'data-dir = ["/a"]',
    ],
)
def test_a_wrong_type_in_the_file_is_named(toml: str) -> None:
    error = refused(toml=toml)
    assert toml.strip("[]").split(" ")[0] in error.message
    assert "codex.toml" in error.message
    assert "wrong type" in error.message


@pytest.mark.parametrize(
    "toml", ["storage-qouta = 1", "[persistence]\n", "config-file = 'x'", "a.b = 1", "--api-port = 1"]
)
def test_an_unknown_key_in_the_file_is_named(toml: str) -> None:
    error = refused(toml=toml)
    assert "codex.toml" in error.message


@pytest.mark.parametrize(
    "toml",
    [
        "storage-quota",
        "= 1",
        "api-port = 1\napi-port = 2",
        "a = " + "[" * 2000,
        f"a = {'9' * 5000}",
        "\x00",
    ],
)
def test_a_file_that_is_no_toml_is_refused(toml: str) -> None:
    assert "codex.toml" in refused(toml=toml).message


def test_a_file_that_is_no_text_or_too_large_is_refused() -> None:
    for content in (b"\xff\xfe", b"#" * (1024 * 1024 + 1)):
        with pytest.raises(ConfigError, match=r"codex\.toml"):
            load(["--config-file=codex.toml"], HOME, read=lambda path, content=content: content)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.toml", tmp_path, Path("/dev/zero")):
        with pytest.raises(ConfigError) as caught:
            load([f"--config-file={path}"], HOME)
        assert str(path) in caught.value.message


# The options that a wrong value is tried on, and the values.
WRONG = [
    ("storage-quota", "abc"),
    ("storage-quota", "-1"),
    ("storage-quota", "1k"),
    ("storage-quota", "9E"),
    ("storage-quota", ""),
    ("block-ttl", "-1"),
    ("block-ttl", "200y"),
    ("block-ttl", "99999d"),
    ("block-mi", "0"),
    ("block-mn", "0"),
    ("api-port", "65536"),
    ("api-port", "-1"),
    ("api-port", "80a"),
    ("api-port", "1_0"),
    ("api-port", "٣"),
    ("api-port", "9" * 400),
    ("api-bindaddr", ""),
    ("api-bindaddr", "256.0.0.1"),
    ("api-bindaddr", "a b"),
    ("api-bindaddr", "127.0.0.1:80"),
    ("api-cors-origin", ""),
    ("api-cors-origin", "a,b"),
    ("api-cors-origin", "https://a\r\nSet-Cookie: x"),
    ("metrics", "maybe"),
    ("metrics-address", "localhost"),
    ("metrics-port", "x"),
    ("log-level", "loud"),
    ("log-level", "info; debug"),
    ("log-format", "xml"),
    ("num-threads", "1"),
    ("num-threads", "-1"),
    ("num-threads", "9999"),
    ("max-peers", "0"),
    ("agent-string", ""),
    ("agent-string", "a\nb"),
    ("agent-string", "a" * 257),
    ("nat", "extip"),
    ("nat", "extip:"),
    ("nat", "extip:::1"),
    ("nat", "any:1"),
    ("listen-addrs", "0.0.0.0:80"),
    ("listen-addrs", "/ip4/0.0.0.0/udp/0"),
    ("listen-addrs", "/ip4/::1/tcp/0"),
    ("listen-addrs", "/ip6/1.2.3.4/tcp/0"),
    ("listen-addrs", "/ip4/0.0.0.0/tcp/65536"),
    ("listen-addrs", "/ip4/0.0.0.0/tcp/"),
    ("listen-addrs", "/ip6/fe80::1%eth0/tcp/0"),
    ("bootstrap-node", "spr:abc"),
    ("bootstrap-node", SPR[4:]),
    ("bootstrap-node", SPR + "="),
    ("data-dir", ""),
    ("data-dir", "a\0b"),
    ("data-dir", "x" * 5000),
    ("repo-kind", "lmdb"),
]


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_a_wrong_value_is_named_with_its_option_and_source(name: str, text: str) -> None:
    option = next(option for option in OPTIONS if option.name == name)
    sources = {"command line": lambda: refused(f"--{name}={text}")}
    # An environment variable holds no NUL, and one for a list is taken apart at spaces and commas.
    if "\0" not in text:
        sources[option.variable] = lambda: refused(environ={option.variable: text})
    for source, fails in sources.items():
        message = fails().message
        assert name in message
        assert source in message
        assert repr(text)[:20] in message
        assert len(message) < 400


def test_what_is_accepted_is_said() -> None:
    assert "20GiB" in refused("--storage-quota=abc").remedy
    assert "64.0 KiB" in refused("--storage-quota=1k").remedy
    assert "from 0 to 65535" in refused("--api-port=x").remedy
    assert "or 0" in refused("--num-threads=1").remedy
    assert "auto, colors, nocolors, json, none" in refused("--log-format=x").remedy
    assert "trace, debug, info, notice, warn, error or fatal" in refused("--log-level=x").message


def test_options_may_be_written_in_every_way() -> None:
    for words in (
        ["--data-dir=/x", "--storage-quota=2m"],
        ["--data-dir:/x", "--storage-quota:2m"],
        ["--data-dir", "/x", "--storage-quota", "2m"],
        ["-d=/x", "-q=2m"],
        ["-d:/x", "-q:2MB"],
        ["-d", "/x", "-q", "2MiB"],
    ):
        made = loaded(*words)
        assert (made.data_dir, made.store.quota) == (Path("/x"), 2 * MIB)


def test_only_the_first_mark_divides() -> None:
    assert loaded("--nat:extip:203.0.113.7").p2p.nat == "extip:203.0.113.7"
    assert loaded("--data-dir=/a=b:c").data_dir == Path("/a=b:c")
    assert loaded("--data-dir:/a=b:c").data_dir == Path("/a=b:c")
    assert loaded(f"-b:{SPR}").p2p.bootstrap_nodes == (SPR,)


def test_a_flag_never_takes_the_next_word() -> None:
    assert loaded("--metrics").metrics.enabled
    assert loaded("--metrics=on").metrics.enabled
    assert not loaded("--metrics:false").metrics.enabled
    assert "'true'" in refused("--metrics", "true").message


def test_the_last_of_several_counts_and_lists_add_up() -> None:
    assert loaded("-p:1", "-p:2").api.port == 2
    addresses = ("/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/2")
    assert loaded(f"-i={addresses[0]}", f"--listen-addrs={addresses[1]}").p2p.listen_addrs == addresses


def test_an_unknown_option_is_named_with_the_closest() -> None:
    error = refused("--storage-qouta=1")
    assert "--storage-qouta" in error.message
    assert "--storage-quota" in error.remedy
    assert "-x" in refused("-x=1").message
    assert "---" in refused("---=").message
    assert "word" in refused("word").message


def test_an_option_without_its_value_is_named() -> None:
    assert "--data-dir" in refused("--data-dir").message


@pytest.mark.parametrize(
    ("words", "own", "rest"),
    [
        ([], 0, []),
        (["put", "a"], 0, ["put", "a"]),
        (["-d:/x", "ls", "--json"], 1, ["ls", "--json"]),
        (["-d", "/x", "ls"], 2, ["ls"]),
        (["-d", "ls", "ls"], 2, ["ls"]),
        (["--metrics", "put"], 1, ["put"]),
        (["--help"], 0, ["--help"]),
        (["-p=1", "--version"], 1, ["--version"]),
        (["persistence", "--validator", "prover"], 3, []),
        (["prover"], 0, ["prover"]),
        (["-"], 0, ["-"]),
    ],
)
def test_a_command_line_is_cut_where_the_options_end(words: list[str], own: int, rest: list[str]) -> None:
    assert split(words) == (words[:own], rest)


ANY_WORD = st.text(max_size=20) | st.sampled_from([f"--{option.name}" for option in OPTIONS])


@given(st.lists(ANY_WORD, max_size=6))
def test_no_command_line_does_anything_but_load_or_be_refused(words: list[str]) -> None:
    with suppress(ConfigError):
        assert isinstance(load(words, HOME, read=lambda path: b""), Config)


def test_the_port_knows_whether_it_was_asked_for() -> None:
    assert not loaded().api.port_explicit
    assert loaded("--api-port=8080").api.port_explicit
    assert loaded(environ={"CODEX_API_PORT": "8080"}).api.port_explicit
    assert loaded(toml="api-port = 8080").api.port_explicit
    assert not loaded().discovery.port_explicit
    assert loaded("--disc-port=8090").discovery.port_explicit


@pytest.mark.parametrize(
    ("words", "on"),
    [
        ([], True),
        (["--listen-addrs=/ip4/127.0.0.1/tcp/0"], False),
        (["--listen-addrs=/ip4/127.8.9.1/tcp/0", "--listen-addrs=/ip6/::1/tcp/0"], False),
        (["--listen-addrs=/ip4/127.0.0.1/tcp/0", "--listen-addrs=/ip4/192.168.1.2/tcp/0"], True),
        (["--listen-addrs=/ip4/127.0.0.1/tcp/0", "--lan-discovery"], True),
        ([f"--bootstrap-node={SPR}"], False),
        ([f"--bootstrap-node={SPR}", "--lan-discovery=true"], True),
        (["--lan-discovery=false"], False),
    ],
)
def test_who_is_near_is_looked_for_unless_that_makes_no_sense(words: list[str], on: bool) -> None:
    assert loaded(*words).lan_discovery is on


def test_home_is_meant_by_a_tilde() -> None:
    assert loaded("--data-dir=~/node").data_dir == Path("/home/alice/node")
    assert loaded("--data-dir=~").data_dir == Path("/home/alice")
    assert loaded("--data-dir=~bob/node").data_dir == Path("~bob/node")


def test_the_key_is_in_the_data_directory_unless_absolute() -> None:
    assert loaded("-d=/x", "--net-privkey=k").key_path == Path("/x/k")
    assert loaded("-d=/x", "--net-privkey=/etc/k").key_path == Path("/etc/k")


def test_persistence_and_prover_are_parts_with_options_of_their_own() -> None:
    made = loaded("-d=/x", "persistence", f"--eth-account={ACCOUNT}", "prover", "-cd:/circuits")
    assert made.market is not None
    assert (made.market.account, made.market.providers) == (ACCOUNT, ("ws://localhost:8545",))
    assert made.prover is not None
    assert made.prover.circom_zkey == Path("/circuits/proof_main.zkey")
    plain = loaded("-d=/x", "persistence", "--eth-private-key=k")
    assert plain.prover is None
    made = loaded("-d=/x", "persistence", "--eth-private-key=k", "prover")
    assert made.prover is not None
    assert made.prover.circom_r1cs == Path("/x/circuits/proof_main.r1cs")


def test_persistence_is_checked() -> None:
    assert "--eth-private-key" in refused("persistence").remedy
    account = f"--eth-account={ACCOUNT}"
    for wrong in (
        ["--eth-account=0x12"],
        [account, "--eth-provider=ftp://x"],
        *[
            [account, f"--eth-provider={url}"]
            for url in (
                "ws://a,",
                "ws://",
                "a:8545",
                "ws://a:99999",
                "ws://[::1",
                "http://\u00fc",
                "ws://a/ b",
            )
        ],
        [account, "--validator-groups=1"],
        [account, "--validator-groups=65536"],
        [account, "--validator-group-index=1"],
        [account, "--validator-groups=2", "--validator-group-index=2"],
        [account, "prover", "--proof-samples=0"],
        [account, "prover", "--circom-no-zkey=x"],
    ):
        refused("persistence", *wrong)


def test_an_option_before_its_part_is_told_where_it_belongs() -> None:
    error = refused(f"--eth-account={ACCOUNT}")
    assert "codex persistence" in error.message
    assert "codex persistence prover" in refused("persistence", "--proof-samples=3").message


def test_options_of_a_part_that_is_not_started_may_stand_in_environment_and_file() -> None:
    assert loaded(environ={"CODEX_ETH_ACCOUNT": "not yet"}).market is None
    assert loaded(toml=f'eth-account = "{ACCOUNT}"').market is None


def test_what_has_no_effect_is_told() -> None:
    environ = {"CODEX_STORAGE_QOUTA": "1", "CODEX_CACHE_SIZE": "1", "CODEX_ETH_ACCOUNT": "x"}
    made = loaded("--repo-kind=sqlite", environ=environ)
    assert len(made.warnings) == 3
    assert any("repo-kind" in warning for warning in made.warnings)
    assert any("CODEX_STORAGE_QOUTA" in warning for warning in made.warnings)
    assert loaded().warnings == ()


@pytest.mark.parametrize(
    "option", [option for option in OPTIONS if option.default], ids=lambda option: option.name
)
def test_a_shown_default_is_what_holds_without_it(option: Option) -> None:
    words = ["persistence", "--eth-private-key=k", "prover"]
    place = {"node": 0, "persistence": 2, "prover": 3}[option.section]
    after = loaded(*words[:place], f"--{option.name}={option.default}", *words[place:])
    after = attrs.evolve(
        after,
        api=attrs.evolve(after.api, port_explicit=False),
        discovery=attrs.evolve(after.discovery, port_explicit=False),
    )
    assert after == loaded(*words)


def test_the_face_is_complete() -> None:
    assert all(hasattr(config, name) for name in config.__all__)

"""The command line where no process runs."""

import json

import pytest
from conftest import ROOT, cli, make_certificate

COMMANDS = ["run", "check", "dump", "reload", "kick", "listeners", "sign", "streams", "version"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    done = cli(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: freshet {command} ")
    assert done.stderr == ""


def test_help_lists_every_command():
    done = cli("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize(
    "args, said",
    [
        ([], "usage: freshet COMMAND"),
        (["chekc"], "unknown command chekc"),
        (["--frob"], "unknown command --frob"),
        (["check"], "a file is wanted"),
        (["check", "a", "b"], "one file is enough, not also b"),
        (["check", "--frob", "a"], "unknown option --frob"),
        (["check", "-c", "a"], "unknown option -c"),
        (["reload", "--runtime-dir"], "a value is missing after --runtime-dir"),
        (["reload", "now"], "takes no now"),
        (["reload", "-c", "a", "--runtime-dir", "b"], "only one of"),
        (["dump", "-c", "a", "b"], "only one of"),
        (["run", "--json"], "unknown option --json"),
        (["version", "x"], "takes no x"),
        (["kick"], "a stream is wanted"),
        (["kick", "live/a", "live/b"], "a stream is wanted"),
        (["kick", "live/a", "--ban"], "a value is missing after --ban"),
        (["streams", "--ban", "1m"], "unknown option --ban"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_why(args, said):
    done = cli(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert said in done.stderr
    assert "usage: " in done.stderr


def test_version_names_the_libraries():
    assert cli("version").stdout.startswith("freshet ")
    assert cli("--version").stdout == cli("version").stdout
    told = json.loads(cli("version", "--json").stdout)
    assert told["ok"] is True
    assert told["version"] in cli("version").stdout
    assert set(told["libraries"]) >= {"libevent", "libfyaml"}


def test_check_of_a_good_file(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("edge: {cache: 64M}\n")
    done = cli("check", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file}: good\n", "")
    assert json.loads(cli("check", "--json", file).stdout) == {"ok": True}


def test_check_of_a_bad_file_says_where(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("edge:\n  cach: 64M\n  listen: [unix:x]\n")
    want = (
        f'{file}:2:3: edge.cach: unknown key; did you mean "cache"?\n'
        "      cach: 64M\n"
        "      ^\n"
        f"{file}:3:12: edge.listen: a unix socket is written unix:/path/to/socket\n"
        "      listen: [unix:x]\n"
        "               ^\n"
    )
    done = cli("check", file)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", want)
    done = cli("check", "--json", file)
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"ok": False, "error": want}


def test_check_of_no_file(tmp_path):
    done = cli("check", tmp_path / "none.yaml")
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path}/none.yaml: No such file or directory\n"


def test_what_dump_shows_loads_to_the_same(tmp_path):
    file, again = tmp_path / "a.yaml", tmp_path / "b.yaml"
    file.write_text('edge: {cache: 64M, listen: ["[::1]:80"]}\napps: {vod: {origin: "http://s"}}\n')
    first = cli("dump", file)
    assert first.returncode == 0
    assert 'listen: ["http://[::1]:80"]' in first.stdout
    again.write_text(first.stdout)
    assert cli("dump", again).stdout == first.stdout
    assert json.loads(cli("dump", "--json", again).stdout)["config"] == first.stdout


def test_dump_of_a_bad_file_fails(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("x: 1\n")
    done = cli("dump", "--json", file)
    assert done.returncode == 1
    assert f"{file}:1:1: x: unknown key" in done.stderr
    assert json.loads(done.stdout)["ok"] is False


@pytest.mark.parametrize("command", ["reload", "dump", "listeners"])
def test_nobody_is_there(command, tmp_path):
    done = cli(command, "--runtime-dir", tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path}: no freshet runs here\n"
    done = cli(command, "--json", "--runtime-dir", tmp_path)
    assert json.loads(done.stdout) == {"ok": False, "error": f"{tmp_path}: no freshet runs here\n"}


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_example_is_good(file):
    """But for the certificates and keys, which tests/e2e/test_configs.py makes."""
    done = cli("check", file)
    missing = [x for x in done.stderr.splitlines() if ": /etc/freshet/" in x and x.endswith("No such file or directory")]
    assert done.stderr.splitlines() == missing
    assert done.returncode == (1 if missing else 0)


def test_check_reads_certificates_but_needs_no_ticket_keys(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(make_certificate(tmp_path) + 'edge: {listen: ["https://127.0.0.1:0"]}\n')
    done = cli("check", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file}: good\n", "")
    (tmp_path / "key.pem").unlink()
    done = cli("check", file)
    assert done.returncode == 1
    assert "key.pem" in done.stderr

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a user can get wrong: one sentence that names the thing and the remedy, the right status."""
import json
import os
import pathlib
import socket

import machine
from machine import ARCH, contains, equal, strata


def refused(*args, status=125, words=(), env=None):
    p = strata(*args, timeout=60, env=env)
    equal((args, p.returncode), (args, status))
    equal(p.stdout, b"")
    text = p.stderr.decode()
    assert 1 <= len(text.strip().splitlines()) <= 3, text
    for word in words:
        contains(text, word)


def vm(*options):
    return ("run", *ARCH, "--rm", *options, "debian", "--", "true")


def test_options():
    refused(*vm("--cpus", "0"), status=2, words=["cpus"])
    refused(*vm("--cpus", "many"), status=2, words=["cpus", "many"])
    refused(*vm("--memory", "12Q"), status=2, words=["memory", "12Q"])
    refused(*vm("--memroy", "1G"), status=2, words=["--memroy", "--memory"])
    refused(*vm("--publish", "99999:80"), status=2, words=["99999"])
    refused(*vm("--net", "magic"), status=2, words=["magic", "none", "user"])
    refused(*vm("--share", "/no/such/dir:/x"), words=["/no/such/dir"])
    refused(*vm("--disk", "/no/such/disk"), words=["/no/such/disk"])
    refused(*vm("--cpus", "65"), status=2, words=["--cpus", "65"])
    refused(*vm("--memory", "0"), status=2, words=["--memory"])
    refused(*vm("--memory", "16M"), status=2, words=["--memory", "16 MiB"])
    refused(*vm("--name", "../x"), status=2, words=["--name", "../x"])
    refused(*vm("--env", "NAME"), status=2, words=["--env", "NAME=value"])
    refused("frobnicate", status=2, words=["frobnicate", "help"])


def test_memory_larger_than_the_hosts():
    refused(*vm("--memory", "900T"), words=["memory"])


def stored_kernel():
    """The boot image's kernel, which the run before this made sure of; None without an image."""
    home = os.environ.get("STRATA_HOME") or os.path.join(
        os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "strata")
    p = strata("image", "inspect", "--arch", "riscv64", "debian-boot:trixie")
    if p.returncode != 0:
        return None
    for layer in json.loads(p.stdout)["manifest"]["layers"]:
        if ".boot.kernel." in layer["mediaType"]:
            return os.path.join(home, "images", "blobs", *layer["digest"].split(":"))
    return None


def test_disks_and_initial_ram_disks():
    with machine.temporary_directory() as d:
        refused(*vm("--disk", d), words=[d, "--share"])
        odd = pathlib.Path(d, "odd")
        odd.write_bytes(b"x" * 1000)
        refused(*vm("--disk", str(odd)), words=[str(odd), "1000", "truncate"])
        refused(*vm("--initrd", str(odd)), words=[str(odd), "cpio"])
        refused(*vm("--initrd", d), words=[d])


def test_a_published_port_in_use():
    with socket.socket() as s:
        s.bind(("", 0))
        s.listen()
        port = s.getsockname()[1]
        refused(*vm("--publish", f"{port}:80"), words=[f"port {port}", "in use", "--publish"])


def test_kernels():
    with machine.temporary_directory() as d:
        missing = os.path.join(d, "missing")
        refused(*vm("--kernel", missing), words=[missing])
        short = pathlib.Path(d, "short")
        short.write_bytes(b"MZ" + b"\0" * 20)
        refused(*vm("--kernel", str(short)), words=[str(short)])
        refused(*vm("--kernel", "/bin/true"), words=["/bin/true", "riscv64"])
        whole = stored_kernel()
        if whole:
            cut = pathlib.Path(d, "cut")
            with open(whole, "rb") as f:
                cut.write_bytes(f.read(1 << 20))
            refused(*vm("--kernel", str(cut)), words=[str(cut), "truncated"])
        empty = pathlib.Path(d, "empty")
        empty.write_bytes(b"")
        refused(*vm("--kernel", str(empty)), words=[str(empty)])


def test_unknown_image_and_architecture():
    refused("run", *ARCH, "--rm", "no-such-image", "--", "true", words=["no-such-image"])
    refused("run", "--vm", "--arch", "pdp11", "--rm", "debian", "--", "true", status=2,
            words=["pdp11", "riscv64"])


def test_no_network_and_an_empty_store():
    with machine.temporary_directory() as d:
        env = {"STRATA_HOME": d, "XDG_CACHE_HOME": d, "STRATA_MIRROR": "http://127.0.0.1:9/debian"}
        p = strata("run", *ARCH, "--rm", "debian", "--", "true", env=env)
        equal(p.returncode, 125)
        contains(p.stderr.decode(), "127.0.0.1:9")


def test_an_unwritable_store():
    if os.geteuid() == 0:
        path = "/proc/strata"  # where even root cannot write
    else:
        path = "/strata-test"
    refused("image", "pull", "--arch", "riscv64", "debian", words=[path], status=1,
            env={"STRATA_HOME": path, "XDG_CACHE_HOME": path})


def test_a_corrupt_index_is_named():
    with machine.temporary_directory() as d:
        pathlib.Path(d, "images").mkdir()
        pathlib.Path(d, "images", "index.json").write_text('{"schemaVersion": 2, "manif')
        refused("image", "list", words=["index.json"], status=1, env={"STRATA_HOME": d})


if __name__ == "__main__":
    machine.main()

#!/usr/bin/env python3
"""Makes the binary files of this folder from the two published crates that carry CPython for WASI.

    python3 refresh.py ERYX_RUNTIME_FOLDER ERYX_FOLDER

The folders are those of `eryx-runtime` 0.5.0 and `eryx` 0.5.0 as cargo unpacks them (`cargo fetch` in any project
that depends on both, then look in the registry's `src` folder under $CARGO_HOME; or `cargo vendor`). Only three
things are done to what they carry: debug information is dropped from the libraries, packages that cannot work
under WASI or that are not CPython's are left out of the standard library, and both are compressed anew with the
`zstd` command. The outcome is the same on every machine; SHA256SUMS lists it.
"""

import hashlib
import io
import pathlib
import subprocess
import sys
import tarfile

LIBRARIES = [
    "libc.so",
    "libpython3.14.so",
    "libwasi-emulated-getpid.so",
    "libwasi-emulated-process-clocks.so",
    "libwasi-emulated-signal.so",
    "wasi_snapshot_preview1.reactor.wasm",
]
# Sections that linking needs; the others (DWARF, names, producers) are two thirds of the size.
KEPT_SECTIONS = ("dylink.0", "component-type")
LEFT_OUT = {
    "componentize_py_async_support", "componentize_py_runtime.py", "componentize_py_types.py", "dill",
    "config-3.14-wasm32-wasi", "ensurepip", "idlelib", "pydoc_data", "site-packages", "tkinter", "turtle.py",
    "turtledemo", "venv",
}


def leb128(data, position):
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, position


def strip(module):
    """The module without the custom sections that linking does not need."""
    kept, position = [module[:8]], 8
    while position < len(module):
        start = position
        identifier = module[position]
        size, body = leb128(module, position + 1)
        position = body + size
        if identifier == 0:
            length, name_at = leb128(module, body)
            name = module[name_at : name_at + length].decode()
            if not name.startswith(KEPT_SECTIONS):
                continue
        kept.append(module[start:position])
    return b"".join(kept)


def zstd(*arguments, data):
    return subprocess.run(["zstd", "-q", *arguments], input=data, stdout=subprocess.PIPE, check=True).stdout


def standard_library(archive):
    """A tar of the .py files, sorted, without owners and times, so that it is the same each time."""
    files = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as source:
        for member in source.getmembers():
            path = pathlib.PurePosixPath(member.name).relative_to("python-stdlib")
            wanted = path.suffix == ".py" or path.name == "LICENSE.txt"
            if member.isfile() and wanted and path.parts[0] not in LEFT_OUT:
                files[str(path)] = source.extractfile(member).read()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as target:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            target.addfile(entry, io.BytesIO(files[name]))
    return out.getvalue()


def main():
    runtime, eryx = map(pathlib.Path, sys.argv[1:])
    here = pathlib.Path(__file__).parent
    made = {}
    for library in LIBRARIES:
        content = zstd("-d", data=(runtime / "libs" / f"{library}.zst").read_bytes())
        # The linker finds the adapter's stack pointer by its name.
        made[library] = strip(content) if library.endswith(".so") else content
    made["stdlib.tar"] = standard_library(zstd("-d", data=(eryx / "python-stdlib.tar.zst").read_bytes()))
    sums = []
    for name, content in made.items():
        packed = zstd("-19", "--no-check", data=content)
        (here / f"{name}.zst").write_bytes(packed)
        sums.append(f"{hashlib.sha256(packed).hexdigest()}  {name}.zst\n")
    (here / "SHA256SUMS").write_text("".join(sums))


main()
